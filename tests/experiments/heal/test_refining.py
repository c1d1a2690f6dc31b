"""A first run judged by few questions and texts, and its refinement, which trains nothing and
scores only new ones.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy import measurement
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.heal import healing, recipes, training
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents


@pytest.fixture
def first(cache, tiny_folder, tmp_path) -> HealSpec:
    texts = documents.two_kinds(tmp_path)[0]
    spec = recipes.heal_spec(
        "first",
        model=ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu"),
        block=Block(2, 2),
        on_gpu=False,
        quantization="none",
        seq_len=32,
        benchmark=BenchmarkSpec(limit=6),
        steps=3,
        batch_size=2,
        instant=False,
        r=4,
    )
    judged = replace(
        spec.validation,
        source=texts.replace("texts.jsonl", "others.jsonl"),
        n_texts=2,
        seq_len=32,
        min_tokens=16,
    )
    return replace(
        spec,
        corpus=replace(spec.corpus, source=texts, n_texts=100),
        validation=judged,
        judging_texts=5,
    )


def test_refinement_reuses_the_adapter_and_scores_only_new_questions(first, monkeypatch, cache):
    made = healing.run(first)
    wanted = replace(
        first, benchmark=BenchmarkSpec(limit=12), validation=replace(first.validation, n_texts=5)
    )
    monkeypatch.setattr(training.Trainer, "take_step", lambda *_: pytest.fail("it trains again"))
    counts: list[tuple[str, int]] = []

    def recording(self, pieces, progress, measured=Measurement.measured):
        counts.extend((piece.phase, len(piece.items)) for piece in pieces)
        return measured(self, pieces, progress)

    monkeypatch.setattr(Measurement, "measured", recording)
    refined = healing.run(wanted)
    assert refined.complete
    # The unpruned with the pruned model, and the healed one.
    assert [count for phase, count in counts if phase == measurement.QUESTIONS] == [6, 6]
    assert max(count for phase, count in counts if phase == measurement.TEXTS) == 3
    assert refined.adapter != made.adapter
    assert (cache / refined.adapter / "adapter_config.json").exists()
    assert refined.steps == made.steps
    assert refined.validations == made.validations
    for which in ("unpruned", "pruned", "healed"):
        assert refined.questions[which][:6] == made.questions[which]
        assert refined.text_losses[which][:2] == made.text_losses[which]
        assert (getattr(refined, which).n_samples, getattr(refined, which).n_texts) == (12, 5)
    assert refined.wall_s >= made.wall_s


def test_choosing_and_training_text_shares_nothing_with_the_full_judgement(first):
    assert first.n_kept_clear == 5
    assert recipes.refined(first).validation.n_texts == 5
    assert recipes.refined(first).benchmark.limit == 200
    assert recipes.refined(first).training == first.training
    assert recipes.is_first(first)
    assert not recipes.is_first(recipes.refined(first))
    other = replace(first, judging_texts=0)
    assert other.training != first.training, "its texts that chose are among those that would judge"
