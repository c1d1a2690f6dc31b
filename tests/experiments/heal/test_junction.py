"""The instant heal: a block that is exactly linear is made up for exactly, and nothing is ever made worse."""

import pytest
import torch

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.core.progress import Cancelled
from analysis.experiments.heal import junction
from analysis.experiments.scoring import likelihood
from analysis.models import adapter, cut
from analysis.models import decoder as architecture
from tests.support.families import FAMILIES, build

N_LAYERS = 6
FOLDS_NOT = ("gemma2", "gemma3_text", "olmo2", "qwen3_moe")
"""Families with a norm between the projection and the stream, or with many projections."""


def texts(n, length=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for _ in range(n)]


@torch.inference_mode()
def own_texts(decoder, n, length=40, seed=0):
    """Texts that the model wrote itself: nothing predicts them better than it does."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 300, (n, 1), generator=generator)
    while ids.shape[1] < length:
        odds = decoder.model(ids, use_cache=False).logits[:, -1].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(odds, 1, generator=generator)], dim=1)
    return ids.tolist()


def linear_block(decoder, start, change):
    """Make layer `start` add exactly `change` times the features of the projection before it, and nothing else."""
    layer, (_, module) = decoder.layers[start], junction.output_projection(decoder, Block(start, 1))
    kept = {}
    module.register_forward_pre_hook(lambda _, args: kept.__setitem__("features", args[0]))
    layer.forward = lambda hidden_states, *args, **kwargs: hidden_states + kept["features"] @ change.T


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_a_block_that_is_linear_in_the_features_is_found_exactly(family, monkeypatch):
    monkeypatch.setattr(junction, "RIDGE", 1e-9)
    decoder = architecture.find_decoder(build(family))
    name, module = junction.output_projection(decoder, Block(3, 1))
    change = 0.3 * torch.randn(32, junction._features(module), generator=torch.Generator().manual_seed(1))
    linear_block(decoder, 3, change)
    selection = own_texts(decoder, 3, seed=1)
    found = junction.fit(decoder, Block(3, 1), own_texts(decoder, 12), selection)
    assert found.report.module == name
    assert found.report.strength == 1.0
    assert found.report.n_tokens == 12 * 40
    torch.testing.assert_close(found.change, change, rtol=1e-2, atol=1e-2)
    whole = sum(likelihood.text_losses(decoder, selection, [None])[0]) / 3
    assert found.report.loss_after == pytest.approx(whole, abs=1e-3)
    assert found.report.loss_before > whole + 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_folded_right_or_refused(family):
    decoder = architecture.find_decoder(build(family))
    block = Block(2, 2)
    if "moe" in family:
        with pytest.raises(RecipeError, match="mixture of experts"):
            junction.fit(decoder, block, texts(2), texts(2, seed=1))
        return
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    found = junction.fit(decoder, block, texts(4), texts(2, seed=1))
    assert found.report.loss_after <= found.report.loss_before
    assert all(torch.equal(before[name], value) for name, value in decoder.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in decoder.model.modules())
    assert found.is_bridge == (family in FOLDS_NOT)
    if found.is_bridge:
        with pytest.raises(RecipeError, match="heal by training instead"):
            junction.output_projection(decoder, block)
        with torch.no_grad(), cut.without_block(decoder, block):
            laid = adapter.lay_bridge(decoder, adapter.Bridge(block.start, found.change), n_layers=decoder.n_layers)
            loss = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
            laid.remove()
        assert loss == pytest.approx(found.report.loss_after, abs=1e-4)
        return
    weight = decoder.model.get_submodule(found.report.module).weight
    with torch.no_grad(), cut.without_block(decoder, block):
        weight += found.change.T if weight.shape != found.change.shape else found.change
        loss = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
    assert loss == pytest.approx(found.report.loss_after, abs=1e-4)


def test_a_block_that_is_linear_in_the_stream_is_bridged_exactly(monkeypatch):
    monkeypatch.setattr(junction, "RIDGE", 1e-9)
    monkeypatch.setattr(junction, "STRENGTHS", (1.0,))
    decoder = architecture.find_decoder(build("gemma2"))
    change = 0.3 * torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    decoder.layers[3].forward = lambda hidden_states, *args, **kwargs: hidden_states + hidden_states @ change.T
    selection = own_texts(decoder, 3, seed=1)
    found = junction.fit(decoder, Block(3, 1), own_texts(decoder, 12), selection)
    assert found.is_bridge
    assert found.report.strength == 1.0
    torch.testing.assert_close(found.change, change, rtol=1e-2, atol=1e-2)
    whole = sum(likelihood.text_losses(decoder, selection, [None])[0]) / 3
    assert found.report.loss_after == pytest.approx(whole, abs=1e-3)


def test_half_precision_does_not_hide_where_the_change_goes(starter_folder):
    """The real model's stream has entries of hundreds, beside which a small change is lost in the rounding of bfloat16."""
    from analysis.models import load
    from analysis.models.spec import ModelSpec

    loaded = load.load(ModelSpec(dtype="bfloat16"))
    for start in (1, 11, 29):
        name, _ = junction.output_projection(loaded.decoder, Block(start, 1))
        assert name == f"model.layers.{start - 1}.mlp.down_proj"


def test_a_block_at_the_very_end_and_unequal_texts():
    decoder = architecture.find_decoder(build("llama"))
    uneven = [ids[: 17 + 5 * index] for index, ids in enumerate(texts(4))]
    found = junction.fit(decoder, Block(4, 2), uneven, texts(2, seed=1))
    assert found.report.n_tokens == sum(map(len, uneven))
    assert found.report.loss_after <= found.report.loss_before


def test_padding_does_not_count(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    uneven = [ids[: 17 + 5 * index] for index, ids in enumerate(texts(4))]
    together = junction.fit(decoder, Block(2, 2), uneven, texts(2, seed=1))
    monkeypatch.setattr(junction, "tokens_per_batch", lambda device: 1)
    alone = junction.fit(decoder, Block(2, 2), uneven, texts(2, seed=1))
    torch.testing.assert_close(together.change, alone.change, rtol=1e-3, atol=1e-5)


def test_what_does_not_help_is_left_alone(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    monkeypatch.setattr(junction, "_losses", lambda *_: [1.0] + [2.0] * 6)
    found = junction.fit(decoder, Block(2, 2), texts(2), texts(2, seed=1))
    assert (found.report.strength, found.report.loss_after) == (0.0, found.report.loss_before)
    assert not found.change.any()


def test_no_layer_before_the_first():
    with pytest.raises(RecipeError, match="none before layer 0"):
        junction.fit(architecture.find_decoder(build("llama")), Block(0, 2), texts(2), texts(2))


def test_a_cancel_leaves_the_model_whole():
    decoder = architecture.find_decoder(build("llama"))

    def cancel(progress):
        if progress.done == progress.total - 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        junction.fit(decoder, Block(2, 2), texts(2), texts(2), cancel)
    assert decoder.n_layers == N_LAYERS
    assert not any(module._forward_hooks for module in decoder.model.modules())
