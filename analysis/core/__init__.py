"""Base of all other packages: requests, results, blocks, errors, progress, storage, statistics."""

from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import Experiment, register
from analysis.core.record import Result, Spec

__all__ = [
    "Block",
    "Experiment",
    "LayerSet",
    "LayerscopeError",
    "PartSet",
    "Result",
    "Spec",
    "register",
]
