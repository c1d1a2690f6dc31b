"""Parts that pruning removes from a model: a block of decoder layers, layers with kept ones between them, or parts of layers.

A layer has two parts, its attention and its feed-forward part, and a whole layer is both. Each removal lists its `parts`. One
that is made of whole layers only is a `Block` or a `LayerSet` (`removal`, `removal_of_parts`), so that each removal has one
form.
"""

import itertools
import re
import typing
from typing import ClassVar

from analysis.core.bounds import LONGEST_SHOWN, MOST_LAYERS, WHOLE, shown
from analysis.core.errors import BlockRangeError
from analysis.core.record import Spec, spec_dataclass

ATTENTION, FEED_FORWARD = "attention", "feed-forward"
Part = tuple[int, str]
"""A layer, 0-based, and which of its two parts: `ATTENTION` or `FEED_FORWARD`."""
_RUN = re.compile(r"([am]?)(-?\d{1,9})(?::(-?\d{1,9}))?", re.ASCII)
_LETTERS = {"a": ATTENTION, "m": FEED_FORWARD}
"""Prefix of a run of layers that lose only this part, in the written form of a removal."""


def check_count(n: int, n_layers: int, setting: str) -> None:
    """Check that a model keeps at least one of its layers if `n` are removed.

    Args:
        n: number of removed layers.
        n_layers: number of layers of the model.
        setting: setting to change, with its least value: "max-n 0".

    Raises:
        BlockRangeError: if `n` is negative or not below `n_layers`.
    """
    if not 0 <= n < n_layers:
        raise BlockRangeError(
            f"{n} layers cannot be removed: this model has {n_layers} layers and must keep at least 1. Choose "
            f"{setting}..{n_layers - 1}."
        )


class _Removed(Spec):
    """Removed parts of a model; both parts of each of its layers unless a class says otherwise."""

    if typing.TYPE_CHECKING:
        layers: typing.Any
        """The layers that are removed whole, 0-based and ascending."""

    @property
    def parts(self) -> frozenset[Part]:
        """All that is removed; of whole layers both parts."""
        return frozenset((layer, part) for layer in self.layers for part in (ATTENTION, FEED_FORWARD))

    @property
    def touched(self) -> tuple[int, ...]:
        """The layers that something is taken out of."""
        return tuple(sorted({layer for layer, _ in self.parts}))

    @property
    def blocks(self) -> list["Block"]:
        """The unbroken runs of the layers that are removed whole."""
        return _runs(self.layers)

    def describe(self) -> str:
        """With the number of layers: "layers 11-15 (5 layers)" or "layers 3, 5-6 (3 layers)"."""
        n = len(self.layers)
        return f"{self.brief()} ({n} layer{'s' * (n != 1)})"

    def brief(self) -> str:
        """Describe the removal without the number of layers: "layers 11-15" or "layers 3, 5-6"."""
        return _layers(self.layers)

    def check_depth(self, n_layers: int) -> None:
        """Raise `BlockRangeError` unless all layers exist in a model of `n_layers` and one keeps its attention."""
        name = self.brief()
        problem = f"{name[:1].upper()}{name[1:]} cannot be removed"
        if self.touched[-1] >= n_layers:
            raise BlockRangeError(f"{problem}: this model has layers 0..{n_layers - 1}. Choose from those.")
        if sum(part == ATTENTION for _, part in self.parts) >= n_layers:
            raise BlockRangeError(f"{problem}: none of the {n_layers} layers would keep its attention. Remove fewer layers.")


class _Scattered(_Removed):
    """Removed parts with kept ones between them."""

    @property
    def start(self) -> int:
        """The first layer that something is taken out of: up to it the pruned model is the unpruned one."""
        return self.touched[0]

    @property
    def size(self) -> int:
        """Number of layers that something is taken out of; how many are gone is the length of `layers`."""
        return len(self.touched)


def _is_ascending(layers: tuple[int, ...]) -> bool:
    """Return whether layers are distinct, ascending and of a model."""
    return all(low < high for low, high in itertools.pairwise((-1, *layers, MOST_LAYERS)))


