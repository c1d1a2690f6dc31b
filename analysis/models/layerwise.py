"""A model whose decoder layers stay on the disk: each is read once, every batch goes through it, and the next follows.

In memory are the embeddings, the final norm and the head, the layer at work, the next layer and the residual streams. The next
layer is read while the other is at work. Streams go to files where they would take too much. Nothing is rounded or summed in
another way than with the whole model in memory, so the figures are the same to the last bit.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core import blocks
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Part, PartSet, Removal
from analysis.core.bounds import MOST_LAYERS
from analysis.models import parts, residual
from analysis.models.assembly import Assembly
from analysis.models.cut import without_block
from analysis.models.decoder import Decoder, output_stream
from analysis.models.entry import entry, not_one_by_one
from analysis.models.scratch import Lane, Scratch

OnStep = Callable[[int, int], None]
"""Told how many passes of a batch through a layer are done, and of how many; may raise `Cancelled`."""
_NOTED = {"state", "quant_state"}
"""Names under which the matrices of bitsandbytes note facts about their weights."""


@dataclass(frozen=True)
class Inputs:
    """One batch, and the parts to leave out of the model that it goes through."""

    ids: Tensor
    """(batch, seq)."""
    cuts: Sequence[Removal | None]
    arguments: dict = field(default_factory=dict)
    """Arguments of the body beside the ids: masks and positions, when they are not the plain causal ones."""
    every_depth: bool = False
    """Whether x[0..L] of the unpruned model are wanted, rather than x[L] without each cut."""


class LayersOnDisk:
    """Where the weights of a model's decoder layers are, and how they come into memory for a while."""

    def __init__(self, decoder: Decoder, assembly: Assembly, *, identity: str) -> None:
        """Find the weights of every layer.

        Args:
            decoder: the model, its layers on the meta device.
            assembly: makes weights out of its files.
            identity: of the weights and of how they are computed with.
        """
        self.identity, self.room_bytes = identity, 0
        self._layers, self._assembly = list(decoder.layers), assembly
        path = next(name for name, module in decoder.model.named_modules() if module is decoder.layers)
        self._stored = [assembly.names(f"{path}.{index}.") for index in range(len(self._layers))]
        self._tried: dict[int, dict[str, Tensor]] = {}

    @property
    def n_layers(self) -> int:
        """How many there are."""
        return len(self._layers)

    @property
    def bytes_read(self) -> int:
        """Bytes of weights that were read from the disk until now, those outside of the layers included."""
        return self._assembly.checkpoint.bytes_read

    @property
    def stored(self) -> set[str]:
        """Names in the files of all that the layers are made of."""
        return {name for names in self._stored for name in names}

    @property
    def layer_bytes(self) -> list[int]:
        """Return the bytes of each layer on the disk."""
        places = self._assembly.checkpoint.places
        return [sum(places[name].n_bytes for name in names) for names in self._stored]

    def each(self, first: int = 0) -> Iterator[tuple[int, nn.Module]]:
        """The layers from `first` on, each with its weights until the next one is asked for, which is read at the same time."""
        with ThreadPoolExecutor(1, "layerscope-reader") as reader:
            ahead = reader.submit(self._read, first) if first < self.n_layers else None
            for index in range(first, self.n_layers):
                assert ahead is not None
                weights = ahead.result()
                ahead = reader.submit(self._read, index + 1) if index + 1 < self.n_layers else None
                with self._held(index, weights):
                    del weights
                    yield index, self._layers[index]

    def for_good(self) -> Iterator[nn.Module]:
        """The layers one after another, each read from the disk and then left with its weights."""
        for index, layer in enumerate(self._layers):
            put(layer, self._read(index))
            yield layer

    @contextlib.contextmanager
    def in_memory(self, like: Mapping[int, int]) -> Iterator[None]:
        """Some layers with weights, for a trial: those of the layer that they are like, which are kept for the next reading."""
        for index in set(like.values()) - self._tried.keys():
            self._tried[index] = self._read(index)
        with contextlib.ExitStack() as held:
            for index, other in like.items():
                held.enter_context(self._held(index, self._tried[other]))
            yield

    def _read(self, index: int) -> dict[str, Tensor]:
        if index in self._tried:
            return self._tried.pop(index)
        layer = self._layers[index]
        before = _weights(layer)
        with _as_it_was(layer):
            self._assembly.load(self._stored[index])
            made = {name: weight for name, weight in _weights(layer).items() if weight is not before[name]}
            put(layer, before)
        return made

    @contextlib.contextmanager
    def _held(self, index: int, weights: dict[str, Tensor]) -> Iterator[None]:
        layer = self._layers[index]
        before = _weights(layer)
        with _as_it_was(layer):
            put(layer, weights)
            try:
                yield
            finally:
                put(layer, before)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


