"""The server of the dashboard: its middleware in order, the headers of its answers, and the check before the first one."""

import contextlib
from collections.abc import AsyncIterator, Callable

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pages.web import auth, connections
from pages.web.first_paint import CachedScripts, FirstPaint
from pages.web.throttle import RerunThrottle
from pages.web.upload_limits import UploadLimits

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
_RAW = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class SecurityHeaders:
    """Tells every browser: ask no other host for anything, guess no types, stand in no frame.

    Answers that say otherwise themselves keep their own headers, as the login page does.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; only the beginning of an answer is changed."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in _RAW if name not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


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
        Middleware(SecurityHeaders),
        Middleware(auth.AuthMiddleware, settings=settings, mode=mode, is_public=is_public),
        Middleware(UploadLimits, most_mb=settings.uploads_mb),
        Middleware(CachedScripts),
        Middleware(FirstPaint),
        Middleware(RerunThrottle),
    ]


@contextlib.asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Warn before the first answer when the limits of connections are off."""
    connections.check()
    yield
