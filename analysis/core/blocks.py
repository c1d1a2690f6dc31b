"""Removals: the layers and sublayers that pruning removes from a model.

A layer consists of an attention and a feed-forward sublayer. A contiguous run of layers is a
`Block`, other layers are a `LayerSet`, and removals with single sublayers are a `PartSet`.
`removal` and `removal_of_parts` choose the class, so that equal removals are equal objects.
"""

import itertools
import re
import typing
from typing import ClassVar

from analysis.core.bounds import MAX_VALUE_LENGTH, MOST_LAYERS, WHOLE, shown
from analysis.core.errors import BlockRangeError
from analysis.core.record import Spec, spec_dataclass

ATTENTION = "attention"
FEED_FORWARD = "feed-forward"
Part = tuple[int, str]
"""Sublayer: a 0-based layer and `ATTENTION` or `FEED_FORWARD`."""
_RUN = re.compile(r"([am]?)(-?\d{1,9})(?::(-?\d{1,9}))?", re.ASCII)
_SUBLAYERS = (ATTENTION, FEED_FORWARD)
"""Sublayers of a layer in the order of computation."""
_BY_LETTER = {"": _SUBLAYERS, "a": (ATTENTION,), "m": (FEED_FORWARD,)}
"""Removed sublayers by the prefix of a run in the written form of a removal."""


def check_count(n: int, n_layers: int, setting: str) -> None:
    """Check that a model keeps at least one layer if `n` are removed.

    Args:
        n: number of removed layers.
        n_layers: number of layers of the model.
        setting: setting with its minimum for the error message, such as "max-n 0".

    Raises:
        BlockRangeError: if `n` is negative or not below `n_layers`.
    """
    if not 0 <= n < n_layers:
        raise BlockRangeError(
            f"{n} layers cannot be removed: this model has {n_layers} layers and must keep at least"
            f" 1. Choose {setting}..{n_layers - 1}."
        )


class _Removed(Spec):
    """Base of all removals."""

    if typing.TYPE_CHECKING:
        layers: typing.Any
        """Entirely removed layers, 0-based and ascending."""

    @property
    def parts(self) -> frozenset[Part]:
        """Removed sublayers, with both sublayers of removed layers."""
        return frozenset(itertools.product(self.layers, _SUBLAYERS))

    @property
    def touched(self) -> tuple[int, ...]:
        """Layers that lose at least one sublayer, ascending."""
        return tuple(sorted({layer for layer, _ in self.parts}))

    @property
    def blocks(self) -> list["Block"]:
        """Contiguous runs of the entirely removed layers."""
        return _runs(self.layers)

    def describe(self) -> str:
        """Describe the removal: "layers 11-15 (5 layers)" or "layers 3, 5-6 (3 layers)"."""
        n = len(self.layers)
        return f"{self.brief()} ({n} layer{'s' * (n != 1)})"

    def brief(self) -> str:
        """Describe the removal without the number of layers: "layers 11-15" or "layers 3, 5-6"."""
        return _layers(self.layers)

    def check_depth(self, n_layers: int) -> None:
        """Check that a model has the removed layers and keeps the attention of at least one layer.

        Raises:
            BlockRangeError: if it does not.
        """
        name = self.brief()
        problem = f"{name[:1].upper()}{name[1:]} cannot be removed"
        if self.touched[-1] >= n_layers:
            raise BlockRangeError(
                f"{problem}: this model has layers 0..{n_layers - 1}. Choose from those."
            )
        if sum(part == ATTENTION for _, part in self.parts) >= n_layers:
            raise BlockRangeError(
                f"{problem}: none of the {n_layers} layers would keep its attention. Remove fewer"
                " layers."
            )


class _Scattered(_Removed):
    """Base of removals that are not one contiguous block."""

    @property
    def start(self) -> int:
        """First layer that loses a sublayer."""
        return self.touched[0]

    @property
    def size(self) -> int:
        """Number of layers that lose a sublayer; the number of removed layers is the length of
        `layers`.
        """
        return len(self.touched)


def _is_ascending(layers: tuple[int, ...]) -> bool:
    """Return whether layers are distinct, ascending and in the possible range."""
    return all(low < high for low, high in itertools.pairwise((-1, *layers, MOST_LAYERS)))


