"""Estimated durations of healing runs, grids and searches, from those that were timed on this
machine.
"""

from dataclasses import replace

import pytest

from analysis.core import host
from analysis.data.spec import BenchmarkSpec, GenerationSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal.heal_result import JunctionReport
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import durations
from analysis.results.compared.durations import Duration
from tests.support import fakes

FACTS = {"starter": fakes.FACTS}
SEARCH = SearchSpec(fakes.MODEL, "greedy")
JUNCTION = JunctionReport("model.layers.13.mlp.down_proj", 1.0, 4.0, 3.5, 4096, 0.0)
INSTANT = replace(fakes.heal_spec(), steps=0, instant=True, recipe="instant")


@pytest.fixture(autouse=True)
def this_machine(monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "a test")


HERE = {"processor": "a test, 4 cores"}


def instant(seconds: float, **changes):
    """A run without training: a fifth of the time is its fit."""
    made = replace(
        fakes.heal(), spec=replace(INSTANT, **changes), steps=[], versions=HERE, wall_s=seconds
    )
    return replace(made, junction=replace(JUNCTION, wall_s=seconds / 5))


def expected(spec=INSTANT, results=(), facts=fakes.FACTS):
    return durations.expected(spec, {spec.model.source: facts}, results)


def test_without_a_timed_run_the_duration_is_unknown():
    assert expected() is None
    assert expected(fakes.heal_spec()) is None
    assert expected(replace(fakes.heal_spec(), instant=True), [instant(60)]) is None, (
        "no training was timed"
    )
    assert (
        expected(results=[replace(instant(60), versions={"processor": "another, 4 cores"})]) is None
    )


def test_range_spans_the_quickest_to_the_slowest_measured_run():
    found = expected(results=[instant(60), instant(75), instant(66)])
    assert (found.low_s, found.high_s, found.n) == (pytest.approx(60), pytest.approx(75), 3)


def test_times_of_another_model_scale_by_parameters_and_name_it():
    large = replace(
        fakes.FACTS, name="large", layer_parameters=[7_080_000] * 30, other_parameters=56_624_000
    )
    found = expected(results=[instant(60), instant(60)], facts=large)
    assert found.low_s == pytest.approx(120)
    own = replace(instant(500), model=large)
    found = expected(results=[instant(60), own, own], facts=large)
    assert found.low_s == pytest.approx(500)


def test_another_precision_tells_nothing():
    other = replace(INSTANT, model=replace(INSTANT.model, dtype="float32"))
    assert expected(other, [instant(60)]) is None


def test_duration_of_steps_scales_with_their_tokens():
    done = replace(fakes.heal(), versions=HERE, wall_s=30 + 50 * 1024 / 445)
    one, twice = (expected(fakes.heal_spec(steps), [done, done]) for steps in (50, 100))
    assert one.low_s == pytest.approx(done.wall_s, rel=0.01)
    assert twice.low_s - one.low_s == pytest.approx(50 * 1024 / 445, rel=0.01)


@pytest.fixture
def curve():
    return replace(fakes.sweep(answers=True, limit=200), text_tokens=[255] * 32, versions=HERE)


GRID = GridSpec((ModelSpec(),), max_n=15)


def grid(curve, spec=GRID, facts=FACTS):
    return durations.expected(spec, facts, [curve] * 2)


def test_the_same_curve_again_takes_as_long(curve):
    found = grid(curve, GridSpec((ModelSpec(),), strategies=("similarity",), max_n=15))
    assert found.low_s == found.high_s == pytest.approx(curve.wall_s, rel=0.01)


def test_more_of_everything_but_question_text_pairs_takes_longer(curve):
    one = grid(curve)
    assert one.low_s == pytest.approx(2 * curve.wall_s, rel=0.01)
    both = GridSpec((ModelSpec(),), (BenchmarkSpec(), BenchmarkSpec("boolq")), max_n=15)
    assert curve.wall_s * 2 < grid(curve, both).low_s < curve.wall_s * 4
    large = replace(
        fakes.FACTS, other_parameters=fakes.FACTS.other_parameters + fakes.FACTS.n_parameters
    )
    assert grid(curve, facts={"starter": large}).low_s == pytest.approx(2 * one.low_s)


def evaluated(curve, **changes):
    spec = EvaluateSpec(ModelSpec(), benchmark=replace(BenchmarkSpec(), limit=200))
    return durations.expected(replace(spec, **changes), FACTS, [curve] * 2)


def test_an_evaluation_takes_the_share_of_a_curve_that_it_scores(curve):
    one = evaluated(curve)
    assert one.low_s == pytest.approx(curve.wall_s / len(curve.points), rel=0.01)
    assert evaluated(curve, loss_corpus=None).low_s < one.low_s
    assert evaluated(curve, generation=GenerationSpec()) is None


