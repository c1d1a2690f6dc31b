"""Streamlit's own scripts: kept in memory, and fetched before the first part of a page asks for one.

A page is some hundred small files, and one of 4.7 MB that draws the charts. The document names only those of the empty frame.
The browser hears of the others when the first part that needs one has come over the socket and is drawn, one after the other.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import streamlit
from starlette.types import ASGIApp, Receive, Scope, Send

_STATIC = Path(streamlit.__file__).parent / "static"
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
_IMPORTED = re.compile(r'(?:from|import)"\./([\w.~-]+\.js)"')
_NAMED = re.compile(r'"\./static/js/([\w.~-]+\.js)"')
_HEADERS = (
    (b"content-type", b"text/javascript; charset=utf-8"),
    (b"cache-control", b"public, immutable, max-age=31536000"),  # as Streamlit says of them: a name has the hash of its file
)


def fetch(path: str, static: Path = _STATIC) -> str:
    """Return a script for the head of a page's document that has the browser fetch the scripts of the page's parts.

    It runs when those of the frame have been read, so that it does not stand in their way.

    Args:
        path: of the page's address.
        static: Streamlit's folder of files for browsers.
    """
    names = needed(path.rpartition("/")[2], static)
    addresses = json.dumps([f"./{_WHERE}/{name}" for name in names])
    return (
        f'<script type="module">for (const href of {addresses}) document.head.append('
        'Object.assign(document.createElement("link"), {rel: "modulepreload", crossOrigin: "", href}));</script>'
    )


@lru_cache(maxsize=16)
def needed(page: str, static: Path = _STATIC) -> tuple[str, ...]:
    """File names of the scripts that draw a page and of all that these import, less those that the document names.

    Parts that this version of Streamlit has no file for are left out.

    Args:
        page: the last part of its address.
        static: as in `fetch`.
    """
    named = set(_of_document(static))
    wanted = [_file(part, static) for part in (*_MORE.get(page, ()), *_PARTS)]
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
    """Answers for scripts of the frame and of our pages from memory; everything else passes."""

    def __init__(self, app: ASGIApp, static: Path = _STATIC) -> None:
        names = {*_of_document(static), *(name for page in _MORE for name in needed(page, static))}
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
        headers = [*_HEADERS, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
