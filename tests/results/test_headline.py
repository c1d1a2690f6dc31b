"""The verdict states scores of exactly the selected block, and a difference only where its interval excludes zero."""

import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest

from analysis.core import units
from analysis.core.blocks import Block, LayerSet
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results import evidence
from analysis.results.compared import changes
from analysis.results.compared.changes import Change
from analysis.results.compared.speed import timed
from analysis.results.evidence import ESTIMATED, MEASURED, RECOVERY, SPEED
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.words import headline
from tests.support import fakes

CUT = next(point.block for point in fakes.sweep().points if point.n == 8)


def answers(right: int, n: int = 100) -> list[QuestionScore]:
    return [QuestionScore(f"q{index}", [0.0, 0.0], int(index >= right), 0) for index in range(n)]


def curve(right: int, loss: float, n_texts: int = 8):
    """Return a curve: 50 of 100 right and a loss of 3 unpruned, and these values without a block of 8 layers."""
    made = fakes.sweep()
    points = [
        replace(p, acc=0.5, loss=3.0, n_texts=n_texts) if p.n == 0 else replace(p, acc=right / 100, loss=loss, n_texts=n_texts)
        for p in made.points
    ]
    texts = [[p.loss + 0.2 * math.sin(text * (1 + (p.n > 0) / 50)) for text in range(n_texts)] for p in points]
    given = [answers(round(100 * p.acc)) for p in points]
    return replace(made, points=points, questions=given, text_losses=texts)


def verdict(cut, results, **others):
    return evidence.Evidence(cut, fakes.MODEL, fakes.FACTS, results=results, **others)


def sentence(cut, results, **others) -> str:
    return headline.sentence(verdict(cut, results, **others))


def test_measured_quantities_state_direction_interval_and_dataset():
    said = verdict(CUT, [curve(30, 4.5)], speed=fakes.speed())
    assert said.missing == (RECOVERY,)
    share = 8 * 3_540_000 / fakes.FACTS.n_parameters
    first, *rest = headline.sentence(said).split(". ")
    assert first == f"Removing layers 11-18 makes the model {100 * share:.0f} % smaller and about 19 % faster"
    assert "Accuracy drops 20 points (95 % CI 11 to 28, 100 ARC-Easy questions). Loss rises by 1.50 nats/token (95 % CI 1." in (
        headline.sentence(said)
    )
    assert "8 texts of C4). No healing run of this block is measured." in (headline.sentence(said))
    assert rest
    assert "Accuracy: 100 ARC-Easy questions, bfloat16 from Q4_1 weights" in headline.measured_on(said)


def test_unmeasured_quantities_name_the_selected_dataset():
    said = verdict(Block(20, 2), [curve(30, 4.5)])
    share = 100 * 2 * 3_540_000 / fakes.FACTS.n_parameters
    assert headline.sentence(said) == (
        f"Removing layers 20-21 makes the model {share:.0f} % smaller. Its speed is not measured. Accuracy is not measured on "
        "100 ARC-Easy questions. Loss is not measured on 8 texts of C4. No healing run of this block is measured."
    )
    assert set(said.missing) == {ACCURACY, LOSS, SPEED, RECOVERY}
    assert headline.measured_on(said) == ["Size: exact, weights in bfloat16"]


def test_the_loss_map_estimates_a_loss_that_is_not_measured():
    cut = Block(20, 2)
    said = verdict(cut, [curve(30, 4.5)], damage=[fakes.damage()])
    rise = fakes.damage().increase[1][20]
    loss = said.quantity(LOSS)
    assert loss.state == ESTIMATED
    assert headline.clause(loss).startswith(f"loss rises by {rise:.2f} nats/token (95 % CI ")
    assert "loss-increase map, 8 texts of Wikipedia" in headline.clause(loss)
    assert LOSS in said.missing, "the selected texts did not measure it"
    assert verdict(CUT, [curve(30, 4.5)], damage=[fakes.damage()]).quantity(LOSS).state == MEASURED


def test_scores_on_another_dataset_are_not_the_verdict():
    other = curve(10, 9.0)
    other = replace(other, spec=replace(other.spec, benchmark=replace(other.spec.benchmark, task="arc_challenge")))
    shown = replace(curve(30, 4.5), points=curve(30, 4.5).points[:3])
    said = sentence(CUT, [shown, other], shown=shown)
    assert "Accuracy is not measured on 100 ARC-Easy questions." in said
    assert "ARC-Challenge" not in said


def test_an_insignificant_change_is_called_so():
    said = sentence(CUT, [curve(49, 3.0)])
    assert "Accuracy is not significantly different (95 % CI " in said
    assert "100 ARC-Easy questions, would need about" in said
    assert "drops" not in said
    assert "rises" not in said


