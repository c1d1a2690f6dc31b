"""Healing of models without single modules of layers: equal to a model whose modules are zeros, and
exported as such.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from analysis.core.blocks import PartSet
from analysis.core.errors import RecipeError
from analysis.core.progress import Cancelled
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import adapters, healing, healing_run, junction, packing, projection
from analysis.experiments.heal import texts as choice_of_texts
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.training import Trainer, derived_seed
from analysis.experiments.scoring import likelihood
from analysis.exports import export
from analysis.models.architecture.decoder import find_decoder
from analysis.models.architecture.matrices import Matrices
from analysis.models.loading import load
from analysis.models.running import pruning
from tests.support import little_heal
from tests.support.families import build

CUT = PartSet(attention=(2, 4), feed_forward=(1,), layers=(3,))
ZEROS = (
    "model.layers.2.self_attn.o_proj",
    "model.layers.4.self_attn.o_proj",
    "model.layers.1.mlp.down_proj",
)
GONE = ("layers.1.mlp", "layers.2.self_attn", "layers.3.self_attn")
"""Modules without weights in the pruned model, which is a layer shorter."""


@pytest.fixture
def spec(cache, tiny_folder, tmp_path):
    return replace(
        little_heal.spec(
            tiny_folder("llama"), tmp_path, steps=4, eval_every=2, warmup_steps=1, lora_dropout=0.0
        ),
        block=CUT,
    )


def really_zeroed(source):
    """The model with its parts zeroed and its layer taken out by hand."""
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        for name in ZEROS:
            model.get_submodule(name).weight.zero_()
    model.model.layers = torch.nn.ModuleList(
        layer for index, layer in enumerate(model.model.layers) if index != 3
    )
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index
    model.config.num_hidden_layers = len(model.model.layers)
    return model


@pytest.mark.long
def test_training_matches_a_zeroed_model_resumes_and_is_exported(
    spec, cache, tmp_path, monkeypatch
):
    with pytest.raises(Cancelled):
        healing.run(spec, little_heal.cancel_at(3))
    found = healing.run(spec)
    assert HealResult.load(healing.resolve(spec)) == found
    assert found.healed.block == CUT
    folder = cache / found.adapter
    trained = load_file(folder / "adapter_model.safetensors")
    assert not [name for name in trained if any(gone in name for gone in GONE)]
    card = (folder / "README.md").read_text()
    assert "layers[2].self_attn.o_proj, layers[4].self_attn.o_proj" in card
    assert "index not in [3]" in card

    # The same steps on the zeroed model, whose own adapter is put around the same modules.
    decoder = find_decoder(really_zeroed(spec.model.source))
    wanted = adapters.trained_matrices

    def kept(*given: object) -> Matrices:
        modules = wanted(*given).modules
        return Matrices([name for name in modules if not any(gone in name for gone in GONE)])

    monkeypatch.setattr(adapters, "trained_matrices", kept)
    model = adapters.attach(decoder, found.spec, derived_seed(spec.seed, "adapter"))
    packed = packed_again(found)
    trainer = Trainer(model, find_decoder(model), packed.rows, found.spec, None, packed.positions)
    losses = [trainer.take_step(lambda: None)[0] for _ in range(4)]
    assert [step.loss for step in found.steps] == pytest.approx(losses, abs=1e-5)
    model.eval()

    again = evaluation.run(EvaluateSpec(spec.model, CUT, str(folder), None, spec.validation))
    assert again.point.loss == pytest.approx(found.healed.loss, abs=1e-6)
    out = export.export(spec.model, CUT, tmp_path / "out", adapter=str(folder))
    plain = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    names = [name.replace("layers.4", "layers.3") for name in ZEROS]
    assert not any(plain.get_submodule(name).weight.any() for name in names)
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)


def packed_again(found):
    """The rows that a heal trained on."""
    loaded = load.load(found.spec.model)
    apart = choice_of_texts.read_texts(loaded, found.spec).near_copies
    return packing.training_rows(
        found.spec.corpus, apart, loaded.tokenizer, max_rows=found.packed_rows
    )


def test_unpruned_model_teaches_and_is_complete_when_asked(spec, cache):
    asked = replace(
        spec, block=PartSet(attention=(2,), feed_forward=(4,)), instant=True, distill=0.5, steps=3
    )
    with pytest.raises(Cancelled):
        healing.run(asked, little_heal.cancel_at(2))
    found = healing.run(asked)
    assert [one.gap for one in found.junction.gaps] == [
        PartSet(attention=(2,)),
        PartSet(feed_forward=(4,)),
    ]
    assert HealResult.load(healing.resolve(asked)) == found
    loaded = load.load(asked.model)
    rows = np.array([[5, 9, 30, 41, 7]])
    with torch.no_grad():
        before = loaded.decoder.body(input_ids=torch.from_numpy(rows)).last_hidden_state
    from analysis.experiments.heal.teacher import Teacher

    healed, taken = healing_run.prepare_model(loaded, found.spec, {})
    taught = Teacher(healed.model, healed.decoder, taken)(rows, None)
    torch.testing.assert_close(taught, before, rtol=2e-3, atol=2e-3)


def test_fitted_changes_are_exported_with_modules_as_zeros(spec, cache, tmp_path):
    found = healing.run(replace(spec, instant=True, steps=0))
    folder = cache / found.adapter
    assert found.validations[1].loss == pytest.approx(found.junction.loss_after, abs=1e-5)
    out = export.export(spec.model, CUT, tmp_path / "out", adapter=str(folder))
    plain = evaluation.run(
        EvaluateSpec(
            replace(spec.model, source=str(out), identity=""), None, None, None, spec.validation
        )
    )
    assert plain.point.loss == pytest.approx(found.healed.loss, abs=1e-3)
    modules = [one.module for one in found.junction.gaps]
    assert modules == ["model.layers.1.self_attn.o_proj", "model.layers.2.mlp.down_proj"]


def texts(n, length=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 300, (length,), generator=generator).tolist() for _ in range(n)]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_reported_loss_is_that_of_the_compensated_model(family):
    decoder = find_decoder(build(family))
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    found = junction.fit(decoder, CUT, texts(4), texts(2, seed=1))
    assert all(
        torch.equal(before[name], value) for name, value in decoder.model.state_dict().items()
    )
    with pruning.without_block(decoder, CUT):
        bare = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
    with junction.applied(decoder, CUT, found.changes):
        loss = sum(likelihood.text_losses(decoder, texts(2, seed=1), [None])[0]) / 2
    assert loss == pytest.approx(found.report.loss_after, abs=1e-4)
    assert found.report.loss_after <= found.report.loss_before
    assert bare != pytest.approx(loss, abs=1e-6) or not found.report.strength


def test_unhealable_cuts_are_refused_in_one_sentence(spec):
    with pytest.raises(RecipeError, match="none before layer 0"):
        projection.check_start(PartSet(attention=(0,)))
    projection.check_start(PartSet(feed_forward=(0,)))
    beside = find_decoder(build("gpt_neox"))
    with pytest.raises(
        RecipeError,
        match=r"read the same stream, .* Remove whole layers, or heal without it \(instant=false\)",
    ):
        junction.fit(beside, PartSet(attention=(2,)), texts(2), texts(2, seed=1))
    with pytest.raises(RecipeError, match="No layer keeps its feed-forward part"):
        healing.run(replace(spec, block=PartSet(feed_forward=tuple(range(6)))))
