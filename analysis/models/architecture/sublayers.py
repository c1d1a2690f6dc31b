"""The two sublayers of a decoder layer, attention and feed-forward: their paths, and running the layer without one.

A part that is out writes nothing to the stream: its module is exchanged for one that answers with zeros and computes nothing.
Where the parts of a layer are is known by name (`Family`) and believed only after a trial on a few tokens (`find`):

* without both parts the layer hands on the stream as it is, to the last bit, so nothing else in it writes;
* one after the other, or side by side, the parts make up the whole layer, so each of them is all of its own;
* without its attention the layer does not let one token see another.
"""

import contextlib
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
from analysis.models.architecture.decoder import Absent, Decoder, input_stream, output_stream, part_names
from analysis.models.architecture.residual import entry

BOTH = frozenset((ATTENTION, FEED_FORWARD))
_TRIAL = 12
"""Tokens that the parts of a layer are tried on."""


@dataclass(frozen=True)
class SublayerPlace:
    """Location of a sublayer in its layer."""

    names: tuple[str, ...]
    """The children of the layer that it is made of, in the order in which the stream goes through them."""
    n_outputs: int
    """How many things its last module returns; the first of them is written to the stream. 0 for a bare tensor."""
    in_turn: bool = True
    """Whether the feed-forward part reads the output of the attention, and not the same stream beside it."""


_found: "weakref.WeakKeyDictionary[nn.Module, dict[str, SublayerPlace]]" = weakref.WeakKeyDictionary()
"""Results of the trials, by layer."""


def lost(removed: Collection[tuple[int, str]], layer: int) -> frozenset[str]:
    """Which of a layer's parts are among those that are removed."""
    return frozenset(part for part in BOTH if (layer, part) in removed)


def check(decoder: Decoder, cuts: Iterable[Removal | None]) -> None:
    """Try the layers that some cuts take a part out of, so that unmeasurable cuts are refused before the work begins.

    Raises:
        UnsupportedModelError: as `find`.
    """
    for layer in sorted({n for cut in cuts if isinstance(cut, PartSet) for n in (*cut.attention, *cut.feed_forward)}):
        find(decoder, layer)


def find(decoder: Decoder, index: int) -> dict[str, SublayerPlace]:
    """Locations of a layer's sublayers, verified once by a trial.

    Args:
        decoder: the model; nothing is out of this layer, and it has its weights in memory.
        index: of the layer.

    Raises:
        UnsupportedModelError: if the parts are not known, or do other things than assumed.
    """
    layer = decoder.layers[index]
    if layer not in _found:
        _found[layer] = _tried(decoder, index)
    return _found[layer]


@contextlib.contextmanager
def without(decoder: Decoder, index: int, parts: Collection[str]) -> Iterator[None]:
    """Run the body of a `with` statement as if these parts of a layer were not there."""
    put_back = take_out(decoder, index, parts)
    try:
        yield
    finally:
        put_back()


def take_out(decoder: Decoder, index: int, parts: Collection[str]) -> Callable[[], None]:
    """Take parts out of a layer.

    Returns:
        A function that puts them back.

    Raises:
        UnsupportedModelError: as `find`.
    """
    if not parts:
        return lambda: None
    layer, places = decoder.layers[index], find(decoder, index)
    return _exchange(layer, {part: places[part] for part in parts}, decoder)