@spec_dataclass
class Block(_Removed):
    """A contiguous run of decoder layers, half-open: layers start .. start+size-1, 0-based."""

    kind: ClassVar[str] = "block"

    start: typing.Annotated[int, WHOLE]
    """First layer of the block, 0-based."""
    size: typing.Annotated[int, WHOLE]
    """Number of layers n; at least 1."""

    def __post_init__(self) -> None:
        if self.start < 0 or self.size < 1:
            raise BlockRangeError(
                f"A block needs a start of at least 0 and a size of at least 1, not start {shown(self.start)} and "
                f"size {shown(self.size)}."
            )
        if self.stop > MOST_LAYERS:
            raise BlockRangeError(
                f"A block of {shown(self.size)} layers from layer {shown(self.start)} cannot be removed: no model has "
                f"more than {MOST_LAYERS:,} layers."
            )

    @property
    def stop(self) -> int:
        """The first layer after the block: the one that now receives x[start]."""
        return self.start + self.size

    @property
    def layers(self) -> range:
        """The removed layers."""
        return range(self.start, self.stop)


def blocks_up_to(max_size: int, n_layers: int) -> list[Block]:
    """All blocks of 1 .. `max_size` layers in a model of `n_layers`, by size and then by start."""
    return [Block(start, size) for size in range(1, max_size + 1) for start in range(n_layers - size + 1)]


@spec_dataclass
class LayerSet(_Scattered):
    """Removed layers with kept ones between them, 0-based and ascending; one unbroken run of layers is a `Block`."""

    kind: ClassVar[str] = "layer_set"

    layers: typing.Annotated[tuple[int, ...], WHOLE]
    """The removed layers."""

    def __post_init__(self) -> None:
        if not self.layers or not _is_ascending(self.layers):
            raise BlockRangeError(
                f"Removed layers must be distinct, ascending and 0..{MOST_LAYERS - 1}, not {shown(self.layers)}."
            )


@spec_dataclass
class PartSet(_Scattered):
    """Removed parts of layers, and whole layers beside them, 0-based and ascending; whole layers alone are another cut."""

    kind: ClassVar[str] = "part_set"

    attention: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """The layers that lose their attention and keep their feed-forward part."""
    feed_forward: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """The layers that lose their feed-forward part and keep their attention."""
    layers: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """The layers that are removed whole."""

    def __post_init__(self) -> None:
        lists = (self.attention, self.feed_forward, self.layers)
        if not all(map(_is_ascending, lists)) or len(set().union(*lists)) < sum(map(len, lists)):
            raise BlockRangeError(
                f"Pruned layers must be ascending, within 0..{MOST_LAYERS - 1}, and named once, as whole where both "
                f"sublayers go. Given: attention {shown(self.attention)}, feed-forward {shown(self.feed_forward)}, whole "
                f"{shown(self.layers)}."
            )
        if not self.attention and not self.feed_forward:
            raise BlockRangeError(f"Sublayer pruning needs at least one sublayer, not only whole layers {shown(self.layers)}.")

    @property
    def parts(self) -> frozenset[Part]:
        """All that is removed; of whole layers both parts."""
        alone = {(layer, ATTENTION) for layer in self.attention} | {(layer, FEED_FORWARD) for layer in self.feed_forward}
        return super().parts | alone

    def describe(self) -> str:
        """Describe the removal: "attention of layers 3, 5-6 + layer 9 (one sublayer of 3 layers, 1 whole)"."""
        n_parts, n_whole = len(self.attention) + len(self.feed_forward), len(self.layers)
        whole = f", {n_whole} whole" if n_whole else ""
        return f"{self.brief()} (one sublayer of {n_parts} layer{'s' * (n_parts != 1)}{whole})"

    def brief(self) -> str:
        """For those who know how many: "attention of layers 3, 5-6 + layer 9"."""
        parts = [f"attention of {_layers(self.attention)}"] if self.attention else []
        parts += [f"feed-forward of {_layers(self.feed_forward)}"] if self.feed_forward else []
        return " + ".join([*parts, *([_layers(self.layers)] if self.layers else [])])


def _runs(layers: typing.Iterable[int]) -> list[Block]:
    """The unbroken runs that ascending layers make up."""
    return [Block(run[0], len(run)) for run in _consecutive(layers)]


def _consecutive(numbers: typing.Iterable[int]) -> list[list[int]]:
    """Split ascending numbers at the gaps between them."""
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    return [[number for _, number in group] for _, group in groups]


def _layers(layers: typing.Sequence[int]) -> str:
    """Return layers in words: "layer 3" or "layers 3, 5-6"."""
    runs = ", ".join(str(run.start) if run.size == 1 else f"{run.start}-{run.stop - 1}" for run in _runs(layers))
    return f"layer{'s' * (len(layers) != 1)} {runs}"