@contextlib.contextmanager
def _as_it_was(layer: nn.Module) -> Iterator[None]:
    """Drop in the end the notes that the matrices of bitsandbytes keep beside their weights."""
    noted = [(part, name, copy.copy(part.__dict__[name])) for part in layer.modules() for name in _NOTED & part.__dict__.keys()]
    try:
        yield
    finally:
        for part, name, before in noted:
            part.__dict__[name] = before


def put(module: nn.Module, weights: dict[str, Any]) -> None:
    """Exchange parameters and buffers of a module by name; tensors become parameters where parameters were."""
    for name, value in weights.items():
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        if last not in owner._parameters:
            owner._buffers[last] = value
        elif getattr(value, "SCB", None) is not None:
            # LLM.int8 takes the scales out of the weight when it is first used, and it may be used in two layers.
            owner._parameters[last] = type(value)(value.data, requires_grad=False, CB=value.CB, SCB=value.SCB)
        else:
            owner._parameters[last] = value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)


def removed_parts(cuts: Sequence[Removal | None]) -> list[frozenset[Part]]:
    """Return the parts that each cut removes; none for None."""
    return [frozenset[Part]() if cut is None else cut.parts for cut in cuts]


def through(decoder: Decoder, index: int, stream: Tensor, args: tuple, named: dict, *, loses: frozenset[str]) -> Tensor:
    """Return a stream after a layer without some of its parts; without both it is the stream itself."""
    if loses == parts.BOTH:
        return stream
    with parts.without(decoder, index, loses):
        return output_stream(decoder.layers[index](stream, *args, **named))


@torch.inference_mode()
def finals(decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch, on_step: OnStep) -> Iterator[tuple[int, int, Tensor]]:
    """x[L] of every batch without each of its cuts, all of them layer by layer; arguments and order as `stream.finals`.

    Up to its first removed part a cut shares the unpruned stream. Cuts that agree on the removed parts share one stream up to
    the depth where they part. So a layer runs exactly as often as `stream.layer_passes` says. For a batch that is wanted at
    every depth the index is the depth, 0..L in their order, and the streams are in the scratch.
    """
    _try_parts(decoder, inputs)
    gone = [removed_parts(one.cuts) for one in inputs]
    if any(removed for of_one in gone for removed in of_one):
        decoder.check_states_are_own()

    def lanes(depth: int) -> dict[Lane, set[frozenset[str]]]:
        """Return the streams at a depth, by batch and parts removed below it, and the parts that they lose in its layer."""
        found: dict[Lane, set[frozenset[str]]] = {}
        for number, of_one in enumerate(gone):
            for removed in of_one:
                found.setdefault((number, _below(removed, depth)), set()).add(parts.lost(removed, depth))
        return found

    total = sum(len(lost - {parts.BOTH}) for depth in range(decoder.n_layers) for lost in lanes(depth).values())
    done = 0
    with _walk(decoder, inputs, scratch) as walk:
        for depth, _ in walk.layers():
            here = lanes(depth)
            after = {lane: stream for lane, stream in walk.streams.items() if lane not in here}
            for number, below in sorted(here):
                stream = walk.streams.pop((number, below))
                if inputs[number].every_depth:
                    after[number, _kept(depth)] = stream
                # The one that loses nothing comes last: it continues this very stream.
                for loses in sorted(here[number, below], key=len, reverse=True):
                    label = (*below, depth + _LABELS[loses]) if loses else below
                    after[number, label] = walk.through(depth, number, stream, loses)
                    if loses != parts.BOTH:
                        done += 1
                        on_step(done, total)
            walk.passed(depth + 1, after)
        for number, of_one in enumerate(gone):
            if inputs[number].every_depth:
                for depth in range(decoder.n_layers):
                    yield number, depth, walk.streams[number, _kept(depth)]
                yield number, decoder.n_layers, walk.streams[number, ()]
                continue
            for index, removed in enumerate(of_one):
                yield number, index, walk.streams[number, _below(removed, decoder.n_layers)].to(decoder.device)


def _try_parts(decoder: Decoder, inputs: Sequence[Inputs]) -> None:
    """Refuse parts that cannot be separated before the first layer is read."""
    if any(isinstance(cut, PartSet) for one in inputs for cut in one.cuts):
        with in_part(decoder) as part:
            for index in range(part.n_layers):
                parts.find(part, index)


