"""Files and folders that people name for an answer.

A regular file is replaced, at once and whole, and a link is followed. A pipe, a terminal or another character device is
written to.
"""

import os
import stat
import sys
from pathlib import Path

from analysis.core import store
from analysis.core.errors import SpecError, StorageError


def check(name: str, option: str) -> None:
    """Refuse a path that no answer can be written to, before it is worked out.

    Args:
        name: a file that may be there or not, in a folder that is.
        option: the option that it was given with.

    Raises:
        SpecError: when it is no name, a folder, a block device or a socket, or its folder is missing.
        StorageError: when it may not be written.
    """
    path, mode = _named(name, option)
    if mode is None or stat.S_ISREG(mode):
        _check_folder(path.parent, f"{option} {name}")
    elif not _is_written_to(mode):
        kind = "is a folder. Name a file in it" if stat.S_ISDIR(mode) else "is not a regular file. Name a file"
        raise SpecError(f"{option} {name} {kind}.")
    if mode is not None and not os.access(path, os.W_OK):
        raise StorageError(f"{option} {name} exists and is not writable. Name another file.")


def check_folder(name: str, option: str) -> None:
    """Refuse a new folder that cannot be made, before its content is worked out; those above it are made with it.

    Raises:
        SpecError: when it is no name or a link, or would be in a file.
        StorageError: when it may not be made.
    """
    path, mode = _named(name, option)
    if Path(name).is_symlink():
        raise SpecError(f"{option} {name} is a link to {path}. Name a new folder.")
    if mode is None or stat.S_ISDIR(mode):
        _check_folder(next(folder for folder in path.parents if folder.exists()), f"{option} {name}")


def write(name: str, content: bytes, option: str) -> None:
    """Write an answer where it was asked for.

    Raises:
        LayerscopeError: as `check`, and when the disk is full or nobody reads the pipe any more.
    """
    check(name, option)
    path, mode = _named(name, option)
    if not _is_written_to(mode):
        store.write_atomic(path, content)
        return
    with store.disk_errors_explained(path):
        sys.stdout.flush()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as stream:
            stream.write(content)


def _named(name: str, option: str) -> tuple[Path, int | None]:
    """Return the path of a name without links, and the mode of what is there; None where there is nothing."""
    if not name.strip() or "\0" in name:
        raise SpecError(f"{option} has no value. Write the name of a file or folder after it.")
    path = Path(os.path.realpath(name))
    with store.disk_errors_explained(path):
        try:
            return path, path.stat().st_mode
        except FileNotFoundError:
            return path, None


def _check_folder(folder: Path, description: str) -> None:
    if not folder.is_dir():
        raise SpecError(f"{description} cannot be written: the folder {folder} does not exist. Create it, or name another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{description} cannot be written: the folder {folder} is not writable. Name another folder.")


def _is_written_to(mode: int | None) -> bool:
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))
