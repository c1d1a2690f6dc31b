"""Removing decoder layers: for a while (`without_block`), or for good (`cut`)."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from analysis.core.blocks import Removal
from analysis.models.decoder import Decoder
from analysis.models.families import Family


@contextlib.contextmanager
def without_block(decoder: Decoder, block: Removal | None) -> Iterator[Decoder]:
    """Run the body of a `with` statement as if `block` were not there, then restore the model bit for bit.

    Args:
        decoder: the model, taken apart; it is the same object inside and after.
        block: the layers to leave out; None leaves the model as it is.

    Raises:
        BlockRangeError: when the block does not lie inside the model.
    """
    undo = _remove(decoder, block) if block is not None else (lambda: None)
    try:
        yield decoder
    finally:
        undo()


class Cut:
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


def cut(decoder: Decoder, block: Removal) -> Cut:
    """Remove `block` for good; the model then saves, reloads and generates like any smaller model of its family.

    Raises:
        BlockRangeError: when the block does not lie inside the model.
    """
    return Cut(decoder, block)


def _remove(decoder: Decoder, block: Removal) -> Callable[[], None]:
    """Take the block out and return the function that puts everything back."""
    block.check(decoder.n_layers)
    before, n_layers = decoder.layers, decoder.n_layers
    family = decoder.family
    kept = [index for index in range(n_layers) if index not in block.layers]
    changes: list[tuple[Any, str, Any, Any]] = [
        (decoder.owner, decoder.layers_name, before, nn.ModuleList(before[i] for i in kept))
    ]
    for new, old in enumerate(kept):
        for module in before[old].modules():
            for name in family.depth:
                if getattr(module, name, None) == old:
                    changes.append((module, name, old, new))
    config = decoder.config
    changes.append((config, "num_hidden_layers", n_layers, len(kept)))
    for name, value in per_layer_lists(config, n_layers, family).items():
        changes.append((config, name, value, type(value)(value[index] for index in kept)))
    for name in family.layer_numbers:
        indices = getattr(config, name, None)
        if indices:
            changes.append((config, name, indices, type(indices)(kept.index(index) for index in indices if index in kept)))
    for owner, name, _, new in changes:
        setattr(owner, name, new)

    def undo() -> None:
        for owner, name, old, _ in reversed(changes):
            setattr(owner, name, old)

    return undo


def per_layer_lists(config: Any, n_layers: int, family: Family) -> dict[str, list | tuple]:
    """The configuration's lists with one entry per decoder layer, such as `layer_types` and `no_rope_layers`."""
    return {
        name: value
        for name, value in vars(config).items()
        if isinstance(value, list | tuple)
        and len(value) == n_layers
        and name not in family.layer_numbers
        and not name.endswith(("token_id", "token_ids", "architectures"))
    }
