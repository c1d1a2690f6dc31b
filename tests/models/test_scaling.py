"""A factor for the stream in the weights: the same logits, with the head's weights shared or not, or a refusal."""

import pytest
import torch

from analysis.core.blocks import Block
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import adapters, folding, pruning
from analysis.models.running.adapters import Bridge
from tests.support.families import BY_MASK, BY_ROW, FAMILIES, build

SCALES = [Bridge(1, torch.tensor(0.3)), Bridge(3, torch.tensor(-0.2)), Bridge(5, torch.tensor(0.5))]
"""Of a model that has five layers left: the last one stands in front of the final norm."""
FOLDS_NOT = ("olmo2",)
"""Families that read the stream without a norm before: their exports are refused."""
IDS = torch.tensor([[7, 21, 5, 90, 13, 250, 8, 33]])


@torch.no_grad()
def folded(model):
    """Logits without the factors, with them laid between the layers, and with them in the weights."""
    decoder = find_decoder(model)
    for module in model.modules():  # the number that norms add to the square is a large share of small random streams
        for name in ("eps", "variance_epsilon"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 1e-12)
    pruning.cut(decoder, Block(2, 1))
    without = model(IDS, use_cache=False).logits
    laid = [adapters.lay_bridge(decoder, scale) for scale in SCALES]
    between = model(IDS, use_cache=False).logits
    for handle in laid:
        handle.remove()
    folding.fold(decoder, SCALES)
    return without, between, model(IDS, use_cache=False).logits


@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
@pytest.mark.parametrize("family", [*FAMILIES, *BY_MASK, *BY_ROW])
def test_folded_factors_leave_the_logits_as_they_were(family, tied):
    model = build(family)
    if tied:
        model.get_output_embeddings().weight = model.get_input_embeddings().weight
    without, between, found = folded(model)
    size = (between - between.mean(-1, keepdim=True)).square().mean().sqrt()
    off = (found - between).square().mean().sqrt() / size
    # OLMo's number is none of a module's, so that it is as large as it is.
    assert off < (1e-3 if family == "olmo" else 1e-4) if family not in FOLDS_NOT else off > 1e-3
    assert (found - without).square().mean().sqrt() > 1e-2 * size
    if tied:
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_unknown_writers_are_refused():
    model = build("llama")
    for layer in model.model.layers:
        layer.mlp.down = layer.mlp.down_proj
        del layer.mlp.down_proj
        layer.self_attn.out = layer.self_attn.o_proj
        del layer.self_attn.o_proj
    with pytest.raises(
        UnsupportedModelError, match="Layer 1 of this llama model has no known weights .* Export without healing"
    ):
        folding.fold(find_decoder(model), SCALES)
