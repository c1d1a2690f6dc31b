"""The look of the page from its first moment: style that is part of the document instead of arriving with the widgets.

Streamlit's document comes without a word about the app in it. Everything the script says about looks arrives a second later,
when there is already something to be seen, which then jumps. So the server puts our style into the document itself, and the
names of the scripts that will draw the page.
"""

from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.web import scripts

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


class FirstPaint:
    """Puts style and scripts at the end of the head of every HTML document that passes."""

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
            fetched = scripts.fetch(scope["path"]).encode()
            body = b"".join(parts).replace(b"</head>", _AT_HOME + _SERVER + _ANEW + fetched + alone + self.style, 1)
            start = begun[0]
            kept = [(name, value) for name, value in start["headers"] if name not in (b"content-length", b"etag")]
            length = (b"content-length", str(len(body)).encode())
            await send({**start, "headers": [*kept, length]})
            await send({"type": "http.response.body", "body": body})

        await self.app({**scope, "headers": asked}, receive, styled)
