"""The tokens of Show: one for visitors, one for the host, and the key that signs cookies.

They are made once for a cache folder and kept in it, readable by its owner only. So a link still works after a restart.
Deleting the file ends every visit: new ones are made with a new key.
"""

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock

from analysis.core import input_files, serving, store


@dataclass(frozen=True)
class Tokens:
    """The tokens that open a dashboard in Show."""

    token: str
    host: str
    key: str


def file() -> Path:
    """Return the path of their file."""
    return store.cache_dir() / "access.json"


def load() -> Tokens:
    """Return the tokens as the file has them now; it is made where there is none.

    Raises:
        SpecError: when the file holds a short or repeated token.
        StorageError: when they cannot be kept.
    """
    path = file()
    if (kept := _kept(path)) is not None:
        return kept
    store.make_folder(path.parent)
    with store.disk_errors_explained(path), FileLock(path.with_suffix(".lock"), timeout=10):
        if (kept := _kept(path)) is not None:  # another process was faster
            return kept
        made = Tokens(*(secrets.token_urlsafe(32) for _ in fields(Tokens)))
        store.write_atomic(path, json.dumps(asdict(made), indent=1).encode())
    return made


def _kept(path: Path) -> Tokens | None:
    """Return the content of the file; None without one, and for one of another version."""
    names = {field.name for field in fields(Tokens)}
    try:
        content = input_files.parsed_object(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if set(content) != names:
        return None
    serving.check_secrets({f"{name!r} in {path}": str(content[name]) for name in names})
    return Tokens(**{name: str(content[name]) for name in names})
