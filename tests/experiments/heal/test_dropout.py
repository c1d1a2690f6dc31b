"""Dropout: how much is dropped, that the mean stays, that gradients follow, and where it takes the usual one's place."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from analysis.experiments.heal import dropout
from analysis.experiments.heal.dropout import SharedDrawDropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.05, 0.5])
def test_the_asked_share_is_dropped_and_made_up_for(p, dtype):
    torch.manual_seed(0)
    layer = SharedDrawDropout(p).train()
    found = layer(torch.ones(3, 1001, 67, dtype=dtype))
    assert float((found == 0).float().mean()) == pytest.approx(p, abs=0.003)
    assert found[found != 0].float().unique().tolist() == [pytest.approx(1 / (1 - p), rel=1e-2)]
    assert float(found.float().mean()) == pytest.approx(1, abs=0.01)


def test_neighbours_that_share_a_draw_are_independent_of_each_other():
    torch.manual_seed(1)
    kept = (SharedDrawDropout(0.25).train()(torch.ones(400_000)) != 0).view(-1, 4).double()
    correlations = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlations.abs().max()) < 0.02
    assert kept.mean(0).tolist() == pytest.approx([0.75] * 4, abs=0.01)


def test_gradients_are_dropped_where_the_values_were():
    values = torch.randn(64, 33, requires_grad=True)
    found = SharedDrawDropout(0.3).train()(values)
    found.sum().backward()
    assert torch.equal(values.grad == 0, found == 0)
    assert torch.allclose(values.grad * values, found)


def test_a_seed_repeats_the_draws_and_measuring_changes_nothing():
    layer, values = SharedDrawDropout(0.5).train(), torch.randn(1000)
    torch.manual_seed(3)
    first = layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert torch.equal(layer.eval()(values), values)
    assert torch.equal(SharedDrawDropout(0.0).train()(values), values)


def test_it_replaces_the_usual_dropout_in_adapters_only():
    base = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1))
    model = get_peft_model(base, LoraConfig(r=2, lora_dropout=0.2, target_modules=["0"]))
    dropout.speed_up(model)
    assert [module.p for module in model.modules() if isinstance(module, SharedDrawDropout)] == [0.2]
    assert isinstance(base[1], nn.Dropout)
