"""Healing of the layers next to the gap alone, and on text that the pruned model generates itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import SpecError
from analysis.core.progress import Cancelled
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal import healing, memory, recipes, teacher
from analysis.exports import export
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import planning
from analysis.models.running import generation
from tests.support import little_heal
from tests.support.families import build
from tests.support.levels import few


@pytest.fixture
def spec(cache, tiny_folder, tmp_path):
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=6, eval_every=2, warmup_steps=1)


def cancel_at(step):
    def told(progress):
        if progress.phase == "healing" and progress.values.get("step") == step:
            raise Cancelled

    return told


@pytest.mark.parametrize(
    ("block", "beside", "of_control"),
    [
        (Block(2, 2), [1, 2], [1, 4]),
        (Block(0, 2), [0], [2]),
        (Block(4, 2), [3], [3]),
        (LayerSet((1, 4)), [0, 1, 2, 3], [0, 2, 3, 5]),
        (LayerSet((1, 3)), [0, 1, 2], [0, 2, 4]),
    ],
    ids=str,
)
def test_the_layers_beside_every_gap(spec, block, beside, of_control):
    asked = replace(spec, block=block, method="beside")
    assert asked.layers_beside(6 - block.size) == beside
    assert asked.as_control().layers_beside(6) == of_control


@pytest.mark.parametrize("block", few([Block(2, 2), LayerSet((1, 4))], LayerSet((1, 4))), ids=str)
def test_only_the_layers_beside_the_gap_are_changed_and_exported(spec, cache, tmp_path, block):
    asked = replace(spec, block=block, method="beside", instant=True, distill=0.5)
    with pytest.raises(Cancelled):
        healing.run(asked, cancel_at(3))
    found = healing.run(asked)
    weights = load_file(cache / found.adapter / "adapter_model.safetensors")
    trained = {int(name.split("layers.")[1].split(".")[0]) for name in weights}
    assert trained == set(asked.layers_beside(4))
    assert any("q_proj" in name for name in weights)
    assert any("down_proj" in name for name in weights)
    assert "the weight matrices of the layers next to each gap" in (cache / found.adapter / "README.md").read_text()
    out = export.export(spec.model, block, tmp_path / "out", adapter=str(cache / found.adapter))
    plain = evaluation.run(EvaluateSpec(replace(spec.model, source=str(out), identity=""), None, None, None, spec.validation))
    assert plain.point.loss == pytest.approx(found.healed.loss, abs=1e-4)


def test_memory_counts_the_layers_that_gradients_reach(spec):
    facts = planning.plan(spec.model).facts
    early, late = (memory.step_bytes(replace(spec, method="beside", block=Block(at, 1)), facts) for at in (1, 5))
    assert late < early


def test_model_generates_each_row_by_its_own_seed():
    decoder = find_decoder(build("llama"))
    rows = np.arange(3, 63, dtype=np.int32).reshape(3, 20)
    found = generation.continued(decoder, rows, 8, [1, 2, 3])
    assert found.shape == rows.shape
    assert found.dtype == rows.dtype
    assert (found[:, :12] == rows[:, :12]).all()
    assert (generation.continued(decoder, rows[1:2], 8, [2]) == found[1:2]).all()
    assert (generation.continued(decoder, rows[1:2], 8, [5]) != found[1:2]).any()


def test_generated_tokens_are_drawn_from_the_models_own_distribution():
    decoder, n = find_decoder(build("llama")), 4000
    with torch.no_grad():
        decoder.head.weight.mul_(20)
        wanted = decoder.model(torch.tensor([[5, 9]])).logits[0, -1].softmax(-1)
    rows = np.tile(np.array([[5, 9, 0]], dtype=np.int32), (n, 1))
    drawn = generation.continued(decoder, rows, 1, list(range(n)))[:, 2]
    shares = torch.bincount(torch.from_numpy(drawn).long(), minlength=300) / n
    likeliest = wanted.topk(5).indices
    assert float(wanted[likeliest[0]]) > 0.05
    torch.testing.assert_close(shares[likeliest], wanted[likeliest], rtol=0, atol=4 * (0.25 / n) ** 0.5)


def test_unpruned_model_grades_generated_text_and_a_stopped_run_resumes(spec, monkeypatch):
    asked = replace(spec, written=12, distill=1.0, instant=True)
    graded, written, ask, write = [], [], teacher.Teacher._ask, generation.continued

    def asking(self, rows, positions):
        graded.append(rows)
        assert positions is None
        return ask(self, rows, positions)

    def writes(decoder, rows, n, seeds):
        assert (decoder.n_layers, decoder.model.training, n) == (4, False, 12)
        written.append((rows, write(decoder, rows, n, seeds)))
        return written[-1][1]

    monkeypatch.setattr(teacher.Teacher, "_ask", asking)
    monkeypatch.setattr("analysis.experiments.heal.training.continued", writes)
    with pytest.raises(Cancelled):
        healing.run(asked, cancel_at(3))
    whole = healing.run(asked)
    assert [(found == seen).all() for (_, found), seen in zip(written, graded, strict=True)] == [True] * 6
    assert all((text[:, :-12] == found[:, :-12]).all() and (text != found).any() for text, found in written)
    assert not whole.documents_apart
    again = healing.run(replace(asked, eval_every=5))
    assert [step.loss for step in again.steps] == pytest.approx([step.loss for step in whole.steps], abs=1e-6)


def test_nothing_is_written_where_nothing_is_asked_to_be(spec, monkeypatch):
    monkeypatch.setattr("analysis.experiments.heal.training.continued", lambda *_: pytest.fail("written"))
    assert healing.run(replace(spec, steps=1, distill=1.0)).complete


def test_impossible_requests_are_refused_in_one_sentence(spec):
    with pytest.raises(SpecError, match=r"written=8 needs distill=1, not 0\.5"):
        replace(spec, written=8, distill=0.5)
    with pytest.raises(SpecError, match=r"written=32 leaves no given token in sequences of 32\. Choose at most 31\."):
        replace(spec, written=32, distill=1.0)
    assert replace(spec, written=8, distill=1.0).as_control().written == 0


def test_repeated_rows_are_asked_once_and_kept_small(spec, monkeypatch):
    asked = replace(spec, distill=1.0, top_k=5, junction=0.2, steps=8, corpus=replace(spec.corpus, n_texts=2))
    rows, ask = [], teacher.Teacher._ask

    def asking(self, some, positions):
        found = ask(self, some, positions)
        assert [tuple(one.shape[2:]) for one in found] == [(5,), (5,), (32,)]
        assert [one.element_size() for one in found] == [4, 2, 2]
        rows.extend(map(tuple, some))
        return found

    monkeypatch.setattr(teacher.Teacher, "_ask", asking)
    with pytest.raises(Cancelled):
        healing.run(asked, cancel_at(5))
    whole = healing.run(asked)
    assert len(rows) < 2 * 8
    again = healing.run(replace(asked, eval_every=5))
    assert [step.loss for step in again.steps] == pytest.approx([step.loss for step in whole.steps], abs=1e-5)
    with pytest.raises(SpecError, match=r"top_k=5 needs the distribution .* Set distill above 0"):
        replace(spec, top_k=5)


def test_recipes_say_so():
    everywhere = recipes.get("distill-all")
    assert (everywhere.distill, everywhere.top_k, everywhere.method) == (1.0, 64, "lora")
    clp, own = recipes.get("clp"), recipes.get("on-policy")
    assert (clp.method, clp.distill, clp.instant, clp.minutes) == ("beside", 0.5, True, 10.0)
    assert (own.written, own.distill, own.corpus.seq_len) == (64, 1.0, 128)
    assert recipes.get("on-policy", on_gpu=True).written < recipes.get("on-policy", on_gpu=True).corpus.seq_len
