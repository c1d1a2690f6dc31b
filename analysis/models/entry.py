"""The inputs of a model's layers: x[0], and the arguments that its family passes to every layer beside the stream."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from analysis.core.errors import UnsupportedModelError
from analysis.models.decoder import Decoder
from analysis.models.meter import not_counted


@torch.inference_mode()
def entry(decoder: Decoder, ids: Tensor, **arguments: Any) -> tuple[Tensor, list[tuple[tuple, dict]]]:
    """Return x[0] of a batch, and the family's arguments of every layer beside the stream: masks, rotary tables, positions.

    The layers themselves are not run.

    Args:
        decoder: the model; its layers need no weights.
        ids: (batch, seq).
        arguments: of the body, beside the ids: masks and positions, when they are not the plain causal ones.

    Raises:
        UnsupportedModelError: when the family's body needs the outputs of its layers.
    """
    for as_tuple in (False, True):
        seen: list[Tensor] = []
        calls: list[tuple[tuple, dict]] = []
        with _skipped(decoder, seen, calls, as_tuple), contextlib.suppress(*_CONFUSED):
            decoder.body(input_ids=ids.to(decoder.device), use_cache=False, **arguments)
        if len(seen) == decoder.n_layers and all(stream.shape == seen[0].shape for stream in seen) and seen[0].dim() == 3:
            return seen[0], calls
    raise not_one_by_one(decoder)


def not_one_by_one(decoder: Decoder) -> UnsupportedModelError:
    """Return the error for a model whose layers cannot be run one by one."""
    return UnsupportedModelError(
        f"The body of this {decoder.config.model_type} model does more between its layers than pass on the "
        "residual stream, so it cannot be measured layer by layer. Use it where all of it fits in memory."
    )


_CONFUSED = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)


@contextlib.contextmanager
def _skipped(decoder: Decoder, seen: list[Tensor], calls: list[tuple[tuple, dict]], as_tuple: bool) -> Iterator[None]:
    """Let every layer record its arguments and hand the stream on as it is."""

    def skip(*args: Any, **kwargs: Any) -> Any:
        stream = args[0] if args else kwargs["hidden_states"]
        seen.append(stream)
        calls.append((args[1:], {name: value for name, value in kwargs.items() if name != "hidden_states"}))
        return (stream,) if as_tuple else stream

    layers = list(decoder.layers)
    try:
        for layer in layers:
            layer.forward = skip
        with not_counted():
            yield
    finally:
        for layer in layers:
            del layer.forward
