"""Settings that a person made for a cache folder, kept in it for every server and worker to read."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from analysis.core import input_files, store


@dataclass(frozen=True)
class Settings:
    """The settings of a cache folder."""

    auto_resume: bool = False
    """Whether a job whose worker ended before it did goes back to the front of the queue by itself."""


def load() -> Settings:
    """The settings as they are now; where there are none, or none that can be read, those of the beginning."""
    try:
        stored = input_files.parsed(_file().read_bytes())
        values = {field.name: stored[field.name] for field in fields(Settings) if isinstance(stored.get(field.name), bool)}
        return Settings(**values)
    except (OSError, ValueError, TypeError, AttributeError):
        return Settings()


def change(**values: Any) -> Settings:
    """Change some settings, atomically and one process at a time; returns all of them.

    Raises:
        StorageError: when the cache folder cannot be written.
    """
    with store.disk_errors_explained(_file()):
        store.make_folder(_file().parent)
        with FileLock(_file().with_suffix(".lock"), timeout=10):
            changed = replace(load(), **values)
            store.write_atomic(_file(), json.dumps(asdict(changed), indent=1).encode())
    return changed


def _file() -> Path:
    return store.cache_dir() / "settings.json"
