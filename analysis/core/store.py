"""Cache folder: paths, atomic writes, and stored results with checksums.

A result is a folder `results/KIND/FINGERPRINT/` with `result.json`, which begins with the SHA-256
of its rest, and safetensors files for its arrays, whose checksums `result.json` lists. Arrays are
written first and `result.json` last, each under a temporary name that is then renamed, so that a
reader finds the old or the new result. Nothing is pickled.

Versions before 0.3 stored no checksums. Their results get one once per cache folder; later, a
result without one is damaged.

A damaged result is never shown. Lists hide it and log a warning (`index_table`). Opening it raises
`CorruptResultError` (`results.stored.result.read`). A run moves it aside and computes it again
(`record.Result.load`), as a shard does.
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
"""Version of the layout of `result.json`."""

_CHANGED = "it was changed or damaged after it was stored"
_SEAL = re.compile(rb'\{\n "sha256": "([0-9a-f]{64})",')
_UNSEALED_VERSIONS = re.compile(r"0\.[12]\.")
"""Versions that stored results without checksums."""
_SEAL_BYTES = 100
"""Number of bytes that contain the checksum of a result."""
_PARTS = {"sha256", "format", "kind", "fingerprint", "files", "data"}

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:(//|:)")
_REPOSITORY = Path(__file__).resolve().parents[2]
_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the cache folder: `LAYERSCOPE_CACHE`, `cache/` in a checkout, or
    `~/.cache/layerscope`.

    Raises:
        StorageError: if `LAYERSCOPE_CACHE` is an address, because object stores can neither rename
            nor lock.
    """
    setting = os.environ.get("LAYERSCOPE_CACHE") or ""
    if _ADDRESS.match(setting):
        raise StorageError(
            f"LAYERSCOPE_CACHE is {setting}, but it must be a folder. Object storage cannot rename"
            " or lock files, so a reader could find half a result. Name a folder on a disk or"
            " network file system, and copy results from there."
        )
    return _resolved(setting) if os.path.isabs(setting) or not setting else Path(setting).resolve()


@functools.lru_cache(maxsize=64)
def _resolved(setting: str) -> Path:
    """Resolve the links of the cache folder once, because a page needs it hundreds of times."""
    is_checkout = (_REPOSITORY / "requirements.txt").is_file()
    return Path(
        setting or (_REPOSITORY / "cache" if is_checkout else Path.home() / ".cache" / "layerscope")
    ).resolve()


