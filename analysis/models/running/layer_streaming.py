"""Layer streaming: decoder layers stay on disk, each is read once, and all batches pass through it.

Embeddings, final norm, head, the computing layer, the next layer and the residual streams are in
memory. Streams are moved to files if memory is short (`Scratch`). Results are identical to those
with the model in memory. Checkpoints are written every few seconds, so that a stopped or killed run
resumes after the last of them.
"""

import contextlib
import itertools
import json
import math
import os
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from analysis.core import disk, input_files, store
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Part, PartSet, Removal
from analysis.core.bounds import MOST_LAYERS
from analysis.models.architecture import residual, sublayers
from analysis.models.architecture.decoder import Decoder, output_stream
from analysis.models.architecture.residual import entry
from analysis.models.loading.layers_on_disk import in_part

OnStep = Callable[[int, int], None]
"""Callback with the number of finished layer passes and their total; may raise `Cancelled`."""


StreamKey = tuple[int, tuple[int, ...]]
"""Index of a batch, and label of a stream within the batch."""
_CHECKPOINT_INTERVAL_S = 20.0
_CHECKPOINT_FILE = "state.json"
_MAX_AGE_S = 3 * 24 * 3600
"""Age after which the files of a stopped run are removed."""
_ZEROS = bytes(1 << 20)


class Scratch:
    """Files and memory of the streams of a run."""

    def __init__(self, key: str, *, memory_bytes: int) -> None:
        """Create the folder of a run, or resume it unless another process uses it.

        Args:
            key: key of the request, the batches and the weights.
            memory_bytes: maximum bytes of streams in memory; others are memory-mapped files.

        Raises:
            StorageError: If the cache cannot be written.
        """
        top = store.cache_dir() / "scratch"
        store.make_folder(top)
        _remove_old(top)
        self._folder = top / key
        lock = disk.lock(top / f"{key}.lock")
        if lock is None:
            folder_name = f"{key}-{secrets.token_hex(4)}"
            self._folder = top / folder_name
            lock = disk.lock(top / f"{folder_name}.lock")
        self._lock = lock
        self._free = memory_bytes
        self._files = WeakIdKeyDictionary()
        self._checkpoint_time = time.monotonic()

    def keep(self, stream: Tensor) -> Tensor:
        """Return the stream, in a file if memory is short.

        Raises:
            StorageError: If the disk is full.
        """
        if stream.nbytes <= self._free:
            self._free -= stream.nbytes
            weakref.finalize(stream, self._release, stream.nbytes)
            return stream
        return self._written(stream)

    def _release(self, n_bytes: int) -> None:
        self._free += n_bytes

    def _written(self, stream: Tensor) -> Tensor:
        store.make_folder(self._folder)
        path = self._folder / f"{secrets.token_hex(8)}.stream"
        with store.disk_errors_explained(path):
            _allocate(path, stream.nbytes)
            mapped = _mapped(path, tuple(stream.shape), stream.dtype)
        mapped.copy_(stream)
        self._files[mapped] = path
        return mapped

    def passed(self, depth: int, streams: Mapping[StreamKey, Tensor]) -> None:
        """Write a checkpoint of all streams at a depth, unless the last one is recent.

        Raises:
            StorageError: If the disk is full.
        """
        if time.monotonic() - self._checkpoint_time < _CHECKPOINT_INTERVAL_S:
            return
        written: dict[int, tuple[Tensor, Path]] = {}
        for stream in streams.values():
            if id(stream) not in written:
                mapped = stream if stream in self._files else self._written(stream)
                written[id(stream)] = mapped, self._files[mapped]
        with store.disk_errors_explained(self._folder):
            for _, path in written.values():
                disk.sync(path)  # otherwise a power cut could leave a checkpoint without its data
            checkpoint = [
                [
                    number,
                    list(label),
                    written[id(stream)][1].name,
                    list(stream.shape),
                    str(stream.dtype).removeprefix("torch."),
                ]
                for (number, label), stream in streams.items()
            ]
            store.write_atomic(
                self._folder / _CHECKPOINT_FILE,
                json.dumps({"depth": depth, "streams": checkpoint}).encode(),
            )
            used = {path.name for _, path in written.values()}
            for file in self._folder.glob("*.stream"):
                if file.name not in used:
                    disk.remove(file)
        self._checkpoint_time = time.monotonic()

    def resumed(self) -> tuple[int, dict[StreamKey, Tensor]]:
        """Return the depth and the streams of the last checkpoint; 0 and no streams if it is
        missing or unreadable.
        """
        streams: dict[StreamKey, Tensor] = {}
        by_name: dict[str, Tensor] = {}
        try:
            checkpoint = input_files.parsed_object(
                (self._folder / _CHECKPOINT_FILE).read_text(encoding="utf-8")
            )
            depth = int(checkpoint["depth"])
            for number, label, name, shape, dtype in checkpoint["streams"]:
                if name not in by_name:
                    path = self._folder / Path(name).name
                    kind = getattr(torch, dtype)
                    if path.stat().st_size != math.prod(shape) * kind.itemsize:
                        raise ValueError("a stream is cut off")
                    by_name[name] = _mapped(path, tuple(shape), kind)
                    self._files[by_name[name]] = path
                streams[int(number), tuple(label)] = by_name[name]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return 0, {}
        return depth, streams

    def clear(self) -> None:
        """Remove the files of a finished run."""
        disk.remove(self._folder)
        disk.remove(self._folder.with_name(f"{self._folder.name}.lock"))
        self.close()

    def close(self) -> None:
        """Release the lock of the files."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _remove_old(top: Path) -> None:
    """Remove the files of runs that were not resumed for days."""
    for folder in top.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _MAX_AGE_S:
            lock = disk.lock(top / f"{folder.name}.lock")
            if lock is not None:
                disk.remove(folder)
                disk.remove(top / f"{folder.name}.lock")
                lock.release()


def _allocate(path: Path, n_bytes: int) -> None:
    """Create a file with its space allocated, since writing to a mapped file on a full disk kills
    the process.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return
        for begin in range(0, n_bytes, len(_ZEROS)):
            file.write(_ZEROS[: n_bytes - begin])


