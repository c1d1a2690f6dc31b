"""The helpers of the benchmarks work: benchmarks themselves take minutes to hours, and no test runs
them.
"""

from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

from analysis.experiments.heal.healing_run import HealingRun
from benchmarks import work
from benchmarks.rival_heals import Timer

BENCHMARKS = Path(work.__file__).parent


@pytest.mark.tiny
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_each_benchmark_imports_what_it_uses(name):
    import_module(f"benchmarks.{name}")


@pytest.mark.slow
def test_the_timer_of_heals_stops_during_every_measurement_of_a_run():
    """It replaces methods of the product by their names."""
    heals = import_module("benchmarks.heals")
    measure = HealingRun.measure_after
    with heals.timed_by(Timer(60, lambda: 0.0)):
        assert HealingRun.measure_after is not measure
    assert HealingRun.measure_after is measure


@pytest.mark.starter
@pytest.mark.parametrize(("method", "rate"), [("distill", 1e-3), ("instant", None)])
def test_heals_gives_its_learning_rate_to_recipes_that_train(method, rate, cache):
    heals = import_module("benchmarks.heals")
    options = Namespace(model="starter", dtype="float32", cut="11:5", less="12:4", seed=0, texts=32)
    usual = heals.spec_of(Namespace(**vars(options), learning_rate=None), method, 2.0)
    spec = heals.spec_of(Namespace(**vars(options), learning_rate=1e-3), method, 2.0)
    assert spec.learning_rate == (rate or usual.learning_rate)
    assert (spec == usual) == (rate is None)


@pytest.mark.tiny
def test_machine_is_described_with_its_load(capsys):
    assert work.describe_machine("float32") == "float32"
    assert " on " in capsys.readouterr().out
