"""The decision follows the 95 % intervals: go, measure more or don't, and names its evidence."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.core import stats, units
from analysis.core.blocks import Block
from analysis.core.errors import SpecError
from analysis.experiments.accuracy.points import Lines, QuestionScore
from analysis.results import evidence, verdict
from analysis.results.evidence import Quantity
from analysis.results.score.changes import Change
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.verdict import GO, MORE, OPEN, OUTSIDE, STOP, WITHIN, Judged, Tolerance
from analysis.results.words import decision
from tests.support import fakes

CUT = next(point.block for point in fakes.sweep().points if point.n == 8)
HEALED = fakes.heal().spec.block


def judged(name: str, bound: float, *change, caveat: str = "") -> Judged:
    return Judged(Quantity(name, change=Change(*change) if change else None), bound, caveat)


def accuracy(low: float, high: float, points: float = 3.0, n: int = 200, **changes) -> Judged:
    """A change of accuracy in points, in the middle of its interval."""
    return judged(
        ACCURACY, points / 100, (low + high) / 200, low / 100, high / 100, True, n, None, **changes
    )


def loss(low: float, high: float, nats: float = 0.1, **changes) -> Judged:
    return judged(LOSS, nats, (low + high) / 2, low, high, True, 32, None, **changes)


@pytest.mark.parametrize(
    ("result", "position"),
    [
        (accuracy(-2.9, 1), WITHIN),
        (accuracy(-3, 5), WITHIN),
        (accuracy(-3.1, 5), OPEN),
        (accuracy(-9, -3), OPEN),
        (accuracy(-9, -3.1), OUTSIDE),
        (accuracy(2, 9), WITHIN),
        (loss(-0.2, 0.1), WITHIN),
        (loss(0.05, 0.11), OPEN),
        (loss(0.11, 0.2), OUTSIDE),
        (loss(-0.3, -0.2), WITHIN),
        (loss(-0.2, 0.05, caveat="other texts."), OPEN),
        (loss(0.11, 0.2, caveat="other texts."), OUTSIDE),
        (judged(ACCURACY, 0.03), OPEN),
        (judged(LOSS, 0.1, 9.0, None, None, True, 1, None), OPEN),
    ],
)
def test_position_of_an_interval(result, position):
    assert result.position == position


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (accuracy(-2, 1), loss(0, 0.05), GO),
        (accuracy(-2, 1), loss(0, 0.2), MORE),
        (accuracy(-9, 1), loss(0, 0.05), MORE),
        (accuracy(-9, 1), loss(0.2, 0.3), STOP),
        (accuracy(-9, -4), loss(0, 0.05), STOP),
        (judged(ACCURACY, 0.03), loss(0, 0.05), MORE),
        (judged(ACCURACY, 0.03), loss(0.2, 0.3), STOP),
    ],
)
def test_rule_for_each_combination(one, other, expected):
    assert verdict.recommended(one, other) == expected


def sampled(effect: float, deviation: float, n: int, bound: float) -> Judged:
    """A loss change of this effect measured on n texts."""
    half = stats.Z * deviation / math.sqrt(n)
    return judged(LOSS, bound, effect, effect - half, effect + half, True, n, None)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    effect=st.floats(-0.5, 0.5),
    deviation=st.floats(0, 2),
    bound=st.floats(0, 0.5),
    n=st.integers(2, 5000),
    times=st.integers(1, 50),
)
def test_more_texts_never_reverse_a_decision(effect, deviation, bound, n, times):
    before, after = (sampled(effect, deviation, count, bound).position for count in (n, n * times))
    assert before in (OPEN, after)


@settings(max_examples=200, deadline=None)
@given(
    low=st.floats(-0.5, 0.5),
    width=st.floats(0, 0.5),
    bound=st.floats(0, 0.5),
    more=st.floats(0, 0.5),
)
def test_a_wider_tolerance_never_makes_the_decision_harsher(low, width, bound, more):
    order = [OUTSIDE, OPEN, WITHIN]
    strict, wide = (loss(low, low + width, nats).position for nats in (bound, bound + more))
    assert order.index(strict) <= order.index(wide)


@settings(max_examples=100, deadline=None)
@given(effect=st.floats(-0.3, 0.3), bound=st.floats(0, 0.3), n=st.integers(10, 500))
def test_the_needed_number_of_texts_decides(effect, bound, n):
    assume(
        abs(effect - bound) > 1e-4
    )  # nearer the tolerance the number has more digits than a float
    asked = sampled(effect, 1.0, n, bound)
    if asked.position == OPEN and asked.needed is not None:
        assert asked.needed > n
        assert sampled(effect, 1.0, asked.needed, bound).position != OPEN


def test_no_number_of_questions_decides_a_change_at_the_tolerance():
    assert accuracy(-6, 0).needed is None
    assert "More questions cannot decide this" in decision._measure(accuracy(-6, 0), None)


@pytest.mark.parametrize(
    ("few", "least"),
    [
        (accuracy(-9, 5, n=19), "at least 20 questions (now 19)"),
        (judged(LOSS, 0.1, 0.0, -0.3, 0.3, True, 7, None), "at least 8 texts (now 7)"),
    ],
)
def test_too_few_questions_or_texts_give_no_plan(few, least):
    assert few.position == OPEN
    assert few.needed is None
    assert least in decision._measure(few, None)


def test_the_tolerance_refuses_negative_numbers():
    with pytest.raises(SpecError, match=r"accepted accuracy drop is -1.*at least 0 \(default: 3\)"):
        Tolerance(points=-1)
    with pytest.raises(SpecError, match=r"accepted loss rise is nan.*default: 0\.1"):
        Tolerance(nats=math.nan)


def answers(right: int, n: int) -> list[QuestionScore]:
    return [QuestionScore(f"q{index}", [0.0, 0.0], int(index >= right), 0) for index in range(n)]


def curve(right: float, rise: float, n: int = 100, **changes):
    """Return a curve with half of n questions right unpruned, and this share right and this rise of
    the loss without CUT.
    """
    made = fakes.sweep(limit=n)
    points = [
        replace(
            p,
            acc=right if p.block == CUT else 0.5,
            n_samples=n,
            loss=2.0 + (rise if p.block == CUT else 0),
        )
        for p in made.points
    ]
    texts = [
        [p.loss + 0.2 * math.sin(text * (1 + (p.n > 0) / 50)) for text in range(8)] for p in points
    ]
    return replace(
        made,
        points=points,
        questions=[answers(round(n * p.acc), n) for p in points],
        text_losses=texts,
        **changes,
    )


def decided(*results, cut=CUT, tolerance=verdict.DEFAULT, available=None, **stored):
    found = evidence.Evidence(cut, fakes.MODEL, fakes.FACTS, results=results, **stored)
    return decision.decide(found, tolerance=tolerance, available=available)


def test_many_unchanged_questions_give_a_go():
    made = decided(curve(0.5, 0.0, 2000))
    assert made.recommendation == GO
    assert len(made.reasons) == 2
    assert made.reasons[0].endswith(
        "2000 ARC-Easy questions): the whole interval is within the accepted drop of 3 points."
    )


def test_few_questions_ask_for_more_with_their_number():
    made = decided(curve(0.48, 0.0, 100))
    assert made.recommendation == MORE
    assert made.reasons[0].startswith("Accuracy change -2.0 points (95 % CI ")
    assert made.reasons[0].endswith("the interval includes the accepted drop of 3 points.")
    needed = made.judged[0].needed
    assert f"about {units.two_digits(needed)} questions (now 100)" in made.next_steps[0]


def test_large_loss_rise_gives_a_dont():
    made = decided(curve(0.5, 1.5))
    assert made.recommendation == STOP
    (reason,) = made.reasons
    assert reason.startswith("Loss change +1.5")
    assert reason.endswith("the whole interval is beyond the accepted rise of 0.1 nats/token.")


def test_the_loss_map_can_refuse_and_never_allows():
    block, known = Block(20, 2), fakes.damage()
    strict = decided(curve(0.5, 0.0), cut=block, damage=[known], tolerance=Tolerance(3, 0))
    wide = decided(curve(0.5, 0.0), cut=block, damage=[known], tolerance=Tolerance(3, 50))
    assert (strict.recommendation, wide.recommendation) == (STOP, MORE)
    number = next(one for one in strict.numbers if one.name == "Loss change")
    assert number.state == evidence.ESTIMATED
    assert number.on.startswith("loss-increase map, 8 texts of Wikipedia")
    assert known.spec in strict.requests
    assert any("cannot support a go" in one for one in wide.reasons)


def test_an_unmeasured_block_is_measured_first():
    made = decided(curve(0.5, 0.0), cut=Block(20, 2))
    assert made.recommendation == MORE
    assert made.reasons == (
        "Accuracy is not measured on 100 ARC-Easy questions.",
        "Loss is not measured on 8 texts of C4.",
    )
    assert "Speed without this block is not measured." in made.unknowns
    assert "No healing run of this block is measured." in made.unknowns


def test_a_dataset_at_chance_never_supports_a_go():
    made = decided(curve(0.5, 0.0, 2000, lines=Lines(0.49, 0.5)))
    assert made.recommendation == MORE
    assert "cannot support a go" in made.reasons[0]
    assert made.next_steps[0] == "Choose a dataset on which the unpruned model is above chance."
    assert any(
        "pruned model is not significantly above the most frequent answer" in one
        for one in made.risks
    )


def heal(right: float, rise: float, n: int = 2000):
    made = fakes.alike_heal()
    scores = {"unpruned": (0.5, 2.0), "pruned": (0.4, 4.0), "healed": (right, 2.0 + rise)}
    points = {
        name: replace(getattr(made, name), acc=share, n_samples=n, loss=value)
        for name, (share, value) in scores.items()
    }
    return replace(
        made,
        **points,
        questions={name: answers(round(n * share), n) for name, (share, _) in scores.items()},
        text_losses={
            name: [value + 0.1 * math.sin(t) for t in range(8)]
            for name, (_, value) in scores.items()
        },
    )


def test_chosen_heal_is_judged_in_place_of_the_pruned_model():
    healing = heal(0.5, 0.02)
    pruned = decided(healing, cut=HEALED, heals=[healing])
    healed = decided(healing, cut=HEALED, heals=[healing], heal=healing)
    assert (pruned.recommendation, healed.recommendation) == (STOP, GO)
    assert pruned.next_steps[0] == "Healed by recipe quick: go. Judge that model instead."
    assert healed.healed == "quick"
    assert any(name == "Heal, done" and "recipe quick" in said for name, said in healed.costs)
    assert healing.spec in healed.requests


@pytest.mark.slow
def test_heal_judged_by_its_own_text_never_supports_a_go():
    made = heal(0.5, 0.02)
    flattered = replace(
        made, spec=replace(made.spec, validation=replace(made.spec.validation, source="wiki"))
    )
    assert decided(flattered, cut=HEALED, heals=[flattered], heal=flattered).recommendation == MORE


def test_a_heal_of_another_block_is_refused():
    with pytest.raises(SpecError, match="Choose a finished one of this block"):
        decided(curve(0.5, 0.0), heal=heal(0.5, 0.0))


def test_the_cliff_of_the_selected_questions_is_a_risk():
    made = fakes.sweep(limit=2000, answers=True)
    beyond = decided(made, cut=made.points[14].block)
    assert any(
        one.startswith("The block is at or beyond the cliff. Accuracy of the similarity blocks")
        for one in beyond.risks
    )
    early = decided(made, cut=made.points[1].block)
    assert not any("cliff" in one for one in early.risks)


def test_every_number_has_its_interval_condition_and_significance():
    made = decided(curve(0.48, 1.5), speed=fakes.speed())
    by = {one.name: one for one in made.numbers}
    assert list(by) == ["Accuracy change", "Loss change", "Speed change", "Size"]
    assert by["Accuracy change"].value == "-2.0 points"
    assert by["Accuracy change"].remark == "not significant, not decided"
    assert by["Loss change"].remark == "outside the tolerance"
    assert by["Speed change"].interval.startswith("95 % CI +")
    assert all(one.on for one in made.numbers)
    assert "% smaller, " in by["Size"].value
