"""The verdict says only what was measured, and a difference only where its interval excludes zero."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from analysis.core.blocks import Block, LayerSet
from analysis.experiments.accuracy.points import Answer
from analysis.reading import headline, reading, settled
from analysis.reading.headline import ANSWERS, HEAL, SPEED, TEXT
from analysis.reading.reading import Change
from tests.support import fakes

CUT = next(point.block for point in fakes.sweep().points if point.n == 8)


def answers(right: int, n: int = 100) -> list[Answer]:
    return [Answer(f"q{index}", [0.0, 0.0], int(index >= right), 0) for index in range(n)]


def curve(right: int, loss: float, n_texts: int = 8):
    """A curve whose unpruned model has 50 of 100 right and a loss of 3, and whose cut of 8 layers has these."""
    made = fakes.sweep()
    points = [
        replace(p, acc=0.5, loss=3.0, n_texts=n_texts) if p.n == 0 else replace(p, acc=right / 100, loss=loss, n_texts=n_texts)
        for p in made.points
    ]
    texts = [[p.loss + 0.2 * math.sin(text * (1 + (p.n > 0) / 50)) for text in range(n_texts)] for p in points]
    given = [answers(round(100 * p.acc)) for p in points]
    return replace(made, points=points, questions=given, text_losses=texts)


def test_everything_that_was_measured_stands_in_one_sentence():
    said = headline.headline(CUT, fakes.FACTS, [curve(30, 4.5)], speed=fakes.speed())
    assert said.missing == (HEAL,)
    share = 8 * 3_540_000 / fakes.FACTS.n_parameters
    assert said.sentence.startswith(
        f"Removing layers 11-18 makes the model {100 * share:.0f} % smaller and about 19 % faster; it loses 20"
    )
    assert "it loses 20 of 100 answers (95 %: 11 to 28, 100 ARC-Easy questions) and 1.5" in said.sentence
    assert said.sentence.endswith("8 texts of C4).")
    assert "Answers: 100 ARC-Easy questions, bfloat16 from Q4_1 weights" in said.measured_on


def test_what_was_not_measured_is_left_out_and_named():
    said = headline.headline(Block(20, 2), fakes.FACTS, [curve(30, 4.5)])
    assert (
        said.sentence
        == f"Removing layers 20-21 makes the model {100 * 2 * 3_540_000 / fakes.FACTS.n_parameters:.0f} % smaller."
    )
    assert set(said.missing) == {ANSWERS, TEXT, SPEED, HEAL}
    assert said.measured_on == ()


def test_what_is_not_settled_is_no_loss():
    said = headline.headline(CUT, fakes.FACTS, [curve(49, 3.0)]).sentence
    assert "no difference in its answers was seen with 100 ARC-Easy questions (would need about" in said
    assert "loses" not in said
    assert "nats a token" not in said


def test_an_interval_that_excludes_zero_never_reads_as_if_it_had_zero_in_it():
    condition = reading.of_sweep(curve(30, 4.5), 8)[reading.ACCURACY].condition
    change = Change(-0.079, -0.157, -0.001, paired=True, n=200, needed=None)
    assert "it loses 8 of 100 answers (95%: 0.1 to 16, " in headline._answers(change, condition)
    assert settled.said(replace(change, low=-0.157, high=-0.0002), reading.ACCURACY).endswith("-15.7 to -0.02")
    assert settled.number(0.0004, 0) == "0.0004"
    assert settled.number(0.0, 0) == "0"
    assert settled.number(-0.004, 2, "+") == "-0.004"


def test_a_gain_is_called_one():
    said = headline.headline(CUT, fakes.FACTS, [curve(70, 4.5)]).sentence
    assert "it gains 20 of 100 answers (95 %: 11 to 28" in said
    assert "; it loses 1.5" in said


def test_numbers_come_from_the_first_result_that_has_them():
    said = headline.headline(CUT, fakes.FACTS, [curve(30, 4.5), curve(10, 9.0)]).sentence
    assert "it loses 20 of 100" in said


def test_names_of_layers():
    for cut, name in ((Block(3, 1), "layer 3 "), (LayerSet((3, 7, 8)), "layers 3, 7-8 ")):
        assert headline.headline(cut, fakes.FACTS, []).sentence.startswith(f"Removing {name}")


def test_speed_is_paired_by_round_where_it_was_timed():
    speed = fakes.speed()
    times = {point.n: point.decode.repeats_s for point in speed.points}
    logs = [math.log(a / b) for a, b in zip(times[0], times[5], strict=True)]
    noisy = [value + 0.02 * (-1) ** i for i, value in enumerate(logs)]
    changed = [t / math.exp(n - value) for t, n, value in zip(times[5], noisy, logs, strict=True)]
    points = [replace(p, decode=replace(p.decode, repeats_s=changed)) if p.n == 5 else p for p in speed.points]
    gain = headline.speed_gain(replace(speed, points=points), 5)
    half = 2.776445 * stdev(noisy) / math.sqrt(5)
    assert gain.is_measured
    assert gain.value == pytest.approx(math.exp(fmean(noisy)) - 1)
    assert (gain.low, gain.high) == pytest.approx((math.exp(fmean(noisy) - half) - 1, math.exp(fmean(noisy) + half) - 1))


def test_speed_between_measured_points_is_read_from_the_line():
    gain = headline.speed_gain(fakes.speed(), 8)
    assert not gain.is_measured
    assert gain.value == pytest.approx((0.01 + 0.0005 * 30) / (0.01 + 0.0005 * 22) - 1)
    assert headline.speed_gain(replace(fakes.speed(), points=[], decode=None), 8) is None


def test_speed_that_cannot_be_told_apart_is_said_to_be_so():
    speed = fakes.speed()
    jumping = [0.02, 0.06, 0.01, 0.05, 0.02]
    points = [replace(p, decode=replace(p.decode, repeats_s=jumping)) if p.n == 5 else p for p in speed.points]
    cut = fakes.sweep().points[5].block
    said = headline.headline(cut, fakes.FACTS, [], speed=replace(speed, points=points)).sentence
    assert "smaller, and no difference in speed was seen." in said


def heal(right: tuple[int, int, int], losses: tuple[float, float, float], *, spread: float = 0.0, **changes):
    made = fakes.heal()
    names = ("unpruned", "pruned", "healed")
    points = {
        name: replace(getattr(made, name), acc=r / 100, loss=value) for name, r, value in zip(names, right, losses, strict=True)
    }
    texts = {
        name: [value + 0.1 * math.sin(t) + spread * place * (-1) ** t for t in range(8)]
        for place, (name, value) in enumerate(zip(names, losses, strict=True))
    }
    given = {name: answers(r) for name, r in zip(names, right, strict=True)}
    return replace(made, **points, questions=given, text_losses=texts, wall_s=17.2, **changes)


def said_of(*heals) -> str:
    return headline.headline(fakes.heal().spec.block, fakes.FACTS, [], heals=heals).sentence


def test_recovery_has_an_interval_and_accuracy_beside_it():
    said = said_of(heal((50, 47, 49), (3.0, 5.0, 3.5)))
    assert "; a heal of 17 s recovers 75 % (95 % CI 75 to 75) of the loss increase, measured on 8 texts of C4; " in said
    assert "; accuracy: not significantly different from the pruned model (95 % CI -2 to +6 points, n = 100)." in said
    assert "gives" not in said
    assert "accuracy: 19 points higher than the pruned model (95 % CI +" in said_of(heal((50, 30, 49), (3.0, 5.0, 3.5)))
    assert "a heal of 17 s does not significantly change the loss: it recovers 0 %" in said_of(
        heal((50, 30, 30), (3.0, 5.0, 5.0), spread=0.05)
    )


def test_heals_of_other_cuts_and_unfinished_ones_say_nothing():
    assert headline.headline(Block(2, 5), fakes.FACTS, [], heals=[heal((50, 30, 49), (3.0, 5.0, 3.5))]).missing[-1] == HEAL
    assert "heal" not in said_of(fakes.heal(20))


def test_a_heal_judged_by_the_kind_it_trained_on_recovers_nothing():
    made = heal((50, 47, 49), (3.0, 5.0, 2.5))
    flattered = replace(made, spec=replace(made.spec, validation=replace(made.spec.validation, source="wiki")))
    assert flattered.spec.corpus.source == "wiki"
    said = said_of(flattered)
    assert "recovers" not in said
    assert "the kind of text that it trained on, which shows no recovery; accuracy: not significantly" in said
