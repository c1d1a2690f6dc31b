"""What each decoder layer of a model holds: its weights in every precision, its keys and values per token."""

from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from analysis.architecture import Decoder
from analysis.model_facts import LayerFacts

_NF4_BLOCK = 64
"""Weights that share one scale."""
_NF4_SCALES = 256
"""Scales, of one byte each, that share one float32 scale of their own (double quantization)."""
_NF4_TABLES = 4 * (16 + 256 + 1)
"""Bytes kept for each matrix: the 16 values of NF4, the 256 of a scale, and the scales' mean, all float32."""


def layer_facts(decoder: Decoder) -> list[LayerFacts]:
    """What each layer holds, from the model or from its weightless skeleton on the meta device.

    Args:
        decoder: the model; a skeleton is run on two positions, which takes no memory and says how its cache grows.
    """
    caches = _caches(decoder)
    return [_layer(layer, *cache) for layer, cache in zip(decoder.layers, caches, strict=True)]


def _layer(layer: nn.Module, cache_width: int | None, cache_tokens: int | None) -> LayerFacts:
    matrices = [module.weight for module in layer.modules() if isinstance(module, nn.Linear | Conv1D)]
    # A Conv1D holds its weight transposed, and bitsandbytes turns it round.
    outputs = [
        module.weight.shape[1 if isinstance(module, Conv1D) else 0]
        for module in layer.modules()
        if isinstance(module, nn.Linear | Conv1D)
    ]
    weights = [matrix.numel() for matrix in matrices]
    return LayerFacts(
        other_parameters=sum(parameter.numel() for parameter in layer.parameters()) - sum(weights),
        int8_bytes=sum(weights) + 4 * sum(outputs),
        nf4_bytes=sum(nf4_bytes(n) for n in weights),
        cache_width=cache_width,
        cache_tokens=cache_tokens,
    )


def nf4_bytes(n_weights: int) -> int:
    """Bytes of one matrix in NF4 with double quantization, as bitsandbytes holds it.

    Source: QLoRA, arXiv:2305.14314, section 3.
    """
    scales = -(-n_weights // _NF4_BLOCK)
    return -(-n_weights // 2) + scales + 4 * -(-scales // _NF4_SCALES) + _NF4_TABLES


def _caches(decoder: Decoder) -> list[tuple[int | None, int | None]]:
    """Per layer, the elements of keys and values per token and the most tokens kept; None where that is unknown.

    Read from the cache of a real pass, for configurations name heads in many ways and some not at all.
    """
    unknown: list[tuple[int | None, int | None]] = [(None, None)] * decoder.n_layers
    ids = torch.zeros(1, 2, dtype=torch.long, device=decoder.device)
    try:
        with torch.inference_mode(), torch.device(decoder.device):
            output = decoder.body(input_ids=ids, use_cache=True)
        cache = output[decoder.cache_name]
        layers = list(cache.layers)
    except Exception:  # a skeleton has no numbers, and a family may look at them on its way
        return unknown
    return [_growth(layer) for layer in layers] if len(layers) == decoder.n_layers else unknown


def _growth(layer: Any) -> tuple[int | None, int | None]:
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    if keys is None or values is None or keys.dim() != 4:
        return None, None
    per_token = int(keys.shape[1] * keys.shape[3] + values.shape[1] * values.shape[3])
    # Between two passes a sliding layer needs one token less than its window: the next one brings itself.
    return per_token, int(layer.sliding_window) - 1 if getattr(layer, "is_sliding", False) else None
