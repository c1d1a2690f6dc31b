"""What a cut saves: parameters and bytes, from a model's sizes alone."""

from dataclasses import dataclass

from analysis.blocks import Removal
from analysis.results import ModelFacts


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
