"""Decoder layers whose weights stay on disk and are loaded one at a time. The next layer is read
while one computes.
"""

import contextlib
import copy
import itertools
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

_STATE_ATTRIBUTES = {"state", "quant_state"}
"""Attributes in which the modules of bitsandbytes store the state of their weights."""


class LayersOnDisk:
    """Decoder layers with weights on disk, which are loaded temporarily."""

    def __init__(self, decoder: Decoder, assembly: Assembly, *, identity: str) -> None:
        """Find the weights of every layer.

        Args:
            decoder: the model, with its layers on the meta device.
            assembly: loader of its weights.
            identity: identity of the weights and of their compute precision.
        """
        self.identity = identity
        self.room_bytes = 0
        self._layers = list(decoder.layers)
        self._assembly = assembly
        path = next(
            name for name, module in decoder.model.named_modules() if module is decoder.layers
        )
        self._stored = [assembly.names(f"{path}.{index}.") for index in range(len(self._layers))]
        self._tried: dict[int, dict[str, Tensor]] = {}

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        return len(self._layers)

    @property
    def bytes_read(self) -> int:
        """Bytes of weights read from disk so far, including those outside the layers."""
        return self._assembly.checkpoint.bytes_read

    @property
    def stored(self) -> set[str]:
        """Names in the files of the weights of all layers."""
        return set(itertools.chain.from_iterable(self._stored))

    @property
    def layer_bytes(self) -> list[int]:
        """Bytes of each layer on disk."""
        return [self._assembly.checkpoint.n_bytes_of(names) for names in self._stored]

    def each(self, first: int = 0) -> Iterator[tuple[int, nn.Module]]:
        """Yield the layers from `first` on. A layer keeps its weights until the next one, read
        meanwhile, is requested.
        """
        with ThreadPoolExecutor(1, "layerscope-reader") as reader:
            next_layer = reader.submit(self._read, first) if first < self.n_layers else None
            for index in range(first, self.n_layers):
                assert next_layer is not None
                weights = next_layer.result()
                next_layer = (
                    reader.submit(self._read, index + 1) if index + 1 < self.n_layers else None
                )
                with self._held(index, weights):
                    del weights
                    yield index, self._layers[index]

    @contextlib.contextmanager
    def in_memory(self, like: Mapping[int, int]) -> Iterator[None]:
        """Load layers with the weights of a layer of the same kind, for a trial. The weights are
        kept for the next reading.
        """
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
        with _state_restored(layer):
            self._assembly.load(self._stored[index])
            loaded = {
                name: weight
                for name, weight in _weights(layer).items()
                if weight is not before[name]
            }
            put(layer, before)
        return loaded

    @contextlib.contextmanager
    def _held(self, index: int, weights: dict[str, Tensor]) -> Iterator[None]:
        layer = self._layers[index]
        before = _weights(layer)
        with _state_restored(layer):
            put(layer, weights)
            try:
                yield
            finally:
                put(layer, before)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


@contextlib.contextmanager
def _state_restored(layer: nn.Module) -> Iterator[None]:
    """Restore the state that the modules of bitsandbytes store next to their weights."""
    states = []
    for part in layer.modules():
        for name in _STATE_ATTRIBUTES & part.__dict__.keys():
            states.append((part, name, copy.copy(part.__dict__[name])))
    try:
        yield
    finally:
        for part, name, before in states:
            part.__dict__[name] = before


def put(module: nn.Module, weights: dict[str, Any]) -> None:
    """Replace parameters and buffers of a module by name. A tensor in place of a parameter becomes
    a parameter.
    """
    for name, value in weights.items():
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        if getattr(value, "SCB", None) is not None:
            # LLM.int8 removes the scales from the weight at its first use, and two layers may share
            # the weight.
            value = type(value)(value.data, requires_grad=False, CB=value.CB, SCB=value.SCB)
        elif isinstance(getattr(owner, last), nn.Parameter) and not isinstance(value, nn.Parameter):
            value = nn.Parameter(value, requires_grad=False)
        setattr(owner, last, value)


def kinds(decoder: Decoder) -> dict[int, int]:
    """Return at least two layers that include one of every kind, each with the first layer of its
    kind.

    Layers of a kind have the same attention type, class and shapes.
    """
    first: dict[Any, int] = {}
    like: dict[int, int] = {}
    for index, layer in enumerate(decoder.layers):
        attends = decoder.layer_types[index] if index < len(decoder.layer_types) else ""
        built = tuple((name, tuple(weight.shape)) for name, weight in layer.named_parameters())
        like[index] = first.setdefault((attends, built, type(layer)), index)
    return {
        index: same_kind for index, same_kind in like.items() if index == same_kind or index == 1
    }


def repeated_layers(decoder: Decoder) -> Removal | None:
    """Return all layers but those of `kinds`; None if there are no others."""
    kept = kinds(decoder)
    indices = [index for index in range(decoder.n_layers) if index not in kept]
    return blocks.removal(indices) if indices else None


@contextlib.contextmanager
def in_part(decoder: Decoder) -> Iterator[Decoder]:
    """Reduce the model to one layer of every kind, in memory, for a trial."""
    left_out = repeated_layers(decoder)  # before loading, since quantized weights have other shapes
    reading = (
        contextlib.nullcontext()
        if decoder.on_disk is None
        else decoder.on_disk.in_memory(kinds(decoder))
    )
    with reading, layers_out(decoder, left_out):
        yield replace(decoder, on_disk=None)


@torch.inference_mode()
def check(decoder: Decoder) -> None:
    """Check that running the layers one by one gives the output of the body.

    Args:
        decoder: the model inside `in_part`.

    Raises:
        UnsupportedModelError: If it does not.
    """
    ids = torch.tensor([decoder.trial_tokens(24)])
    outputs: list[Tensor] = []
    handle = decoder.layers[-1].register_forward_hook(
        lambda module, args, output: outputs.append(output_stream(output))
    )
    try:
        decoder.body(input_ids=ids.to(decoder.device), use_cache=False)
    finally:
        handle.remove()
    stream, calls = entry(decoder, ids)
    for layer, (args, kwargs) in zip(decoder.layers, calls, strict=True):
        stream = output_stream(layer(stream, *args, **kwargs))
    if not torch.equal(stream, outputs[0]):
        raise not_one_by_one(decoder)
