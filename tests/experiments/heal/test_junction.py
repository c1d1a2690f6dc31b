"""The instant heal: a block that is exactly linear is compensated exactly, and loss never rises."""

import contextlib
from operator import attrgetter

import pytest
import torch

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import RecipeError
from analysis.core.progress import Cancelled
from analysis.experiments.heal import junction, projection
from analysis.experiments.scoring import likelihood
from analysis.models.architecture import decoder as architecture
from analysis.models.running import pruning
from tests.support.families import FAMILIES, build, own_texts

N_LAYERS = 6
FOLDS_NOT = ("gemma2", "gemma3_text", "olmo2")
"""Families with a norm between the projection and the stream."""


def texts(n, length=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for _ in range(n)]


def linear_block(decoder, start, change):
    """Make layer `start` add exactly `change` times the features of the projection before it, and
    nothing else.
    """
    layer, (_, module) = decoder.layers[start], projection.output_projection(decoder, start)
    kept = {}
    module.register_forward_pre_hook(lambda _, args: kept.__setitem__("features", args[0]))
    layer.forward = lambda hidden_states, *args, **kwargs: (
        hidden_states + kept["features"] @ change.T
    )


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_block_that_is_linear_in_the_features_is_found_exactly(family, monkeypatch):
    monkeypatch.setattr(junction, "RIDGE", 1e-9)
    decoder = architecture.find_decoder(build(family))
    name, module = projection.output_projection(decoder, 3)
    change = 0.3 * torch.randn(
        32, projection.n_features(module, 32), generator=torch.Generator().manual_seed(1)
    )
    linear_block(decoder, 3, change)
    selection = own_texts(decoder, 3, seed=1)
    found = junction.fit(decoder, Block(3, 1), own_texts(decoder, 12), selection)
    assert found.report.module == name
    assert found.report.strength == 1.0
    assert found.report.n_tokens == 12 * 40
    torch.testing.assert_close(found.changes[name], change, rtol=1e-2, atol=1e-2)
    whole = sum(likelihood.text_losses(decoder, selection, [None])[0]) / 3
    assert found.report.loss_after == pytest.approx(whole, abs=1e-3)
    assert found.report.loss_before > whole + 1e-2


def put_on(decoder, found):
    """Apply the fitted changes to the pruned model; its weights are changed for good."""
    for name, change in projection.spread(decoder, found.changes).items():
        changed = attrgetter(name)(decoder.model)
        weight = changed if isinstance(changed, torch.Tensor) else changed.weight
        weight += change.T if weight.shape != change.shape else change


@pytest.mark.parametrize("block", [Block(2, 2), LayerSet((1, 3, 5))], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_folded_right_or_refused(family, block):
    decoder = architecture.find_decoder(build(family))
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    if family in FOLDS_NOT:
        with pytest.raises(RecipeError, match="by a recipe that trains"):
            junction.check(decoder, block)
        return
    found = junction.fit(decoder, block, texts(4), texts(2, seed=1))
    assert found.report.loss_after <= found.report.loss_before
    assert all(
        torch.equal(before[name], value) for name, value in decoder.model.state_dict().items()
    )
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in decoder.model.modules()
    )
    gaps = block.blocks
    assert len(found.changes) == len(gaps)
    assert [one.gap for one in found.report.gaps] == gaps
    with torch.no_grad(), pruning.without_block(decoder, block):
        put_on(decoder, found)
        loss = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
    assert loss == pytest.approx(found.report.loss_after, abs=1e-4)


@pytest.mark.parametrize("block", [Block(2, 2), LayerSet((1, 3, 5))], ids=str)
def test_known_loss_of_the_pruned_model_is_not_measured_again(block, monkeypatch):
    decoder, measured = architecture.find_decoder(build("llama")), []
    original = likelihood.batch_losses
    monkeypatch.setattr(
        likelihood, "batch_losses", lambda *given: measured.append(1) or original(*given)
    )
    found = junction.fit(decoder, block, texts(4), texts(2, seed=1))
    n_measured = len(measured)
    again = junction.fit(
        decoder, block, texts(4), texts(2, seed=1), loss_before=found.report.loss_before
    )
    assert len(measured) == 2 * n_measured - 1
    assert (again.report.loss_before, again.report.loss_after) == (
        found.report.loss_before,
        found.report.loss_after,
    )
    with pruning.without_block(decoder, block):
        loss = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
    assert found.report.loss_before == pytest.approx(loss, abs=1e-5)


