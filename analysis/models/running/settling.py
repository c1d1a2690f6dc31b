"""Layers that compute with their own number, settled at their new places before a pruned model is saved.

A layer that pruning moves forward keeps, in memory, the numbers that it was built with. A folder that is loaded again builds it
with those of its new place. The difference is folded into the weights if algebra allows it exactly. The caller tests whether
the model then answers as before.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from analysis.models.architecture.decoder import Decoder

Settle = Callable[[Sequence[Any], Sequence[int]], None]
"""Changes the weights of layers, which are given in their order with the depths that they were built for."""


@torch.no_grad()
def settle(decoder: Decoder, built_for: Sequence[int]) -> None:
    """Make the layers of a cut model compute the same at their new depths as they computed at their old ones.

    Args:
        decoder: the cut model, its weights whole; it computes something else afterwards, until it is loaded again.
        built_for: of each of its layers the depth before the cut.
    """
    rebuild = _BY_FAMILY.get(decoder.config.model_type)
    if rebuild is not None and list(built_for) != list(range(decoder.n_layers)):
        rebuild(list(decoder.layers), built_for)


def _differential(layers: Sequence[Any], built_for: Sequence[int]) -> None:
    """DiffLlama: x1 - lambda x2 of two attentions, normed and times 1 - lambda_init, which goes by the depth.

    lambda is exp(q1 k1) - exp(q2 k2) + lambda_init: the decrease of lambda_init is added to the first exponential, whose
    vector k1 moves along q1. Source: Differential Transformer, arXiv:2410.05258, equations 2 and 3.
    """
    for depth, (layer, before) in enumerate(zip(layers, built_for, strict=True)):
        attention, old_lambda, new_lambda = layer.self_attn, _lambda_init(before), _lambda_init(depth)
        q, k = attention.lambda_q1.double(), attention.lambda_k1.double()
        exponent = torch.log(torch.exp(q @ k) + old_lambda - new_lambda)
        attention.lambda_k1.copy_(k + q * (exponent - q @ k) / (q @ q))
        attention.o_proj.weight.mul_((1 - old_lambda) / (1 - new_lambda))


def _lambda_init(depth: int) -> float:
    return 0.8 - 0.6 * math.exp(-0.3 * depth)


def _averaged(layers: Sequence[Any], built_for: Sequence[int]) -> None:
    """Beam: the i-th addition to the stream is x sqrt((i - 1) / i) + f / sqrt(i), i from 2 on, two of them in a layer.

    Everything reads the stream through norms, which see no factor on all of it. Against the stream an addition counts
    1 / sqrt(i - 1). Every addition also makes the stream shorter by a factor that goes by i.
    """
    longer = 1.0  # than it was, the square of the stream as it will be
    for depth, (layer, before) in enumerate(zip(layers, built_for, strict=True)):
        for position, norm in enumerate((layer.post_attention_layernorm, layer.post_feedforward_layernorm)):
            old_count, new_count = 2 * (before + 1) + position, 2 * (depth + 1) + position
            norm.weight.mul_(math.sqrt(longer * (new_count - 1) / (old_count - 1)))
            longer *= (new_count - 1) / new_count * old_count / (old_count - 1)


_BY_FAMILY: dict[str, Settle] = {"diffllama": _differential, "beam": _averaged}