def test_interval_that_excludes_zero_never_reads_as_including_it():
    change = Change(-0.079, -0.157, -0.001, paired=True, n=200, needed=None)
    assert headline._moved(ACCURACY, change, "ARC-Easy").startswith("accuracy drops 8 points (95 % CI 0.1 to 16, ")
    assert changes.describe(replace(change, low=-0.157, high=-0.0002), reading.ACCURACY).endswith("-15.7 to -0.02")
    assert units.number(0.0004, 0) == "0.0004"
    assert units.number(0.0, 0) == "0"
    assert units.number(-0.004, 2, "+") == "-0.004"


def test_a_gain_is_called_one():
    said = sentence(CUT, [curve(70, 4.5)])
    assert "Accuracy rises 20 points (95 % CI 11 to 28" in said
    assert "Loss rises by 1.5" in said


def test_numbers_come_from_the_first_result_that_has_them():
    said = sentence(CUT, [curve(30, 4.5), curve(10, 9.0)])
    assert "Accuracy drops 20 points" in said


def test_names_of_layers():
    for cut, name in ((Block(3, 1), "layer 3 "), (LayerSet((3, 7, 8)), "layers 3, 7-8 ")):
        assert sentence(cut, []).startswith(f"Removing {name}")


def test_speed_is_paired_by_round_where_it_was_timed():
    speed = fakes.speed()
    times = {point.n: point.decode.repeats_s for point in speed.points}
    logs = [math.log(a / b) for a, b in zip(times[0], times[5], strict=True)]
    noisy = [value + 0.02 * (-1) ** i for i, value in enumerate(logs)]
    changed = [t / math.exp(n - value) for t, n, value in zip(times[5], noisy, logs, strict=True)]
    points = [replace(p, decode=replace(p.decode, repeats_s=changed)) if p.n == 5 else p for p in speed.points]
    gain = timed(replace(speed, points=points), 5).gain
    half = 2.776445 * stdev(noisy) / math.sqrt(5)
    assert gain.is_measured
    assert gain.value == pytest.approx(math.exp(fmean(noisy)) - 1)
    assert (gain.low, gain.high) == pytest.approx((math.exp(fmean(noisy) - half) - 1, math.exp(fmean(noisy) + half) - 1))


def test_speed_between_measured_points_is_read_from_the_line():
    gain = timed(fakes.speed(), 8).gain
    assert not gain.is_measured
    assert gain.value == pytest.approx((0.01 + 0.0005 * 30) / (0.01 + 0.0005 * 22) - 1)
    assert timed(replace(fakes.speed(), points=[], decode=None), 8).gain is None


def test_insignificant_speed_gain_is_called_not_significantly_different():
    speed = fakes.speed()
    jumping = [0.02, 0.06, 0.01, 0.05, 0.02]
    points = [replace(p, decode=replace(p.decode, repeats_s=jumping)) if p.n == 5 else p for p in speed.points]
    cut = fakes.sweep().points[5].block
    said = sentence(cut, [], speed=replace(speed, points=points))
    assert "smaller. Its speed is not significantly different." in said


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
    return sentence(fakes.heal().spec.block, [], heals=heals)


def test_recovery_has_an_interval_and_accuracy_beside_it():
    said = said_of(heal((50, 47, 49), (3.0, 5.0, 3.5)))
    assert "recovers 75 % (95 % CI 75 to 75) of the loss increase, measured on 8 texts of C4. " in said
    assert " Accuracy: not significantly different from the pruned model (95 % CI -2 to +6 points, n = 100)." in said
    assert "gives" not in said
    assert "Accuracy: 19 points higher than the pruned model (95 % CI +" in said_of(heal((50, 30, 49), (3.0, 5.0, 3.5)))
    assert " does not significantly change the loss: it recovers 0 %" in said_of(
        heal((50, 30, 30), (3.0, 5.0, 5.0), spread=0.05)
    )


def test_heals_of_other_cuts_and_unfinished_ones_say_nothing():
    assert verdict(Block(2, 5), [], heals=[heal((50, 30, 49), (3.0, 5.0, 3.5))]).missing[-1] == RECOVERY
    assert "No healing run of this block is measured" in said_of(fakes.heal(20))


def test_heal_judged_by_its_training_kind_recovers_nothing():
    made = heal((50, 47, 49), (3.0, 5.0, 2.5))
    flattered = replace(made, spec=replace(made.spec, validation=replace(made.spec.validation, source="wiki")))
    assert flattered.spec.corpus.source == "wiki"
    said = said_of(flattered)
    assert "recovers" not in said
    assert "the kind of text that it trained on, which shows no recovery. Accuracy: not significantly" in said
