"""Removal of decoder layers and sublayers: temporary (`without_block`) or permanent (`cut`)."""

import contextlib
from collections.abc import Callable, Iterator

from analysis.core import blocks
from analysis.core.blocks import PartSet, Removal
from analysis.models.architecture import sublayers
from analysis.models.architecture.decoder import Decoder
from analysis.models.architecture.layer_removal import take_out


@contextlib.contextmanager
def without_block(decoder: Decoder, block: Removal | None) -> Iterator[Decoder]:
    """Remove `block` inside a `with` statement, then restore the model bit for bit.

    Args:
        decoder: the model, which is modified in place.
        block: layers or sublayers to remove; None for none.

    Raises:
        BlockRangeError: If the block is not inside the model.
        UnsupportedModelError: If the sublayers of a layer cannot be separated.
    """
    undo = _remove(decoder, block)
    try:
        yield decoder
    finally:
        undo()


class PrunedBlock:
    """A removed block, which can be restored temporarily."""

    def __init__(self, decoder: Decoder, block: Removal) -> None:
        """Remove the block.

        Raises:
            BlockRangeError: If the block is not inside the model.
        """
        self.block = block
        self._decoder = decoder
        self._undo = _remove(decoder, block)

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Restore the block inside a `with` statement."""
        self._undo()
        try:
            yield
        finally:
            self._undo = _remove(self._decoder, self.block)

    def zeroed(self) -> None:
        """Restore removed sublayers as zeros, permanently. Removed layers stay removed.

        Raises:
            UnsupportedModelError: as in `zeroed`.
        """
        if isinstance(self.block, PartSet):
            self._undo()
            zeroed(self._decoder, self.block)


def cut(decoder: Decoder, block: Removal) -> PrunedBlock:
    """Remove `block` permanently. The model then saves, reloads and generates like a smaller model
    of its family.

    A model without sublayers generates too, but transformers has no class for it. It is saved with
    these sublayers set to zero (`zeroed`).

    Raises:
        BlockRangeError: If the block is not inside the model.
        UnsupportedModelError: If the sublayers of a layer cannot be separated.
    """
    return PrunedBlock(decoder, block)


def zeroed(decoder: Decoder, block: PartSet) -> None:
    """Remove the full layers of `block` permanently, and set the last matrices of its single
    sublayers to zero.

    The outputs are exactly those without these sublayers. The model can be saved and reloaded by
    transformers, but is as large and as slow as with them.

    Raises:
        BlockRangeError: If the block is not inside the model.
        UnsupportedModelError: If the sublayers cannot be separated, or have no such matrix.
    """
    block.check_depth(decoder.n_layers)
    for matrix in [
        sublayers.output_projection(decoder, *part) for part in blocks.single_parts(block)
    ]:
        sublayers.zero(matrix)
    if block.layers:
        cut(decoder, blocks.removal(block.layers))


def _remove(decoder: Decoder, block: Removal | None) -> Callable[[], None]:
    """Remove the block and return the function that restores it."""
    if block is None:
        return lambda: None
    block.check_depth(decoder.n_layers)
    if block.layers:
        decoder.check_layers_are_apart()
    decoder.check_states_are_own()
    sublayers.check(decoder, [block])
    with contextlib.ExitStack() as stack:
        # Sublayers first, so that the replacement of attention is renumbered as well.
        for layer in (touched for touched in block.touched if touched not in block.layers):
            stack.callback(sublayers.take_out(decoder, layer, sublayers.lost(block.parts, layer)))
        stack.callback(take_out(decoder, block))
        return stack.pop_all().close
