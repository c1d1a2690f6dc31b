"""Output files and folders named by the user.

Regular files are replaced atomically, and links are followed. Pipes, terminals and other character
devices are written to.
"""

import os
import stat
import sys
from pathlib import Path

from analysis.core import store
from analysis.core.errors import SpecError, StorageError


def check(name: str, option: str) -> None:
    """Check that an output file can be written, before the result is computed.

    Args:
        name: path of a new or existing file.
        option: option that has this value.

    Raises:
        SpecError: if the name is empty, or a folder, block device or socket, or its folder does not
            exist.
        StorageError: if it is not writable.
    """
    path, mode = _resolved(name, option)
    if mode is None or stat.S_ISREG(mode):
        _check_folder(path.parent, f"{option} {name}")
    elif not _is_stream(mode):
        kind = (
            "is a folder. Name a file in it"
            if stat.S_ISDIR(mode)
            else "is not a regular file. Name a file"
        )
        raise SpecError(f"{option} {name} {kind}.")
    if mode is not None and not os.access(path, os.W_OK):
        raise StorageError(f"{option} {name} exists and is not writable. Name another file.")


def check_folder(name: str, option: str) -> None:
    """Check that an output folder can be created with its parents, before its content is computed.

    Raises:
        SpecError: if the name is empty, a link, or inside a file.
        StorageError: if the folder cannot be created.
    """
    path, mode = _resolved(name, option)
    if Path(name).is_symlink():
        raise SpecError(f"{option} {name} is a link to {path}. Name a new folder.")
    if mode is None or stat.S_ISDIR(mode):
        _check_folder(
            next(folder for folder in path.parents if folder.exists()), f"{option} {name}"
        )


def write(name: str, content: bytes, option: str) -> None:
    """Write an output file.

    Raises:
        LayerscopeError: as for `check`, or if the disk is full or the reader has closed the pipe.
    """
    check(name, option)
    path, mode = _resolved(name, option)
    if not _is_stream(mode):
        store.write_atomic(path, content)
        return
    with store.disk_errors_explained(path):
        sys.stdout.flush()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb") as stream:
            stream.write(content)


def _resolved(name: str, option: str) -> tuple[Path, int | None]:
    """Return the path of a name with links resolved, and its file mode, None if it does not
    exist.
    """
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
        raise SpecError(
            f"{description} cannot be written: the folder {folder} does not exist. Create it, or"
            " name another."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(
            f"{description} cannot be written: the folder {folder} is not writable. Name another"
            " folder."
        )


def _is_stream(mode: int | None) -> bool:
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))
