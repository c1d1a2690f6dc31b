"""Cost of half precision: equal to the difference of two evaluations, shown with results, and kept with the model."""

from dataclasses import replace

import pytest

from analysis.core.errors import NotEnoughMemoryError, SpecError
from analysis.core.progress import ignore
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy import evaluation, precision, precision_spec, sweep
from analysis.experiments.accuracy.precision_spec import PrecisionResult, PrecisionSpec, moved
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.models.loading import load as models
from analysis.models.loading import planning
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec

ASKED = BenchmarkSpec("arc_easy", limit=6)


def test_how_far_options_are_moved_counts_every_question_once():
    mean, ends, largest = moved([[1.0, 2.0], [0.0, 0.0, 0.0]], [[1.5, 2.5], [0.0, 0.3, -0.3]])
    assert mean == pytest.approx((0.5 + 0.2) / 2)
    assert largest == 0.5
    low, high = ends
    assert low < mean < high
    assert moved([[1.0]], [[2.0]])[1] is None


def test_float32_has_no_cost_and_cannot_be_asked_for():
    with pytest.raises(SpecError, match="float32 is the reference for other precisions. Choose"):
        PrecisionSpec(model=ModelSpec(dtype="float32"))
    assert PrecisionSpec(model=ModelSpec(dtype="float32", quantization="4bit")).model.quantization == "4bit"
    assert precision_spec.describe_cost(ModelSpec(dtype="float32", identity="files:x")) == ""


def test_cost_is_the_difference_of_evaluations_and_shown_with_results(cache, tiny_folder):
    half = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="bfloat16"))
    exact = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="float32"))
    assert "was not measured" in precision_spec.describe_cost(half)
    found = precision.run(PrecisionSpec(model=half, benchmark=ASKED))
    a, b = (evaluation.run(EvaluateSpec(model=model, benchmark=ASKED, loss_corpus=None)).questions for model in (half, exact))
    mean, ends, largest = moved([x.loglikelihoods for x in a], [x.loglikelihoods for x in b])
    assert (found.mean_nats, (found.low_nats, found.high_nats), found.largest_nats) == (mean, ends, largest)
    assert 0 < found.mean_nats < 0.1
    assert found.n_changed == sum(x.prediction != y.prediction for x, y in zip(a, b, strict=True))
    said = precision_spec.describe_cost(half)
    assert said == found.sentence()
    assert said.startswith(f"bfloat16 moves the log-likelihood of an option by {mean:.3f} nats on average")
    assert said.endswith("from float32 in 6 questions.")
    later = evaluation.run(EvaluateSpec(model=half, benchmark=ASKED, loss_corpus=None))
    assert later.measured_on().endswith(said)
    assert "nats on average" not in evaluation.run(EvaluateSpec(model=exact, benchmark=ASKED, loss_corpus=None)).measured_on()


def test_the_result_with_most_questions_counts_for_its_own_precision(cache, tiny_folder):
    half = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="bfloat16"))
    for limit in (6, 3):
        precision.run(PrecisionSpec(model=half, benchmark=BenchmarkSpec("arc_easy", limit=limit)))
    assert precision_spec.cost(half).n_questions == 6
    other = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="float16"))
    assert precision_spec.cost(other) is None
    assert precision_spec.describe_cost(other).startswith("The cost of float16 on this model was not measured")


def curve(folder, dtype: str = "bfloat16", **named) -> SweepSpec:
    return SweepSpec(ModelSpec(source=str(folder), dtype=dtype), ASKED, None, max_n=1, strategy="deepest", **named)


def test_a_curve_in_half_precision_measures_its_cost_once(cache, tiny_folder, monkeypatch):
    said = []
    found = sweep.run(curve(tiny_folder("llama")), lambda progress: said.append(progress.message))
    of_model = found.spec.model
    assert precision_spec.cost(of_model).n_questions == 6
    assert found.measured_on().endswith(precision_spec.cost(of_model).sentence())
    assert said.count("Comparing bfloat16 with float32 on a few questions, once for this model.") == 1
    monkeypatch.setattr(precision, "run", lambda *_, **__: pytest.fail("it is known"))
    sweep.run(replace(curve(tiny_folder("llama")), max_n=2))


def test_a_shipped_cost_is_shown_and_not_measured_again(cache, monkeypatch):
    starter = resolving.resolve_model(ModelSpec(dtype="bfloat16", device="cpu"))
    known = precision_spec.cost(starter)
    assert known.spec.model == starter
    assert precision_spec.describe_cost(starter) == known.sentence()
    assert PrecisionResult.load(known.spec) is None, "it is never taken for one that was computed here"
    monkeypatch.setattr(precision, "run", lambda *_, **__: pytest.fail("it is known"))
    precision.once(starter, ASKED, ignore, load=models.FRESH)


def test_a_curve_in_float32_has_nothing_to_measure(cache, tiny_folder, monkeypatch):
    monkeypatch.setattr(precision, "run", lambda *_, **__: pytest.fail("float32 costs nothing"))
    assert sweep.run(curve(tiny_folder("llama"), "float32")).complete


def test_a_curve_without_a_measurable_cost_says_why(cache, tiny_folder, monkeypatch):
    def no_room(*_, **__):
        raise NotEnoughMemoryError("There is no room.")

    monkeypatch.setattr(precision, "run", no_room)
    said = []
    found = sweep.run(curve(tiny_folder("llama")), lambda progress: said.append(progress.message))
    assert found.complete
    assert "The cost of bfloat16 was not measured: There is no room." in said
    whole = planning.plan
    monkeypatch.setattr(
        planning, "plan", lambda spec, *rest: replace(whole(spec, *rest), free_bytes=0 if spec.dtype == "float32" else 1 << 40)
    )
    monkeypatch.setattr(precision, "run", lambda *_, **__: pytest.fail("it does not fit"))
    said.clear()
    sweep.run(replace(curve(tiny_folder("llama")), max_n=2), lambda progress: said.append(progress.message))
    assert "The cost of bfloat16 was not measured: there is no memory left for the model in float32." in said
