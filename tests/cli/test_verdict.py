"""The verdict that ends an answer on a terminal: only of a cut that was measured beside the
unpruned model.
"""

from dataclasses import replace

import pytest

from analysis.cli import answers
from analysis.core import store
from analysis.core.blocks import Block
from analysis.results import evidence
from analysis.results.compared import cliff
from analysis.results.words import headline
from tests.support import fakes

pytestmark = pytest.mark.usefixtures("cache", "no_precomputed_results")


@pytest.fixture
def no_precomputed_results(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


def lines(result) -> list[str]:
    result.save()
    return answers.PRINTERS[result.spec.kind].lines(result, None)


def sentence(cut, results, **others) -> str:
    return headline.sentence(
        evidence.Evidence(cut, fakes.MODEL, fakes.FACTS, results=results, **others)
    )


def verdicts(result) -> list[str]:
    return [line for line in lines(result) if line.startswith("Removing ")]


def test_a_heal_ends_with_the_verdict_from_its_own_numbers():
    heal = fakes.heal()
    said = sentence(heal.spec.block, [heal], shown=heal, heals=[heal])
    assert lines(heal)[-1] == said
    assert "Healing for 115 s" not in said
    assert "training 2 min" in said


def test_a_heal_without_answers_takes_the_pairs_of_a_curve():
    heal = fakes.alike_heal()
    curve = fakes.sweep(strategy="manual", cuts=(heal.spec.block,), answers=True)
    alone = lines(heal)[-1]
    assert not heal.questions
    heal.save()
    curve.save()
    assert lines(heal)[-1] == sentence(heal.spec.block, [heal, curve], shown=heal, heals=[heal])
    assert lines(heal)[-1] != alone


def test_a_control_and_a_heal_that_was_stopped_promise_nothing():
    assert verdicts(fakes.timed_heal(control=True)) == []
    assert "Healing for" not in " ".join(verdicts(fakes.heal(20)))


def test_a_curve_ends_with_the_verdict_before_the_cliff():
    curve = fakes.sweep(answers=True)
    located = cliff.locate(curve)
    assert located.sentence() in lines(curve)
    cut = next(point.block for point in curve.points if point.n == located.n - 1)
    assert lines(curve)[-1] == sentence(cut, [curve])


def test_a_verdict_states_a_speed_that_was_measured_earlier():
    curve, speed = fakes.sweep(strategy="manual", cuts=(Block(20, 4),)), fakes.speed()
    assert "Its speed is not measured" in lines(curve)[-1]
    speed.save()
    assert lines(curve)[-1] == sentence(Block(20, 4), [curve], speed=speed)
    assert "% faster" in lines(curve)[-1]


def test_an_evaluation_has_a_verdict_where_unpruned_scores_match():
    cut = fakes.evaluate(Block(11, 5))
    assert verdicts(cut) == [], "nothing to compare it with"
    whole = fakes.sweep().points[0]
    other = replace(cut.spec, block=None, benchmark=replace(cut.spec.benchmark, limit=50))
    replace(cut, spec=other, point=replace(whole, n_samples=50, n_texts=4)).save()
    assert verdicts(cut) == [], "asked something else"
    replace(cut, spec=replace(cut.spec, block=None), point=whole).save()
    assert len(verdicts(cut)) == 1
    assert lines(cut)[-1].startswith("Removing layers 11-15 makes the model")
    assert verdicts(replace(cut, spec=replace(cut.spec, adapter="adapters/abc"))) == [], (
        "a healed model is not the cut alone"
    )
