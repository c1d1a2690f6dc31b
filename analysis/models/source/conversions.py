"""GGUF files converted to model folders in the cache, since reading a GGUF file takes longer than
all later steps.
"""

import json
from pathlib import Path

from analysis.core import disk, input_files, store

_FOLDER = "models"
_PREFIX = "gguf-"
_NOTE_NAME = "layerscope.json"
_VERSION = 2
"""Version of the conversion; folders of another version are converted again."""


def folder_of(identity: str) -> Path:
    """Return the path of the folder for a GGUF file with this identity."""
    return store.cache_dir() / _FOLDER / identity.replace(":", "-")


def is_converted(identity: str) -> bool:
    """Return whether this version has converted the file to a folder."""
    folder = folder_of(identity)
    try:
        note = input_files.parsed_object((folder / _NOTE_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return note.get("version") == _VERSION and (folder / "config.json").exists()


def sign(folder: Path, name: str) -> None:
    """Record the name of the file in its new folder."""
    (folder / _NOTE_NAME).write_text(json.dumps({"file": name, "version": _VERSION}))


def stored_conversions() -> list[tuple[str, str, int]]:
    """Return identity, file name and bytes of each conversion on this machine, the largest
    first.
    """
    conversions = []
    for folder in (store.cache_dir() / _FOLDER).glob(f"{_PREFIX}*"):
        try:
            name = str(input_files.parsed_object((folder / _NOTE_NAME).read_bytes())["file"])
        except (OSError, ValueError, KeyError):
            name = folder.name
        conversions.append((folder.name.replace("-", ":", 1), name, disk.size_bytes(folder)))
    return sorted(conversions, key=lambda conversion: -conversion[2])


def delete(identity: str) -> int:
    """Delete a conversion and return the freed bytes; loading the file converts it again.

    Raises:
        StorageError: If the folder cannot be deleted.
    """
    return store.delete_folder(folder_of(identity))
