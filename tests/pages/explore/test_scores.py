"""Scores of the selected block: numbers of its own condition, and the tab of questions whose
answers change.
"""

from collections import Counter
from dataclasses import replace

from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.compared import answers
from tests.support import fakes
from tests.support.seen import read, texts


def with_answers():
    curve = fakes.sweep()
    given = [
        [
            QuestionScore(
                str(q),
                [-1.0, -2.0 if (q * (point.n + 1)) % 3 else 0.0],
                0 if (q * (point.n + 1)) % 3 else 1,
                0,
            )
            for q in range(20)
        ]
        for point in curve.points
    ]
    return replace(curve, questions=given)


def test_the_flipped_questions_are_listed_and_can_be_filtered(app, precomputed):
    curve = with_answers()
    for result in (fakes.distances(), curve):
        precomputed(result)
    at = app(tab="questions", n="5")
    counts = Counter(
        case.outcome for case in answers.outcomes(curve.questions[0], curve.questions[5])
    )
    flipped = counts[answers.LOST] + counts[answers.GAINED]
    assert flipped
    (table,) = [one for one in at.dataframe if "outcome" in one.value.columns]
    assert len(table.value) == flipped
    at.pills[0].set_value([answers.WRONG]).run()
    (table,) = [one for one in at.dataframe if "outcome" in one.value.columns]
    assert len(table.value) == counts[answers.WRONG]


def test_a_curve_without_answers_says_so(app, precomputed):
    for result in (fakes.distances(), replace(fakes.sweep(), questions=[])):
        precomputed(result)
    at = app(tab="questions", n="5")
    assert any("are not stored" in one.value for one in at.info)


def test_block_chosen_by_hand_shows_only_its_own_questions(app, precomputed):
    for result in (fakes.distances(), with_answers()):
        precomputed(result)
    at = app(tab="questions", block="3:5")
    assert not at.pills, "those of the strategy's cut of this size are of other layers"
    assert "**Not measured**: layers 3-7" in read(texts(at))
    assert at.button(key="score-cut").label == "Measure scores"
    deepest = replace(fakes.sweep(strategy="deepest"), questions=with_answers().questions)
    precomputed(deepest)
    own = next(point.block for point in deepest.points if point.n == 5)
    at = app(tab="questions", block=f"{own.start}:5")
    found = answers.outcomes(deepest.questions[0], deepest.questions[5])
    assert (
        at.pills[-1].options[0].endswith(f": {sum(case.outcome == answers.LOST for case in found)}")
    )


def alone(curve, lost: int = 4):
    """A block that was scored alone on the questions of a curve: it loses the first of those that
    the unpruned model knows.
    """
    made = fakes.evaluate(Block(3, 5), curve=curve)
    known = [one.id for one in curve.questions[0] if one.prediction == one.gold][:lost]
    answers = [
        replace(one, prediction=1 - one.gold) if one.id in known else one
        for one in curve.questions[0]
    ]
    return replace(made, questions=answers, point=replace(made.point, n_samples=curve.n_questions))


def test_a_block_scored_alone_has_its_own_questions(app, precomputed):
    curve = with_answers()
    for result in (fakes.distances(), curve, alone(curve)):
        precomputed(result)
    at = app(tab="questions", block="3:5")
    assert not at.exception
    assert at.pills[0].label == "20 ARC-Easy questions without layers 3-7"
    assert at.pills[0].options[:2] == ["lost: 4", "gained: 0"]
    (table,) = [one for one in at.dataframe if "outcome" in one.value.columns]
    assert list(table.value["outcome"]) == [answers.LOST] * 4
    assert ":gray-badge[ARC-Easy · n = 100" in texts(at)
