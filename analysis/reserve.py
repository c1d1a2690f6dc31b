"""Disk space that the worker keeps back, so that on a full disk it can still write down how a job ended."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from analysis import storage
from analysis.errors import StorageError

SIZE_BYTES = 4 * 1024 * 1024
"""What the list of jobs may need at most beside itself: SQLite lets its log grow to that before it begins again."""
_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


def _file() -> Path:
    return storage.cache_dir() / "worker.reserve"


def hold() -> None:
    """Keep the space back, or try to: on a disk that is full already there is none."""
    if not _file().exists():
        with contextlib.suppress(StorageError):
            storage.write_atomic(_file(), b"\1" * SIZE_BYTES)


def release() -> bool:
    """Give the space back; whether there was any."""
    try:
        _file().unlink()
        return True
    except OSError:
        return False


def write_down(action: Callable[[], None]) -> None:
    """Do what writes a little, in the kept space if need be, and where that is not enough again and again until it works."""
    while True:
        try:
            action()
            return
        except StorageError as error:
            if not release():
                _log.warning("%s It is tried again.", error)
                time.sleep(_AGAIN_S)
