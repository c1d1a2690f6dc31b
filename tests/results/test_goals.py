"""A goal is met by an interval, never by a point estimate."""

import math
from dataclasses import replace

import pytest

from analysis.api import facade
from analysis.core.errors import SpecError
from analysis.results import verdict
from analysis.results.compared import front, unmeasured
from analysis.results.verdict import BYTES, NATS, POINTS, SPEED, Goal
from analysis.results.words import goals
from tests.results.test_front import kept_answers
from tests.support import fakes


def compared(*right: int, n: int = 200):
    return front.compare([kept_answers(*right, n=n)])


def test_smallest_removal_whose_interval_allows_it_is_chosen():
    """Of 1,000 questions three layers lose 5, six lose 60: only the former are within 3 points."""
    found = compared(600, 600, 598, 595, 540, 500, n=1000)
    chosen = goals.answer(found, Goal(POINTS, 3)).candidate
    assert chosen.cut.size == 3
    assert chosen.changes["accuracy"].low > -0.03
    assert all(
        one.changes["accuracy"].low <= -0.03 for one in found.forms if one.memory < chosen.memory
    )


def test_point_estimate_of_zero_with_a_wide_interval_meets_nothing():
    """The old page recommended a removal by +0.0 (-9.8 to +9.8)."""
    sweep = kept_answers(100, 100)
    flipped = [replace(a, prediction=int(50 <= q < 150)) for q, a in enumerate(sweep.questions[1])]
    answer = goals.answer(
        front.compare([replace(sweep, questions=[sweep.questions[0], flipped])]), Goal(POINTS, 9)
    )
    assert answer.candidate is None
    assert answer.undecided.changes["accuracy"].difference == 0
    assert answer.needed > 200


def test_candidate_that_needs_too_many_questions_is_not_named():
    answer = goals.answer(compared(100, 99), Goal(POINTS, 0.6))
    assert answer.undecided is None
    assert answer.said.endswith("no measured smaller model meets this.")


def test_candidate_that_needs_more_questions_than_the_dataset_has_is_not_named(monkeypatch):
    needed = goals.answer(compared(100, 99), Goal(POINTS, 2)).needed
    for size, is_named in ((needed, True), (needed - 1, False), (None, True)):
        monkeypatch.setattr(verdict.questions, "size", lambda _, size=size: size)
        assert (goals.answer(compared(100, 99), Goal(POINTS, 2)).undecided is not None) == is_named


def test_undecided_loss_is_measured_on_more_texts():
    sweep = fakes.sweep()
    losses = [
        [point.loss + (1 + point.n * text) / 100 for text in range(8)] for point in sweep.points
    ]
    found = front.compare([replace(sweep, text_losses=losses)])
    change = found.forms[5].changes["loss"]
    answer = goals.answer(found, Goal(NATS, (change.difference + change.high) / 2))
    spec = unmeasured.more_data(answer.undecided, answer.goal.quantity, answer.needed).spec
    assert spec.loss_corpus.n_texts == answer.needed > 8
    assert (spec.strategy, spec.blocks) == ("manual", (answer.undecided.cut,))


def test_loss_goal_is_decided_by_the_upper_end():
    sweep = fakes.sweep()
    losses = [
        [point.loss + (1 + point.n * text) / 100 for text in range(8)] for point in sweep.points
    ]
    found = front.compare([replace(sweep, text_losses=losses)])
    chosen = goals.answer(found, Goal(NATS, 1.0)).candidate
    assert chosen.changes["loss"].high < 1.0
    assert all(one.changes["loss"].high >= 1.0 for one in found.forms if one.memory < chosen.memory)


def test_python_answers_a_goal_in_the_words_of_the_front(cache):
    curve = fakes.sweep(limit=200, answers=True)
    curve.save()
    model = facade.Model(curve.spec.model)
    [expected] = model.front(bytes="200MB").answers
    assert model.goal(bytes="200MB").said == expected.said
    assert model.goal(8).goal == Goal(POINTS, 8)
    assert model.goal(bytes=300_000_000).goal == Goal(BYTES, 3e8)
    with pytest.raises(SpecError, match="exactly one of points, bytes, speed, nats"):
        model.goal(3, speed=1.2)
    with pytest.raises(SpecError, match="--nats must be above 0 and finite"):
        model.goal(nats=math.nan)
    with pytest.raises(SpecError, match="--bytes must be above 0 and below .* of 401 digits"):
        verdict.of_limits(bytes=10**400)
    assert [goal.kind for goal in verdict.usual_goals(model.front().content.comparison)] == [
        BYTES,
        SPEED,
        POINTS,
    ]
