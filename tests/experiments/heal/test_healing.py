"""Healing from spec to adapter: its curve, cancel and resume, its refusals, and the weights that it
changes.
"""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from analysis.core.blocks import Block
from analysis.core.errors import BlockRangeError, NotEnoughMemoryError, RecipeError
from analysis.core.progress import Cancelled, Progress
from analysis.data import corpora, near_copies
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import measurement, scores
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.heal import checkpoints, healing, packing, recipes, record, training
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.loading import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents, little_heal
from tests.support.levels import few

BLOCK = Block(2, 2)
STEPS = 6


@pytest.fixture
def spec(cache, tiny_folder, tmp_path) -> HealSpec:
    return little_heal.spec(tiny_folder("llama"), tmp_path, steps=6, warmup_steps=1, eval_every=2)


class Reports(list):
    """Keeps every report; cancels at the first one for which `cancel_at` is true."""

    def __init__(self, cancel_at=lambda progress: False) -> None:
        super().__init__()
        self.cancel_at = cancel_at

    def __call__(self, progress: Progress) -> None:
        self.append(progress)
        if self.cancel_at(progress):
            raise Cancelled


def at_step(number: int):
    return lambda progress: (
        progress.phase == "healing"
        and progress.done >= number
        and progress.values.get("step") == number
    )


def adapter_weights(result: HealResult, cache) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(cache / result.adapter / "adapter_model.safetensors")


def test_a_heal_from_start_to_end(spec, cache):
    reports = Reports()
    result = healing.run(spec, reports)
    assert result.complete
    assert [step.step for step in result.steps] == list(range(1, STEPS + 1))
    assert [check.step for check in result.validations] == [0, 2, 4, 6]
    assert result.validations[-1].loss < result.validations[0].loss
    written = [(sample.model, sample.step) for sample in result.samples if sample.step != 1]
    assert written == [("unpruned", 0), ("pruned", 0), *(("healed", step) for step in (2, 4, 6))]
    assert result.healed.loss < result.pruned.loss
    assert (result.unpruned.n, result.pruned.block, result.healed.block) == (0, BLOCK, BLOCK)
    assert result.healed.n_texts == result.pruned.n_texts == 3
    for name in ("unpruned", "pruned", "healed"):
        pairs = list(zip(result.text_losses[name], result.text_tokens, strict=True))
        per_token = sum(loss * n for loss, n in pairs) / sum(result.text_tokens)
        assert per_token == pytest.approx(getattr(result, name).loss)
    assert result.precision == "unquantized float32"
    assert result.packed_rows == STEPS * 2
    assert result.trainable_parameters == 4 * 3 * 4 * (32 + 48)
    assert result.n_tokens > STEPS * 64
    assert HealResult.load(result.spec) == result
    assert not checkpoints.folder(result.spec.fingerprint()).exists()
    assert (
        healing.run(spec, Reports(lambda progress: True)) == result
    )  # from the store, without a report
    assert [report.values["result_key"] for report in reports if "result_key" in report.values] == [
        result.spec.fingerprint()
    ]
    steps = [
        report
        for report in reports
        if report.phase == "healing" and "validation_loss" not in report.values
    ]
    assert list(dict.fromkeys(report.done for report in steps)) == list(range(1, STEPS + 1))
    assert set(steps[0].values) - {"remaining"} == {
        "step",
        "loss",
        "learning_rate",
        "tokens_per_s",
        "memory_bytes",
    }
    assert {report.total for report in steps} == {STEPS}
    losses = [
        report.values["validation_loss"] for report in reports if "validation_loss" in report.values
    ]
    assert losses == [check.loss for check in result.validations[1:]]
    phases = {report.phase for report in reports}
    assert {
        f"measuring the loss on text ({model} model)" for model in ("unpruned and pruned", "healed")
    } <= phases


