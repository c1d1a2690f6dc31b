"""Files that people name to be read: regular ones, and none larger than can be read whole."""

import errno
import stat
from pathlib import Path

_KINDS = {
    stat.S_ISDIR: "it is a folder",
    stat.S_ISCHR: "it is a device",
    stat.S_ISBLK: "it is a device",
    stat.S_ISFIFO: "it is a pipe",
    stat.S_ISSOCK: "it is a socket",
}


def read(path: Path, most_bytes: int) -> bytes:
    """All of a file; what is no regular file, and so may never end, is not opened.

    Args:
        path: which, `~` for a home; a link counts as what it leads to.
        most_bytes: the largest that is read.

    Raises:
        OSError: when it cannot be read, with the reason as its `strerror`.
    """
    try:
        path = path.expanduser()
        status = path.stat()
    except (ValueError, RuntimeError) as error:  # a NUL in it, the home of nobody
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from error
    for is_one, said in _KINDS.items():
        if is_one(status.st_mode):
            raise OSError(errno.EINVAL, f"{said}, not a regular file", str(path))
    if status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 20:,} MB", str(path))
    with path.open("rb") as file:
        content = file.read(status.st_size + 1)  # as much is set aside, whatever there is
    if len(content) > status.st_size:
        raise OSError(errno.EFBIG, "it grows, or is longer than it says", str(path))
    return content
