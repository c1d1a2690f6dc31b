"""The two sublayers of a decoder layer, attention and feed-forward: their paths, and running the
layer without one.

A removed sublayer is replaced by a module that returns zeros. The paths of sublayers are known by
name (`Family`) and verified on a few tokens (`find`):

* without both sublayers the layer returns the stream bit for bit, so nothing else in it writes to
  the stream;
* in sequence or in parallel, the sublayers reproduce the layer;
* without attention, no token depends on another.
"""

import contextlib
import itertools
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.core.blocks import ATTENTION, FEED_FORWARD, PartSet, Removal
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture import residual
from analysis.models.architecture.decoder import (
    Absent,
    Decoder,
    input_stream,
    output_stream,
    part_names,
)
from analysis.models.architecture.residual import entry

BOTH = frozenset((ATTENTION, FEED_FORWARD))
_TRIAL = 12
"""Number of tokens of the trial."""


@dataclass(frozen=True)
class SublayerPlace:
    """Path of a sublayer in its layer."""

    names: tuple[str, ...]
    """Children of the layer, in the order of the forward pass."""
    n_outputs: int
    """Number of outputs of its last module, of which the first is added to the stream; 0 for a
    tensor."""
    in_turn: bool = True
    """Whether the feed-forward part reads the output of attention, rather than the same stream in
    parallel."""


_found: "weakref.WeakKeyDictionary[nn.Module, dict[str, SublayerPlace]]" = (
    weakref.WeakKeyDictionary()
)
"""Results of the trials, by layer."""


def lost(removed: Collection[tuple[int, str]], layer: int) -> frozenset[str]:
    """Return the removed parts of a layer."""
    return frozenset(part for part in BOTH if (layer, part) in removed)


def check(decoder: Decoder, cuts: Iterable[Removal | None]) -> None:
    """Verify the layers that lose a single part in some cuts, to refuse unsupported cuts before the
    work begins.

    Raises:
        UnsupportedModelError: as in `find`.
    """
    layers: set[int] = set()
    for cut in cuts:
        if isinstance(cut, PartSet):
            layers.update(cut.attention, cut.feed_forward)
    for layer in sorted(layers):
        find(decoder, layer)


def find(decoder: Decoder, index: int) -> dict[str, SublayerPlace]:
    """Return the paths of a layer's sublayers, verified once by a trial.

    Args:
        decoder: the model; this layer is complete and in memory.
        index: index of the layer.

    Raises:
        UnsupportedModelError: If the sublayers are unknown or fail the trial.
    """
    layer = decoder.layers[index]
    if layer not in _found:
        _found[layer] = _tried(decoder, index)
    return _found[layer]


@contextlib.contextmanager
def without(decoder: Decoder, index: int, parts: Collection[str]) -> Iterator[None]:
    """Remove sublayers of a layer inside a `with` statement."""
    restore = take_out(decoder, index, parts)
    try:
        yield
    finally:
        restore()


def take_out(decoder: Decoder, index: int, parts: Collection[str]) -> Callable[[], None]:
    """Remove sublayers of a layer.

    Returns:
        Function that restores them.

    Raises:
        UnsupportedModelError: as in `find`.
    """
    if not parts:
        return lambda: None
    layer = decoder.layers[index]
    places = find(decoder, index)
    return _exchange(layer, {part: places[part] for part in parts}, decoder)


def _layer_index(module: nn.Module, names: Iterable[str]) -> int | None:
    """Return the layer index that a module or a part of it stores under one of some names."""
    for part, name in itertools.product(module.modules(), names):
        index = getattr(part, name, None)
        if isinstance(index, int):
            return index
    return None


