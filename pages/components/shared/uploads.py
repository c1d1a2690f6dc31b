"""Files that a visitor brought: stored by content, under names of our own, with the visitor's name only to be shown."""

import hashlib
from pathlib import Path

from analysis.core import store

_LONGEST_NAME = 60


def keep(name: str, content: bytes, suffix: str) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Args:
        name: what the visitor calls it.
        content: its bytes.
        suffix: one of our own choice, with its dot.

    Raises:
        StorageError: when it cannot be stored.
    """
    path = store.cache_dir() / "uploads" / f"{hashlib.sha256(content).hexdigest()}{suffix}"
    if not path.exists():
        store.write_atomic(path, content)
        shown = "".join(letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable())
        store.write_atomic(_name_file(path), shown[-_LONGEST_NAME:].encode("utf-8", "replace"))
    return str(path)


def title(path: str) -> str:
    """What to call a file: the visitor's name of an upload, else the file's own."""
    file = Path(path)
    try:
        return _name_file(file).read_text(encoding="utf-8") or file.name
    except (OSError, ValueError):
        return file.name


def _name_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.name")
