"""Measurements and choices of this machine, stored in a file of the cache folder."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from analysis.core import input_files, store
from analysis.core.errors import StorageError

_log = logging.getLogger(__name__)


def content() -> dict[str, Any]:
    """Return all stored values; an empty dict if the file is invalid."""
    file = _file()
    try:
        return input_files.parsed_object(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s cannot be read (%s) and is written again.", file, error)
        return {}


def keep(key: str, value: Any) -> None:
    """Store a value if the cache folder is writable; other values stay."""
    with contextlib.suppress(StorageError):
        store.write_atomic(_file(), json.dumps({**content(), key: value}, indent=1).encode())


def _file() -> Path:
    return store.cache_dir() / "machine.json"