class _Absent(Absent):
    """Replacement of the last module of a sublayer that returns zeros."""

    def __init__(
        self, place: SublayerPlace, original: nn.Module, decoder: Decoder, *, is_attention: bool
    ) -> None:
        super().__init__()
        self._n_outputs = place.n_outputs
        self._is_attention = is_attention
        self.layer_idx = _layer_index(original, decoder.family.depth)
        """Layer index, which cuts renumber as in the original attention."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        stream = input_stream(args, kwargs)
        if self._is_attention:
            self._count(stream, [*args, *kwargs.values()])
        zeros = torch.zeros_like(stream)
        return (zeros, *[None] * (self._n_outputs - 1)) if self._n_outputs else zeros

    def _count(self, stream: Tensor, arguments: Iterable[Any]) -> None:
        """Count these tokens in the KV cache.

        The cache takes the number of earlier tokens from one of its layers, so an empty layer must
        store one number per token.
        """
        cache = next(
            (argument for argument in arguments if isinstance(argument, transformers.Cache)), None
        )
        if cache is not None and self.layer_idx is not None:
            mark = stream.new_zeros(stream.shape[0], 1, stream.shape[1], 1)
            cache.update(mark, mark[..., :0], self.layer_idx)


def _exchange(
    layer: nn.Module, places: dict[str, SublayerPlace], decoder: Decoder
) -> Callable[[], None]:
    """Replace sublayers by stand-ins; the returned function restores them."""
    originals: list[tuple[str, nn.Module]] = []
    for part, place in places.items():
        for name in place.names:
            original = layer.get_submodule(name)
            is_last = name == place.names[-1]
            stand_in = (
                _Absent(place, original, decoder, is_attention=part == ATTENTION)
                if is_last
                else nn.Identity()
            )
            originals.append((name, original))
            setattr(layer, name, stand_in)

    def restore() -> None:
        for name, original in originals:
            setattr(layer, name, original)

    return restore


@torch.inference_mode()
def _tried(decoder: Decoder, index: int) -> dict[str, SublayerPlace]:
    layer = decoder.layers[index]
    family = decoder.family
    names = part_names(layer, family)
    for part, candidates in (
        (ATTENTION, family.attention),
        (FEED_FORWARD, (*family.feed_forward, *family.feed_forward_linears)),
    ):
        if part not in names:
            raise _refused(
                decoder, index, f"it has no {part} part with a known name ({', '.join(candidates)})"
            )
    try:
        stream, calls = entry(decoder, torch.tensor([decoder.trial_tokens(_TRIAL)]))
        args, kwargs = calls[index]
        return _Trial(decoder, layer, names, args, kwargs).of(residual.at_entry(decoder, stream))
    except _Unfit as error:
        raise _refused(decoder, index, str(error)) from error
    except UnsupportedModelError as error:
        raise _refused(
            decoder, index, "its body does more between its layers than pass on the residual stream"
        ) from error
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _refused(
            decoder, index, f"it does not run without one of them ({str(error).splitlines()[0]})"
        ) from error


class _Unfit(Exception):
    """Reason why the sublayers of a layer fail the trial."""


class _Trial:
    """Trial of one layer with and without its sublayers."""

    def __init__(
        self,
        decoder: Decoder,
        layer: nn.Module,
        names: dict[str, tuple[str, ...]],
        args: Any,
        kwargs: Any,
    ) -> None:
        self._decoder = decoder
        self._layer = layer
        self._names = names
        self._args = args
        self._kwargs = kwargs
        self._places: dict[str, SublayerPlace] = {}

    def of(self, stream: Tensor) -> dict[str, SublayerPlace]:
        """Return the paths of the sublayers, verified."""
        agree = self._decoder.agree
        changed_first = stream.clone()
        with self._watched():
            expected = self._run(stream)
        self._places = {part: self._place(part) for part in self._names}
        if not torch.equal(self._run(stream, *BOTH), stream):
            raise _Unfit("without both the layer still changes the residual stream")
        attended = self._run(stream, FEED_FORWARD)
        fed = self._run(stream, ATTENTION)
        in_turn = self._run(attended, ATTENTION)
        side_by_side = attended + fed - stream
        is_in_turn = agree(in_turn[0], expected[0])
        if not is_in_turn and not agree(side_by_side[0], expected[0]):
            raise _Unfit("both together do not give the output of the layer")
        changed_first[:, 0] = stream[:, -1]
        if not agree(self._run(changed_first, ATTENTION)[0, 1:], fed[0, 1:]):
            raise _Unfit("without attention a token still depends on another")
        return {part: replace(place, in_turn=is_in_turn) for part, place in self._places.items()}

    def _run(self, stream: Tensor, *parts: str) -> Tensor:
        restore = _exchange(
            self._layer, {part: self._places[part] for part in parts}, self._decoder
        )
        try:
            return output_stream(self._layer(stream, *self._args, **self._kwargs))
        finally:
            restore()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Record the output of the last module of each sublayer."""
        self._returned: dict[str, Any] = {}

        def record(part: str) -> Callable[[Any, Any, Any], None]:
            return lambda module, args, output: self._returned.update({part: output})

        last = {part: self._layer.get_submodule(names[-1]) for part, names in self._names.items()}
        handles = [module.register_forward_hook(record(part)) for part, module in last.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _place(self, part: str) -> SublayerPlace:
        if part not in self._returned:
            raise _Unfit(f"its {part} part is not called as a module")
        output = self._returned[part]
        return SublayerPlace(
            self._names[part], len(output) if isinstance(output, tuple | list) else 0
        )


def _refused(decoder: Decoder, index: int, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The parts of layer {index} of this {decoder.config.model_type} model cannot be removed"
        f" separately: {reason}. Remove whole layers."
    )


def output_projection(decoder: Decoder, index: int, part: str) -> nn.Module:
    """Return the last matrix of a sublayer: setting it and its bias to zero is equivalent to
    removing the sublayer.

    Args:
        decoder: the model, in memory; this layer is complete.
        index: index of the layer.
        part: `ATTENTION` or `FEED_FORWARD`.

    Raises:
        UnsupportedModelError: If there is no such matrix, as in mixtures of experts.
    """
    ran: list[nn.Module] = []
    layer = decoder.layers[index]
    place = find(decoder, index)[part]
    inside = itertools.chain.from_iterable(
        layer.get_submodule(name).modules() for name in place.names
    )
    linears = [module for module in inside if isinstance(module, nn.Linear | Conv1D)]
    handles = [
        module.register_forward_hook(lambda module, args, output: ran.append(module))
        for module in linears
    ]
    stream, calls = entry(decoder, torch.tensor([decoder.trial_tokens(_TRIAL)]))
    stream = residual.at_entry(decoder, stream)
    args, kwargs = calls[index]
    try:
        with torch.inference_mode():
            layer(stream, *args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    if ran:
        weights = {name: weight.detach().clone() for name, weight in ran[-1].named_parameters()}
        try:
            zero(ran[-1])
            with torch.inference_mode():
                zeroed = output_stream(layer(stream, *args, **kwargs))
                with without(decoder, index, [part]):
                    absent = output_stream(layer(stream, *args, **kwargs))
            if torch.equal(zeroed, absent):
                return ran[-1]
        finally:
            with torch.no_grad():
                for name, weight in ran[-1].named_parameters():
                    weight.copy_(weights[name])
    raise UnsupportedModelError(
        f"The {part} part of layer {index} of this {decoder.config.model_type} model has no last"
        " matrix to set to zero, and transformers has no class without it. Export with whole"
        " layers removed."
    )


@torch.no_grad()
def zero(matrix: nn.Module) -> None:
    """Set a matrix and its bias to zero."""
    for weight in matrix.parameters():
        weight.zero_()
