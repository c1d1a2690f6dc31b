"""The server of the dashboard: its middleware in order, and the layers that add to Streamlit's answers.

These are the headers of every answer, and the style and scripts of a page, sent before the first part of it asks for them.
"""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from functools import lru_cache
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analysis.core.serving import PUBLIC
from pages.web import auth, connections
from pages.web.throttle import RerunThrottle
from pages.web.upload_limits import UploadLimits


def middleware(is_public: Callable[[str], bool]) -> list[Middleware]:
    """Return the layers around Streamlit, the outermost first, and bound the connections of the server.

    Args:
        is_public: whether a path below the base path needs no token in Show.

    Raises:
        SystemExit: when the settings of the server contradict each other.
    """
    settings, mode = auth.checked_settings()
    connections.install(settings)
    return [
        Middleware(SecurityHeaders, is_framed=mode == PUBLIC),
        Middleware(auth.AuthMiddleware, settings=settings, mode=mode, is_public=is_public),
        Middleware(UploadLimits, most_mb=settings.uploads_mb),
        Middleware(CachedScripts),
        Middleware(FirstPaint),
        Middleware(RerunThrottle),
    ]


def lifespan(at_start: Callable[[], None]) -> Callable[[st.App], contextlib.AbstractAsyncContextManager[None]]:
    """Return the life of the server, which warns before the first answer when the limits of connections are off.

    Args:
        at_start: called once when the server starts; it listens afterwards.
    """

    @contextlib.asynccontextmanager
    async def life(_app: st.App) -> AsyncIterator[None]:
        connections.check()
        at_start()
        yield

    return life


_SOURCES = {
    "default-src": "'none'",
    # Streamlit's document has a script in it, and components are built from their text.
    "script-src": "'self' 'unsafe-inline' blob:",
    "style-src": "'self' 'unsafe-inline' blob:",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "media-src": "'self' data: blob:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'self'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _SOURCES.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
FRAMES = "'self' https://huggingface.co"
"""Pages that may frame the dashboard in Public. Hosts of demos show them in a frame, and no click in one does anything."""


class SecurityHeaders:
    """Tells every browser: ask no other host for anything, guess no types, stand in no frame but those of Public.

    Answers that say otherwise themselves keep their own headers, as the login page does.
    """

    def __init__(self, app: ASGIApp, *, is_framed: bool = False) -> None:
        """Prepare it.

        Args:
            app: the dashboard.
            is_framed: whether the pages in `FRAMES` may frame it.
        """
        headers = dict(HEADERS)
        if is_framed:
            del headers["X-Frame-Options"]  # it cannot name another host
            policy = headers["Content-Security-Policy"]
            headers["Content-Security-Policy"] = policy.replace("frame-ancestors 'none'", f"frame-ancestors {FRAMES}")
        self.app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; only the beginning of an answer is changed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in self._headers if name not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


_STYLE = Path(__file__).resolve().parents[1] / "assets" / "app.css"
_UNTOUCHED = (b"accept-encoding", b"if-none-match", b"if-modified-since")
"""Headers of a request without which the document comes whole and uncompressed."""
_AT_HOME = (
    b'<script>if (location.pathname.endsWith("/")) '
    b'history.replaceState(history.state, "", "explore" + location.search + location.hash);</script>'
)
"""The bare address is Explore's: said before Streamlit reads it, else its script would run once to find out and once more."""
_SERVER = (
    b'<script>window.__streamlit ??= {BACKEND_BASE_URL: location.origin + location.pathname.replace(/[^/]*$/, "")};</script>'
)
"""Where the server is. Streamlit else looks for it below the page's own address first, and gets two answers 404."""
_ANEW = b"""<script>addEventListener("error", ({message}) => {
  if (!/delta path|'setIn'|TransientNode has no anchor/.test(message)) return;
  const last = Number(sessionStorage.getItem("drawn-anew"));
  if (Date.now() - last < 30000) return;
  sessionStorage.setItem("drawn-anew", Date.now());
  location.reload();
});</script>"""
"""A browser that has no place for a message leaves its window empty: it reloads the page, at most twice a minute."""
_ALONE = b"<style>:root { --beside: 0px; }</style>"
"""Style of the pages for a class, which have no sidebar to leave space for."""
_STATIC = Path(st.__file__).parent / "static"
_WHERE = "static/js"
_PARTS = ("BidiComponent", "Slider", "Selectbox", "ButtonGroup", "Button", "Checkbox", "PageLink")
"""Parts that are on most pages."""
_CHARTS = "PlotlyChart"
_MORE = {
    "": (_CHARTS,),
    "explore": (_CHARTS,),
    "heal": (_CHARTS, "Table", "NumberInput", "Radio"),
    "compare": ("Table", "NumberInput", "TextArea", "Html"),  # its charts are far down, and would hold up its heading
    "export": ("Metric",),
}
"""Further parts of a page, by the last part of its address."""
_TABS = ("DataFrame", "StreamlitSyntaxHighlighter", "Table", "NumberInput", "Metric")
_LATER = {"": _TABS, "explore": _TABS}
"""Parts of its tabs that are closed at first: three megabytes of scripts, run when the page has long been drawn."""
_LATER_MS = 4000
_RUN = "for (const href of {}) await import(href).catch(() => null)"
"""A page that needs a script which fails asks for it again, and reports it."""
_IMPORTED = re.compile(r'(?:from|import)"\./([\w.~-]+\.js)"')
_NAMED = re.compile(r'"\./static/js/([\w.~-]+\.js)"')
_SCRIPT_HEADERS = (
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"cache-control", b"public, immutable, max-age=31536000"),  # as Streamlit says of them: a name has the hash of its file
)