def _mapped(path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor that maps a file."""
    return torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)


@dataclass(frozen=True)
class Inputs:
    """A batch and its cuts."""

    ids: Tensor
    """(batch, seq)."""
    cuts: Sequence[Removal | None]
    arguments: dict = field(default_factory=dict)
    """Other arguments of the body: masks and positions, unless they are the plain causal ones."""
    every_depth: bool = False
    """Whether to return x[0..L] of the unpruned model, instead of x[L] for each cut."""


def removed_parts(cuts: Sequence[Removal | None]) -> list[frozenset[Part]]:
    """Return the removed parts of each cut; empty for None."""
    return [frozenset[Part]() if cut is None else cut.parts for cut in cuts]


def through(
    decoder: Decoder, index: int, stream: Tensor, args: tuple, named: dict, *, loses: frozenset[str]
) -> Tensor:
    """Return the stream after a layer without some of its sublayers; without both it is unchanged.

    Args:
        decoder: the model.
        index: index of the layer.
        stream: input stream, (batch, seq, hidden_size).
        args, named: other arguments of the layer.
        loses: removed sublayers.
    """
    if loses == sublayers.BOTH:
        return stream
    with sublayers.without(decoder, index, loses):
        return output_stream(decoder.layers[index](stream, *args, **named))


@torch.inference_mode()
def finals(
    decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch, on_step: OnStep
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield x[L] of every batch for each of its cuts, layer by layer; arguments and output as in
    `hidden_states.finals`.

    A cut shares the unpruned stream up to its first removed part. Cuts with the same removed parts
    share one stream up to the depth at which they differ. So the number of layer passes is
    `hidden_states.layer_passes`. For a batch with `every_depth`, the second index is the depth,
    0..L, and the streams are scratch files.
    """
    _try_parts(decoder, inputs)
    removed_by_cut = [removed_parts(batch.cuts) for batch in inputs]
    if any(itertools.chain.from_iterable(removed_by_cut)):
        decoder.check_states_are_own()

    def streams_at(depth: int) -> dict[StreamKey, set[frozenset[str]]]:
        """Return the sublayers that the streams at a depth lose in its layer, by batch and parts
        removed below it.
        """
        streams: dict[StreamKey, set[frozenset[str]]] = {}
        for number, removed_of_batch in enumerate(removed_by_cut):
            for removed in removed_of_batch:
                streams.setdefault((number, _below(removed, depth)), set()).add(
                    sublayers.lost(removed, depth)
                )
        return streams

    total = 0
    for depth in range(decoder.n_layers):
        total += sum(len(parts - {sublayers.BOTH}) for parts in streams_at(depth).values())
    done = 0
    with _walk(decoder, inputs, scratch) as walk:
        for depth, _ in walk.layers():
            streams_here = streams_at(depth)
            after = {key: stream for key, stream in walk.streams.items() if key not in streams_here}
            for number, below in sorted(streams_here):
                stream = walk.streams.pop((number, below))
                if inputs[number].every_depth:
                    after[number, _depth_label(depth)] = stream
                # The full layer comes last, since it replaces this stream.
                for loses in sorted(streams_here[number, below], key=len, reverse=True):
                    label = (*below, depth + _LABELS[loses]) if loses else below
                    after[number, label] = walk.through(depth, number, stream, loses)
                    if loses != sublayers.BOTH:
                        done += 1
                        on_step(done, total)
            walk.passed(depth + 1, after)
        for number, removed_of_batch in enumerate(removed_by_cut):
            if inputs[number].every_depth:
                for depth in range(decoder.n_layers):
                    yield number, depth, walk.streams[number, _depth_label(depth)]
                yield number, decoder.n_layers, walk.streams[number, ()]
                continue
            for index, removed in enumerate(removed_of_batch):
                yield (
                    number,
                    index,
                    walk.streams[number, _below(removed, decoder.n_layers)].to(decoder.device),
                )


def _try_parts(decoder: Decoder, inputs: Sequence[Inputs]) -> None:
    """Refuse sublayers that cannot be separated before the first layer is read."""
    cuts = itertools.chain.from_iterable(batch.cuts for batch in inputs)
    if any(isinstance(cut, PartSet) for cut in cuts):
        with in_part(decoder) as part:
            for index in range(part.n_layers):
                sublayers.find(part, index)


_LABELS = {
    sublayers.BOTH: 0,
    frozenset((ATTENTION,)): MOST_LAYERS,
    frozenset((FEED_FORWARD,)): 2 * MOST_LAYERS,
}
"""Offset of a layer index in the label of a stream, by the removed sublayers of the layer."""


def _below(removed: frozenset[Part], depth: int) -> tuple[int, ...]:
    layers = sorted({layer for layer, _ in removed if layer < depth})
    return tuple(layer + _LABELS[sublayers.lost(removed, layer)] for layer in layers)


def _depth_label(depth: int) -> tuple[int, ...]:
    """Return the label of a stored stream at a depth; other streams are labelled by their removed
    layers.
    """
    return (-1 - depth,)


class _Walk:
    """The streams of a pass through the layers."""

    def __init__(self, decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch) -> None:
        self._decoder = decoder
        self._scratch = scratch
        entered = [entry(decoder, batch.ids, **batch.arguments) for batch in inputs]
        self._calls = [calls for _, calls in entered]
        self.streams: dict[StreamKey, Tensor] = {}
        self._depth, streams = scratch.resumed()
        if self._depth:
            self.streams = streams
        else:
            first = [residual.at_entry(decoder, stream).cpu() for stream, _ in entered]
            self.streams = {
                (number, ()): scratch.keep(stream) for number, stream in enumerate(first)
            }

    def layers(self) -> Iterator[tuple[int, nn.Module]]:
        """Yield the remaining layers."""
        on_disk = self._decoder.on_disk
        assert on_disk is not None
        yield from on_disk.each(self._depth)

    def through(self, depth: int, number: int, stream: Tensor, loses: frozenset[str]) -> Tensor:
        """Return the stream of a batch after the current layer without some of its sublayers."""
        if loses == sublayers.BOTH:
            return stream
        output = through(
            self._decoder,
            depth,
            stream.to(self._decoder.device),
            *self._calls[number][depth],
            loses=loses,
        )
        return self._scratch.keep(output.cpu())

    def passed(self, depth: int, streams: dict[StreamKey, Tensor]) -> None:
        """Store the streams after a layer."""
        self.streams = streams
        self._scratch.passed(depth, streams)


@contextlib.contextmanager
def _walk(decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch) -> Iterator[_Walk]:
    """Remove the scratch files after a complete pass; keep them for resuming otherwise."""
    try:
        yield _Walk(decoder, inputs, scratch)
        scratch.clear()
    finally:
        scratch.close()
