"""The duration of a grid is estimated from curves of this machine, and of no other."""

from dataclasses import replace

import pytest

from analysis.core import host
from analysis.core.host import Load
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.grid.spec import GridSpec
from analysis.models.spec import ModelSpec
from analysis.results import grids, library
from tests.support import fakes

IDLE = Load(0.0, 4)
FACTS = {"starter": fakes.FACTS}


@pytest.fixture
def curve(monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "a test")
    made = fakes.sweep(answers=True)
    return replace(made, text_tokens=[255] * 32, versions={"processor": "a test, 4 cores"})


def test_the_same_curve_again_takes_as_long(curve):
    spec = GridSpec((ModelSpec(),), strategies=("similarity",), max_n=15)
    found = grids.expected(spec, [curve], FACTS, IDLE)
    assert found.low_s == found.high_s == pytest.approx(curve.wall_s, rel=0.01)


def test_more_of_everything_but_question_text_pairs_takes_longer(curve):
    one = grids.expected(GridSpec((ModelSpec(),), max_n=15), [curve], FACTS, IDLE)
    assert one.low_s == pytest.approx(2 * curve.wall_s, rel=0.01)
    both = GridSpec((ModelSpec(),), (BenchmarkSpec(), BenchmarkSpec("boolq")), max_n=15)
    assert curve.wall_s * 2 < grids.expected(both, [curve], FACTS, IDLE).low_s < curve.wall_s * 4
    large = replace(fakes.FACTS, other_parameters=fakes.FACTS.other_parameters + fakes.FACTS.n_parameters)
    assert grids.expected(GridSpec((ModelSpec(),), max_n=15), [curve], {"starter": large}, IDLE).low_s == pytest.approx(
        2 * one.low_s
    )


def test_unusable_curves_give_no_time(curve):
    spec = GridSpec((ModelSpec(),))
    elsewhere = replace(curve, versions={"processor": "another, 4 cores"})
    assert grids.expected(spec, [elsewhere], FACTS, IDLE) is None
    assert grids.expected(spec, [curve], {}, IDLE) is None
    assert grids.expected(replace(spec, models=(ModelSpec(quantization="4bit"),)), [curve], FACTS, IDLE) is None


def test_curve_with_reused_scores_does_not_shorten_the_estimate(curve):
    spec = GridSpec((ModelSpec(),), max_n=15)
    shared = replace(curve, wall_s=0.2)
    assert grids.expected(spec, [curve, shared], FACTS, IDLE) == grids.expected(spec, [curve], FACTS, IDLE)


def test_a_grid_is_of_each_of_its_models(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    grid = fakes.grid()
    grid.save()
    assert library.of("grid", grid.spec.models[1]) == library.of("grid", grid.spec.models[0]) == [grid]
    assert library.of("grid", replace(fakes.MODEL, identity="files:other")) == []