def test_judging_choosing_and_training_documents_are_different(spec, monkeypatch):
    """The losses before and after are of one set of texts, those on the way of another, those of
    the same kind of a third.
    """
    read, real = [], packing.near_copy_filter
    monkeypatch.setattr(
        packing,
        "near_copy_filter",
        lambda texts, tokenizer: read.append(list(texts)) or real(texts, tokenizer),
    )
    result = healing.run(spec)
    loaded = load.load(result.spec.model)

    def loss(corpus: CorpusSpec, skip: int = 0, cut=None) -> tuple[float, list[list[int]]]:
        material = scores.prepare(loaded, None, corpus, skip_texts=skip)
        return Measurement(loaded, material, [cut]).complete().point.loss, material.texts

    judging, texts = loss(result.spec.validation, cut=BLOCK)
    choosing, others = loss(replace(result.spec.validation, n_texts=8), skip=3, cut=BLOCK)
    own_kind, own_texts = loss(result.spec.same_kind, cut=BLOCK)
    assert (len(texts), len(others), result.n_choice_texts) == (3, 8, 8)
    assert result.pruned.loss == pytest.approx(judging, abs=1e-6)
    assert result.validations[0].loss == pytest.approx(choosing, abs=1e-6)
    assert result.unpruned_check.loss == pytest.approx(
        loss(replace(result.spec.validation, n_texts=8), skip=3)[0], abs=1e-6
    )
    assert result.same_kind["pruned"].loss == pytest.approx(own_kind, abs=1e-6)
    assert set(result.same_kind) == {"unpruned", "pruned", "healed"}
    assert result.same_kind_text == corpora.resolve(result.spec.same_kind)
    assert len({tuple(ids) for ids in [*texts, *others, *own_texts]}) == len(texts) + len(
        others
    ) + len(own_texts)
    assert read[0] == [*texts, *others, *own_texts]
    assert 0 <= result.quoted <= 0.05


def test_text_too_small_to_hold_any_back_is_accepted(spec, tmp_path):
    path = documents.write(tmp_path / "few.jsonl", 3, seed=5)
    kept = [text for text in documents.sentences(3, 5) if near_copies.is_validation(text)]
    assert not kept
    result = healing.run(replace(spec, corpus=CorpusSpec(path, n_texts=9, seq_len=32, split="all")))
    assert (result.same_kind_text, result.same_kind, result.complete) == (None, {}, True)


def test_judging_texts_choose_where_the_draw_has_no_more(spec):
    result = healing.run(replace(spec, validation=replace(spec.validation, n_texts=14)))
    assert result.n_choice_texts == 0
    assert result.validations[0].loss == result.pruned.loss


@pytest.mark.long
def test_second_run_of_a_cut_measures_only_its_own_model(spec):
    first = healing.run(spec)
    reports = Reports()
    second = healing.run(replace(spec, r=2), reports)
    assert (second.unpruned, second.pruned) == (first.unpruned, first.pruned)
    assert second.same_kind["pruned"] == first.same_kind["pruned"]
    measured = [
        report.phase
        for report in reports
        if report.phase.startswith("measuring the loss on text (")
    ]
    assert set(measured) == {"measuring the loss on text (healed model)"}


def test_the_adapter_gives_the_healed_loss_in_plain_peft(spec, cache):
    result = healing.run(spec)
    loaded = load.load(result.spec.model)
    pruning.cut(loaded.decoder, BLOCK)
    PeftModel.from_pretrained(loaded.model, cache / result.adapter)
    assert measurement.measure(loaded, None, result.spec.validation).point.loss == pytest.approx(
        result.healed.loss, abs=1e-6
    )


def test_the_curve_is_on_disk_while_it_grows(spec, monkeypatch):
    monkeypatch.setattr(record, "PUBLISH_EVERY_S", 0.0)
    seen = []

    def look(progress: Progress) -> None:
        if progress.phase == "healing":
            stored = HealResult.load(healing.resolve(spec))
            seen.append(
                (progress.done, len(stored.steps), stored.complete, stored.unpruned is not None)
            )

    healing.run(spec, look)
    assert all(
        done == stored and not complete and measured for done, stored, complete, measured in seen
    )


