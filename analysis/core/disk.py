"""Atomic, durable replacement of files and folders, removal of leftovers, and locks.

A draft is an unfinished file or folder, with a hidden name next to its final path. A draft without
changes for an hour is a leftover of a killed process, and any process may remove it. Errors are
`OSError`s.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_OURS = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.(?P<what>part|old)")
_MAX_NAME_BYTES = 200
"""Maximum bytes of a name within the name of its draft, which may have 255 bytes."""
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of file systems that do not support an operation."""
_POLL_S = 0.5
"""Interval between two attempts to take a lock."""
DRAFT_S = 3600.0
"""Age from which on a draft is a leftover, in seconds since its last change."""


def make(folder: Path, *, private: bool) -> None:
    """Create a folder with its missing parents, durably.

    Args:
        folder: path of the folder, which may exist.
        private: whether only the owner has access (default mode: that of the umask).
    """
    for parent in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
        with contextlib.suppress(FileExistsError):
            parent.mkdir(0o700 if private else 0o777)
        sync(parent.parent)


@contextlib.contextmanager
def draft(path: Path, *, is_folder: bool, private: bool) -> Iterator[Path]:
    """Create a hidden file or folder next to `path`, which is removed at the end unless it has
    replaced `path`.

    Args:
        path: final path, in an existing folder.
        is_folder: whether to create a folder.
        private: whether only the owner has access (default mode: that of the umask).
    """
    draft = _hidden(path, "part")
    mode = 0o700 if private else 0o777
    try:
        if is_folder:
            draft.mkdir(mode)
        else:
            draft.touch(mode & 0o666, exist_ok=False)
        yield draft
    finally:
        remove(draft)


def _hidden(path: Path, what: str) -> Path:
    name = (
        path.name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
        if what == "part"
        else path.name
    )
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{what}")


def lock(path: Path) -> FileLock | None:
    """Take the lock of a file; None if another process or thread holds it. The system releases it
    if the process ends.
    """
    held = FileLock(path, mode=0o600, thread_local=False)
    try:
        held.acquire(blocking=False)
    except Timeout:
        return None
    return held


def awaited_lock(
    path: Path, on_wait: Callable[[], Any]
) -> contextlib.AbstractContextManager[FileLock]:
    """Take the lock of a file as soon as nobody else holds it; leaving the context releases it.

    Args:
        path: path of the file.
        on_wait: called twice a second until then; it may raise.
    """
    return FileLock(path, mode=0o600, thread_local=False).acquire(
        poll_interval=_POLL_S, cancel_check=on_wait
    )


def replace(source: Path, target: Path) -> None:
    """Move a file or folder to a path and replace what exists there, atomically and durably.

    A replaced folder is missing between two renames. If the process is killed then,
    `remove_leftovers` restores it.
    """
    for path in (source, *source.rglob("*")):
        if not path.is_symlink():
            sync(path)
    if not (target.is_dir() and source.is_dir()):
        os.replace(source, target)
        sync(target.parent)
        return
    old = _hidden(target, "old")
    os.rename(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.rename(old, target)
        raise
    sync(target.parent)
    remove(old)


def aside(path: Path) -> Path | None:
    """Rename a path to a hidden name before its removal; None if it does not exist.

    If it is never removed, it is a leftover.
    """
    hidden = _hidden(path, "part")
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, hidden)
        sync(path.parent)
        return hidden
    return None


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with its content, ignoring errors."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:  # some network file systems cannot flush folders
            raise
    finally:
        os.close(handle)


def remove_leftovers(top: Path, *, deep: bool) -> dict[Path, int]:
    """Remove drafts without changes for `DRAFT_S`, and restore folders whose replacement was
    interrupted.

    Args:
        top: folder to search.
        deep: whether to search its subfolders too.

    Returns:
        Freed bytes by removed path.
    """
    leftovers = {}
    for base, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(base, name)
            match = _OURS.fullmatch(name)
            if match is None or path.is_symlink() or not (path.is_file() or path.is_dir()):
                continue
            target = path.with_name(match["name"])
            with contextlib.suppress(OSError):
                if match["what"] == "old" and not target.exists():
                    os.rename(path, target)
                elif (
                    time.time() - max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
                    > DRAFT_S
                ):
                    leftovers[path] = size_bytes(path)
                    remove(path)
        folders[:] = [name for name in folders if deep and not _OURS.fullmatch(name)]
    return leftovers


def free_bytes(path: Path) -> int:
    """Return the free bytes on the disk of an existing or future path.

    Raises:
        OSError: if they cannot be determined.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def size_bytes(top: Path) -> int:
    """Return the bytes of a file or of all files in a folder, without following links; files that
    vanish count 0.
    """
    files = [] if top.is_dir() else [top]
    for folder, _, names in os.walk(top):
        files += [Path(folder, name) for name in names]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += os.lstat(file).st_size
    return total
