"""The tab of questions: counts as a filter, rows for what passes it, and a sentence where there is nothing to tell."""

from dataclasses import replace

from analysis.experiments.accuracy.points import Answer
from analysis.reading import autopsy
from pages.components.explore import writing
from tests.support import fakes


def with_answers():
    curve = fakes.sweep()
    given = [
        [
            Answer(str(q), [-1.0, -2.0 if (q * (point.n + 1)) % 3 else 0.0], 0 if (q * (point.n + 1)) % 3 else 1, 0)
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
    found = autopsy.autopsy(curve, 5)
    flipped = found.counts[autopsy.LOST] + found.counts[autopsy.GAINED]
    assert flipped
    (table,) = [one for one in at.dataframe if "what became of it" in one.value.columns]
    assert len(table.value) == flipped
    at.pills[0].set_value([autopsy.ALWAYS_WRONG]).run()
    (table,) = [one for one in at.dataframe if "what became of it" in one.value.columns]
    assert len(table.value) == found.counts[autopsy.ALWAYS_WRONG]


def test_a_curve_without_answers_says_so(app, precomputed):
    for result in (fakes.distances(), replace(fakes.sweep(), questions=[])):
        precomputed(result)
    at = app(tab="questions", n="5")
    assert any("were not kept" in one.value for one in at.info)


def test_words_that_differ_are_marked_and_nothing_else():
    assert writing.marked("a b c d", "a x c d") == "a :blue-background[x] c d"
    assert writing.marked("same words", "same words") == "same words"
    assert writing.marked("", "![x](http://y)") == r":blue-background[\!\[x\]\(http\://y\)]"