class _Absent(Absent):
    """Replaces the last module of a sublayer, and writes nothing."""

    def __init__(self, place: SublayerPlace, original: nn.Module, decoder: Decoder, *, is_attention: bool) -> None:
        super().__init__()
        self._n_outputs, self._is_attention = place.n_outputs, is_attention
        depths = (getattr(part, name, None) for part in original.modules() for name in decoder.family.depth)
        self.layer_idx: int | None = next((depth for depth in depths if isinstance(depth, int)), None)
        """The number that a cut renumbers, as in the attention that was here."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        stream = input_stream(args, kwargs)
        if self._is_attention:
            self._count(stream, [*args, *kwargs.values()])
        zeros = torch.zeros_like(stream)
        return (zeros, *[None] * (self._n_outputs - 1)) if self._n_outputs else zeros

    def _count(self, stream: Tensor, arguments: Iterable[Any]) -> None:
        """Tell the KV cache that these tokens have passed.

        One of its layers is asked how many there were, and an empty one knows of none. Hence one number for each token in
        the place of its keys.
        """
        cache = next((argument for argument in arguments if isinstance(argument, transformers.Cache)), None)
        if cache is not None and self.layer_idx is not None:
            mark = stream.new_zeros(stream.shape[0], 1, stream.shape[1], 1)
            cache.update(mark, mark[..., :0], self.layer_idx)


def _exchange(layer: nn.Module, places: dict[str, SublayerPlace], decoder: Decoder) -> Callable[[], None]:
    """Replace sublayers by stand-ins; the returned function restores them."""
    were: list[tuple[str, nn.Module]] = []
    for part, place in places.items():
        for name in place.names:
            original = layer.get_submodule(name)
            is_last = name == place.names[-1]
            stand_in = _Absent(place, original, decoder, is_attention=part == ATTENTION) if is_last else nn.Identity()
            were.append((name, original))
            setattr(layer, name, stand_in)

    def put_back() -> None:
        for name, original in were:
            setattr(layer, name, original)

    return put_back


@torch.inference_mode()
def _tried(decoder: Decoder, index: int) -> dict[str, SublayerPlace]:
    layer, family = decoder.layers[index], decoder.family
    names = part_names(layer, family)
    for part, candidates in (
        (ATTENTION, family.attention),
        (FEED_FORWARD, (*family.feed_forward, *family.feed_forward_linears)),
    ):
        if part not in names:
            raise _refused(decoder, index, f"it has no {part} part with a known name ({', '.join(candidates)})")
    try:
        stream, calls = entry(decoder, torch.tensor([decoder.trial_tokens(_TRIAL)]))
        args, kwargs = calls[index]
        return _Trial(decoder, layer, names, args, kwargs).of(residual.at_entry(decoder, stream))
    except _Unfit as error:
        raise _refused(decoder, index, str(error)) from error
    except UnsupportedModelError as error:
        raise _refused(decoder, index, "its body does more between its layers than pass on the residual stream") from error
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _refused(decoder, index, f"it does not run without one of them ({str(error).splitlines()[0]})") from error


class _Unfit(Exception):
    """Why the parts of a layer do other things than assumed."""


class _Trial:
    """Runs one layer with and without its parts."""

    def __init__(self, decoder: Decoder, layer: nn.Module, names: dict[str, tuple[str, ...]], args: Any, kwargs: Any) -> None:
        self._decoder, self._layer, self._names, self._args, self._given = decoder, layer, names, args, kwargs
        self._places: dict[str, SublayerPlace] = {}

    def of(self, stream: Tensor) -> dict[str, SublayerPlace]:
        """Locations of the sublayers, after a check that they are sublayers."""
        agree, put_first = self._decoder.agree, stream.clone()
        with self._watched():
            expected = self._run(stream)
        self._places = {part: self._place(part) for part in self._names}
        if not torch.equal(self._run(stream, *BOTH), stream):
            raise _Unfit("without both the layer still changes the residual stream")
        attended, fed = self._run(stream, FEED_FORWARD), self._run(stream, ATTENTION)
        in_turn, side_by_side = self._run(attended, ATTENTION), attended + fed - stream
        is_in_turn = agree(in_turn[0], expected[0])
        if not is_in_turn and not agree(side_by_side[0], expected[0]):
            raise _Unfit("both together do not give the output of the layer")
        put_first[:, 0] = stream[:, -1]
        if not agree(self._run(put_first, ATTENTION)[0, 1:], fed[0, 1:]):
            raise _Unfit("without attention a token still depends on another")
        return {part: replace(place, in_turn=is_in_turn) for part, place in self._places.items()}

    def _run(self, stream: Tensor, *parts: str) -> Tensor:
        put_back = _exchange(self._layer, {part: self._places[part] for part in parts}, self._decoder)
        try:
            return output_stream(self._layer(stream, *self._args, **self._given))
        finally:
            put_back()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Record the outputs of the last module of each part."""
        self._returned: dict[str, Any] = {}

        def noting(part: str) -> Callable[[Any, Any, Any], None]:
            return lambda module, args, output: self._returned.update({part: output})

        last = {part: self._layer.get_submodule(names[-1]) for part, names in self._names.items()}
        handles = [module.register_forward_hook(noting(part)) for part, module in last.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _place(self, part: str) -> SublayerPlace:
        if part not in self._returned:
            raise _Unfit(f"its {part} part is not called as a module")
        output = self._returned[part]
        return SublayerPlace(self._names[part], len(output) if isinstance(output, tuple | list) else 0)


def _refused(decoder: Decoder, index: int, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The parts of layer {index} of this {decoder.config.model_type} model cannot be removed separately: "
        f"{reason}. Remove whole layers."
    )


def output_projection(decoder: Decoder, index: int, part: str) -> nn.Module:
    """The last matrix of a sublayer: if it and its bias are zero, the sublayer writes nothing, as if it were removed.

    Args:
        decoder: the model, in memory and with nothing out of this layer.
        index: of the layer.
        part: `ATTENTION` or `FEED_FORWARD`.

    Raises:
        UnsupportedModelError: if that does not hold: of mixtures of experts, which keep many in one tensor.
    """
    ran: list[nn.Module] = []
    layer, place = decoder.layers[index], find(decoder, index)[part]
    linears = [
        module
        for name in place.names
        for module in layer.get_submodule(name).modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]
    handles = [module.register_forward_hook(lambda module, args, output: ran.append(module)) for module in linears]
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
        f"The {part} part of layer {index} of this {decoder.config.model_type} model has no last matrix to "
        "set to zero, and transformers has no class without it. Export with whole layers removed."
    )


@torch.no_grad()
def zero(matrix: nn.Module) -> None:
    """Make a matrix and its bias zero."""
    for weight in matrix.parameters():
        weight.zero_()
