"""Removing decoder layers and sublayers: for a while (`without_block`), or for good (`cut`)."""

import contextlib
from collections.abc import Callable, Iterator

from analysis.core import blocks
from analysis.core.blocks import PartSet, Removal
from analysis.models.architecture import sublayers
from analysis.models.architecture.decoder import Decoder
from analysis.models.architecture.layer_removal import take_out


@contextlib.contextmanager
def without_block(decoder: Decoder, block: Removal | None) -> Iterator[Decoder]:
    """Run the body of a `with` statement as if `block` were not there, then restore the model bit for bit.

    Args:
        decoder: the model, taken apart; it is the same object inside and after.
        block: the layers, or parts of layers, to leave out; None leaves the model as it is.

    Raises:
        BlockRangeError: when the block does not lie inside the model.
        UnsupportedModelError: when the parts of a layer cannot be separated.
    """
    undo = _remove(decoder, block)
    try:
        yield decoder
    finally:
        undo()


class PrunedBlock:
    """A block that is out, and can be put back for a while."""

    def __init__(self, decoder: Decoder, block: Removal) -> None:
        """Take the block out.

        Raises:
            BlockRangeError: when the block does not lie inside the model.
        """
        self.block = block
        self._decoder = decoder
        self._undo = _remove(decoder, block)

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Run the body of a `with` statement with the block back in its place."""
        self._undo()
        try:
            yield
        finally:
            self._undo = _remove(self._decoder, self.block)

    def zeroed(self) -> None:
        """Put the parts of layers back in their places as zeros, for good; whole layers that are out stay out.

        Raises:
            UnsupportedModelError: as `zeroed`.
        """
        if isinstance(self.block, PartSet):
            self._undo()
            zeroed(self._decoder, self.block)


def cut(decoder: Decoder, block: Removal) -> PrunedBlock:
    """Remove `block` for good; the model then saves, reloads and generates like any smaller model of its family.

    A model without a part of a layer generates, too, but no model of its family is built so. It is saved with that part zeroed
    (`zeroed`).

    Raises:
        BlockRangeError: when the block does not lie inside the model.
        UnsupportedModelError: when the parts of a layer cannot be separated.
    """
    return PrunedBlock(decoder, block)


def zeroed(decoder: Decoder, block: PartSet) -> None:
    """Remove the whole layers of `block` for good, and make the last matrices of its single parts zero in their place.

    The outputs are exactly those of the model without these parts. The model stays one of its family, which saves and reloads.
    It is as large and as slow as with them.

    Raises:
        BlockRangeError: when the block does not lie inside the model.
        UnsupportedModelError: when the parts of a layer cannot be separated, or have no such matrix.
    """
    block.check_depth(decoder.n_layers)
    for matrix in [sublayers.output_projection(decoder, *part) for part in blocks.single_parts(block)]:
        sublayers.zero(matrix)
    if block.layers:
        cut(decoder, blocks.removal(block.layers))


def _remove(decoder: Decoder, block: Removal | None) -> Callable[[], None]:
    """Take the block out and return the function that puts everything back."""
    if block is None:
        return lambda: None
    block.check_depth(decoder.n_layers)
    if block.layers:
        decoder.check_layers_are_apart()
    decoder.check_states_are_own()
    sublayers.check(decoder, [block])
    with contextlib.ExitStack() as stack:
        # Parts first, so that the stand-in for attention is renumbered with all others.
        for layer in (touched for touched in block.touched if touched not in block.layers):
            stack.callback(sublayers.take_out(decoder, layer, sublayers.lost(block.parts, layer)))
        stack.callback(take_out(decoder, block))
        return stack.pop_all().close