@pytest.mark.parametrize("stop", few([1, 2, 5, 6], 5))
def test_cancelled_run_resumes_and_ends_like_an_uninterrupted_one(spec, cache, stop, monkeypatch):
    whole = healing.run(spec)
    weights = adapter_weights(whole, cache)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache.with_name("other")))
    (cache.with_name("other")).mkdir()
    with pytest.raises(Cancelled):
        healing.run(spec, Reports(at_step(stop)))
    partial = HealResult.load(healing.resolve(spec))
    assert not partial.complete
    assert len(partial.steps) == stop
    assert (cache.with_name("other") / partial.adapter / "adapter_model.safetensors").exists()
    reports = Reports()
    resumed = healing.run(spec, reports)
    assert not [
        report for report in reports if "unpruned" in report.phase or "pruned model" in report.phase
    ]
    assert [(step.step, step.loss) for step in resumed.steps] == [
        (step.step, step.loss) for step in whole.steps
    ]
    assert [(check.step, check.loss) for check in resumed.validations] == [
        (check.step, check.loss) for check in whole.validations
    ]
    again = adapter_weights(resumed, cache.with_name("other"))
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


@pytest.mark.parametrize("kill_at", few(["step 5", "validation at step 4"], "step 5"))
def test_killed_and_resumed_heal_counts_as_many_tokens(spec, cache, monkeypatch, kill_at):
    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if kill_at == "step 5" and progress.values.get("step") == 5:
            raise Killed

    def write(*args, own=healing.checkpoints.write, **named):
        if kill_at == "validation at step 4" and args[1].step == 4:
            raise Killed
        own(*args, **named)

    whole = healing.run(spec)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(cache.with_name("other")))
    cache.with_name("other").mkdir()
    monkeypatch.setattr(
        record, "PUBLISH_EVERY_S", 0.0
    )  # every step is on disk, those after a checkpoint too
    with monkeypatch.context() as patch:
        patch.setattr(healing.checkpoints, "write", write)
        with pytest.raises(Killed):
            healing.run(spec, kill)
    resumed = healing.run(spec)
    assert [step.step for step in resumed.steps] == [step.step for step in whole.steps]
    assert resumed.n_tokens == whole.n_tokens
    assert resumed.healed.loss == whole.healed.loss


@pytest.mark.parametrize(
    "phase",
    [
        "loading the model",
        "measuring the loss on text (unpruned and pruned model)",
        "packing the healing text",
    ],
)
def test_a_cancel_before_the_first_step_leaves_a_resumable_beginning(spec, phase):
    with pytest.raises(Cancelled):
        healing.run(spec, Reports(lambda progress: progress.phase == phase))
    assert bool((kept := HealResult.load(healing.resolve(spec))) and kept.validations) == (
        phase != "loading the model"
    )
    assert healing.run(spec).complete


@pytest.mark.long
def test_cancel_while_measuring_the_healed_model_does_not_retrain(spec):
    benchmark = replace(spec, benchmark=BenchmarkSpec(limit=3))
    with pytest.raises(Cancelled):
        healing.run(
            benchmark,
            Reports(lambda progress: progress.phase == "scoring questions (healed model)"),
        )
    assert HealResult.load(healing.resolve(benchmark)).adapter
    reports = Reports()
    result = healing.run(benchmark, reports)
    assert not [
        report for report in reports if report.phase == "healing" and "step" in report.values
    ]
    assert result.healed.n_samples == result.pruned.n_samples == result.unpruned.n_samples == 3
    assert result.lines is not None


@pytest.mark.long
def test_a_heal_whose_adapter_was_deleted_is_done_again(spec, cache):
    first = healing.run(spec)
    (cache / first.adapter / "adapter_config.json").unlink()
    again = healing.run(spec)
    assert (cache / again.adapter / "adapter_config.json").exists()
    assert again.healed.loss == first.healed.loss


def test_running_out_of_memory_names_the_settings_to_lower(spec, monkeypatch):
    def exhausted(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training.Trainer, "take_step", exhausted)
    with pytest.raises(NotEnoughMemoryError, match="Lower batch_size"):
        healing.run(spec)


