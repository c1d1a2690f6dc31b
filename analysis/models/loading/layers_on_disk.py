"""Decoder layers whose weights stay on the disk, and come into memory for a while.

The next layer is read while the other is at work.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.models.architecture.decoder import Decoder, output_stream
from analysis.models.architecture.layer_removal import layers_out
from analysis.models.architecture.residual import entry, not_one_by_one
from analysis.models.loading.assembly import Assembly

_NOTED = {"state", "quant_state"}
"""Names under which the matrices of bitsandbytes note facts about their weights."""


class LayersOnDisk:
    """Weights of a model's decoder layers on disk, and loading them into memory temporarily."""

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
            next_layer = reader.submit(self._read, first) if first < self.n_layers else None
            for index in range(first, self.n_layers):
                assert next_layer is not None
                weights = next_layer.result()
                next_layer = reader.submit(self._read, index + 1) if index + 1 < self.n_layers else None
                with self._held(index, weights):
                    del weights
                    yield index, self._layers[index]

    @contextlib.contextmanager
    def in_memory(self, like: Mapping[int, int]) -> Iterator[None]:
        """Some layers with weights, for a trial: those of the layer that they are like, which are kept for the next reading."""
        for index in set(like.values()) - self._tried.keys():
            self._tried[index] = self._read(index)
        with contextlib.ExitStack() as stack:
            for index, same_kind in like.items():
                stack.enter_context(self._held(index, self._tried[same_kind]))
            yield

    def _read(self, index: int) -> dict[str, Tensor]:
        if index in self._tried:
            return self._tried.pop(index)
        layer = self._layers[index]
        before = _weights(layer)
        with _as_it_was(layer):
            self._assembly.load(self._stored[index])
            loaded = {name: weight for name, weight in _weights(layer).items() if weight is not before[name]}
            put(layer, before)
        return loaded

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
    """Exchange parameters and buffers of a module by name; tensors become parameters if they replace parameters."""
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
    return {index: same_kind for index, same_kind in like.items() if index == same_kind or index == 1}


def repeated_layers(decoder: Decoder) -> Removal | None:
    """All layers but one of every kind; None if there are no more."""
    kept = kinds(decoder)
    indices = [index for index in range(decoder.n_layers) if index not in kept]
    return blocks.removal(indices) if indices else None


@contextlib.contextmanager
def in_part(decoder: Decoder) -> Iterator[Decoder]:
    """The model as if it had one layer of every kind and no more, and these in memory: to try out differences of families."""
    left_out = repeated_layers(decoder)  # before weights are there, which have other shapes if quantized
    reading = contextlib.nullcontext() if decoder.on_disk is None else decoder.on_disk.in_memory(kinds(decoder))
    with reading, layers_out(decoder, left_out):
        yield replace(decoder, on_disk=None)


@torch.inference_mode()
def check(decoder: Decoder) -> None:
    """Verify that running the layers one by one gives the output of the model's own body.

    Args:
        decoder: inside of `in_part`.

    Raises:
        UnsupportedModelError: when it does not.
    """
    ids = torch.tensor([decoder.trial_tokens(24)])
    outputs: list[Tensor] = []
    handle = decoder.layers[-1].register_forward_hook(lambda module, args, output: outputs.append(output_stream(output)))
    try:
        decoder.body(input_ids=ids.to(decoder.device), use_cache=False)
    finally:
        handle.remove()
    stream, calls = entry(decoder, ids)
    for layer, (args, kwargs) in zip(decoder.layers, calls, strict=True):
        stream = output_stream(layer(stream, *args, **kwargs))
    if not torch.equal(stream, outputs[0]):
        raise not_one_by_one(decoder)
