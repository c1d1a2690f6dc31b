"""The server of the dashboard: its middleware in order, and the check before its first answer."""

import contextlib
from collections.abc import AsyncIterator, Callable

import streamlit as st
from starlette.middleware import Middleware

from pages.web import auth, connections
from pages.web.first_paint import FirstPaint
from pages.web.headers import SecurityHeaders
from pages.web.scripts import CachedScripts
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