Removal = Block | LayerSet | PartSet
"""Set of parts that pruning removes."""


def removal(layers: typing.Iterable[int]) -> Block | LayerSet:
    """The layers as a `Block` where they are one unbroken run, else as a `LayerSet`.

    Raises:
        BlockRangeError: when there are none.
    """
    distinct = tuple(sorted(set(layers)))
    if distinct and distinct[-1] - distinct[0] + 1 == len(distinct):
        return Block(distinct[0], len(distinct))
    return LayerSet(distinct)


def single_parts(cut: Removal) -> list[Part]:
    """Return the removed parts of layers that keep their other part, first layer first."""
    return sorted(part for part in cut.parts if part[0] not in cut.layers)


def gaps(cut: Removal) -> list[Removal]:
    """Return the unbroken runs of removed parts, in the order of computation: attention, then feed-forward.

    Of whole layers these are its `blocks`; a run of parts may begin or end inside a layer that keeps a part.
    """
    order = sorted(2 * layer + (part == FEED_FORWARD) for layer, part in cut.parts)
    return [
        removal_of_parts((entry // 2, FEED_FORWARD if entry % 2 else ATTENTION) for entry in run) for run in _consecutive(order)
    ]


def shape(cut: Removal) -> tuple[int, int, int]:
    """Count the removed parts, wherever they are: attention parts alone, feed-forward parts alone, whole layers.

    Only removals of one shape save the same amount, so only these can be better or worse than each other.
    """
    single = [part for _, part in single_parts(cut)]
    return single.count(ATTENTION), single.count(FEED_FORWARD), len(cut.layers)


def removal_of_parts(parts: typing.Iterable[Part]) -> Removal:
    """The cut that removes these parts: of whole layers only as `removal` has it, else a `PartSet`.

    Raises:
        BlockRangeError: when there are none.
    """
    distinct = set(parts)
    attention, feed_forward = ({layer for layer, kind in distinct if kind == part} for part in (ATTENTION, FEED_FORWARD))
    if attention == feed_forward:
        return removal(attention)
    whole = attention & feed_forward
    return PartSet(*(tuple(sorted(layers)) for layers in (attention - whole, feed_forward - whole, whole)))


def parse_removal(text: str) -> Removal:
    """Read START:SIZE, or several of them joined by "+", as the command line writes a cut: "11:5", "3:1+7:2".

    A run behind "a" loses its attention only, one behind "m" its feed-forward part, and there ":1" may be left out:
    "a12+m15:2+3:1".

    Raises:
        BlockRangeError: when a part is not of this form, two share a part of a layer, or no model has as many layers.
    """
    runs: list[tuple[str, Block]] = []
    for piece in text.split("+", 2 * MOST_LAYERS):
        match = _RUN.fullmatch(piece.strip())
        if match is None or not (match[1] or match[3]):
            raise BlockRangeError(
                f"A block is written START:SIZE, for example 11:5, not {piece[:LONGEST_SHOWN]!r}. "
                "The prefix a removes attention alone, m feed-forward alone."
            )
        runs.append((match[1], Block(int(match[2]), int(match[3] or 1))))
    if sum(run.size * (1 if letter else 2) for letter, run in runs) > 2 * MOST_LAYERS:
        raise BlockRangeError(f"{text[:LONGEST_SHOWN]!r} removes more than {MOST_LAYERS:,} layers, but no model has as many.")
    parts = [part for letter, run in runs for part in run.parts if not letter or part[1] == _LETTERS[letter]]
    if len(set(parts)) != len(parts):
        raise BlockRangeError(f"{text[:LONGEST_SHOWN]!r} names a layer twice. Name every layer once.")
    return removal_of_parts(parts)


def written(cut: Removal) -> str:
    """The inverse of `parse_removal`: "11:5", "3:1+7:2", "a12+m15:2+3:1"."""
    runs = [f"{run.start}:{run.size}" for run in cut.blocks]
    if isinstance(cut, PartSet):
        by_letter = (("a", cut.attention), ("m", cut.feed_forward))
        alone = [(letter, run) for letter, layers in by_letter for run in _runs(layers)]
        runs = [f"{letter}{run.start}" + f":{run.size}" * (run.size > 1) for letter, run in alone] + runs
    return "+".join(runs)
