"""Cost of half precision: equal to the difference of two evaluations, shown with results, and kept
with the model.
"""

import pytest

from analysis.core.errors import SpecError
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy import evaluation, precision, precision_spec
from analysis.experiments.accuracy.precision_spec import PrecisionResult, PrecisionSpec, moved
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
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
    assert (
        PrecisionSpec(model=ModelSpec(dtype="float32", quantization="4bit")).model.quantization
        == "4bit"
    )
    assert precision_spec.describe_cost(ModelSpec(dtype="float32", identity="files:x")) == ""


def test_cost_is_the_difference_of_evaluations_and_shown_with_results(cache, tiny_folder):
    half = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="bfloat16"))
    exact = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="float32"))
    assert "was not measured" in precision_spec.describe_cost(half)
    found = precision.run(PrecisionSpec(model=half, benchmark=ASKED))
    a, b = (
        evaluation.run(EvaluateSpec(model=model, benchmark=ASKED, loss_corpus=None)).questions
        for model in (half, exact)
    )
    mean, ends, largest = moved([x.loglikelihoods for x in a], [x.loglikelihoods for x in b])
    assert (found.mean_nats, (found.low_nats, found.high_nats), found.largest_nats) == (
        mean,
        ends,
        largest,
    )
    assert 0 < found.mean_nats < 0.1
    assert found.n_changed == sum(x.prediction != y.prediction for x, y in zip(a, b, strict=True))
    said = precision_spec.describe_cost(half)
    assert said == found.sentence()
    assert said.startswith(
        f"bfloat16 moves the log-likelihood of an option by {mean:.3f} nats on average"
    )
    assert said.endswith("from float32 in 6 questions.")
    later = evaluation.run(EvaluateSpec(model=half, benchmark=ASKED, loss_corpus=None))
    assert later.measured_on().endswith(said)
    assert (
        "nats on average"
        not in evaluation.run(
            EvaluateSpec(model=exact, benchmark=ASKED, loss_corpus=None)
        ).measured_on()
    )


def test_the_result_with_most_questions_counts_for_its_own_precision(cache, tiny_folder):
    half = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="bfloat16"))
    for limit in (6, 3):
        precision.run(PrecisionSpec(model=half, benchmark=BenchmarkSpec("arc_easy", limit=limit)))
    assert precision_spec.cost(half).n_questions == 6
    other = resolving.resolve_model(ModelSpec(source=str(tiny_folder("llama")), dtype="float16"))
    assert precision_spec.cost(other) is None
    assert precision_spec.describe_cost(other).startswith(
        "The cost of float16 on this model was not measured"
    )


def test_a_shipped_cost_is_shown(cache):
    starter = resolving.resolve_model(ModelSpec(dtype="bfloat16", device="cpu"))
    known = precision_spec.cost(starter)
    assert known.spec.model == starter
    assert precision_spec.describe_cost(starter) == known.sentence()
    assert PrecisionResult.load(known.spec) is None, (
        "it is never taken for one that was computed here"
    )
