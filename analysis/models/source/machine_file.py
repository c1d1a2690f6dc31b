"""Measurements and choices of this machine, stored in a file of the cache folder."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

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
    with contextlib.suppress(StorageError), _locked():
        _write({**content(), key: value})


def keep_first(key: str, value: Any) -> Any:
    """Return the stored value of a key, which is `value` if none was stored; None if the cache
    folder is not writable.
    """
    with contextlib.suppress(StorageError), _locked():
        values = content()
        if key not in values:
            values[key] = value
            _write(values)
        return values[key]
    return None


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Let one process at a time change the file, so that no value is lost."""
    lock = _file().with_suffix(".lock")
    store.make_folder(lock.parent)
    with store.disk_errors_explained(lock):
        held = FileLock(lock, mode=0o600)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _write(values: dict[str, Any]) -> None:
    store.write_atomic(_file(), json.dumps(values, indent=1).encode())


def _file() -> Path:
    return store.cache_dir() / "machine.json"
