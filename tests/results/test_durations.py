"""Estimated durations of healing runs, grids and searches, from those that were timed on this machine."""

import os
from dataclasses import replace

import pytest

from analysis.core import host
from analysis.core.host import SystemLoad
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import durations
from analysis.results.compared.durations import TimedHeal
from tests.support import fakes

IDLE = SystemLoad(0.1, 2)
BUSY = SystemLoad(3.0, 2)
FACTS = {"starter": fakes.FACTS}
SEARCH = SearchSpec(fakes.MODEL, "greedy")
INSTANT = replace(fakes.heal_spec(), steps=0, instant=True, recipe="instant")


def instant(seconds: float, **changes) -> TimedHeal:
    return TimedHeal(replace(fakes.heal(), spec=replace(INSTANT, **changes), steps=[]), seconds)


def expected(spec=INSTANT, timed_heals=(), load=IDLE, facts=fakes.FACTS):
    return durations.expected(spec, facts, timed_heals, load)


def test_without_a_timed_run_the_duration_is_unknown():
    assert expected() is None
    assert expected(fakes.heal_spec()) is None


def test_range_spans_the_quickest_to_the_slowest_measured_run():
    found = expected(timed_heals=[instant(60), instant(75), instant(66)])
    assert (found.low_s, found.high_s, found.n) == (60, 75, 3)


def test_a_single_one_may_be_off():
    found = expected(timed_heals=[instant(60)])
    assert found.low_s < 60 < found.high_s


def test_a_busy_machine_takes_longer_and_a_wider_range():
    calm, busy = (expected(timed_heals=[instant(60), instant(80)], load=load) for load in (IDLE, BUSY))
    assert busy.low_s > calm.low_s
    assert busy.high_s == pytest.approx(calm.high_s * (1 + 3 / 2))
    assert busy.high_s / busy.low_s > calm.high_s / calm.low_s


def test_more_questions_take_longer():
    more = replace(INSTANT, benchmark=BenchmarkSpec(identity="q", limit=1000))
    assert expected(more, [instant(60), instant(60)]).low_s > 2 * 60


def test_times_of_another_model_scale_by_parameters_and_name_it():
    large = replace(fakes.FACTS, name="large", layer_parameters=[7_080_000] * 30, other_parameters=56_624_000)
    found = expected(timed_heals=[instant(60), instant(60)], facts=large)
    assert found.low_s == pytest.approx(120)
    assert found.of_another == fakes.FACTS.name
    own = TimedHeal(replace(instant(0).result, model=large), 500)
    assert expected(timed_heals=[instant(60), own, own], facts=large).low_s == 500


def test_another_precision_tells_nothing():
    other = replace(INSTANT, model=replace(INSTANT.model, dtype="float32"))
    assert expected(other, [instant(60)]) is None


def test_requested_time_holds_under_any_load():
    timed = replace(fakes.heal_spec(), steps=0, minutes=10.0)
    assert expected(timed, load=BUSY).high_s == 600
    done = TimedHeal(fakes.timed_heal(), 690)
    assert expected(timed, [done]).high_s == 600, "it is a bound"


def test_duration_of_steps_scales_with_their_tokens():
    done = TimedHeal(fakes.heal(), 30 + 50 * 1024 / 445)
    one, twice = (expected(fakes.heal_spec(steps), [done, done]) for steps in (50, 100))
    assert one.low_s == pytest.approx(done.seconds, rel=0.01)
    assert twice.low_s - one.low_s == pytest.approx(50 * 1024 / 445, rel=0.01)


def test_only_heals_of_this_processor_count(monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "Xeon")
    here, elsewhere = (replace(fakes.heal(), versions={"processor": name}) for name in ("Xeon, 2 threads", "EPYC, 2 threads"))
    assert here.is_from_this_machine
    assert not elsewhere.is_from_this_machine


def test_a_machine_is_busy_from_half_a_process_a_core():
    assert not SystemLoad(0.9, 2).is_busy
    assert SystemLoad(0.9, 2).stretch == (1, 1)
    assert SystemLoad(1.0, 2).is_busy
    assert host.load(own_cores=10_000).average == 0


@pytest.mark.parametrize(
    ("average", "niceness", "times"),
    [(1.0, 0, 4 / 3), (2.0, 0, 2.0), (6.0, 0, 4.0), (1.0, 10, 1.82), (2.0, 10, 10.3), (4.0, 10, 19.6)],
)
def test_jobs_that_give_way_take_longer_beside_others(average, niceness, times):
    load = SystemLoad(average, 2, niceness)
    assert load.stretch[1] == pytest.approx(times, rel=0.01)
    assert 1 < load.stretch[0] < times


def test_load_is_that_of_all_cores(monkeypatch):
    monkeypatch.setattr(host, "cores", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert host.load().cores == 16


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "a test")
    made = fakes.sweep(answers=True)
    return replace(made, text_tokens=[255] * 32, versions={"processor": "a test, 4 cores"})


