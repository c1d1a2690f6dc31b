"""Files that a visitor brought: stored by content, under names of our own, with the visitor's name only to be shown.

Streamlit first keeps a file in memory, for anybody who has an open page, and asks nobody. `Uploads` stands before that: it
counts a file by its declared size before any of it is read.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config
from streamlit.runtime import Runtime

from analysis.core import serving, store
from analysis.core.errors import BenchmarkError
from analysis.data import files
from analysis.data.files import QuestionFile
from pages.components.shared import access, visitors, words

_LONGEST_NAME = 60
_MOST_MEGABYTES = 20
"""Of a file, as `.streamlit/config.toml` says of the server."""
MOST_OF_VISIT = 60
"""Megabytes of files that one window may have in memory."""
MOST_FILES = 20
"""Files of one window, empty ones among them."""
GONE_S = 120.0
"""Seconds after a window has closed until its files go; a lost connection is made again before."""
_MEGABYTE = 2**20
_FRAMING = 2**20
"""Bytes of a request beside the file in it."""


class Uploads:
    """Middleware that bounds files in memory: of one window, and of all."""

    def __init__(self, app: ASGIApp, most_mb: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare it.

        Args:
            app: the dashboard.
            most_mb: megabytes of all windows together.
            clock: seconds that only go forward.
        """
        self.app, self.most_mb, self.clock = app, most_mb, clock
        self._path = f"/{(config.get_option('server.baseUrlPath') or '').strip('/')}".rstrip("/") + "/_stcore/upload_file/"
        self._coming: Counter[str] = Counter()
        """By window, bytes that are being received."""
        self._coming_files: Counter[str] = Counter()
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
        size = next(iter(visitors.raw(scope, b"content-length")), b"")
        n_bytes = int(size) if size.isdigit() and len(size) < 16 else None
        refused = self._refused(scope, window, n_bytes)
        if refused is not None or n_bytes is None:
            status, said = refused or (HTTPStatus.LENGTH_REQUIRED, "")
            await PlainTextResponse(said, status)(scope, receive, send)
            return
        self._coming[window] += n_bytes
        self._coming_files[window] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            for counted, amount in ((self._coming, n_bytes), (self._coming_files, 1)):
                counted[window] -= amount
                if not counted[window]:
                    del counted[window]
            self._forget_soon()  # the window may have closed since

    def _refused(self, scope: Scope, window: str, n_bytes: int | None) -> tuple[HTTPStatus, str] | None:
        """The answer to an upload that is not received; None for one that is."""
        told = visitors.raw(scope, visitors.HEADER)
        there = visitors.read(told[0].decode()) if told else None
        if (sentence := access.why_not_bring(there)) is not None:
            return HTTPStatus.FORBIDDEN, sentence
        if n_bytes is None:
            return HTTPStatus.LENGTH_REQUIRED, "The upload has no Content-Length header. Send it with its size."
        if n_bytes > _MOST_MEGABYTES * _MEGABYTE + _FRAMING:
            return (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The file is too large: at most {_MOST_MEGABYTES} MB are allowed. Upload a smaller file.",
            )
        if (sentence := access.why_no_room(n_bytes, serving.read(shared=there is not None))) is not None:
            return HTTPStatus.INSUFFICIENT_STORAGE, sentence
        held = _in_memory()
        files = len(held.get(window, ())) + self._coming_files[window]
        if files >= MOST_FILES or sum(held.get(window, ())) + self._coming[window] + n_bytes > MOST_OF_VISIT * _MEGABYTE:
            said = (
                f"This window has too many uploads: at most {MOST_FILES} files of {MOST_OF_VISIT} MB together are "
                "allowed. Remove one, "
            )
            "or reload the page."
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said
        if sum(map(sum, held.values())) + self._coming.total() + n_bytes > self.most_mb * _MEGABYTE:
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
        closed = [window for window in _in_memory() if not runtime.is_active_session(window)]
        self._gone_since = {window: self._gone_since.get(window, now) for window in closed}
        for window, since in list(self._gone_since.items()):
            if now - since >= GONE_S:
                runtime.uploaded_file_mgr.remove_session_files(window)
                del self._gone_since[window]
        return len(self._gone_since)


def _in_memory() -> dict[str, list[int]]:
    """Sizes of the files that Streamlit holds, by window."""
    if not Runtime.exists():
        return {}
    storage: Any = Runtime.instance().uploaded_file_mgr
    return {window: [len(file.data) for file in list(files.values())] for window, files in list(storage.file_storage.items())}


def middleware() -> Sequence[Middleware]:
    """The bounds of uploads, to stand behind the login."""
    return [Middleware(Uploads, most_mb=serving.read(shared=True).uploads_mb)]


def field(kinds: words.Markdown, endings: Sequence[str], *, key: str, help: words.Markdown | None = None) -> Any:
    """Draw a field for a file, disabled with the reason where uploads are refused; returns the upload, if there is one.

    Args:
        kinds: the kinds of files, for people.
        endings: of their names, without dots.
        key: of the field.
        help: requirements on the file's content.
    """
    closed = access.why_not_start()
    upload = st.file_uploader(
        f"{kinds}, up to {_MOST_MEGABYTES} MB", type=list(endings), key=key, max_upload_size=_MOST_MEGABYTES,
        disabled=closed is not None, help=words.plain(closed) if closed else help,
    )  # fmt: skip
    return None if closed else upload


def keep(name: str, content: bytes, suffix: str) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Args:
        name: the visitor's name of the file.
        content: its bytes.
        suffix: one of our own choice, with its dot.

    Raises:
        AccessError: when this visitor may not bring it.
        StorageError: when it cannot be stored.
    """
    path = store.cache_dir() / "uploads" / f"{hashlib.sha256(content).hexdigest()}{suffix}"
    if not path.exists():
        access.check_upload(len(content))
        store.write_atomic(path, content)
        shown = "".join(letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable())
        store.write_atomic(files.name_file(path), shown[-_LONGEST_NAME:].encode("utf-8", "replace"))
    return str(path)


def questions(path: Path) -> QuestionFile:
    """Return the content of a question file, read by a process with bounds, once for all visitors and pages.

    Raises:
        BenchmarkError: when it cannot be read, or takes more than its bounds.
    """
    try:
        status = path.stat()
        written = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # a NUL in it
        written = (0, 0)
    found = _read(str(path), written)
    if isinstance(found, BenchmarkError):
        raise found
    return found


@st.cache_resource(max_entries=4, show_spinner="Reading the questions")
def _read(path: str, written: tuple[int, int]) -> QuestionFile | BenchmarkError:
    """Return the content or the error, until somebody writes the file anew: an unreadable one is not tried again and again."""
    try:
        return files.read_apart(Path(path))
    except BenchmarkError as error:
        return error
