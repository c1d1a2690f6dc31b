"""What a cut takes out of a model: one block of decoder layers, or a set of layers with kept ones between them."""

import typing
from dataclasses import dataclass
from typing import ClassVar

from analysis.core.bounds import LONGEST_SHOWN, MOST_LAYERS, shown
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.record import Spec


@dataclass(frozen=True)
class Block(Spec):
    """A contiguous run of decoder layers, half-open: layers start .. start+size-1, 0-based."""

    kind: ClassVar[str] = "block"

    start: int
    """First layer of the block, 0-based."""
    size: int
    """Number of layers n; at least 1."""

    def __post_init__(self) -> None:
        if self.start < 0 or self.size < 1:
            raise BlockRangeError(
                f"A block needs a start of at least 0 and a size of at least 1, not start {self.start} and size {self.size}."
            )
        if self.stop > MOST_LAYERS:
            raise BlockRangeError(
                f"A block of {self.size:,} layers from layer {self.start:,} on cannot be removed: no model has more than "
                f"{MOST_LAYERS:,} layers."
            )

    @property
    def stop(self) -> int:
        """The first layer after the block: the one that now receives x[start]."""
        return self.start + self.size

    @property
    def layers(self) -> range:
        """The removed layers."""
        return range(self.start, self.stop)

    @property
    def blocks(self) -> list["Block"]:
        """Itself: the unbroken runs of a cut are asked for in the same way, whether it is one or scattered."""
        return [self]

    def check(self, n_layers: int) -> None:
        """Raise `BlockRangeError` unless the block lies inside a model of `n_layers` and leaves at least one layer."""
        if self.size >= n_layers:
            raise BlockRangeError(
                f"A block of {self.size} layers cannot be removed: this model has {n_layers} layers and must keep at least 1, "
                f"so the size must be 1..{n_layers - 1}."
            )
        if self.stop > n_layers:
            raise BlockRangeError(
                f"A block of {self.size} layers cannot start at layer {self.start}: this model has {n_layers} layers, "
                f"so the start must be 0..{n_layers - self.size}."
            )

    def describe(self) -> str:
        """Both index forms, as people are first shown them: "layers 11-15 (5 layers), block [11, 16)"."""
        return f"{self.brief()} ({self.size} layer{'s' * (self.size != 1)}), block [{self.start}, {self.stop})"

    def brief(self) -> str:
        """For those who have seen both forms: "layers 11-15"."""
        return f"layer {self.start}" if self.size == 1 else f"layers {self.start}-{self.stop - 1}"

    @classmethod
    def parse(cls, text: str) -> "Block":
        """Read the command line's START:SIZE form.

        Raises:
            BlockRangeError: when the text is not two whole numbers joined by a colon, or no model has such layers.
        """
        start, _, size = text.partition(":")
        try:
            return cls(int(start), int(size))
        except (ValueError, SpecError) as error:
            raise BlockRangeError(f"A block is written START:SIZE, for example 11:5, not {text[:LONGEST_SHOWN]!r}.") from error


def blocks_up_to(max_size: int, n_layers: int) -> list[Block]:
    """All blocks of 1 .. `max_size` layers in a model of `n_layers`, by size and then by start."""
    return [Block(start, size) for size in range(1, max_size + 1) for start in range(n_layers - size + 1)]


@dataclass(frozen=True)
class LayerSet(Spec):
    """Removed layers with kept ones between them, 0-based and ascending; one unbroken run of layers is a `Block`."""

    kind: ClassVar[str] = "layer_set"

    layers: tuple[int, ...]
    """The removed layers."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.layers, self.layers[1:], strict=False))
        if not self.layers or self.layers[0] < 0 or not ascending or self.layers[-1] >= MOST_LAYERS:
            raise BlockRangeError(
                f"Removed layers must be distinct, ascending and 0..{MOST_LAYERS - 1}, not {shown(self.layers)}."
            )

    @property
    def start(self) -> int:
        """The first removed layer: up to it the cut model is the unpruned one."""
        return self.layers[0]

    @property
    def size(self) -> int:
        """Number of removed layers n."""
        return len(self.layers)

    @property
    def blocks(self) -> list[Block]:
        """The unbroken runs that these layers make up."""
        found: list[Block] = []
        for layer in self.layers:
            if found and layer == found[-1].stop:
                found[-1] = Block(found[-1].start, found[-1].size + 1)
            else:
                found.append(Block(layer, 1))
        return found

    def check(self, n_layers: int) -> None:
        """Raise `BlockRangeError` unless all layers exist in a model of `n_layers` and at least one is left."""
        if self.layers[-1] >= n_layers or self.size >= n_layers:
            raise BlockRangeError(
                f"Layers {', '.join(map(str, self.layers))} cannot be removed: this model has layers 0..{n_layers - 1} and "
                f"must keep at least one."
            )

    def describe(self) -> str:
        """Both index forms: "layers 3, 5-6 (3 layers), blocks [3, 4) [5, 7)"."""
        halves = " ".join(f"[{b.start}, {b.stop})" for b in self.blocks)
        return f"{self.brief()} ({self.size} layers), blocks {halves}"

    def brief(self) -> str:
        """For those who have seen both forms: "layers 3, 5-6"."""
        return "layers " + ", ".join(str(b.start) if b.size == 1 else f"{b.start}-{b.stop - 1}" for b in self.blocks)


Removal = Block | LayerSet
"""What a cut takes out."""


def removal(layers: typing.Iterable[int]) -> Removal:
    """The layers as a `Block` where they are one unbroken run, else as a `LayerSet`.

    Raises:
        BlockRangeError: when there are none.
    """
    distinct = tuple(sorted(set(layers)))
    if distinct and distinct[-1] - distinct[0] + 1 == len(distinct):
        return Block(distinct[0], len(distinct))
    return LayerSet(distinct)


def parse_removal(text: str) -> Removal:
    """Read START:SIZE, or several of them joined by "+", as the command line writes a cut: "11:5", "3:1+7:2".

    Raises:
        BlockRangeError: when a part is not START:SIZE, two parts share a layer, or they are more layers than any model has.
    """
    parts = [Block.parse(part) for part in text.split("+", MOST_LAYERS)]
    if sum(part.size for part in parts) > MOST_LAYERS:
        raise BlockRangeError(
            f"The cut {text[:LONGEST_SHOWN]!r} is more than {MOST_LAYERS:,} layers, and no model has as many."
        )
    layers = [layer for part in parts for layer in part.layers]
    if len(set(layers)) != len(layers):
        raise BlockRangeError(f"The parts of the cut {text[:LONGEST_SHOWN]!r} share a layer; name every layer once.")
    return removal(layers)


def written(cut: Removal) -> str:
    """The inverse of `parse_removal`: "11:5", "3:1+7:2"."""
    return "+".join(f"{run.start}:{run.size}" for run in cut.blocks)
