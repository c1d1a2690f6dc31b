"""The layers around Streamlit: security headers, login, and the throttle of reruns."""

import sys
from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from analysis.core.serving import PUBLIC, SHOW, TEAM
from pages.web import auth, connections
from pages.web.throttle import RerunThrottle


def middleware(is_public: Callable[[str], bool]) -> list[Middleware]:
    """Return the layers around Streamlit, the outermost first.

    Args:
        is_public: whether a path below the base path needs no token in Show.

    Raises:
        SystemExit: when the settings contradict each other, or `streamlit run` starts a server for
            a network.
    """
    settings, mode = auth.checked_settings()
    if mode in (SHOW, TEAM) and not connections.is_bounded:
        sys.stderr.write(
            "`streamlit run` serves only this machine, because it cannot bound connections or trust"
            " proxies. Start the dashboard with `python -m analysis dashboard --address ADDRESS`.\n"
        )
        raise SystemExit(2)
    return [
        Middleware(SecurityHeaders, is_framed=mode == PUBLIC),
        Middleware(auth.AuthMiddleware, settings=settings, mode=mode, is_public=is_public),
        Middleware(RerunThrottle),
    ]


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
"""Pages that may frame the dashboard in Public. Hosts of demos show them in a frame, and no click
in one does anything."""


class SecurityHeaders:
    """Tells every browser: ask no other host for anything, guess no types, stand in no frame but
    those of Public.

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
            headers["Content-Security-Policy"] = policy.replace(
                "frame-ancestors 'none'", f"frame-ancestors {FRAMES}"
            )
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
