"""Files and folders that people name for an answer: which are replaced, written to in place, or refused.

Only a regular file is replaced, at once and whole. A pipe, a terminal or another character device is written to. A link is
refused with the name of its target. To follow it would change a file that was not named, and to replace it would remove the
link. A user who names the target gets the intended file.
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
        SpecError: when it is no name, a folder, a link, a block device or a socket, or its folder is missing.
        StorageError: when it may not be written.
    """
    _check_name(name, option)
    path = Path(name)
    with store.disk_errors_explained(path):
        mode = _mode(path)
    if path.is_symlink() and not _is_written_to(mode):
        raise SpecError(f"{option} {name} is a link to {os.readlink(path)}. Name that file itself, or another file.")
    if mode is None:
        _check_folder(path.parent, f"{option} {name}")
        return
    if stat.S_ISDIR(mode):
        raise SpecError(f"{option} {name} is a folder. Name a file in it.")
    if not (stat.S_ISREG(mode) or _is_written_to(mode)):
        raise SpecError(f"{option} {name} is not a regular file. Name a file.")
    if not os.access(path, os.W_OK):
        raise StorageError(f"{option} {name} exists and is not writable. Name another file.")
    if stat.S_ISREG(mode):
        _check_folder(path.parent, f"{option} {name}")


def check_folder(name: str, option: str) -> None:
    """Refuse a new folder that cannot be made, before its content is worked out; those above it are made with it.

    Raises:
        SpecError: when it is no name, or it is or would be in a link or a file.
        StorageError: when it may not be made.
    """
    _check_name(name, option)
    path = Path(name)
    with store.disk_errors_explained(path):
        mode = _mode(path)
    if path.is_symlink():
        raise SpecError(f"{option} {name} is a link to {os.readlink(path)}. Name a new folder.")
    if mode is None or stat.S_ISDIR(mode):
        above = path.absolute().parent
        _check_folder(next(folder for folder in (above, *above.parents) if folder.exists()), f"{option} {name}")


def write(name: str, content: bytes, option: str) -> None:
    """Write an answer where it was asked for.

    Raises:
        LayerscopeError: as `check`, and when the disk is full or nobody reads the pipe any more.
    """
    check(name, option)
    path = Path(name)
    if not _is_written_to(_mode(path)):
        store.write_atomic(path, content)
        return
    with store.disk_errors_explained(path):
        sys.stdout.flush()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as stream:
            stream.write(content)


def _check_name(name: str, option: str) -> None:
    if not name.strip() or "\0" in name:
        raise SpecError(f"{option} has no value. Write the name of a file or folder after it.")


def _check_folder(folder: Path, description: str) -> None:
    if not folder.is_dir():
        raise SpecError(f"{description} cannot be written: the folder {folder} does not exist. Create it, or name another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"{description} cannot be written: the folder {folder} is not writable. Name another folder.")


def _mode(path: Path) -> int | None:
    """Return the mode of the target of a path; None where there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _is_written_to(mode: int | None) -> bool:
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))
