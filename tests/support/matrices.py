"""Matrices and models that multiply in one of Layerscope's ways, and the right values beside them."""

import torch
from torch import nn

from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from analysis.models.running import head
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


def error_of_head(decoder, dtype):
    """The largest error of some log-probabilities, in nats."""
    torch.manual_seed(0)
    states = torch.randn(6, decoder.config.hidden_size).to(dtype)
    indices, tokens = torch.tensor([0, 1, 2, 3, 4, 5, 5]), torch.tensor([3, 1, 4, 1, 5, 9, 2])
    weight, bias = decoder.head.weight.double(), decoder.head.bias
    logits = states.double() @ weight.T + (0 if bias is None else bias.double())
    wanted = decoder.scaled(logits).log_softmax(-1)[indices, tokens]
    return (head.log_probabilities(decoder, states, indices, tokens) - wanted).abs().max()
