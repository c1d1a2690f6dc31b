"""Exercises: every answer is worked out again here, from the stored results and by another way."""

import re
from dataclasses import replace

import pytest

from analysis.results.words import exercises
from tests.support import fakes

SWEEP = fakes.sweep(answers=True)
ALL = {"facts": fakes.FACTS, "sweep": SWEEP, "heal": fakes.heal()}


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\.?\d*", text)]


def by_title(size=5, **results) -> dict[str, exercises.Exercise]:
    return {made.title: made for made in exercises.of(size, **(results or ALL))}


def test_exercises_can_be_solved_from_their_own_text():
    assert len(by_title()) == exercises.WANTED
    for made in by_title().values():
        assert made.is_right(made.answer)
        assert not made.is_right(made.answer + 3 * made.tolerance + 1e-9)
        assert any(
            abs(number - abs(made.answer)) <= made.tolerance for number in numbers(made.solution)
        ), made.title


def test_the_share_of_parameters_counts_those_that_stay():
    made = by_title()["How much smaller?"]
    whole = sum(fakes.FACTS.layer_parameters) + fakes.FACTS.other_parameters
    assert made.answer == pytest.approx(100 * 5 * 3_540_000 / whole)
    assert {whole, 5 * 3_540_000} <= set(numbers(made.asked))


def test_lost_and_gained_are_counted_question_by_question():
    whole, cut = SWEEP.questions[0], SWEEP.questions[5]
    pairs = [
        (a.prediction == a.gold, b.prediction == b.gold) for a, b in zip(whole, cut, strict=True)
    ]
    lost, gained = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    made = by_title()["Right answers lost and gained"]
    assert made.answer == pytest.approx(gained - lost)
    assert f"{lost} right answers become wrong" in made.asked
    assert f"and {gained} wrong answers become right" in made.asked


def test_the_share_that_is_repaired():
    repaired = by_title(heal=fakes.heal())["How much does healing recover?"]
    assert repaired.answer == pytest.approx(100 * (4.45 - 3.10) / (4.45 - 2.41))


def test_missing_measurements_give_no_exercise():
    assert exercises.of(5) == []
    assert list(by_title(facts=fakes.FACTS)) == ["How much smaller?"]
    assert "Right answers lost and gained" not in by_title(sweep=fakes.sweep())
    assert "How much does healing recover?" not in by_title(heal=fakes.heal(20))
    bettered = replace(fakes.heal(), pruned=replace(fakes.heal().pruned, loss=2.0))
    assert exercises.of(5, heal=bettered) == []


def test_exercise_holds_without_embeddings_and_for_one_removed_layer():
    tiny = replace(fakes.FACTS, n_layers=2, layer_parameters=[10, 10], other_parameters=0)
    made = by_title(1, facts=tiny)["How much smaller?"]
    assert made.answer == 50
