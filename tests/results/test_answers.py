"""Outcome of each question without a block, against a count by hand."""

from collections import Counter

from analysis.data.tasks import Question
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.compared import answers
from analysis.results.compared.answers import GAINED, LOST, RIGHT, WRONG

# Per question: whether it is right in the unpruned and in the pruned model.
HITS = {"a": (1, 1), "b": (0, 0), "c": (1, 0), "d": (0, 1)}


def given(place):
    """Return answers to two-option questions; right answers lead by a nat, wrong ones trail by one
    and pruned by two.
    """
    return [
        QuestionScore(
            name, [-1.0, -2.0 if hits[place] else float(place)], 0 if hits[place] else 1, 0
        )
        for name, hits in HITS.items()
    ]


def test_outcome_of_every_question_agrees_with_a_count_by_hand():
    found = answers.outcomes(given(0), given(1))
    assert {case.before.id: case.outcome for case in found} == {
        "a": RIGHT,
        "b": WRONG,
        "c": LOST,
        "d": GAINED,
    }
    assert set(Counter(case.outcome for case in found)) == set(answers.OUTCOMES)


def test_questions_that_moved_most_come_first_with_their_margins():
    found = answers.outcomes(given(0), given(1))
    assert [(case.before.id, case.margins) for case in found] == [
        ("c", (1.0, -2.0)),
        ("d", (-1.0, 1.0)),
        ("b", (-1.0, -2.0)),
        ("a", (1.0, 1.0)),
    ]


def test_a_table_says_the_words_where_they_are_known():
    found = answers.outcomes(given(0), given(1))
    question = Question("c", "An example.\n\nWhat is it?", [" right", " wrong"], 0)
    by_id = {row["id"]: row for row in answers.table(found, {"c": question}).rows}
    assert by_id["c"]["question"] == "What is it?"
    assert (by_id["c"]["unpruned answer"], by_id["c"]["pruned answer"]) == ("right", "wrong")
    assert by_id["d"]["right option"] == "option 1"


def test_without_common_questions_there_are_no_outcomes():
    assert answers.outcomes(given(0), []) == []
