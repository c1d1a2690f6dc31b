"""Files that a visitor brought: stored by content, under names of our own, with the visitor's name only to be shown."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.core import store
from analysis.core.errors import BenchmarkError
from analysis.data import files
from analysis.data.files import QuestionFile
from pages.components.shared import access, words

_LONGEST_NAME = 60
_MOST_MEGABYTES = 20
"""Of a file, as `.streamlit/config.toml` says of the server."""


def field(kinds: words.Markdown, endings: Sequence[str], *, key: str, help: words.Markdown | None = None) -> Any:
    """Draw a field for a file, disabled with the reason where nothing may be brought; returns the upload, if there is one.

    Args:
        kinds: the kinds of files, for people.
        endings: of their names, without dots.
        key: of the field.
        help: what the file must hold.
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
        name: what the visitor calls it.
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
    """What a question file holds, as the process found that reads it with bounds; it is read once for all visitors and pages.

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
    """The same as long as nobody writes the file anew: one that cannot be read is not tried again and again."""
    try:
        return files.read_apart(Path(path))
    except BenchmarkError as error:
        return error
