"""What a cut saves: parameters, bytes of weights in any precision, bytes of the KV cache, from a model's sizes alone."""

from dataclasses import dataclass

from analysis.blocks import Removal
from analysis.model_facts import LayerFacts
from analysis.results import ModelFacts

DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Savings:
    """What is left and what is gone after a cut."""

    parameters: int
    """Removed parameters."""
    fraction: float
    """Removed share of ALL parameters, embeddings and head included; below n/L, since those stay."""
    weight_bytes: int
    """Removed bytes of weights in the dtype or quantization of the model."""
    kept_parameters: int


def savings(model: ModelFacts, block: Removal | None) -> Savings:
    """What removing `block` saves; embeddings, final norm and head are never removed."""
    removed = sum(model.layer_parameters[layer] for layer in block.layers) if block is not None else 0
    return Savings(
        parameters=removed,
        fraction=removed / model.n_parameters,
        weight_bytes=int(removed * model.bytes_per_parameter),
        kept_parameters=model.n_parameters - removed,
    )


def weight_bytes(model: ModelFacts, block: Removal | None, precision: str, *, rest: str = "bfloat16") -> int | None:
    """Bytes of the weights that are left without `block`.

    Args:
        model: the unpruned model.
        block: the removed layers; None for the unpruned model.
        precision: a dtype, or `8bit` or `4bit` (NF4 with double quantization) for the matrices of the decoder layers.
        rest: the dtype of everything else where the layers are quantized: embeddings, head, norms, biases, fused experts.

    Returns:
        The bytes, quantization constants included; None for a quantized precision where the layers' facts are not known.
    """
    if precision in DTYPE_BYTES:
        return int(savings(model, block).kept_parameters * DTYPE_BYTES[precision])
    kept = _kept(model, block)
    if not kept:
        return None
    matrices = sum(layer.nf4_bytes if precision == "4bit" else layer.int8_bytes for layer in kept)
    others = sum(layer.other_parameters for layer in kept) + model.other_parameters
    return matrices + int(others * DTYPE_BYTES[rest])


def kv_cache_bytes(model: ModelFacts, block: Removal | None, *, tokens: int, batch_size: int = 1, dtype: str) -> int | None:
    """Bytes of the keys and values that are kept for a context, without `block`.

    Args:
        model: the unpruned model.
        block: the removed layers; None for the unpruned model.
        tokens: length of the context; a sliding-window layer keeps no more than its window needs.
        batch_size: contexts at once.
        dtype: what the model computes in, whatever its weights are quantized to.

    Returns:
        The bytes, or None where they are not known: of results that are older than this figure, and of families that keep
        something else than keys and values for each token.
    """
    kept = _kept(model, block)
    elements = 0
    for layer in kept:
        if layer.cache_width is None:
            return None
        elements += layer.cache_width * (tokens if layer.cache_tokens is None else min(tokens, layer.cache_tokens))
    return int(elements * batch_size * DTYPE_BYTES[dtype]) if kept else None


def _kept(model: ModelFacts, block: Removal | None) -> list[LayerFacts]:
    removed = set(block.layers) if block is not None else set()
    return [layer for index, layer in enumerate(model.layers) if index not in removed]
