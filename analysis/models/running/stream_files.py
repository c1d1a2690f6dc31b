"""Residual streams on their way through a model that is read layer by layer: kept in memory, or in files beside the cache.

The progress is noted every few seconds, so that a run that was stopped, or killed, resumes behind the last layer noted.
"""

import json
import math
import os
import secrets
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from analysis.core import disk, documents, store

Lane = tuple[int, tuple[int, ...]]
"""Identifies a stream: the number of the batch, and the label that separates it from others of its batch."""
_NOTE_EVERY_S = 20.0
_NOTES = "state.json"
_FORGOTTEN_S = 3 * 24 * 3600
"""After so long nobody resumes a run that was stopped."""
_ZEROS = bytes(1 << 20)


class Scratch:
    """Where the streams of one run are."""

    def __init__(self, key: str, *, memory_bytes: int) -> None:
        """Begin, or resume the streams that were left under this key, unless another process is at it now.

        Args:
            key: identifies this work: made of the request, of the batches and of the weights.
            memory_bytes: bytes of streams in memory before they go to files, which the system writes out as it needs to.

        Raises:
            StorageError: when the cache cannot be written.
        """
        top = store.cache_dir() / "scratch"
        store.make_folder(top)
        _forget_old(top)
        self._folder, lock = top / key, disk.lock(top / f"{key}.lock")
        if lock is None:
            own = f"{key}-{secrets.token_hex(4)}"
            self._folder, lock = top / own, disk.lock(top / f"{own}.lock")
        self._lock = lock
        self._free = memory_bytes
        self._files = WeakIdKeyDictionary()
        self._noted = time.monotonic()

    def keep(self, stream: Tensor) -> Tensor:
        """Return the stream, in a file where memory is short.

        Raises:
            StorageError: when that would be on a disk that is full.
        """
        if stream.nbytes <= self._free:
            self._free -= stream.nbytes
            weakref.finalize(stream, self._give_back, stream.nbytes)
            return stream
        return self._written(stream)

    def _give_back(self, n_bytes: int) -> None:
        self._free += n_bytes

    def _written(self, stream: Tensor) -> Tensor:
        store.make_folder(self._folder)
        path = self._folder / f"{secrets.token_hex(8)}.stream"
        with store.disk_errors_explained(path):
            _set_aside(path, stream.nbytes)
            mapped = _mapped(path, tuple(stream.shape), stream.dtype)
        mapped.copy_(stream)
        self._files[mapped] = path
        return mapped

    def passed(self, depth: int, streams: Mapping[Lane, Tensor]) -> None:
        """Note that all streams are at a depth, unless that was done a moment ago.

        Raises:
            StorageError: when the disk is full.
        """
        if time.monotonic() - self._noted < _NOTE_EVERY_S:
            return
        written: dict[int, tuple[Tensor, Path]] = {}
        for stream in streams.values():
            if id(stream) not in written:
                mapped = stream if stream in self._files else self._written(stream)
                written[id(stream)] = mapped, self._files[mapped]
        with store.disk_errors_explained(self._folder):
            for _, path in written.values():
                disk.sync(path)  # or after a power cut the note would tell of numbers that are not there
            notes = [
                [number, list(label), written[id(stream)][1].name, list(stream.shape), str(stream.dtype).removeprefix("torch.")]
                for (number, label), stream in streams.items()
            ]
            store.write_atomic(self._folder / _NOTES, json.dumps({"depth": depth, "streams": notes}).encode())
            used = {path.name for _, path in written.values()}
            for file in self._folder.glob("*.stream"):
                if file.name not in used:
                    disk.remove(file)
        self._noted = time.monotonic()

    def resumed(self) -> tuple[int, dict[Lane, Tensor]]:
        """The depth that was noted last, and the streams there; 0 and nothing where none was, or it cannot be read."""
        streams: dict[Lane, Tensor] = {}
        by_name: dict[str, Tensor] = {}
        try:
            notes = documents.parsed_object((self._folder / _NOTES).read_text(encoding="utf-8"))
            depth = int(notes["depth"])
            for number, label, name, shape, dtype in notes["streams"]:
                if name not in by_name:
                    path, kind = self._folder / Path(name).name, getattr(torch, dtype)
                    if path.stat().st_size != math.prod(shape) * kind.itemsize:
                        raise ValueError("a stream is cut off")
                    by_name[name] = _mapped(path, tuple(shape), kind)
                    self._files[by_name[name]] = path
                streams[int(number), tuple(label)] = by_name[name]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0, {}
        return depth, streams

    def clear(self) -> None:
        """The run is over: nothing of it is needed any more."""
        disk.remove(self._folder)
        disk.remove(self._folder.with_name(f"{self._folder.name}.lock"))
        self.close()

    def close(self) -> None:
        """Let others have the files that are here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _forget_old(top: Path) -> None:
    """Remove runs that nobody resumed for days."""
    for folder in top.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _FORGOTTEN_S:
            held = disk.lock(top / f"{folder.name}.lock")
            if held is not None:
                disk.remove(folder)
                disk.remove(top / f"{folder.name}.lock")
                os.close(held)


def _set_aside(path: Path, n_bytes: int) -> None:
    """Make a file with its space reserved: to write to a mapped one on a full disk would end the process."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return
        for begin in range(0, n_bytes, len(_ZEROS)):
            file.write(_ZEROS[: n_bytes - begin])


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers are those of a file."""
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
