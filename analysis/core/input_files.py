"""Files of people and of other programs: regular ones that can be read whole, and their JSON."""

import errno
import json
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any


def regular(path: Path) -> os.stat_result:
    """Return the system's status of a regular file; others may never end, and opening them may never return.

    Raises:
        OSError: when it is none, with the reason as its `strerror`; a link counts as its target.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a NUL in it
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "it is a folder, not a regular file" if stat.S_ISDIR(status.st_mode) else "it is not a regular file"
        raise OSError(errno.EINVAL, kind, str(path))
    return status


def read(path: Path, most_bytes: int) -> bytes:
    """All of a regular file.

    Args:
        path: which, `~` for a home.
        most_bytes: the largest that is read.

    Raises:
        OSError: as `regular`, and when it cannot be read or is too large.
    """
    try:
        path = path.expanduser()
    except RuntimeError as error:  # the home of nobody
        raise OSError(errno.EINVAL, "no file can have such a name", str(path)) from error
    status = regular(path)
    if status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 20:,} MB", str(path))
    with path.open("rb") as file:
        content = file.read(status.st_size + 1)  # memory for all of it is set aside in any case
    if len(content) > status.st_size:
        raise OSError(errno.EFBIG, "it is growing, or longer than its stated size", str(path))
    return content


def is_file_name(name: object) -> bool:
    """Return True for the name of a file without a folder, a drive or a step upwards, on any system."""
    if not isinstance(name, str) or "\0" in name or name in ("", ".", ".."):
        return False
    return PurePosixPath(name).name == name == PureWindowsPath(name).name


def parsed(content: str | bytes) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: when it is none, is nested deeper than anything of ours, or holds a number of thousands of digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parsed_object(content: str | bytes) -> dict[str, Any]:
    """Return the value of JSON that must be an object.

    Raises:
        ValueError: as `parsed`, and when it is something else.
    """
    value = parsed(content)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value
