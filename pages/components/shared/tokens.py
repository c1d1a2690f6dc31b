"""The tokens of Show: one for visitors, one for the host, and the key that signs cookies.

They are made once for a cache folder and kept in it, readable by its owner only, so that a link still works after a restart.
Deleting the file ends every visit: new ones are made with a new key.
"""

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from analysis.core import documents, serving, store


@dataclass(frozen=True)
class Tokens:
    """What opens a dashboard in Show."""

    token: str
    host: str
    key: str


def file() -> Path:
    """Where they are kept."""
    return store.cache_dir() / "access.json"


def load() -> Tokens:
    """The tokens that are kept; they are made where there are none.

    Raises:
        SpecError: when the file holds a short or repeated token.
        StorageError: when they cannot be kept.
    """
    path = file()
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        if (kept := _read(path, status.st_mtime_ns, status.st_ino, status.st_size)) is not None:
            return kept
    store.make_folder(path.parent)
    with store.disk_errors_explained(path), FileLock(path.with_suffix(".lock"), timeout=10):
        if path.is_file() and (kept := _parsed(path)) is not None:  # another process was faster
            return kept
        made = Tokens(*(secrets.token_urlsafe(32) for _ in fields(Tokens)))
        store.write_atomic(path, json.dumps(asdict(made), indent=1).encode())
        os.chmod(path, 0o600)
    return made


@lru_cache(maxsize=2)
def _read(path: Path, written: int, inode: int, size: int) -> Tokens | None:
    """The content of a file, read again only when it has changed."""
    os.chmod(path, 0o600)  # also where somebody has copied it here
    return _parsed(path)


def _parsed(path: Path) -> Tokens | None:
    """The content of the file; None for one of another version."""
    names = {field.name for field in fields(Tokens)}
    try:
        content = documents.parsed_object(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if set(content) != names:
        return None
    serving.check_secrets({f"{name!r} in {path}": str(content[name]) for name in names})
    return Tokens(**{name: str(content[name]) for name in names})
