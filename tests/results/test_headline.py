"""The verdict states scores of exactly the selected block, and a difference only where its interval
excludes zero.
"""

import math
from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results import evidence
from analysis.results.compared.speed import timed
from analysis.results.evidence import ESTIMATED, MEASURED, RECOVERY, SPEED
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.words import headline, risks
from tests.support import fakes

CUT = next(point.block for point in fakes.sweep().points if point.n == 8)


def answers(right: int, n: int = 100) -> list[QuestionScore]:
    return [QuestionScore(f"q{index}", [0.0, 0.0], int(index >= right), 0) for index in range(n)]


def curve(right: int, loss: float, n_texts: int = 8):
    """Return a curve: 50 of 100 right and a loss of 3 unpruned, and these values without a block of
    8 layers.
    """
    made = fakes.sweep()
    points = [
        (
            replace(p, acc=0.5, loss=3.0, n_texts=n_texts)
            if p.n == 0
            else replace(p, acc=right / 100, loss=loss, n_texts=n_texts)
        )
        for p in made.points
    ]
    texts = [
        [p.loss + 0.2 * math.sin(text * (1 + (p.n > 0) / 50)) for text in range(n_texts)]
        for p in points
    ]
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
    assert (
        first == f"Removing layers 11-18 makes the model {100 * share:.0f} % smaller and about 19 %"
        " faster"
    )
    accuracy = "Accuracy drops 20.0 points (95 % CI 11.4 to 27.8, 100 ARC-Easy questions)"
    assert f"{accuracy}. Loss rises by 1.50 nats/token (95 % CI 1." in headline.sentence(said)
    assert "8 texts of C4, few texts: rather 90 %). No healing run" in headline.sentence(said)
    assert rest
    assert "Accuracy: 100 ARC-Easy questions, bfloat16 from Q4_1 weights" in headline.measured_on(
        said
    )


def test_unmeasured_quantities_name_the_selected_dataset():
    said = verdict(Block(20, 2), [curve(30, 4.5)])
    share = 100 * 2 * 3_540_000 / fakes.FACTS.n_parameters
    assert (
        headline.sentence(said)
        == f"Removing layers 20-21 makes the model {share:.0f} % smaller. Its speed is not"
        " measured. Accuracy is not measured on 100 ARC-Easy questions. Loss is not measured on"
        " 8 texts of C4. No healing run of this block is measured."
    )
    assert set(said.missing) == {ACCURACY, LOSS, SPEED, RECOVERY}
    assert headline.measured_on(said) == ["Size: exact, weights in bfloat16"]


@pytest.mark.parametrize(("loss", "is_unusable"), [(7.5, False), (7.7, True)])
def test_a_loss_beyond_a_hundred_times_is_unusable(loss, is_unusable):
    assert headline.verdict(verdict(CUT, [curve(30, loss)])).endswith(": unusable.") is is_unusable


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
    other = replace(
        other,
        spec=replace(other.spec, benchmark=replace(other.spec.benchmark, task="arc_challenge")),
    )
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


def test_three_questions_give_no_number_that_would_be_needed():
    made = curve(49, 3.0)
    points = [replace(p, acc=[2 / 3, 1 / 3][p.block == CUT], n_samples=3) for p in made.points]
    given = [answers(round(3 * p.acc), 3) for p in points]
    said = sentence(CUT, [replace(made, points=points, questions=given)])
    assert "Accuracy is not significantly different (95 % CI " in said
    assert "3 ARC-Easy questions)" in said, "no plan follows"


def test_a_score_without_that_of_the_unpruned_model_is_stated():
    made = curve(30, 4.5)
    without = replace(
        made,
        points=[p for p in made.points if p.n],
        questions=made.questions[1:],
        text_losses=made.text_losses[1:],
    )
    said = verdict(CUT, [without])
    expected = "ccuracy is 30.0 %, but that of the unpruned model is not measured"
    assert f"A{expected} on 100 ARC-Easy questions." in headline.sentence(said)
    assert f"a{expected}" in headline.clause(said.quantity(ACCURACY))
    assert any(f"A{expected}" in risk for risk in risks.unknown(said))
    assert not any("loss is 0." in risk.lower() for risk in risks.unknown(said))


def test_speed_between_measured_points_is_read_from_the_line():
    gain = timed(fakes.speed(), 8).gain
    assert not gain.is_measured
    assert gain.value == pytest.approx((0.01 + 0.0005 * 30) / (0.01 + 0.0005 * 22) - 1)
    assert timed(replace(fakes.speed(), points=[], decode=None), 8).gain is None


def test_insignificant_speed_gain_is_called_not_significantly_different():
    speed = fakes.speed()
    jumping = [0.02, 0.06, 0.01, 0.05, 0.02]
    points = [
        replace(p, decode=replace(p.decode, repeats_s=jumping)) if p.n == 5 else p
        for p in speed.points
    ]
    cut = fakes.sweep().points[5].block
    said = sentence(cut, [], speed=replace(speed, points=points))
    assert "smaller. Its speed is not significantly different." in said


def test_heals_of_other_cuts_and_unfinished_ones_say_nothing():
    assert verdict(Block(2, 5), [], heals=[fakes.heal()]).missing[-1] == RECOVERY
    assert "No healing run of this block is measured" in sentence(
        fakes.heal().spec.block, [], heals=[fakes.heal(20)]
    )