@spec_dataclass
class Block(_Removed):
    """Contiguous decoder layers start .. start + size - 1, 0-based."""

    kind: ClassVar[str] = "block"

    start: typing.Annotated[int, WHOLE]
    """First layer, 0-based."""
    size: typing.Annotated[int, WHOLE]
    """Number of layers n, at least 1."""

    def __post_init__(self) -> None:
        if self.start < 0 or self.size < 1:
            raise BlockRangeError(
                "A block needs a start of at least 0 and a size of at least 1, not start"
                f" {shown(self.start)} and size {shown(self.size)}."
            )
        if self.stop > MOST_LAYERS:
            raise BlockRangeError(
                f"A block of {shown(self.size)} layers from layer {shown(self.start)} cannot be"
                f" removed: no model has more than {MOST_LAYERS:,} layers."
            )

    @property
    def stop(self) -> int:
        """First layer after the block, whose input becomes x[start]."""
        return self.start + self.size

    @property
    def layers(self) -> range:
        """Removed layers."""
        return range(self.start, self.stop)


def blocks_up_to(max_size: int, n_layers: int) -> list[Block]:
    """Return all blocks of 1 .. `max_size` layers in a model of `n_layers`, by size and then by
    start.
    """
    blocks = []
    for size in range(1, max_size + 1):
        blocks += [Block(start, size) for start in range(n_layers - size + 1)]
    return blocks


@spec_dataclass
class LayerSet(_Scattered):
    """Layers with kept layers between them, 0-based and ascending."""

    kind: ClassVar[str] = "layer_set"

    layers: typing.Annotated[tuple[int, ...], WHOLE]
    """Removed layers."""

    def __post_init__(self) -> None:
        if not self.layers or not _is_ascending(self.layers):
            raise BlockRangeError(
                f"Removed layers must be distinct, ascending and 0..{MOST_LAYERS - 1}, not"
                f" {shown(self.layers)}."
            )


@spec_dataclass
class PartSet(_Scattered):
    """Single sublayers, and possibly entire layers, 0-based and ascending."""

    kind: ClassVar[str] = "part_set"

    attention: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """Layers that lose only their attention."""
    feed_forward: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """Layers that lose only their feed-forward sublayer."""
    layers: typing.Annotated[tuple[int, ...], WHOLE] = ()
    """Entirely removed layers."""

    def __post_init__(self) -> None:
        lists = (self.attention, self.feed_forward, self.layers)
        if not all(map(_is_ascending, lists)) or len(set().union(*lists)) < sum(map(len, lists)):
            raise BlockRangeError(
                f"Pruned layers must be ascending, within 0..{MOST_LAYERS - 1}, and named once, as"
                " whole layers if both sublayers are removed. Given: attention"
                f" {shown(self.attention)}, feed-forward {shown(self.feed_forward)}, whole"
                f" {shown(self.layers)}."
            )
        if not self.attention and not self.feed_forward:
            raise BlockRangeError(
                "Sublayer pruning needs at least one sublayer, not only whole layers"
                f" {shown(self.layers)}."
            )

    @property
    def parts(self) -> frozenset[Part]:
        """Removed sublayers, with both sublayers of removed layers."""
        attention = itertools.product(self.attention, [ATTENTION])
        feed_forward = itertools.product(self.feed_forward, [FEED_FORWARD])
        return super().parts.union(attention, feed_forward)

    def describe(self) -> str:
        """Describe the removal: "attention of layers 3, 5-6 + layer 9 (one sublayer of 3 layers, 1
        whole)".
        """
        n_parts = len(self.attention) + len(self.feed_forward)
        n_whole = len(self.layers)
        whole = f", {n_whole} whole" if n_whole else ""
        return f"{self.brief()} (one sublayer of {n_parts} layer{'s' * (n_parts != 1)}{whole})"

    def brief(self) -> str:
        """Describe the removal without numbers of layers: "attention of layers 3, 5-6 + layer
        9".
        """
        parts = []
        if self.attention:
            parts.append(f"attention of {_layers(self.attention)}")
        if self.feed_forward:
            parts.append(f"feed-forward of {_layers(self.feed_forward)}")
        if self.layers:
            parts.append(_layers(self.layers))
        return " + ".join(parts)


def _runs(layers: typing.Iterable[int]) -> list[Block]:
    """Return the contiguous runs of ascending layers."""
    return [Block(run[0], len(run)) for run in _consecutive(layers)]


def _consecutive(numbers: typing.Iterable[int]) -> list[list[int]]:
    """Split ascending numbers at their gaps."""
    runs: list[list[int]] = []
    for number in numbers:
        if not runs or number != runs[-1][-1] + 1:
            runs.append([])
        runs[-1].append(number)
    return runs


def _layers(layers: typing.Sequence[int]) -> str:
    """Return layers in words: "layer 3" or "layers 3, 5-6"."""
    runs = ", ".join(
        str(run.start) if run.size == 1 else f"{run.start}-{run.stop - 1}" for run in _runs(layers)
    )
    return f"layer{'s' * (len(layers) != 1)} {runs}"