def test_a_curve_takes_its_map_too(curve):
    points = {"model": ModelSpec(), "max_n": 15}
    assert durations.expected(SweepSpec(**points), FACTS, [curve]) is None, "no map was timed"
    with_map = durations.expected(
        SweepSpec(**points), FACTS, [curve, replace(fakes.distances(), versions=HERE, wall_s=50.0)]
    )
    without = durations.expected(SweepSpec(strategy="deepest", **points), FACTS, [curve])
    assert with_map.high_s - without.high_s > 40


def test_the_processor_estimates_what_nothing_has_measured(curve):
    def found(model, results=()):
        return durations.expected(DistanceSpec(model), FACTS, results, lambda: 1e11)

    plain = found(ModelSpec(device="cpu"))
    assert plain.n == 0
    assert plain.low_s < DistanceSpec().flop(fakes.FACTS) / 1e11 < plain.high_s
    assert "estimated from the speed of this processor" in durations.sentence(DistanceSpec(), plain)
    assert found(ModelSpec(device="cpu", quantization="4bit")) is None
    assert found(ModelSpec(device="cuda")) is None
    measured = replace(fakes.distances(), versions=HERE)
    assert found(ModelSpec(), [measured]).n == 1


def test_a_grid_is_unknown_if_one_of_its_precisions_was_not_measured_here(curve):
    """77 to 1,806 hours were offered."""
    both = GridSpec((ModelSpec(), ModelSpec(quantization="4bit")), max_n=15)
    assert grid(curve, both) is None
    assert grid(replace(curve, versions={"processor": "another, 4 cores"})) is None
    assert grid(curve, facts={}) is None


def test_a_grid_of_hours_is_offered_as_the_part_that_fits_into_one(curve):
    spec = GridSpec((ModelSpec(), ModelSpec(dtype="float32")), max_n=15)

    def takes(part, seconds=60.0, known=("auto", "float32")):
        cuts = len(part.models) * (part.max_n + 1)
        is_known = all(model.dtype in known for model in part.models)
        return Duration(seconds * cuts / 2, seconds * cuts, 1) if is_known else None

    def part(**measured):
        made = durations.within(spec, 3600, lambda asked: takes(asked, **measured))
        return len(made.models), made.max_n

    assert part() == (2, 15), "all of it takes 32 minutes"
    assert part(seconds=300.0) == (2, 5), "both models, with as many removed layers as fit"
    assert part(seconds=2000.0) == (1, 0)
    assert part(seconds=9000.0) == (1, 0), "the least that can be asked for"
    assert part(known=("auto",)) == (1, 15), "the other model has no measured rate yet"
    assert part(known=()) == (1, 0), "it measures the rate"


def test_curve_with_reused_scores_does_not_shorten_the_estimate(curve):
    shared = replace(curve, wall_s=0.2)
    assert durations.expected(GRID, FACTS, [curve, curve, shared]) == grid(curve)


def ran(wall_s, processor=None, complete=True, n_measured=345):
    return SearchResult(
        spec=SEARCH,
        versions={"processor": f"{processor or host.processor()}, 2 threads"},
        wall_s=wall_s,
        n_tokens=1,
        complete=complete,
        model=fakes.FACTS,
        n_layers=30,
        max_n=15,
        found=[],
        n_sets=345,
        n_texts=8,
        n_validation=8,
        n_report=16,
        unpruned_loss=3.8,
        quoted=0.0,
        n_measured=n_measured,
    )


def test_sets_are_counted_and_the_budget_bounds_them():
    assert takes(SEARCH, fakes.FACTS).sets == sum(30 - n for n in range(15)) == 345
    assert takes(replace(SEARCH, protect=(0, 29)), fakes.FACTS).sets == sum(
        28 - n for n in range(15)
    )
    assert takes(replace(SEARCH, budget=100), fakes.FACTS).sets == 100
    assert (
        "up to 345 sets of layers, usually 159, about 11 TFLOP"
        in takes(SEARCH, fakes.FACTS).sentence
    )


def test_time_of_a_search_is_estimated_from_searches_of_this_machine():
    def found(*searches, spec=SEARCH):
        return durations.expected(spec, {spec.model.source: fakes.FACTS}, searches)

    assert found(ran(300.0), ran(300.0)).low_s == pytest.approx(300)
    for other in (ran(300.0, "another"), ran(300.0, complete=False), ran(4.0, n_measured=20)):
        assert found(other) is None
    assert (
        found(ran(300.0), spec=replace(SEARCH, model=replace(fakes.MODEL, dtype="float32"))) is None
    )
