"""Limits of uploads. Streamlit keeps files in memory for anybody with an open page, so each counts before its body is read."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.runtime import Runtime

from analysis.core import serving, store
from analysis.core.serving import Serving
from analysis.jobs.queue.space import size_bytes
from pages.web import visitors

FILE_MB = 20
"""Megabytes of a file, as `.streamlit/config.toml` says of the server."""
WINDOW_MB = 60
"""Megabytes of files that one window may have in memory."""
WINDOW_FILES = 20
"""Files of one window, empty ones among them."""
GONE_S = 120.0
"""Seconds after a window has closed until its files go; a lost connection is made again before."""
_MEGABYTE = 2**20
_GIGABYTE = 1e9
_FRAMING = 2**20
"""Bytes of a request beside the file in it."""


class UploadLimits:
    """Middleware that bounds files in memory: of one window, and of all."""

    def __init__(self, app: ASGIApp, most_mb: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare it.

        Args:
            app: the dashboard.
            most_mb: megabytes of all windows together.
            clock: seconds that only go forward.
        """
        self.app, self.most_mb, self.clock = app, most_mb, clock
        self._path = f"{visitors.base_path()}_stcore/upload_file/"
        self._incoming: list[tuple[str, int]] = []
        """Windows and bytes of the files that are being received."""
        self._gone_since: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse an upload before its body is read."""
        if scope["type"] == "websocket":
            try:
                await self.app(scope, receive, send)
            finally:
                self._forget_soon()
        elif scope["type"] == "http" and scope["method"] == "PUT" and scope["path"].startswith(self._path):
            await self._upload(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        window = scope["path"].removeprefix(self._path).partition("/")[0]
        size = Headers(scope=scope).get("content-length", "")
        n_bytes = int(size) if size.isascii() and size.isdigit() and len(size) < 16 else -1
        if (refusal := self._refusal(scope, window, n_bytes)) is not None:
            status, message = refusal
            await PlainTextResponse(message, status)(scope, receive, send)
            return
        self._incoming.append((window, n_bytes))
        try:
            await self.app(scope, receive, send)
        finally:
            self._incoming.remove((window, n_bytes))
            self._forget_soon()  # the window may have closed since

    def _refusal(self, scope: Scope, window: str, n_bytes: int) -> tuple[HTTPStatus, str] | None:
        """Return the answer to an upload that is not received; None for one that is."""
        visitor = visitors.read(Headers(scope=scope))
        if (sentence := visitors.why_not_start(visitor)) is not None:
            return HTTPStatus.FORBIDDEN, sentence
        if n_bytes < 0:
            return HTTPStatus.LENGTH_REQUIRED, "The upload has no Content-Length header. Send it with its size."
        if n_bytes > FILE_MB * _MEGABYTE + _FRAMING:
            return (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The file is too large: at most {FILE_MB} MB are allowed. Upload a smaller file.",
            )
        if (sentence := why_no_room(n_bytes, serving.read(shared=visitor is not None))) is not None:
            return HTTPStatus.INSUFFICIENT_STORAGE, sentence
        files = _in_memory() + self._incoming
        of_window = [size for owner, size in files if owner == window]
        if len(of_window) >= WINDOW_FILES or sum(of_window) + n_bytes > WINDOW_MB * _MEGABYTE:
            return (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"This window has too many uploads: at most {WINDOW_FILES} files of {WINDOW_MB} MB together are allowed. "
                "Remove one, or reload the page.",
            )
        if sum(size for _, size in files) + n_bytes > self.most_mb * _MEGABYTE:
            return (
                HTTPStatus.INSUFFICIENT_STORAGE,
                "The open uploads of all visitors are too large together. Try again in a few minutes.",
            )
        return None

    def _forget_soon(self) -> None:
        """Forget files of windows that have closed: now those that are due, and again when others will be."""
        if self.forget():
            asyncio.get_running_loop().call_later(GONE_S + 1, self.forget)

    def forget(self) -> int:
        """Free the files of windows that have been closed for `GONE_S`; returns how many closed windows still have files."""
        if not Runtime.exists():
            return 0
        runtime, now = Runtime.instance(), self.clock()
        closed = {window for window, _ in _in_memory() if not runtime.is_active_session(window)}
        self._gone_since = {window: self._gone_since.get(window, now) for window in closed}
        for window, since in list(self._gone_since.items()):
            if now - since >= GONE_S:
                runtime.uploaded_file_mgr.remove_session_files(window)
                del self._gone_since[window]
        return len(self._gone_since)


def _in_memory() -> list[tuple[str, int]]:
    """Return the windows and bytes of the files that Streamlit keeps."""
    if not Runtime.exists():
        return []
    storage: Any = Runtime.instance().uploaded_file_mgr
    return [(window, len(file.data)) for window, files in list(storage.file_storage.items()) for file in list(files.values())]


def why_no_room(n_bytes: int, settings: Serving) -> str | None:
    """Return the reason why no file of this size is kept, in one sentence; None where there is space."""
    most = settings.uploads_gb
    if most is None:
        return None
    taken = (size_bytes([store.cache_dir() / "uploads"]) + n_bytes) / _GIGABYTE
    if taken <= most:
        return None
    return (
        f"With this file all uploads would take {taken:.2f} GB, and at most {most:g} GB are allowed. "
        "Ask the operator of this dashboard to remove old ones."
    )