def test_the_same_curve_again_takes_as_long(curve):
    spec = GridSpec((ModelSpec(),), strategies=("similarity",), max_n=15)
    found = durations.of_grid(spec, [curve], FACTS, IDLE)
    assert found.low_s == found.high_s == pytest.approx(curve.wall_s, rel=0.01)


def test_more_of_everything_but_question_text_pairs_takes_longer(curve):
    one = durations.of_grid(GridSpec((ModelSpec(),), max_n=15), [curve], FACTS, IDLE)
    assert one.low_s == pytest.approx(2 * curve.wall_s, rel=0.01)
    both = GridSpec((ModelSpec(),), (BenchmarkSpec(), BenchmarkSpec("boolq")), max_n=15)
    assert curve.wall_s * 2 < durations.of_grid(both, [curve], FACTS, IDLE).low_s < curve.wall_s * 4
    large = replace(fakes.FACTS, other_parameters=fakes.FACTS.other_parameters + fakes.FACTS.n_parameters)
    assert durations.of_grid(GridSpec((ModelSpec(),), max_n=15), [curve], {"starter": large}, IDLE).low_s == pytest.approx(
        2 * one.low_s
    )


def test_curves_of_elsewhere_leave_a_wide_estimate_from_the_work(curve, monkeypatch):
    monkeypatch.setattr(host, "cards", lambda: 0)
    spec = GridSpec((ModelSpec(),), max_n=15)
    elsewhere = replace(curve, versions={"processor": "another, 4 cores"})
    plain = durations.of_grid(spec, [elsewhere], FACTS, IDLE)
    assert (plain.n, plain.high_s > 5 * plain.low_s) == (0, True)
    assert durations.of_grid(replace(spec, models=(ModelSpec(quantization="8bit"),)), [curve], FACTS, IDLE).low_s > plain.low_s
    both = replace(spec, models=(ModelSpec(), ModelSpec(quantization="4bit")))
    assert durations.of_grid(both, [curve], FACTS, IDLE).n == 0, "a part of it rests on no curve"
    assert durations.of_grid(spec, [elsewhere], {}, IDLE) is None


def test_work_alone_tells_nothing_about_a_gpu(monkeypatch):
    monkeypatch.setattr(host, "cards", lambda: 1)
    assert durations.of_grid(GridSpec((ModelSpec(device="auto"),)), [], FACTS, IDLE) is None
    assert durations.of_grid(GridSpec((ModelSpec(device="mps"),)), [], FACTS, IDLE) is None
    assert durations.of_grid(GridSpec((ModelSpec(device="cpu"),)), [], FACTS, IDLE) is not None


def test_worked_examples_take_time_too(curve):
    exam = GridSpec((ModelSpec(),), (BenchmarkSpec("mmlu", limit=200),), max_n=15)
    plain = replace(exam, benchmarks=(BenchmarkSpec("mmlu", limit=200, shots=0),))
    long, short = (durations.of_grid(spec, [curve], FACTS, IDLE).low_s for spec in (exam, plain))
    assert long > 3 * short


def test_curve_with_reused_scores_does_not_shorten_the_estimate(curve):
    spec = GridSpec((ModelSpec(),), max_n=15)
    shared = replace(curve, wall_s=0.2)
    assert durations.of_grid(spec, [curve, shared], FACTS, IDLE) == durations.of_grid(spec, [curve], FACTS, IDLE)


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
    assert takes(replace(SEARCH, protect=(0, 29)), fakes.FACTS).sets == sum(28 - n for n in range(15))
    assert takes(replace(SEARCH, budget=100), fakes.FACTS).sets == 100
    assert takes(replace(SEARCH, strategy="evopress"), fakes.FACTS).sets <= 4_000
    flop = [takes(replace(SEARCH, strategy=name), fakes.FACTS).flop for name in ("greedy", "swaps")]
    assert flop == sorted(flop)
    counted = durations.of_search(SEARCH, fakes.FACTS, [])
    assert "up to 345 sets of layers, usually 159, about 11 TFLOP" in counted, "158 and 12.8 were measured"
    assert "up to 2,760 sets of layers, usually 994, about" in durations.of_search(
        replace(SEARCH, strategy="swaps"), fakes.FACTS, []
    )


def test_time_is_estimated_from_searches_of_this_machine():
    ends = " at the speed of earlier searches here."
    assert durations.of_search(SEARCH, fakes.FACTS, [ran(300.0)]).endswith(f": 5 minutes{ends}")
    assert durations.of_search(SEARCH, fakes.FACTS, [ran(60.0)]).endswith(f": a minute{ends}")
    for other in (ran(300.0, "another"), ran(300.0, complete=False), ran(4.0, n_measured=20)):
        assert ends not in durations.of_search(SEARCH, fakes.FACTS, [other])
    assert ends not in durations.of_search(
        replace(SEARCH, model=replace(fakes.MODEL, dtype="float32")), fakes.FACTS, [ran(300.0)]
    )
