"""Matrices and models that multiply in one of Layerscope's ways, and the right values beside
them.
"""

import torch
from torch import nn

from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from tests.support.families import build


def linear(kind, *, bias=True, dtype=torch.float32, shape=(48, 96)):
    """A matrix of a kind, (n_out, n_in), the same at every call."""
    torch.manual_seed(0)
    made = nn.Linear(shape[1], shape[0], bias=bias, dtype=dtype)
    made.__class__ = kind
    return made


def in_float64(layer, inputs):
    """The product in float64."""
    bias = 0 if layer.bias is None else layer.bias.double()
    return inputs.double() @ layer.weight.double().T + bias


def prepared(family, dtype):
    """A small model as it is loaded."""
    decoder = architecture.find_decoder(build(family).to(dtype))
    float32_products.prepare(decoder.model.modules())
    residual.widen(decoder)
    return decoder
