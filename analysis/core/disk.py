"""Files and folders that are there whole or not at all, after a power cut too, and leftovers of processes that ended.

A draft is an unfinished file or folder: a hidden name of ours next to its place, locked by the process that makes it. The
system releases a lock when a process ends, however it ends. So a draft without a lock is a leftover, and any server may remove
it. Everything here raises `OSError`.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_OURS = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.(?P<what>part|old)")
_LONGEST = 200
"""Bytes of a name that its draft is called by. A name may have 255, and the rest marks the draft."""
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Errors of a file system that does not offer the operation."""
_WAIT_S = 0.5


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
def draft(path: Path, *, is_folder: bool, private: bool) -> Iterator[tuple[Path, int]]:
    """Make a hidden file or folder beside `path`, ours as long as the body runs, and gone after it unless it took its place.

    Args:
        path: its later place; the folder that holds it must be there.
        is_folder: whether to make a folder.
        private: for its owner alone; else as the umask has it.

    Yields:
        Its path and its open descriptor, of a file to write to.
    """
    draft, handle = _begun(path, is_folder, 0o700 if private else 0o777)
    try:
        yield draft, handle
    finally:
        remove(draft)
        os.close(handle)


def _begun(path: Path, is_folder: bool, mode: int) -> tuple[Path, int]:
    while True:
        draft = _hidden(path, "part")
        try:
            if is_folder:
                draft.mkdir(mode)
                handle = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
            else:
                handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o666)
        except FileNotFoundError:
            if not path.parent.exists():
                raise
            continue  # a sweeper was quicker than the lock
        # Where there are no locks no sweeper gets one either, and nothing is ever taken for a leftover.
        if _is_locked(handle) is not False and _is_still(draft, handle):
            return draft, handle
        os.close(handle)


def _hidden(path: Path, what: str) -> Path:
    name = path.name.encode()[:_LONGEST].decode(errors="ignore") if what == "part" else path.name
    return path.with_name(f".{name}.{secrets.token_hex(6)}.{what}")


def _is_locked(handle: int) -> bool | None:
    """Take the lock of an open file or folder; False when another has it, None where there are none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return False if error.errno in _BUSY else None


def lock(path: Path) -> FileLock | None:
    """Take the lock of a file; None if another process or thread holds it. The system releases it when a process ends."""
    held = FileLock(path, mode=0o600, thread_local=False)
    try:
        held.acquire(blocking=False)
    except Timeout:
        return None
    return held


@contextlib.contextmanager
def awaited_lock(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a file in the body, as soon as nobody else holds it.

    Args:
        path: of the file.
        on_wait: called twice a second until then; it may raise.
    """
    while (held := lock(path)) is None:
        on_wait()
        time.sleep(_WAIT_S)
    try:
        yield
    finally:
        held.release()


def _is_still(path: Path, handle: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(path), os.fstat(handle))
    return False


def replace(source: Path, target: Path) -> None:
    """Put a file or folder in the place of another or none: the old or the new one is there, after a power cut too.

    A folder is missing for an instant between two renames. A process that ends just then leaves the old one to
    `remove_leftovers`, which restores it.
    """
    sync_all(source)
    if not (target.is_dir() and source.is_dir()):
        os.replace(source, target)
        sync(target.parent)
        return
    old = _hidden(target, "old")
    descriptor = os.open(target, os.O_RDONLY)
    try:
        _is_locked(descriptor)
        os.rename(target, old)
        try:
            os.replace(source, target)
        except OSError:
            os.rename(old, target)
            raise
        sync(target.parent)
        remove(old)
    finally:
        os.close(descriptor)


def aside(path: Path) -> Path | None:
    """Rename a path that is to be removed, so that nothing finds it; its new name, or None where it is gone already.

    Nobody holds it then, so that it goes with the next sweep even if its own removal is never reached.
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


def sync_all(path: Path) -> None:
    """Make a folder and all in it last through a power cut."""
    if path.is_dir():
        for base, _, names in os.walk(path, topdown=False):
            for name in names:
                if not (file := Path(base, name)).is_symlink():
                    sync(file)
            sync(Path(base))
    else:
        sync(path)


def remove_leftovers(top: Path, *, deep: bool, older_s: float = 0.0) -> dict[Path, int]:
    """Remove the drafts that no process holds any more.

    Args:
        top: where they are looked for.
        deep: also in the folders below it.
        older_s: only those that were last changed so many seconds ago; for where locks may not be seen by all.

    Returns:
        Removed paths, with the bytes that this freed.
    """
    leftovers = {}
    for base, folders, files in os.walk(top):
        for name in (*folders, *files):
            match = _OURS.fullmatch(name)
            size = _swept(Path(base, name), match, older_s) if match else None
            if size is not None:
                leftovers[Path(base, name)] = size
        folders[:] = [name for name in folders if deep and not _OURS.fullmatch(name)]
    return leftovers


def _swept(path: Path, match: re.Match[str], older_s: float) -> int | None:
    """Remove one draft, or restore the former folder; its bytes, or None where it is held or restored."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return None
        if older_s and time.time() - status.st_mtime < older_s:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not _is_locked(descriptor) or not _is_still(path, descriptor):
                return None
            home = path.with_name(match["name"])
            if match["what"] == "old" and not home.exists():
                os.rename(path, home)
                return None
            size = size_bytes(path)
            remove(path)
            return None if path.exists() else size
        finally:
            os.close(descriptor)
    return None


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
