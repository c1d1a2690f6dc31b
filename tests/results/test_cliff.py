"""The cliff of a sweep: one function locates it, and every place prints its sentence."""

import random
from dataclasses import replace

import pytest

from analysis.charts import curves
from analysis.experiments.accuracy.points import Lines, Point, QuestionScore
from analysis.results.compared import cliff
from tests.support import fakes
from tests.support.toy import SWEEP


def curve(*accuracies: float, n_samples: int = 200, chance: float = 0.25):
    points = [
        Point(n, None if n == 0 else 1, acc, 0.03, n_samples=n_samples)
        for n, acc in enumerate(accuracies)
    ]
    return replace(SWEEP, points=points, lines=Lines(chance, 0.3))


def answered(*right: set[int], n: int = 200):
    """A sweep whose answers are kept: by removed layers, the questions that were right."""
    kept = [
        [QuestionScore(str(q), [], 0, 0 if q in given else 1) for q in range(n)] for given in right
    ]
    return replace(curve(*(len(given) / n for given in right), n_samples=n), questions=kept)


def test_sharp_fall_is_located_with_many_questions_but_not_five():
    many = cliff.locate(curve(0.65, 0.6, 0.62, 0.26, 0.25, n_samples=400))
    assert (many.earliest, many.latest, many.n) == (3, 3, 3)
    five = cliff.locate(curve(0.8, 0.6, 0.6, 0.2, 0.2, n_samples=5))
    assert five is None or five.latest is None


def test_model_at_the_most_frequent_answer_has_no_cliff():
    falling = curve(0.5, 0.5, 0.26, 0.25, 0.25)
    assert cliff.locate(falling).is_located
    assert cliff.locate(replace(falling, lines=Lines(0.25, 0.46))) is None


def test_slope_leaves_a_range():
    found = cliff.locate(curve(0.65, 0.6, 0.48, 0.44, 0.41, 0.28, 0.26))
    assert found.earliest <= found.n <= found.latest
    assert found.earliest < found.latest


def test_one_low_point_on_a_plateau_is_no_cliff():
    assert cliff.locate(curve(0.65, 0.3, 0.6, 0.6)).latest is None
    late = cliff.locate(curve(0.65, 0.6, 0.3, 0.28, 0.44, 0.27))
    assert (late.n, late.latest) == (2, 5) or late.latest == 5


def test_paired_answers_locate_a_cliff_that_unpaired_ones_miss():
    """The pruned model loses 42 of the same 100 right answers: a fall that only pairing can see."""
    first = set(range(100))
    with_answers = answered(first, first, set(range(61)), set(range(60)), set(range(59)), n=160)
    paired, unpaired = cliff.locate(with_answers), cliff.locate(replace(with_answers, questions=[]))
    assert paired.paired
    assert not unpaired.paired
    assert paired.latest is not None
    assert unpaired.latest is None


@pytest.mark.slow
def test_interval_holds_the_true_cliff_in_nineteen_of_twenty_draws():
    rng, inside = random.Random(0), 0
    for _ in range(200):
        right = [
            {q for q in range(200) if rng.random() < share}
            for share in (0.6, 0.6, 0.6, 0.6, 0.3, 0.28, 0.25)
        ]
        found = cliff.locate(answered(*right))
        inside += found.allows(4)
    assert inside >= 190


def test_nothing_is_located_without_questions_or_above_chance():
    assert cliff.locate(curve(0.26, 0.25, 0.25)) is None, "a model at chance"
    assert cliff.locate(curve(0.65)) is None, "one point"
    assert cliff.locate(replace(SWEEP, lines=None)) is None, "no questions"
    without = curve(0.65, 0.4)
    assert cliff.locate(replace(without, points=without.points[1:])) is None, "no unpruned model"


def test_sentence_names_strategy_questions_and_interval():
    sweep = fakes.sweep(strategy="deepest", answers=True)
    found = cliff.locate(sweep)
    said = (
        f"Accuracy of the deepest blocks on 100 ARC-Easy questions collapses at n = {found.n} (95"
        f" %: {found.interval()})."
    )
    assert cliff.sentence(sweep) == said
    assert found.is_located
    assert found.earliest <= found.n <= found.latest


def test_sentence_says_that_no_cliff_can_be_located():
    """The stored accuracies of the starter: the old rule put the cliff at n = 12, and the lesson
    found none.
    """
    measured = (
        0.47,
        0.47,
        0.40,
        0.53,
        0.45,
        0.39,
        0.42,
        0.46,
        0.32,
        0.38,
        0.37,
        0.39,
        0.32,
        0.35,
        0.28,
        0.32,
    )
    sweep = replace(fakes.sweep(limit=200), points=curve(*measured).points)
    expected = (
        "Accuracy may collapse from n = 8 on: more questions would show it (similarity blocks, 200"
        " ARC-Easy questions)."
    )
    assert cliff.sentence(sweep) == expected
    assert not curves.accuracy_curve(sweep).layout.annotations


def test_layer_sets_are_not_called_blocks():
    assert (
        cliff.removed_in_words(fakes.sweep(strategy="block-influence"))
        == "block-influence layer sets"
    )
    assert (
        cliff.removed_in_words(fakes.sweep(strategy="random", draw=2)) == "random blocks (draw 2)"
    )
