"""Disk space of a job, other users of its files, and their removal."""

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analysis.core import disk, index, input_files, store
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Spec
from analysis.jobs.queue import job

_KEY = re.compile(r"[0-9a-f]{20}")


@dataclass(frozen=True)
class Space:
    """Disk space of a job."""

    own_bytes: int
    """Size of the job's folder: request, events and log."""
    saved_bytes: int
    """Size of its checkpoints, adapter and result."""
    needed_by: str | None
    """Job or result that needs the saved files, in words; None if they can be removed with the
    job."""

    @property
    def total_bytes(self) -> int:
        """Return the total size."""
        return self.own_bytes + self.saved_bytes


def of(db: sqlite3.Connection, row: sqlite3.Row) -> Space:
    """Return the disk space of the job in a row, and what else needs its files; reads the request
    of every stored result.
    """
    saved = size_bytes(saved_folders(row["kind"], row["result_key"]))
    return Space(size_bytes([job.folder(row["id"])]), saved, needed_by(db, row) if saved else None)


def saved_folders(kind: str, key: str | None) -> list[Path]:
    """Return the existing folders of checkpoints, adapter and result of a job; none for an invalid
    key.
    """
    if key is None or not _KEY.fullmatch(key) or kind not in EXPERIMENTS:
        return []
    cache = store.cache_dir()
    folders = [cache / "checkpoints" / key, cache / "adapters" / key, store.result_dir(kind, key)]
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


def size_bytes(folders: Iterable[Path]) -> int:
    """Return the size of all files in the folders; links are not followed, and files that vanish
    are ignored.
    """
    return sum(map(disk.size_bytes, folders))


def needed_by(db: sqlite3.Connection, row: sqlite3.Row) -> str | None:
    """Return what else needs the saved files of a job, in words, or None.

    Candidates are jobs with the same request or result in any state, jobs that measure its adapter,
    and stored results that build on its result.
    """
    key = row["result_key"]
    for user in db.execute(
        "SELECT id, kind, fingerprint, result_key, spec FROM jobs WHERE id != ?", (row["id"],)
    ):
        same = user["kind"] == row["kind"] and (
            user["fingerprint"] == row["fingerprint"] or user["result_key"] == key
        )
        if same or any(_uses(spec, key) for spec in _specs(user["kind"], user["spec"])):
            return f"job {user['id']} needs it too"
    user = index.builds_on(list(EXPERIMENTS), key, but=key)
    return None if user is None else f"the stored {user.kind} result {user.key} builds on it"


def _specs(kind: str, text: str) -> tuple[Spec, ...]:
    try:
        return (EXPERIMENTS[kind].spec.from_json(input_files.parsed(text)),)
    except (ValueError, KeyError, TypeError, AttributeError, LayerscopeError):
        return ()


def _uses(spec: Spec, key: str) -> bool:
    """Return whether a request or a part of it uses the distance map or the adapter with this
    key.
    """
    adapter = getattr(spec, "adapter", None)
    if isinstance(adapter, str) and key in Path(adapter).parts:
        return True
    return any(_is_map(part, key) or _uses(part, key) for part in spec.nested())


def _is_map(spec: Spec, key: str) -> bool:
    return spec.kind == "distances" and spec.fingerprint() == key


def set_aside(folders: Iterable[Path]) -> list[Path]:
    """Rename folders so that nothing finds them, without deleting them yet; return the new
    paths.
    """
    aside = []
    for folder in folders:
        with store.disk_errors_explained(folder):
            aside.append(disk.aside(folder))
    return [folder for folder in aside if folder is not None]


def erase(folders: Iterable[Path]) -> None:
    """Delete folders that were set aside; of a link only the link is deleted."""
    for folder in folders:
        disk.remove(folder)
