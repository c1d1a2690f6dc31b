"""Files that a visitor brought: stored by content, under names of our own, with the visitor's name only to be shown."""

import hashlib

from analysis.core import store
from analysis.data import files
from pages.components.shared import access

_LONGEST_NAME = 60


def keep(name: str, content: bytes, suffix: str) -> str:
    """Store an upload under a name made from its content, never the client's; returns the path.

    Args:
        name: what the visitor calls it.
        content: its bytes.
        suffix: one of our own choice, with its dot.

    Raises:
        AccessError: when this visitor may not bring it.
        StorageError: when it cannot be stored.
    """
    path = store.cache_dir() / "uploads" / f"{hashlib.sha256(content).hexdigest()}{suffix}"
    if not path.exists():
        access.check_upload(len(content))
        store.write_atomic(path, content)
        shown = "".join(letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable())
        store.write_atomic(files.name_file(path), shown[-_LONGEST_NAME:].encode("utf-8", "replace"))
    return str(path)
