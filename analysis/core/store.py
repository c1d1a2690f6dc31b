"""Everything under the cache folder: paths, atomic writes, stored results with checksums.

A result is a folder `results/KIND/FINGERPRINT/` with `result.json`, which begins with the SHA-256 of the rest of it. Where
there are arrays, it also has safetensors files, whose checksums `result.json` lists. Arrays are written first and `result.json`
last, each to a temporary name that is then renamed. So a reader sees the old result or the new one and never half of one, and
changed or damaged files are not read. Nothing is ever pickled.

A damaged result is never shown. Lists hide it and log it (`index_table`). Opening it raises `CorruptResultError`
(`results.stored.result.read`). A run moves it aside and computes it again (`record.Result.load`), a shard likewise.
"""

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from analysis.core import disk, input_files, mounts
from analysis.core.errors import CorruptResultError, StorageError

FORMAT = 1
"""Layout of `result.json`; a reader refuses any other."""

_CHANGED = "it was changed or damaged after it was stored"
_SEAL = re.compile(rb'\{\n "sha256": "([0-9a-f]{64})",')
_PARTS = {"sha256", "format", "kind", "fingerprint", "files", "data"}

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:(//|:)")
_REPOSITORY = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the folder of everything computed: `LAYERSCOPE_CACHE`, `cache/` in a checkout, or `~/.cache/layerscope`.

    Raises:
        StorageError: when an address is given, for a store of objects can neither rename nor lock its objects.
    """
    setting = os.environ.get("LAYERSCOPE_CACHE") or ""
    if _ADDRESS.match(setting):
        raise StorageError(
            f"LAYERSCOPE_CACHE is {setting}, but it must be a folder. Object storage cannot rename or lock files, so a "
            "reader could find half a result. Name a folder on a disk or network file system, and copy results from "
            "there."
        )
    return _resolved(setting) if os.path.isabs(setting) or not setting else Path(setting).resolve()


@functools.lru_cache(maxsize=64)
def _resolved(setting: str) -> Path:
    """Follow the links of a folder once: a page needs the folder five hundred times."""
    is_checkout = (_REPOSITORY / "requirements.txt").is_file()
    return Path(setting or (_REPOSITORY / "cache" if is_checkout else Path.home() / ".cache" / "layerscope")).resolve()


def local_dir() -> Path:
    """Return the folder that only this machine writes to: SQLite's files, and the locks and notes of its worker.

    That is the cache folder, unless this lies on a network file system. Several machines may share results, which are renamed
    into their place. Each has its own list of jobs and its own worker then.

    Raises:
        StorageError: when there is no folder on a disk of this machine.
    """
    cache = cache_dir()
    if not mounts.is_network(cache):
        return cache
    setting = os.environ.get("LAYERSCOPE_LOCAL")
    top = Path(setting or os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state").absolute().resolve()
    local = top / "layerscope" / hashlib.sha256(os.fsencode(cache)).hexdigest()[:12]
    if mounts.is_network(local):
        raise StorageError(
            f"{cache} and {top} are on network file systems ({mounts.kind(cache)}, {mounts.kind(local)}), which would damage "
            "the list of jobs. Set LAYERSCOPE_LOCAL to a folder on a disk of this machine. The results stay in place."
        )
    return local


def precomputed_dir() -> Path:
    """The gallery: committed results, on screen before anything is computed; the weights of their models need not be here."""
    return _REPOSITORY / "cache" / "precomputed"


def find(path: str) -> Path:
    """Return where a path of the cache lies: in the cache, else among what came with the program if it is there."""
    committed = precomputed_dir() / path
    return committed if committed.exists() and not (cache_dir() / path).exists() else cache_dir() / path


NO_SPACE = (
    "There is no space left on the disk. Saved files are intact. Free some space, or point LAYERSCOPE_CACHE at another "
    "disk, then {then}."
)
"""Message for a full disk; `{then}` stands for the action after the fix."""


@contextlib.contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing `path` into one sentence with the action to take."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(NO_SPACE.format(then="run it again")) from error
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. Check that the folder is writable."
        ) from error


def is_private(path: Path) -> bool:
    """Return whether a file is for its owner alone: all in the cache is, since it holds requests, texts and prompts."""
    path = path.absolute()
    return path.is_relative_to(cache_dir()) or path.is_relative_to(local_dir())


def make_folder(path: Path) -> None:
    """Make a folder with those above it, for its owner alone where it is in the cache.

    Raises:
        StorageError: when it cannot be made.
    """
    with disk_errors_explained(path):
        disk.make(path, private=is_private(path))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader, and a power cut, find the old content or the new one, never a part.

    In the cache it is for its owner alone. Elsewhere a new file is as the umask has it, and an older one keeps its mode.

    Raises:
        StorageError: when the disk is full or the folder cannot be written; the old content is untouched.
    """
    private = is_private(path)
    with disk_errors_explained(path):
        disk.make(path.parent, private=private)
        with disk.draft(path, is_folder=False, private=private) as temporary:
            if not private and path.is_file():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            temporary.write_bytes(content)
            disk.replace(temporary, path)


def check_writable() -> None:
    """Refuse to begin where the result could not be stored afterwards.

    Raises:
        StorageError: when nothing can be written in the cache folder.
    """
    folder = cache_dir()
    make_folder(folder)
    with disk_errors_explained(folder), tempfile.TemporaryFile(dir=folder):
        pass


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Build a folder under a temporary name with `fill(folder)` and put it at `path` when it is complete.

    An older folder at `path` is replaced. After any error, `path` is the old folder or the new one. Leftovers beside it of
    processes that were killed at the same are removed.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    private = is_private(path)
    with disk_errors_explained(path):
        disk.make(path.parent, private=private)
        _sweep(path.parent, deep=False)
        with disk.draft(path, is_folder=True, private=private) as temporary:
            fill(temporary)
            disk.replace(temporary, path)


def remove_leftovers() -> None:
    """Remove unfinished files of processes that are gone in the cache, and log how much that was."""
    _sweep(cache_dir(), deep=True)


def _sweep(top: Path, *, deep: bool) -> None:
    for path, size in disk.remove_leftovers(top, deep=deep).items():
        _log.warning("Removed %s, unfinished by a process that has ended, and freed %.1f MB.", path, size / 1e6)


@dataclass(frozen=True)
class StoredResult:
    """A stored result as it lies on disk; `Result.read` turns it into a dataclass."""

    path: Path
    data: dict[str, Any]
    """The content of `result.json`, without the envelope."""
    files: Mapping[str, str]
    """SHA-256 of the files with arrays, by name."""
    precomputed: bool
    saved_at: float
    """Seconds since the epoch."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by name.

        Raises:
            CorruptResultError: if they are gone, or differ from the written arrays.
        """
        arrays: dict[str, np.ndarray] = {}
        try:
            for name, digest in self.files.items():
                content = (self.path / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != digest:
                    raise CorruptResultError(f"{self.path / name} does not match its checksum: {_CHANGED}.")
                arrays |= load(content)
            return arrays
        except (OSError, ValueError, SafetensorError) as error:
            raise CorruptResultError(f"The arrays stored in {self.path} cannot be read: {error!r}.") from error


def result_dir(kind: str, fingerprint: str) -> Path:
    """Where the result with this key lies."""
    return cache_dir() / "results" / kind / fingerprint


def save_result(
    kind: str,
    fingerprint: str,
    data: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    *,
    under: Path | None = None,
) -> Path:
    """Store a result atomically, over an older one with the same key.

    Args:
        kind, fingerprint: the key.
        data: JSON types only.
        arrays: by name, in one file, which is not rewritten if its content is the same.
        under: another folder than that of the results in the cache.

    Raises:
        StorageError: when the disk is full or the folder cannot be written; the older result is intact.
    """
    folder = result_dir(kind, fingerprint) if under is None else under / kind / fingerprint
    files = {}
    if arrays:
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        digest = hashlib.sha256(content).hexdigest()
        name = f"arrays-00000-{digest[:8]}.safetensors"
        files[name] = digest
        if not (folder / name).exists():
            write_atomic(folder / name, content)
    envelope = {"format": FORMAT, "kind": kind, "fingerprint": fingerprint, "files": files, "data": dict(data)}
    write_atomic(folder / "result.json", _sealed(json.dumps(envelope, indent=1, allow_nan=False).encode()))
    with contextlib.suppress(OSError):
        for stale in folder.glob("arrays-*.safetensors"):
            if stale.name not in files:
                stale.unlink()
    return folder


def _sealed(content: bytes) -> bytes:
    """The JSON of a result with the checksum of all that follows it in front."""
    rest = content.removeprefix(b"{")
    return b'{\n "sha256": "%s",' % hashlib.sha256(rest).hexdigest().encode() + rest


def _is_whole(content: bytes) -> bool:
    """Return whether the JSON of a result matches its checksum, with any kind of line ends."""
    content = content.replace(b"\r\n", b"\n")
    seal = _SEAL.match(content)
    return seal is not None and hashlib.sha256(content[seal.end() :]).hexdigest().encode() == seal[1]


def load_result(kind: str, fingerprint: str, *, precomputed: bool = False) -> StoredResult | None:
    """The result with this key from the cache, or None.

    Args:
        kind: of the result.
        fingerprint: of its spec.
        precomputed: whether to look among the results that came with the program. Only their maps are computed with.

    Raises:
        CorruptResultError: when something is there but differs from the written result.
    """
    folder = precomputed_dir() / kind / fingerprint if precomputed else result_dir(kind, fingerprint)
    return read(folder, precomputed=precomputed, arrays=True) if (folder / "result.json").exists() else None


def delete_folder(folder: Path) -> int:
    """Remove a folder of a cache with all in it; returns the bytes that are free again, 0 where it is gone already.

    Raises:
        StorageError: when it cannot be written.
    """
    size = disk.size_bytes(folder)
    with disk_errors_explained(folder):
        hidden = disk.aside(folder)
    if hidden is None:
        return 0
    disk.remove(hidden)
    return size


def discard_result(kind: str, fingerprint: str) -> None:
    """Move a corrupt result aside, so that it is recomputed but can still be looked at."""
    folder = result_dir(kind, fingerprint)
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.corrupt")
        disk.remove(aside)
        with disk_errors_explained(folder):
            disk.replace(folder, aside)


def read(folder: Path, *, precomputed: bool, arrays: bool = False) -> StoredResult:
    """Return the result in this folder.

    Args:
        folder: of the result.
        precomputed: whether it is one of the committed results.
        arrays: whether to return it with its arrays, which are left on disk until they are read.

    Raises:
        CorruptResultError: when it differs from the written result.
    """
    file = folder / "result.json"
    try:
        content = file.read_bytes()
        envelope = input_files.parsed(content)
        if set(envelope) - _PARTS or ("sha256" in envelope and not _is_whole(content)):
            raise CorruptResultError(f"{file} does not match its checksum: {_CHANGED}.")
        if (envelope["kind"], envelope["fingerprint"]) != (folder.parent.name, folder.name):
            raise CorruptResultError(
                f"{file} holds the {envelope['kind']} result {envelope['fingerprint']}, under the name of another."
            )
        if envelope["format"] != FORMAT:
            raise CorruptResultError(f"{file} has layout {envelope['format']}, but this version reads layout {FORMAT}.")
        if not all(map(input_files.is_file_name, envelope["files"])):
            raise CorruptResultError(f"{file} has files outside of its folder.")
        files = envelope["files"] if arrays else {}
        return StoredResult(folder, envelope["data"], files, precomputed, file.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptResultError(f"The stored result in {folder} cannot be read: {error!r}.") from error
