"""Estimated duration of a healing run, from those that were timed on this machine."""

from dataclasses import replace

import pytest

from analysis.core import host
from analysis.core.host import Load
from analysis.data.spec import BenchmarkSpec
from analysis.results import durations
from analysis.results.durations import Timed
from tests.support import fakes

IDLE = Load(0.1, 2)
BUSY = Load(3.0, 2)
INSTANT = replace(fakes.heal_spec(), steps=0, instant=True, recipe="instant")


def instant(seconds: float, **changes) -> Timed:
    return Timed(replace(fakes.heal(), spec=replace(INSTANT, **changes), steps=[]), seconds)


def expected(spec=INSTANT, known=(), load=IDLE, facts=fakes.FACTS):
    return durations.expected(spec, facts, known, load)


def test_without_timed_heal_the_amount_of_work_gives_wide_range(monkeypatch):
    monkeypatch.setattr(host, "cards", lambda: 0)
    found = expected()
    assert (found.n, found.high_s > 3 * found.low_s, found.low_s > 20) == (0, True, True)
    assert expected(fakes.heal_spec()) is None
    monkeypatch.setattr(host, "cards", lambda: 1)
    assert expected(replace(INSTANT, model=replace(INSTANT.model, device="auto"))) is None


def test_range_spans_the_quickest_to_the_slowest_measured_run():
    found = expected(known=[instant(60), instant(75), instant(66)])
    assert (found.low_s, found.high_s, found.n) == (60, 75, 3)


def test_a_single_one_may_be_off():
    found = expected(known=[instant(60)])
    assert found.low_s < 60 < found.high_s


def test_a_busy_machine_takes_longer_and_a_wider_range():
    calm, busy = (expected(known=[instant(60), instant(80)], load=load) for load in (IDLE, BUSY))
    assert busy.low_s > calm.low_s
    assert busy.high_s == pytest.approx(calm.high_s * (1 + 3 / 2))
    assert busy.high_s / busy.low_s > calm.high_s / calm.low_s


def test_more_questions_take_longer():
    more = replace(INSTANT, benchmark=BenchmarkSpec(identity="q", limit=1000))
    assert expected(more, [instant(60), instant(60)]).low_s > 2 * 60


def test_times_of_another_model_scale_by_parameters_and_name_it():
    large = replace(fakes.FACTS, name="large", layer_parameters=[7_080_000] * 30, other_parameters=56_624_000)
    found = expected(known=[instant(60), instant(60)], facts=large)
    assert found.low_s == pytest.approx(120)
    assert found.of_another == fakes.FACTS.name
    own = Timed(replace(instant(0).result, model=large), 500)
    assert expected(known=[instant(60), own, own], facts=large).low_s == 500


def test_another_precision_tells_nothing():
    other = replace(INSTANT, model=replace(INSTANT.model, dtype="float32"))
    assert expected(other, [instant(60)]).n == 0


def test_requested_time_holds_under_any_load():
    timed = replace(fakes.heal_spec(), steps=0, minutes=10.0)
    assert expected(timed, load=BUSY).high_s == 600
    done = Timed(fakes.timed_heal(), 690)
    assert expected(timed, [done]).high_s == pytest.approx(690)
    assert expected(replace(timed, minutes=2.0), [done]).high_s == pytest.approx(138)


def test_duration_of_steps_scales_with_their_tokens():
    done = Timed(fakes.heal(), 30 + 50 * 1024 / 445)
    one, twice = (expected(fakes.heal_spec(steps), [done, done]) for steps in (50, 100))
    assert one.low_s == pytest.approx(done.seconds, rel=0.01)
    assert twice.low_s - one.low_s == pytest.approx(50 * 1024 / 445, rel=0.01)


def test_remaining_time_never_falls_below_the_present_phase():
    found = expected(known=[instant(60), instant(80)])
    assert durations.left(found, 50) == (10, 30)
    assert durations.left(found, 100, phase_s=12) == (12, 12)


def test_only_heals_of_this_processor_count(monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "Xeon")
    here, elsewhere = (replace(fakes.heal(), versions={"processor": name}) for name in ("Xeon, 2 threads", "EPYC, 2 threads"))
    assert durations.is_of_here(here)
    assert not durations.is_of_here(elsewhere)


def test_a_machine_is_busy_from_half_a_process_a_core():
    assert not Load(0.9, 2).is_busy
    assert Load(0.9, 2).stretch == (1, 1)
    assert Load(1.0, 2).is_busy
    assert host.load(ours=10_000).average == 0