def test_half_precision_does_not_hide_where_the_change_goes(starter_folder):
    """The real model's stream has entries of hundreds, next to which a small change is lost in the
    rounding of bfloat16.
    """
    from analysis.models.loading import load
    from analysis.models.source.model_spec import ModelSpec

    loaded = load.load(ModelSpec(dtype="bfloat16"))
    for start in (1, 11, 29):
        name, _ = projection.output_projection(loaded.decoder, start)
        assert name == f"model.layers.{start - 1}.mlp.down_proj"


def test_output_that_cancels_the_stream_still_adds_to_it():
    """Of such sums the rounding of both terms remains: on the starter model, of 1,304 in a sum of
    24.
    """
    decoder = architecture.find_decoder(build("llama").bfloat16())
    layer = decoder.layers[0]
    decoder.body.get_input_embeddings().weight.data[:, 5] = 3000.0
    layer.mlp.down_proj.register_forward_hook(
        lambda _, args, output: output.index_fill(-1, torch.tensor(5), -3008.0)
    )
    assert projection.output_projection(decoder, 1) == (
        "model.layers.0.mlp.down_proj",
        layer.mlp.down_proj,
    )


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
    torch.testing.assert_close(together.changes, alone.changes, rtol=1e-3, atol=1e-5)


def test_changes_that_do_not_help_are_not_applied(monkeypatch):
    decoder = architecture.find_decoder(build("llama"))
    monkeypatch.setattr(
        junction,
        "_tries",
        lambda *_: contextlib.nullcontext(lambda change: 1.0 + float(change.any())),
    )
    found = junction.fit(decoder, Block(2, 2), texts(2), texts(2, seed=1))
    assert (found.report.strength, found.report.loss_after) == (0.0, found.report.loss_before)
    assert not any(change.any() for change in found.changes.values())


@pytest.mark.parametrize(
    ("best", "n_tried"),
    [((0.0, 0.0), 2), ((0.5, 0.0), 3), ((0.8, 0.0), 4), ((0.5, 0.8), 5), ((2.0, 2.0), 6)],
)
def test_a_change_is_strengthened_until_it_costs_more(best, n_tried):
    """The loss is a parabola of the strength, with another minimum for each change."""
    asked = []

    def loss(change):
        asked.append(change)
        (place,) = change.nonzero()[0]
        return 3.0 - best[place] ** 2 + (float(change.sum()) - best[place]) ** 2

    strength, change, after = junction._chosen(list(torch.eye(2)), 3.0, loss)
    assert len(asked) == n_tried
    every = [
        (3.0 - best[n] ** 2 + (s - best[n]) ** 2, s, n) for n in (0, 1) for s in junction.STRENGTHS
    ]
    least, of_least, which = min([*every, (3.0, 0.0, 0)])
    assert (strength, after) == (of_least, pytest.approx(least))
    assert torch.equal(change, of_least * torch.eye(2)[which])


@pytest.mark.parametrize("block", [Block(0, 2), LayerSet((0, 3))], ids=str)
def test_no_layer_before_the_first(block):
    with pytest.raises(RecipeError, match="none before layer 0"):
        junction.fit(architecture.find_decoder(build("llama")), block, texts(2), texts(2))


def test_a_cancel_leaves_the_model_whole():
    decoder = architecture.find_decoder(build("llama"))

    def cancel(progress):
        if progress.done > 0.8 * progress.total:
            raise Cancelled

    with pytest.raises(Cancelled):
        junction.fit(decoder, Block(2, 2), texts(2), texts(2), cancel)
    assert decoder.n_layers == N_LAYERS
    assert not any(module._forward_hooks for module in decoder.model.modules())


def test_linear_layers_with_kept_ones_between_them_are_all_found(monkeypatch):
    monkeypatch.setattr(junction, "RIDGE", 1e-9)
    monkeypatch.setattr(junction, "STRENGTHS", (1.0,))
    decoder = architecture.find_decoder(build("llama"))
    removed = LayerSet((2, 4))
    changes = [
        0.3 * torch.randn(32, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)
    ]
    width = projection.n_features(decoder.model.get_submodule("model.layers.1.mlp.down_proj"), 32)
    for layer, change in zip(removed.layers, changes, strict=True):
        linear_block(decoder, layer, change[:, :width])
    selection = own_texts(decoder, 3, seed=1)
    found = junction.fit(decoder, removed, own_texts(decoder, 12), selection)
    # Layer 3 is the third of the cut model.
    assert list(found.changes) == ["model.layers.1.mlp.down_proj", "model.layers.2.mlp.down_proj"]
    for one, change in zip(found.changes.values(), changes, strict=True):
        torch.testing.assert_close(one, change[:, :width], rtol=5e-2, atol=5e-2)
    whole = sum(likelihood.text_losses(decoder, selection, [None])[0]) / 3
    assert found.report.loss_after == pytest.approx(whole, abs=1e-2)
    assert found.report.loss_before > whole + 3e-2