def test_a_shared_model_is_given_back_and_never_changed(spec):
    warm = load.WarmModels()
    shared = warm(spec.model)
    before = {name: value.clone() for name, value in shared.model.state_dict().items()}
    result = healing.run(spec, load=warm)
    assert result.complete
    assert shared.decoder.n_layers == 6
    assert all(
        torch.equal(value, before[name]) for name, value in shared.model.state_dict().items()
    )


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"block": Block(4, 3)}, BlockRangeError, "this model has layers 0..5"),
        ({"seq_len": 512}, RecipeError, "window of 256 tokens"),
        ({"r": 4_000}, RecipeError, "Choose an r of at most 32"),
        ({"dtype": "float16"}, RecipeError, "Choose bfloat16"),
    ],
)
def test_impossible_requests_are_refused_in_one_sentence(spec, changes, error, sentence):
    if "seq_len" in changes:
        changes = {"corpus": replace(spec.corpus, seq_len=changes["seq_len"])}
    if "dtype" in changes:
        changes = {"model": replace(spec.model, dtype=changes["dtype"])}
    with pytest.raises(error, match=sentence):
        healing.run(replace(spec, **changes))


@pytest.mark.long
@pytest.mark.starter
def test_the_real_model_heals_in_nf4(cache, monkeypatch):
    """Two short steps of the starter model repair some of the cut, and the gradients are those of
    the NF4 weights.
    """
    monkeypatch.setattr("analysis.experiments.heal.healing_run.CALIBRATION_TEXTS", 12)
    monkeypatch.setattr("analysis.experiments.heal.texts.CHOICE_TEXTS", 4)
    spec = recipes.heal_spec(
        "quick",
        model=ModelSpec(),
        block=Block(11, 5),
        steps=2,
        batch_size=2,
        seq_len=32,
        benchmark=None,
        generation=None,
        corpus=CorpusSpec("wiki", n_texts=40, seq_len=32, split="train"),
        validation=CorpusSpec("wiki", n_texts=2, seq_len=32, split="validation"),
        eval_every=2,
        warmup_steps=1,
    )
    result = healing.run(spec)
    assert result.precision.startswith("NF4")
    assert result.unpruned.loss < result.healed.loss < result.pruned.loss


def instant(spec, **changes):
    """Return the request with the instant heal first; tiny models need less text for it."""
    return replace(spec, instant=True, **changes)


@pytest.fixture
def little_text(monkeypatch):
    monkeypatch.setattr("analysis.experiments.heal.healing_run.CALIBRATION_TEXTS", 30)


@pytest.mark.usefixtures("little_text")
def test_instant_heal_is_a_standard_adapter_and_takes_no_step(spec, cache):
    result = healing.run(instant(spec, steps=0))
    assert result.complete
    assert result.steps == []
    assert [check.step for check in result.validations] == [0, 0]
    losses = [check.loss for check in result.validations]
    assert losses == pytest.approx(
        [result.junction.loss_before, result.junction.loss_after], abs=1e-5
    )
    assert result.junction.loss_after <= result.junction.loss_before
    assert result.junction.module == "model.layers.1.mlp.down_proj"
    assert result.junction.n_tokens == 30 * 32
    loaded = load.load(result.spec.model)
    pruning.cut(loaded.decoder, BLOCK)
    PeftModel.from_pretrained(loaded.model, cache / result.adapter)
    assert measurement.measure(loaded, None, result.spec.validation).point.loss == pytest.approx(
        result.healed.loss, abs=1e-6
    )
    assert healing.run(instant(spec, steps=0), Reports(lambda progress: True)) == result


@pytest.mark.usefixtures("little_text")
def test_training_begins_where_the_instant_heal_ends_and_keeps_it(spec, cache):
    alone, trained = healing.run(instant(spec, steps=0)), healing.run(instant(spec))
    assert [check.step for check in trained.validations] == [0, 0, 2, 4, 6]
    assert trained.validations[0].loss == pytest.approx(alone.junction.loss_before, abs=1e-6)
    assert trained.validations[1].loss == pytest.approx(alone.junction.loss_after, abs=1e-6)
    assert trained.junction.strength == alone.junction.strength
    before, after = adapter_weights(alone, cache), adapter_weights(trained, cache)
    kept = [name for name in before if ".layers.1.mlp.down_proj." in name]
    assert len(kept) == 2
    assert all(torch.equal(before[name], after[name]) for name in kept)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_instant_heal_needs_text_to_choose_on(spec, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text(
        "The one sentence that there is here is not much to go by for any request. " * 4
    )
    with pytest.raises(
        RecipeError, match="has 1 documents outside the evaluation texts, .* needs 8 or more"
    ):
        healing.run(
            instant(spec, corpus=CorpusSpec(str(short), n_texts=4, seq_len=32, split="all"))
        )
