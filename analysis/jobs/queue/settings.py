"""Settings of the job queue, stored in the cache folder for every server and worker."""

import json
from pathlib import Path

from analysis.core import input_files, store


def auto_resume() -> bool:
    """Return whether interrupted jobs resume automatically."""
    try:
        return input_files.parsed_object(_file().read_bytes()).get("auto_resume") is True
    except (OSError, ValueError, TypeError):
        return False


def set_auto_resume(is_on: bool) -> None:
    """Store the setting, atomically.

    Raises:
        StorageError: if the cache folder cannot be written.
    """
    store.write_atomic(_file(), json.dumps({"auto_resume": is_on}, indent=1).encode())


def _file() -> Path:
    return store.cache_dir() / "settings.json"
