"""Outcome of each question without a block, against a count by hand."""

from dataclasses import replace

import pytest

from analysis.data.tasks import Question
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.compared import answers
from analysis.results.compared.answers import (
    ALWAYS_RIGHT,
    ALWAYS_WRONG,
    GAINED,
    LOST,
    RIGHT,
    WRONG,
)
from tests.support import fakes

# Per question: whether it is right at n = 0, 1 and 2.
HITS = {
    "a": (1, 1, 1),
    "b": (0, 0, 0),
    "c": (1, 0, 1),
    "d": (0, 1, 0),
    "e": (1, 1, 0),
    "f": (0, 0, 1),
}


def curve():
    """Return a curve of two-option questions at n = 0, 1 and 2; right answers lead by a nat, wrong ones trail by n + 1 nats."""
    base = fakes.sweep()
    given = [
        [
            QuestionScore(name, [-1.0, -2.0 if hits[n] else -1.0 + (n + 1)], 0 if hits[n] else 1, 0)
            for name, hits in HITS.items()
        ]
        for n in range(3)
    ]
    return replace(base, points=base.points[:3], questions=given)


@pytest.mark.parametrize(
    ("n", "fates"),
    [
        (1, {"a": ALWAYS_RIGHT, "b": ALWAYS_WRONG, "c": LOST, "d": GAINED, "e": RIGHT, "f": WRONG}),
        (2, {"a": ALWAYS_RIGHT, "b": ALWAYS_WRONG, "c": RIGHT, "d": WRONG, "e": LOST, "f": GAINED}),
    ],
)
def test_outcome_of_every_question_agrees_with_a_count_by_hand(n, fates):
    found = answers.of_curve(curve(), n)
    assert {case.id: case.outcome for case in found.cases} == fates
    assert sum(found.counts.values()) == len(HITS)
    assert all(count == 1 for count in found.counts.values())


def test_lines_show_the_right_and_the_most_likely_wrong_option():
    found = answers.of_curve(curve(), 2)
    (case,) = [case for case in found.cases if case.id == "b"]
    assert case.right == [-1.0, -1.0, -1.0]
    assert case.rival == [0.0, 1.0, 2.0]
    assert case.margins == [-1.0, -2.0, -3.0]
    assert [one.id for one in found.of([ALWAYS_WRONG, ALWAYS_RIGHT])] == ["b", "a"]


def test_a_table_says_the_words_where_they_are_known():
    found = answers.of_curve(curve(), 1)
    question = Question("c", "An example.\n\nWhat is it?", [" right", " wrong"], 0)
    rows = found.table(found.of([LOST, GAINED]), {"c": question}).rows
    by_id = {row["id"]: row for row in rows}
    assert by_id["c"]["question"] == "What is it?"
    assert (by_id["c"]["unpruned answer"], by_id["c"]["without 1 layers"]) == ("right", "wrong")
    assert by_id["d"]["right option"] == "option 1"


def test_without_answers_there_are_no_outcomes():
    lean = replace(curve(), questions=[])
    assert answers.of_curve(lean, 1) is None
    assert answers.of_curve(curve(), 0) is None
    assert answers.of_curve(curve(), 9) is None