Removal = Block | LayerSet | PartSet
"""Removal of any class."""


def removal(layers: typing.Iterable[int]) -> Block | LayerSet:
    """Return the removal of layers: a `Block` if they are contiguous, else a `LayerSet`.

    Raises:
        BlockRangeError: if there are none.
    """
    distinct = tuple(sorted(set(layers)))
    if distinct and distinct[-1] - distinct[0] + 1 == len(distinct):
        return Block(distinct[0], len(distinct))
    return LayerSet(distinct)


def single_parts(cut: Removal) -> list[Part]:
    """Return the removed sublayers of layers that keep their other sublayer, ascending."""
    return sorted(part for part in cut.parts if part[0] not in cut.layers)


def gaps(cut: Removal) -> list[Removal]:
    """Return the contiguous runs of removed sublayers in the order of computation.

    If only entire layers are removed, these are its `blocks`. Other runs may begin or end within a
    layer.
    """
    positions = sorted(2 * layer + _SUBLAYERS.index(part) for layer, part in cut.parts)
    return [removal_of_parts(map(_part_at, run)) for run in _consecutive(positions)]


def _part_at(position: int) -> Part:
    """Return the sublayer at a position in the order of computation."""
    layer, index = divmod(position, 2)
    return layer, _SUBLAYERS[index]


def shape(cut: Removal) -> tuple[int, int, int]:
    """Return the numbers of single attention sublayers, single feed-forward sublayers and entire
    layers.

    Removals of equal shape save equal amounts of memory and time.
    """
    single = [part for _, part in single_parts(cut)]
    return single.count(ATTENTION), single.count(FEED_FORWARD), len(cut.layers)


def removal_of_parts(parts: typing.Iterable[Part]) -> Removal:
    """Return the removal of sublayers: a `PartSet` if any are single, else as for `removal`.

    Raises:
        BlockRangeError: if there are none.
    """
    distinct = set(parts)
    attention = {layer for layer, part in distinct if part == ATTENTION}
    feed_forward = {layer for layer, part in distinct if part == FEED_FORWARD}
    if attention == feed_forward:
        return removal(attention)
    whole = attention & feed_forward
    return PartSet(
        attention=tuple(sorted(attention - whole)),
        feed_forward=tuple(sorted(feed_forward - whole)),
        layers=tuple(sorted(whole)),
    )


def parse_removal(text: str) -> Removal:
    """Parse START:SIZE, or several of them joined by "+": "11:5", "3:1+7:2".

    The prefix "a" removes only the attention of a run, and "m" only its feed-forward sublayers.
    With a prefix ":1" may be omitted: "a12+m15:2+3:1".

    Raises:
        BlockRangeError: if the text has another form, names a sublayer twice, or has too many
            layers.
    """
    runs: list[tuple[str, Block]] = []
    for piece in text.split("+", 2 * MOST_LAYERS):
        match = _RUN.fullmatch(piece.strip())
        if match is None or not (match[1] or match[3]):
            raise BlockRangeError(
                "A block is written START:SIZE, for example 11:5, not"
                f" {piece[:MAX_VALUE_LENGTH]!r}. The prefix a removes attention alone, m"
                " feed-forward alone."
            )
        runs.append((match[1], Block(int(match[2]), int(match[3] or 1))))
    if sum(run.size * len(_BY_LETTER[letter]) for letter, run in runs) > 2 * MOST_LAYERS:
        raise BlockRangeError(
            f"{text[:MAX_VALUE_LENGTH]!r} removes more than {MOST_LAYERS:,} layers, but no model"
            " has as many."
        )
    parts: list[Part] = []
    for letter, run in runs:
        parts += itertools.product(run.layers, _BY_LETTER[letter])
    if len(set(parts)) != len(parts):
        raise BlockRangeError(
            f"{text[:MAX_VALUE_LENGTH]!r} names a layer twice. Name every layer once."
        )
    return removal_of_parts(parts)


def written(cut: Removal) -> str:
    """Return the text that `parse_removal` reads: "11:5", "3:1+7:2", "a12+m15:2+3:1"."""
    runs = []
    if isinstance(cut, PartSet):
        runs += [f"a{_written_part(run)}" for run in _runs(cut.attention)]
        runs += [f"m{_written_part(run)}" for run in _runs(cut.feed_forward)]
    runs += [f"{run.start}:{run.size}" for run in cut.blocks]
    return "+".join(runs)


def _written_part(run: Block) -> str:
    """Return a run of single sublayers without its prefix: "12" or "15:2"."""
    return str(run.start) if run.size == 1 else f"{run.start}:{run.size}"
