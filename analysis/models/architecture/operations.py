"""Counts the operations of a model, by a hook on each of its layers and on the head.

A pass costs an addition or two a layer more, and never waits for an accelerator.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core.meter import COUNTS
from analysis.models.architecture.decoder import Decoder, output_stream
from analysis.models.architecture.layer_sizes import is_of_experts


def watch(decoder: Decoder) -> None:
    """Let this process count the operations of a model from now on.

    Of a mixture of experts only those count that a token uses. A pass that gradients flow through counts the way back too.
    Where a family does not use PyTorch's fused attention, its products of queries, keys and values are left out.

    Args:
        decoder: one that is watched already is counted as it is now: with its adapter, and with its trained weights.
    """
    _count_attention()
    for layer in decoder.layers:
        _hook(layer, _Counting(*_flop_per_token(layer, decoder), is_layer=True))
    head: Any = getattr(decoder.head, "base_layer", decoder.head)  # PEFT's is around the one that was watched before
    _hook(head, _Counting(*_flop_per_token(head, decoder), is_layer=False))


@contextlib.contextmanager
def not_counted() -> Iterator[None]:
    """Around calls of layers that compute nothing."""
    before = COUNTS.layer_tokens, COUNTS.flop
    try:
        yield
    finally:
        COUNTS.layer_tokens, COUNTS.flop = before


def not_computed(layer: nn.Module, stand_in: nn.Module, original: nn.Module, decoder: Decoder) -> None:
    """Subtract from a watched layer the operations of a module of it that another one stands in for."""
    if _is_watched(layer):
        forward, backward = _flop_per_token(original, decoder)
        _hook(stand_in, _Counting(-forward, -backward, is_layer=False))


def passed_by(layer: nn.Module, modules: Iterable[nn.Module], decoder: Decoder, n_tokens: int) -> None:
    """Subtract the operations of modules of a watched layer that some of its tokens did not go through."""
    if _is_watched(layer):
        COUNTS.flop -= n_tokens * sum(_flop_per_token(module, decoder)[0] for module in modules)


def _is_watched(layer: nn.Module) -> bool:
    return any(isinstance(hook, _Counting) for hook in layer._forward_hooks.values())


class _Counting:
    """A hook behind a module."""

    def __init__(self, forward: float, backward: float, *, is_layer: bool) -> None:
        self._ahead, self._both, self._is_layer = forward, forward + backward, is_layer

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        stream = output_stream(output)
        n_tokens = stream.shape[:-1].numel()
        COUNTS.flop += (self._both if stream.requires_grad else self._ahead) * n_tokens
        if self._is_layer:
            COUNTS.layer_tokens += n_tokens


def _hook(module: nn.Module, counting: _Counting) -> None:
    for number, hook in module._forward_hooks.items():
        if isinstance(hook, _Counting):
            module._forward_hooks[number] = counting
            return
    module.register_forward_hook(counting)


def _flop_per_token(module: nn.Module, decoder: Decoder) -> tuple[float, float]:
    """Return the operations of a module's weight matrices: of a pass, and of the way back for its input and trained weights."""
    forward = trained = 0.0
    for name, part in module.named_modules():
        for weight in part.parameters(recurse=False):
            used = decoder.experts_share if is_of_experts(name, part, weight, decoder.family) else 1.0
            # Quantized weights are packed, and only the module knows their shape.
            is_linear = hasattr(part, "in_features") and hasattr(part, "out_features") and weight is getattr(part, "weight", 0)
            n_weights = part.in_features * part.out_features if is_linear else weight.numel() if weight.dim() > 1 else 0
            forward += 2.0 * used * n_weights
            trained += 2.0 * used * n_weights * weight.requires_grad
    return forward, forward + trained


_fused = torch.nn.functional.scaled_dot_product_attention


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
    output = _fused(query, key, value, *args, **options)
    # Every query with every key, and every weight with every value, be they masked or not.
    flop = 2.0 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    COUNTS.flop += 3.0 * flop if output.requires_grad else flop
    return output


def _count_attention() -> None:
    """Let transformers, which looks it up at every call, find a fused attention that is counted."""
    if torch.nn.functional.scaled_dot_product_attention is _fused:
        torch.nn.functional.scaled_dot_product_attention = _attention
