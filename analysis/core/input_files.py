"""Reading regular files of limited size, and JSON."""

import errno
import json
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any


def regular(path: Path) -> os.stat_result:
    """Return the status of a regular file; opening other files may block forever. Links are
    followed.

    Raises:
        OSError: if it is not a regular file, with the reason as `strerror`.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = (
            "it is a folder, not a regular file"
            if stat.S_ISDIR(status.st_mode)
            else "it is not a regular file"
        )
        raise OSError(errno.EINVAL, kind, str(path))
    return status


def read(path: Path, most_bytes: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: path of the file, with `~` for the home folder.
        most_bytes: maximum size.

    Raises:
        OSError: if it is not a regular file, cannot be read or is too large.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:  # the user of ~user does not exist
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    status = regular(path)
    if status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 20:,} MB", str(path))
    with path.open("rb") as file:
        content = file.read(status.st_size + 1)
    if len(content) > status.st_size:
        raise OSError(errno.EFBIG, "it is growing, or longer than its stated size", str(path))
    return content


def is_file_name(name: object) -> bool:
    """Return whether a name is a plain file name on any system, without folders, drives or `..`."""
    if not isinstance(name, str) or "\0" in name or name in ("", ".", ".."):
        return False
    return PurePosixPath(name).name == name == PureWindowsPath(name).name


def parsed(content: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: if it is invalid, nested too deeply, or has a number with thousands of digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parsed_object(content: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ValueError: if it is invalid, or another type of value.
    """
    value = parsed(content)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
