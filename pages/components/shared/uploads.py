"""Files that a visitor uploaded: stored by content, under names of our own, with the visitor's name only to be shown."""

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
from pages.web.upload_limits import FILE_MB

_LONGEST_NAME = 60


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
        f"{kinds}, up to {FILE_MB} MB",
        type=list(endings),
        key=key,
        max_upload_size=FILE_MB,
        disabled=closed is not None,
        help=words.plain(closed) if closed else help,
    )
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
