"""Sizes of a model and its layers, from the model or its weightless skeleton."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.core.blocks import ATTENTION, FEED_FORWARD
from analysis.models.architecture import families
from analysis.models.architecture.decoder import Decoder, part_names
from analysis.models.architecture.families import Family
from analysis.models.source.sizes import DTYPE_BYTES, LayerFacts, ModelFacts, PartFacts

QUANTIZED_BYTES = {"4bit": 0.5 + 0.127 / 8, "8bit": 1.0}
"""Bytes per weight of a linear layer; NF4 with double quantization adds 0.127 bits of constants
(QLoRA, 2305.14314)."""


def facts(decoder: Decoder, *, name: str, dtype: str, quantization: str) -> ModelFacts:
    """Return the sizes of a model and its layers.

    Args:
        decoder: the model, or its weightless skeleton. A skeleton runs on two positions of the meta
            device, which takes no memory and shows how its cache grows.
        name: displayed name of the model.
        dtype, quantization: as in `ModelSpec`.
    """
    config = decoder.config
    layers = [_n_parameters(layer) for layer in decoder.layers]
    total = _n_parameters(decoder.model)
    return ModelFacts(
        name=name,
        family=config.model_type,
        n_layers=decoder.n_layers,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        layer_parameters=layers,
        other_parameters=total - sum(layers),
        bytes_per_parameter=QUANTIZED_BYTES.get(quantization, DTYPE_BYTES[dtype]),
        max_positions=getattr(config, "max_position_embeddings", None),
        layers=[
            _layer(layer, decoder, *cache)
            for layer, cache in zip(decoder.layers, _caches(decoder), strict=True)
        ],
    )


def _n_parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module, tied weights counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


_NF4_BLOCK = 64
"""Number of weights per scale."""
_NF4_SCALES = 256
"""Number of one-byte scales per float32 scale (double quantization)."""
_NF4_TABLES = 4 * (16 + 256 + 1)
"""Bytes of tables per matrix: the 16 values of NF4, the 256 values of a scale and the mean of the
scales, all float32."""


def _layer(
    layer: nn.Module, decoder: Decoder, cache_width: int | None, cache_tokens: int | None
) -> LayerFacts:
    total = _sizes([layer])
    family = decoder.family
    experts = 0
    for name, module in layer.named_modules():
        for weight in module.parameters(recurse=False):
            if is_of_experts(name, module, weight, family):
                experts += weight.numel()
    parts = {}
    for part, names in part_names(layer, family).items():
        parts[part] = _sizes([layer.get_submodule(name) for name in names])
    return LayerFacts(
        other_parameters=total.other_parameters,
        int8_bytes=total.int8_bytes,
        nf4_bytes=total.nf4_bytes,
        cache_width=cache_width,
        cache_tokens=cache_tokens,
        attention=parts.get(ATTENTION),
        feed_forward=parts.get(FEED_FORWARD),
        expert_parameters=experts,
        idle_parameters=experts - round(experts * decoder.experts_share),
        n_experts=families.first(decoder.config, family.n_experts) if experts else 0,
    )


def is_of_experts(name: str, module: nn.Module, weight: Tensor, family: Family) -> bool:
    """Return whether a weight belongs to routed experts, rather than to a module that all tokens go
    through.

    Args:
        name: name of its module within the layer.
        module: the module.
        weight: a parameter of the module.
        family: family of the model.
    """
    if "experts" in name.split("."):  # and not `shared_experts`
        return True
    return weight.dim() == 3 and any(
        word in type(module).__name__.lower() for word in family.experts
    )


def _n_outputs(matrix: nn.Linear | Conv1D) -> int:
    # A Conv1D stores its weight transposed, and bitsandbytes transposes it back.
    dim = 1 if isinstance(matrix, Conv1D) else 0
    return matrix.weight.shape[dim]


def _sizes(modules: Sequence[nn.Module]) -> PartFacts:
    """Return the total sizes of some modules."""
    everything = itertools.chain.from_iterable(module.modules() for module in modules)
    matrices = [module for module in everything if isinstance(module, nn.Linear | Conv1D)]
    outputs = [_n_outputs(matrix) for matrix in matrices]
    weights = [matrix.weight.numel() for matrix in matrices]
    parameters = sum(_n_parameters(module) for module in modules)
    return PartFacts(
        parameters=parameters,
        other_parameters=parameters - sum(weights),
        int8_bytes=sum(weights) + 4 * sum(outputs),
        nf4_bytes=sum(nf4_bytes(n) for n in weights),
    )


def nf4_bytes(n_weights: int) -> int:
    """Return the bytes of a matrix in NF4 with double quantization, as bitsandbytes stores it.

    Source: QLoRA, arXiv:2305.14314, section 3.
    """
    scales = -(-n_weights // _NF4_BLOCK)
    return -(-n_weights // 2) + scales + 4 * -(-scales // _NF4_SCALES) + _NF4_TABLES


_Caches = list[tuple[int | None, int | None]]
_caches_of: dict[tuple[type, str], _Caches] = {}
"""Cached growth of the KV cache by class and configuration: a pass takes 0.3 s, and a job plans its
model twice."""


def _caches(decoder: Decoder) -> _Caches:
    """Return the cached elements per token and the maximum number of cached tokens of each layer;
    None if unknown.
    """
    if decoder.device.type != "meta":
        return _caches_of_a_pass(decoder)
    key = type(decoder.body), decoder.model.config.to_json_string(use_diff=False)
    if key not in _caches_of:
        _caches_of[key] = _caches_of_a_pass(decoder)
    return _caches_of[key]


def _caches_of_a_pass(decoder: Decoder) -> _Caches:
    """Read both from the cache of a pass, since configurations name heads differently or not at
    all.
    """
    unknown: _Caches = [(None, None)] * decoder.n_layers
    ids = torch.zeros(1, 2, dtype=torch.long, device=decoder.device)
    try:
        with torch.inference_mode(), torch.device(decoder.device):
            output = decoder.body(input_ids=ids, use_cache=True)
        cache = output[decoder.cache_name]
        layers = list(cache.layers)
    except Exception:  # some families read values, which a skeleton does not have
        return unknown
    return [_growth(layer) for layer in layers] if len(layers) == decoder.n_layers else unknown


def _growth(layer: Any) -> tuple[int | None, int | None]:
    keys = getattr(layer, "keys", None)
    values = getattr(layer, "values", None)
    if keys is None or values is None or keys.dim() != 4:
        return None, None
    per_token = int(keys.shape[1] * keys.shape[3] + values.shape[1] * values.shape[3])
    # Between two passes a sliding layer keeps one token less than its window.
    return per_token, int(layer.sliding_window) - 1 if getattr(layer, "is_sliding", False) else None