class FirstPaint:
    """Puts style and scripts at the end of the head of every HTML document that passes.

    Streamlit's document comes without a word about the app in it. Everything the script says about looks arrives a second
    later, when there is already something to be seen, which then jumps. So the server puts our style into the document itself,
    and the names of the scripts that will draw the page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.style = app, f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; only answers to those for a document are changed."""
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or b"text/html" not in headers.get(b"accept", b""):
            await self.app(scope, receive, send)
            return
        asked = [(name, value) for name, value in scope["headers"] if name not in _UNTOUCHED]
        begun: list[Message] = []
        parts: list[bytes] = []

        async def styled(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            alone = _ALONE if b"present=1" in scope.get("query_string", b"") else b""
            fetched = fetch_scripts(scope["path"]).encode()
            body = b"".join(parts).replace(b"</head>", _AT_HOME + _SERVER + _ANEW + fetched + alone + self.style, 1)
            start = begun[0]
            kept = [(name, value) for name, value in start["headers"] if name not in (b"content-length", b"etag")]
            length = (b"content-length", str(len(body)).encode())
            await send({**start, "headers": [*kept, length]})
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": asked}, receive, styled)


def fetch_scripts(path: str, static: Path = _STATIC) -> str:
    """Return a script for the head of a page's document that has the browser fetch the scripts of the page's parts.

    It runs when those of the frame have been read, so that it does not stand in their way. Scripts of closed tabs come some
    seconds later, one after another, unless the user saves data. They are run as well, which takes a part of a second.

    Args:
        path: of the page's address.
        static: Streamlit's folder of files for browsers.
    """
    page = path.rpartition("/")[2]
    names = needed_scripts(page, static)
    later = [name for name in later_scripts(page, static) if name not in names]
    now, then = (json.dumps([f"./{_WHERE}/{name}" for name in some]) for some in (names, later))
    return (
        f'<script type="module">for (const href of {now}) document.head.append('
        'Object.assign(document.createElement("link"), {rel: "modulepreload", crossOrigin: "", href}))\n'
        + (
            f"setTimeout(async () => {{ if (!navigator.connection?.saveData) {_RUN.format(then)} }}, {_LATER_MS})"
            if later
            else ""
        )
        + "</script>"
    )


def needed_scripts(page: str, static: Path = _STATIC) -> tuple[str, ...]:
    """File names of the scripts that draw a page and of all that these import, less those that the document names.

    Parts that this version of Streamlit has no file for are left out.

    Args:
        page: the last part of its address.
        static: as in `fetch_scripts`.
    """
    return _scripts((*_MORE.get(page, ()), *_PARTS), static)


def later_scripts(page: str, static: Path = _STATIC) -> tuple[str, ...]:
    """File names of the scripts that draw the closed tabs of a page, as `needed_scripts` has them."""
    return _scripts(_LATER.get(page, ()), static)


@lru_cache(maxsize=16)
def _scripts(parts: tuple[str, ...], static: Path) -> tuple[str, ...]:
    named = set(_of_document(static))
    wanted = [_file(part, static) for part in parts]
    return tuple(name for name in _with_imports(filter(None, wanted), static) if name not in named)


def _file(part: str, static: Path) -> str | None:
    """The name of a part's file: the part and a hash."""
    return next((path.name for path in sorted((static / _WHERE).glob(f"{part}.*.js"))), None)


def _of_document(static: Path) -> list[str]:
    return _NAMED.findall((static / "index.html").read_text(encoding="utf-8"))


def _with_imports(names: Iterable[str], static: Path) -> Iterable[str]:
    """Return scripts and their imports at the top of a module, directly or not."""
    names_read: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in names_read and (static / _WHERE / name).is_file():
            names_read[name] = None
            waiting.extend(_IMPORTED.findall((static / _WHERE / name).read_text(encoding="utf-8")))
    return names_read


class CachedScripts:
    """Answers for scripts of the frame and of our pages from memory; everything else passes.

    A page is some hundred small files, and one of 4.7 MB that draws the charts. The document names only those of the empty
    frame. The browser hears of the others when the first part that needs one has come over the socket and is drawn, one after
    the other.
    """

    def __init__(self, app: ASGIApp, static: Path = _STATIC) -> None:
        pages = [name for page in _MORE for name in (*needed_scripts(page, static), *later_scripts(page, static))]
        names = {*_of_document(static), *pages}
        self.app = app
        self.files = {name: path.read_bytes() for name in names if (path := static / _WHERE / name).is_file()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass a request on."""
        folder, _, name = scope.get("path", "").rpartition("/")
        is_one = folder.endswith(f"/{_WHERE}") and name in self.files and scope.get("method") == "GET"
        if not is_one or any(key == b"range" for key, _ in scope["headers"]):
            await self.app(scope, receive, send)
            return
        body = self.files[name]
        headers = [*_SCRIPT_HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
