"""Differences from a reference: known answers, paired where the same was measured, refused where it was not."""

import math
from dataclasses import replace

import pytest

from analysis.data.spec import BenchmarkSpec
from analysis.results.compared import differences
from tests.support import fakes


def with_losses(sweep, shift=0.0):
    return replace(sweep, text_losses=[[point.loss + shift + text / 10 for text in range(8)] for point in sweep.points])


def test_curves_are_paired_question_by_question_and_text_by_text():
    a = with_losses(fakes.sweep(answers=True))
    b = with_losses(fakes.sweep(strategy="deepest", answers=True), shift=0.25)
    (accuracy, loss), why = differences.differences(a, b)
    assert why == ""
    assert accuracy.difference == pytest.approx(b.points[6].acc - a.points[6].acc)
    assert accuracy.basis.startswith("paired, 100 questions")
    assert accuracy.low <= accuracy.difference <= accuracy.high < 0
    assert accuracy.is_significant
    # Every text moves by the same amount, so the paired interval has no width.
    shift = b.points[6].loss + 0.25 - a.points[6].loss
    assert (loss.difference, loss.low, loss.high) == pytest.approx((shift, shift, shift))
    assert loss.basis == "paired, 8 texts"


def test_without_answers_the_interval_is_that_of_independent_numbers():
    a, b = fakes.sweep(), fakes.sweep(strategy="deepest")
    (accuracy, _), _ = differences.differences(a, b)
    shares = [result.points[6].acc for result in (a, b)]
    half = 1.959964 * math.hypot(*(math.sqrt(share * (1 - share) / 99) for share in shares))
    assert accuracy.high - accuracy.difference == pytest.approx(half, rel=1e-5)
    assert "independent" in accuracy.basis


def test_heal_is_compared_with_a_curve_at_its_own_n():
    curve, heal = fakes.sweep(), fakes.heal()
    (accuracy, loss), _ = differences.differences(curve, heal)
    assert accuracy.reference == curve.points[5].acc
    assert (loss.value, loss.reference) == (3.1, curve.points[5].loss)


def test_other_questions_and_other_texts_are_not_subtracted():
    a = fakes.sweep()
    asked = replace(a, spec=replace(a.spec, benchmark=BenchmarkSpec("piqa", identity="p")))
    found, why = differences.differences(a, asked)
    assert [one.quantity for one in found] == ["loss, nats per token"]
    assert why == "Not compared: it was measured on other questions."
    neither = replace(asked, spec=replace(asked.spec, loss_corpus=None))
    assert differences.differences(a, neither) == (
        [],
        "The result was measured on other questions and other texts than the reference.",
    )
    assert "no computed difference" in differences.differences(a, fakes.distances())[1]
    assert "20% of the layers" in differences.differences(a, fakes.sweep(2))[1]


def test_more_of_the_same_questions_are_paired_on_those_shared():
    (accuracy, *_), _ = differences.differences(fakes.sweep(answers=True), fakes.sweep(limit=200, answers=True))
    assert accuracy.basis.startswith("paired, 100 questions")


def test_another_vocabulary_is_compared_in_bits_per_byte():
    a = fakes.sweep()
    b = replace(a, model=replace(a.model, vocab_size=32_000))
    (_, loss), _ = differences.differences(a, b)
    assert loss.quantity == "loss, bits per byte"
    assert (loss.difference, loss.low) == (0, pytest.approx(-loss.high))
    assert not loss.is_significant


def test_another_tokenizer_of_equal_size_is_not_compared_in_nats():
    """It divides the same texts into another number of tokens, which the bits per byte show."""
    a = fakes.sweep()
    a = replace(a, points=[replace(point, bits_per_byte=point.loss / 3) for point in a.points])
    b = replace(a, points=[replace(point, bits_per_byte=point.loss / 2.5) for point in a.points])
    assert differences.same_tokens(a, replace(a))
    assert not differences.same_tokens(a, b)
    assert "loss, nats per token" not in [one.quantity for one in differences.differences(a, b)[0]]