_LABELS = {parts.BOTH: 0, frozenset((ATTENTION,)): MOST_LAYERS, frozenset((FEED_FORWARD,)): 2 * MOST_LAYERS}
"""Added to the number of a layer in the label of a stream, by the parts of the layer that it has left out."""


def _below(removed: frozenset[Part], depth: int) -> tuple[int, ...]:
    layers = sorted({layer for layer, _ in removed if layer < depth})
    return tuple(layer + _LABELS[parts.lost(removed, layer)] for layer in layers)


def _kept(depth: int) -> tuple[int, ...]:
    """Return the label of the stream that was at a depth; streams on their way are labelled by their left-out layers."""
    return (-1 - depth,)


class _Walk:
    """The streams on their way through the layers."""

    def __init__(self, decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch) -> None:
        self._decoder, self._scratch = decoder, scratch
        entered = [entry(decoder, one.ids, **one.arguments) for one in inputs]
        self._calls = [calls for _, calls in entered]
        self.streams: dict[Lane, Tensor] = {}
        self._depth, kept = scratch.resumed()
        if self._depth:
            self.streams = kept
        else:
            first = [residual.at_entry(decoder, stream).cpu() for stream, _ in entered]
            self.streams = {(number, ()): scratch.keep(stream) for number, stream in enumerate(first)}

    def layers(self) -> Iterator[tuple[int, nn.Module]]:
        """The layers that are still to be passed."""
        on_disk = self._decoder.on_disk
        assert on_disk is not None
        yield from on_disk.each(self._depth)

    def through(self, depth: int, number: int, stream: Tensor, loses: frozenset[str]) -> Tensor:
        """Return the stream of a batch after the layer at work without some of its parts."""
        if loses == parts.BOTH:
            return stream
        found = through(self._decoder, depth, stream.to(self._decoder.device), *self._calls[number][depth], loses=loses)
        return self._scratch.keep(found.cpu())

    def passed(self, depth: int, streams: dict[Lane, Tensor]) -> None:
        """A layer is behind all that had to go through it."""
        self.streams = streams
        self._scratch.passed(depth, streams)


@contextlib.contextmanager
def _walk(decoder: Decoder, inputs: Sequence[Inputs], scratch: Scratch) -> Iterator[_Walk]:
    """Remove the files of the scratch when all was taken; keep them for the next try when it was not."""
    try:
        yield _Walk(decoder, inputs, scratch)
        scratch.clear()
    finally:
        scratch.close()


def kinds(decoder: Decoder) -> dict[int, int]:
    """Layers among which there is one of every kind, at least two, each with the first one of its kind.

    Layers are of a kind that attend in the same way and are built the same.
    """
    first: dict[Any, int] = {}
    like: dict[int, int] = {}
    for index, layer in enumerate(decoder.layers):
        attends = decoder.layer_types[index] if index < len(decoder.layer_types) else ""
        built = tuple((name, tuple(weight.shape)) for name, weight in layer.named_parameters())
        like[index] = first.setdefault((attends, built, type(layer)), index)
    return {index: other for index, other in like.items() if index == other or index == 1}


def others(decoder: Decoder) -> Removal | None:
    """All layers but one of every kind; None where there are no more."""
    kept = kinds(decoder)
    left = [index for index in range(decoder.n_layers) if index not in kept]
    return blocks.removal(left) if left else None


@contextlib.contextmanager
def in_part(decoder: Decoder) -> Iterator[Decoder]:
    """The model as if it had one layer of every kind and no more, and these in memory: to try out differences of families."""
    on_disk = decoder.on_disk
    assert on_disk is not None
    kept, left_out = kinds(decoder), others(decoder)  # before weights are there, which are of other shapes where quantized
    with on_disk.in_memory(kept), without_block(decoder, left_out):
        yield replace(decoder, on_disk=None)


@torch.inference_mode()
def check(decoder: Decoder) -> None:
    """See to it that a stream that goes through the layers one by one ends where the model's own body brings it.

    Args:
        decoder: inside of `in_part`.

    Raises:
        UnsupportedModelError: when it does not.
    """
    one = Inputs(torch.tensor([decoder.trial_tokens(24)]), [None])
    own: list[Tensor] = []
    handle = decoder.layers[-1].register_forward_hook(lambda module, args, output: own.append(output_stream(output)))
    try:
        decoder.body(input_ids=one.ids.to(decoder.device), use_cache=False)
    finally:
        handle.remove()
    stream, calls = entry(decoder, one.ids)
    for layer, (args, kwargs) in zip(decoder.layers, calls, strict=True):
        stream = output_stream(layer(stream, *args, **kwargs))
    if not torch.equal(stream, own[0]):
        raise not_one_by_one(decoder)