def local_dir() -> Path:
    """Return the folder for files of this machine: the job list, the index, and the locks of its
    worker.

    This is the cache folder, unless it is on a network file system. Machines that share a cache
    folder share results, but each has its own jobs and worker.

    Raises:
        StorageError: if no folder is on a local disk.
    """
    cache = cache_dir()
    if not mounts.is_network(cache):
        return cache
    setting = os.environ.get("LAYERSCOPE_LOCAL")
    top = (
        Path(setting or os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        .absolute()
        .resolve()
    )
    local = top / "layerscope" / hashlib.sha256(os.fsencode(cache)).hexdigest()[:12]
    if mounts.is_network(local):
        raise StorageError(
            f"{cache} and {top} are on network file systems ({mounts.kind(cache)},"
            f" {mounts.kind(local)}), which would damage the list of jobs. Set LAYERSCOPE_LOCAL to"
            " a folder on a disk of this machine. The results stay in place."
        )
    return local


def precomputed_dir() -> Path:
    """Return the folder of the gallery, the results that come with the program."""
    return _REPOSITORY / "cache" / "precomputed"


def find(path: str) -> Path:
    """Return a path within the cache, or within the gallery if only that has it."""
    committed = precomputed_dir() / path
    return (
        committed
        if committed.exists() and not (cache_dir() / path).exists()
        else cache_dir() / path
    )


NO_SPACE = (
    "There is no space left on the disk. Saved files are intact. Free some space, or point"
    " LAYERSCOPE_CACHE at another disk, then {then}."
)
"""Error message for a full disk, with the action `{then}` after the fix."""


@contextlib.contextmanager
def disk_errors_explained(path: Path) -> Iterator[None]:
    """Convert an `OSError` while writing `path` to a `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(NO_SPACE.format(then="run it again")) from error
        if error.errno == errno.ENOENT:
            raise StorageError(
                f"{path} cannot be written: its folder was deleted or moved meanwhile. Run it"
                " again."
            ) from error
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. Check that the folder is"
            " writable."
        ) from error


def is_private(path: Path) -> bool:
    """Return whether only the owner may access a file, as in the cache, which has requests, texts
    and prompts.
    """
    path = path.absolute()
    return path.is_relative_to(cache_dir()) or path.is_relative_to(local_dir())


def make_folder(path: Path) -> None:
    """Create a folder with its parents, accessible only to its owner if it is in the cache.

    Raises:
        StorageError: if it cannot be created.
    """
    with disk_errors_explained(path):
        disk.make(path, private=is_private(path))


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file atomically and durably.

    In the cache only the owner has access. Elsewhere the umask applies, and an existing file keeps
    its mode.

    Raises:
        StorageError: if the disk is full or the folder is not writable; the old content is kept.
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
    """Check that results can be stored, before they are computed.

    Raises:
        StorageError: if the cache folder is not writable.
    """
    folder = cache_dir()
    make_folder(folder)
    with disk_errors_explained(folder), tempfile.TemporaryFile(dir=folder):
        pass


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder under a temporary name with `fill(folder)`, then move it to `path`, replacing
    an existing folder.

    Leftovers of killed processes next to it are removed.

    Raises:
        StorageError: if the disk is full or the folder is not writable; an existing folder is kept.
    """
    private = is_private(path)
    with disk_errors_explained(path):
        disk.make(path.parent, private=private)
        _sweep(path.parent, deep=False)
        with disk.draft(path, is_folder=True, private=private) as temporary:
            fill(temporary)
            disk.replace(temporary, path)


def remove_leftovers() -> None:
    """Remove the leftovers of killed processes in the cache, and log the freed bytes."""
    _sweep(cache_dir(), deep=True)


def _sweep(top: Path, *, deep: bool) -> None:
    for path, size in disk.remove_leftovers(top, deep=deep).items():
        _log.warning(
            "Removed %s, left unfinished by a process that has ended, and freed %.1f MB.",
            path,
            size / 1e6,
        )


@dataclass(frozen=True)
class StoredResult:
    """Content of a stored result, which `Result.read` converts to a dataclass."""

    path: Path
    data: dict[str, Any]
    """Fields of the result, from `result.json`."""
    files: Mapping[str, str]
    """SHA-256 of the files with arrays, by name."""
    precomputed: bool
    saved_at: float
    """Time of the last save, in seconds since the epoch."""

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
                    raise CorruptResultError(
                        f"{self.path / name} does not match its checksum: {_CHANGED}."
                    )
                arrays |= load(content)
            return arrays
        except (OSError, ValueError, SafetensorError) as error:
            raise CorruptResultError(
                f"The arrays stored in {self.path} cannot be read: {error!r}."
            ) from error


def result_dir(kind: str, fingerprint: str) -> Path:
    """Return the folder of a result in the cache."""
    return cache_dir() / "results" / kind / fingerprint


def save_result(
    kind: str,
    fingerprint: str,
    data: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray] | None = None,
    *,
    under: Path | None = None,
) -> Path:
    """Store a result atomically, replacing an existing one.

    Args:
        kind, fingerprint: key of the result.
        data: fields of the result, as JSON types.
        arrays: arrays by name. Their file is not rewritten if its content is the same.
        under: folder of results (default: that of the cache).

    Raises:
        StorageError: if the disk is full or the folder is not writable; an existing result is kept.
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
    if under is None:
        _seal_former_results(cache_dir())
    envelope = {
        "format": FORMAT,
        "kind": kind,
        "fingerprint": fingerprint,
        "files": files,
        "data": dict(data),
    }
    content = json.dumps(envelope, indent=1, allow_nan=False).encode()
    write_atomic(folder / "result.json", _sealed(content))
    with contextlib.suppress(OSError):
        for stale in folder.glob("arrays-*.safetensors"):
            if stale.name not in files:
                stale.unlink()
    return folder


def _sealed(content: bytes) -> bytes:
    """Return the JSON of a result with the checksum of its rest in front."""
    rest = content.removeprefix(b"{")
    return b'{\n "sha256": "%s",' % hashlib.sha256(rest).hexdigest().encode() + rest


def sealing_marker() -> Path:
    """Return the file whose presence says that the results of this cache have checksums."""
    return cache_dir() / "results" / ".sealed"


@functools.lru_cache(maxsize=64)
def _seal_former_results(cache: Path) -> None:
    """Add checksums to the results of versions that stored none, once per cache folder.

    The marker file ends this for good, so that nobody can edit a result, delete its checksum and
    get a new one. Without space or write access, those results stay unreadable until a later
    process can add them.

    Args:
        cache: the cache folder, which is part of the key of this function's cache.
    """
    marker = sealing_marker()
    if marker.exists():
        return
    with contextlib.suppress(StorageError):
        for file in (cache / "results").glob("*/*/result.json"):
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                with file.open("rb") as opened:
                    if _SEAL.match(opened.read(_SEAL_BYTES).replace(b"\r\n", b"\n")):
                        continue
                _seal_former(file)
        write_atomic(marker, b"")


def _seal_former(file: Path) -> None:
    content = file.read_bytes().replace(b"\r\n", b"\n")
    envelope = input_files.parsed(content)
    version = str(envelope["data"]["versions"]["layerscope"])
    if "sha256" in envelope or not _UNSEALED_VERSIONS.match(version):
        return
    status = file.stat()
    write_atomic(file, _sealed(content))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # the time of the measurement


def _is_whole(content: bytes) -> bool:
    """Return whether the JSON of a result matches its checksum, with any line endings."""
    content = content.replace(b"\r\n", b"\n")
    seal = _SEAL.match(content)
    return (
        seal is not None and hashlib.sha256(content[seal.end() :]).hexdigest().encode() == seal[1]
    )


def load_result(kind: str, fingerprint: str, *, precomputed: bool = False) -> StoredResult | None:
    """Return a stored result; None if there is none.

    Args:
        kind: kind of the result.
        fingerprint: fingerprint of its resolved request.
        precomputed: whether to read the gallery instead of the cache.

    Raises:
        CorruptResultError: if it is damaged.
    """
    folder = (
        precomputed_dir() / kind / fingerprint if precomputed else result_dir(kind, fingerprint)
    )
    return (
        read(folder, precomputed=precomputed, arrays=True)
        if (folder / "result.json").exists()
        else None
    )


def delete_folder(folder: Path) -> int:
    """Delete a folder with its content and return the freed bytes, 0 if it does not exist.

    Raises:
        StorageError: if it cannot be deleted.
    """
    size = disk.size_bytes(folder)
    with disk_errors_explained(folder):
        hidden = disk.aside(folder)
    if hidden is None:
        return 0
    disk.remove(hidden)
    return size


def discard_result(kind: str, fingerprint: str) -> None:
    """Move a corrupt result to `FINGERPRINT.corrupt`, so that it is computed again and can still be
    examined.
    """
    folder = result_dir(kind, fingerprint)
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.corrupt")
        disk.remove(aside)
        with disk_errors_explained(folder):
            disk.replace(folder, aside)


def read(folder: Path, *, precomputed: bool, arrays: bool = False) -> StoredResult:
    """Read the result in a folder.

    Args:
        folder: folder of the result.
        precomputed: whether the folder is read-only: that of the gallery or of a pack.
        arrays: whether the result includes its arrays, which `StoredResult.arrays` reads.

    Raises:
        CorruptResultError: if it is damaged.
    """
    file = folder / "result.json"
    if not precomputed:
        _seal_former_results(cache_dir())
    try:
        content = file.read_bytes()
        envelope = input_files.parsed(content)
        if "sha256" not in envelope:
            raise CorruptResultError(
                f"{file} has no checksum, so it may have been changed after it was stored."
            )
        if set(envelope) - _PARTS or not _is_whole(content):
            raise CorruptResultError(f"{file} does not match its checksum: {_CHANGED}.")
        if (envelope["kind"], envelope["fingerprint"]) != (folder.parent.name, folder.name):
            raise CorruptResultError(
                f"{file} holds the {envelope['kind']} result {envelope['fingerprint']}, under the"
                " name of another."
            )
        if envelope["format"] != FORMAT:
            raise CorruptResultError(
                f"{file} has layout {envelope['format']}, but this version reads layout {FORMAT}."
            )
        if not all(map(input_files.is_file_name, envelope["files"])):
            raise CorruptResultError(f"{file} has files outside of its folder.")
        files = envelope["files"] if arrays else {}
        return StoredResult(folder, envelope["data"], files, precomputed, file.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptResultError(
            f"The stored result in {folder} cannot be read: {error!r}."
        ) from error
