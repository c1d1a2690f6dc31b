"""Files and folders that are there whole or not at all, after a power cut too, and leftovers of processes that ended.

A draft is an unfinished file or folder: a hidden name of ours next to its place. One that nobody has written to for an hour is
a leftover, and any server may remove it. Everything here raises `OSError`.
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
_LONGEST = 200
"""Bytes of a name that its draft is called by. A name may have 255, and the rest marks the draft."""
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that does not offer the operation."""
_WAIT_S = 0.5
DRAFT_S = 3600.0
"""Time without a change after which a draft counts as a leftover."""


def make(folder: Path, *, private: bool) -> None:
    """Make a folder with all those above it that are missing, and see to it that they stay.

    Args:
        folder: which; nothing happens where it is there.
        private: for its owner alone; else as the umask has it.
    """
    for parent in reversed([parent for parent in (folder, *folder.parents) if not parent.exists()]):
        with contextlib.suppress(FileExistsError):
            parent.mkdir(0o700 if private else 0o777)
        sync(parent.parent)


@contextlib.contextmanager
def draft(path: Path, *, is_folder: bool, private: bool) -> Iterator[Path]:
    """Make a hidden file or folder beside `path`, which is gone after the body unless it took its place.

    Args:
        path: its later place; the folder that holds it must be there.
        is_folder: whether to make a folder.
        private: for its owner alone; else as the umask has it.
    """
    draft, mode = _hidden(path, "part"), 0o700 if private else 0o777
    try:
        if is_folder:
            draft.mkdir(mode)
        else:
            draft.touch(mode & 0o666, exist_ok=False)
        yield draft
    finally:
        remove(draft)


def _hidden(path: Path, what: str) -> Path:
    name = path.name.encode()[:_LONGEST].decode(errors="ignore") if what == "part" else path.name
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{what}")


def lock(path: Path) -> FileLock | None:
    """Take the lock of a file; None if another process or thread holds it. The system releases it when a process ends."""
    held = FileLock(path, mode=0o600, thread_local=False)
    try:
        held.acquire(blocking=False)
    except Timeout:
        return None
    return held


def awaited_lock(path: Path, on_wait: Callable[[], Any]) -> contextlib.AbstractContextManager[FileLock]:
    """Take the lock of a file as soon as nobody else holds it; leaving the context releases it.

    Args:
        path: path of the file.
        on_wait: called twice a second until then; it may raise.
    """
    return FileLock(path, mode=0o600, thread_local=False).acquire(poll_interval=_WAIT_S, cancel_check=on_wait)


def replace(source: Path, target: Path) -> None:
    """Put a file or folder in the place of another or none: the old or the new one is there, after a power cut too.

    A folder is missing for an instant between two renames. If a process ends just then, `remove_leftovers` restores it.
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
    """Rename a path that is to be removed, so that nothing finds it; its new name, or None where it is gone already.

    It goes with a later sweep if its own removal is never reached.
    """
    hidden = _hidden(path, "part")
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, hidden)
        sync(path.parent)
        return hidden
    return None


def remove(path: Path) -> None:
    """Delete a file, or a folder with all in it, as far as that is possible; of a link the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make the content of a file, or the list of entries of a folder, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT:  # some network file systems know no such thing for folders
            raise
    finally:
        os.close(handle)


def remove_leftovers(top: Path, *, deep: bool) -> dict[Path, int]:
    """Remove the drafts that nobody has written to for `DRAFT_S`, and restore folders whose replacement was cut off.

    Args:
        top: where they are looked for.
        deep: also in the folders below it.

    Returns:
        Removed paths, with the bytes that this freed.
    """
    leftovers = {}
    for base, folders, files in os.walk(top):
        for name in (*folders, *files):
            path, match = Path(base, name), _OURS.fullmatch(name)
            if match is None or path.is_symlink() or not (path.is_file() or path.is_dir()):
                continue
            home = path.with_name(match["name"])
            with contextlib.suppress(OSError):
                if match["what"] == "old" and not home.exists():
                    os.rename(path, home)
                elif time.time() - max(entry.lstat().st_mtime for entry in (path, *path.rglob("*"))) > DRAFT_S:
                    leftovers[path] = size_bytes(path)
                    remove(path)
        folders[:] = [name for name in folders if deep and not _OURS.fullmatch(name)]
    return leftovers


def free_bytes(path: Path) -> int:
    """Bytes that are free where something is, or would be made.

    Raises:
        OSError: when that cannot be told.
    """
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def size_bytes(top: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed, and files that vanish during the count count 0."""
    files = [Path(base, name) for base, _, names in os.walk(top) for name in names] if top.is_dir() else [top]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += os.lstat(file).st_size
    return total
