"""A score is of one result, and a change is of scores of one condition."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.core.errors import MixedConditionsError
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.score import changes, stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACC_NORM, ACCURACY, DAMAGE, LOSS
from tests.support import fakes


def with_losses(sweep, shift=0.0):
    spread = [0.3 * math.sin(text) for text in range(8)]
    return replace(
        sweep, text_losses=[[p.loss + shift * p.n + s for s in spread] for p in sweep.points]
    )


def at(sweep, n):
    """Scores of the curve's own block of n layers; of a block that it lacks for any other n."""
    return stored_scores.of_sweep(
        sweep, next((point.block for point in sweep.points if point.n == n), Block(0, max(n, 1)))
    )


def held(result, **changes):
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


def test_a_curve_is_read_at_one_n():
    sweep = with_losses(fakes.sweep(limit=200, answers=True))
    found = at(sweep, 5)
    assert set(found) == {ACCURACY, ACC_NORM, LOSS}
    accuracy, loss = found[ACCURACY], found[LOSS]
    point = sweep.points[5]
    assert (accuracy.cut, accuracy.repair, accuracy.value) == (point.block, "", point.acc)
    assert (accuracy.low, accuracy.high) == stats.share_interval(point.acc, 200)
    assert len(accuracy.answers) == 200
    assert accuracy.condition.on_what() == "200 ARC-Easy questions, bfloat16 from Q4_1 weights"
    assert loss.condition.on_what() == "8 texts of C4, bfloat16 from Q4_1 weights"
    assert loss.high - loss.value == pytest.approx(2.364624 * point.loss_stderr, rel=1e-6)
    assert loss.low == pytest.approx(2 * loss.value - loss.high)
    assert loss.condition.name == fakes.FACTS.name
    assert loss.condition.model == fakes.MODEL.identity
    assert at(sweep, 29) == {}
    assert stored_scores.of_sweep(sweep, None)[ACCURACY].cut is None


def test_the_number_of_questions_is_that_which_was_asked():
    unfinished = fakes.sweep(limit=200, asked=24, complete=False)
    condition = at(unfinished, 5)[ACCURACY].condition
    assert condition.n == condition.material.limit == 24


def test_heal_has_three_models_in_the_training_precision():
    heal = fakes.heal()
    whole, cut, healed = (
        stored_scores.of_heal(heal, which) for which in ("unpruned", "pruned", "healed")
    )
    assert (whole[LOSS].cut, cut[LOSS].cut, healed[LOSS].cut) == (None, Block(11, 5), Block(11, 5))
    assert (whole[LOSS].repair, cut[LOSS].repair, healed[LOSS].repair) == ("", "", "quick")
    assert (
        healed[ACCURACY].condition.on_what()
        == "100 ARC-Easy questions, NF4, bfloat16 from Q4_1 weights"
    )
    assert whole[LOSS].condition == healed[LOSS].condition
    assert stored_scores.of_heal(fakes.heal(30), "healed") == {}
    assert stored_scores.of_heal(fakes.timed_heal(control=True), "healed")[LOSS].repair == "control"


def test_damage_is_read_with_its_own_text():
    found = stored_scores.of_damage(fakes.damage(), Block(11, 5))
    assert found.quantity == DAMAGE
    assert found.value == fakes.damage().increase[4][11]
    assert found.condition.on_what() == "8 texts of Wikipedia, bfloat16 from Q4_1 weights"
    assert found.high - found.low == pytest.approx(2 * 2.364624 * 0.05, rel=1e-5)
    assert changes.change(
        found, stored_scores.of_damage(fakes.damage(), Block(1, 5))
    ).is_significant
    assert stored_scores.of_damage(fakes.damage(0.2), Block(3, 15)) is None
    assert stored_scores.of_damage(fakes.damage(max_size=3), Block(3, 15)) is None


def test_one_text_gives_no_interval_and_settles_nothing():
    sweep = fakes.sweep()
    one = replace(
        sweep, points=[replace(point, n_texts=1, loss_stderr=0.0) for point in sweep.points]
    )
    one = replace(one, text_losses=[[point.loss] for point in one.points])
    found = at(one, 5)[LOSS]
    assert (found.low, found.high) == (None, None)
    assert not changes.change(stored_scores.of_sweep(one, None)[LOSS], found).is_significant


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (BenchmarkSpec("arc_easy", 1), "1 ARC-Easy question, float32"),
        (BenchmarkSpec("mmlu", 57, 5), "57 MMLU questions, 5-shot, float32"),
        (
            BenchmarkSpec("mmlu", 57, 5, subset=("stem",)),
            "57 questions of MMLU, stem, 5-shot, float32",
        ),
        (BenchmarkSpec("/somewhere/mine.jsonl", 9), "9 questions of mine.jsonl, float32"),
        (CorpusSpec("c4", 32), "32 texts of C4, float32"),
        (CorpusSpec("/somewhere/mine.txt", 1), "1 text of mine.txt, float32"),
    ],
)
def test_conditions_in_words(asked, words):
    n = asked.n_texts if isinstance(asked, CorpusSpec) else asked.limit
    assert Condition("weights", "float32", asked, n).on_what() == words


def alike(**changes):
    """Two curves, the second changed in one way."""
    return fakes.sweep(limit=200), held(fakes.sweep(limit=200), **changes)


def asking(**changes):
    sweep = fakes.sweep(limit=200)
    return sweep, replace(
        sweep, spec=replace(sweep.spec, benchmark=replace(sweep.spec.benchmark, **changes))
    )


@pytest.mark.parametrize(
    "pair",
    [
        alike(dtype="float32"),
        alike(quantization="4bit"),
        alike(identity="sha256:another"),
        (fakes.sweep(limit=200), fakes.sweep(limit=5)),
        asking(task="arc_challenge"),
        asking(shots=3),
        asking(identity="another release"),
        asking(seed=4),
    ],
)
def test_numbers_of_two_conditions_cannot_be_subtracted(pair):
    reference, other = (at(result, n)[ACCURACY] for result, n in zip(pair, (0, 5), strict=True))
    assert reference.condition != other.condition
    with pytest.raises(MixedConditionsError, match="different conditions"):
        changes.change(reference, other)


def test_readings_of_different_conditions_or_quantities_are_not_compared():
    curve, heal = fakes.sweep(), fakes.heal()
    with pytest.raises(MixedConditionsError, match="NF4"):
        changes.change(at(curve, 5)[LOSS], stored_scores.of_heal(heal, "healed")[LOSS])
    with pytest.raises(MixedConditionsError, match="loss increase on"):
        changes.change(
            stored_scores.of_sweep(curve, None)[LOSS],
            stored_scores.of_damage(fakes.damage(), Block(11, 5)),
        )


def test_the_same_weights_under_another_name_are_the_same_model():
    here = fakes.sweep(answers=True)
    there = replace(held(here, source="/elsewhere"), model=replace(fakes.FACTS, name="a copy"))
    assert changes.change(
        stored_scores.of_sweep(here, None)[ACCURACY], at(there, 5)[ACCURACY]
    ).paired


def test_accuracies_change_question_by_question():
    sweep = fakes.sweep(answers=True, limit=200)
    whole, cut = (at(sweep, n)[ACCURACY] for n in (0, 9))
    change, pair = changes.change(whole, cut), pairs.compare(sweep.questions[0], sweep.questions[9])
    assert (change.difference, change.low, change.high, change.n) == (
        pair.difference,
        pair.low,
        pair.high,
        200,
    )
    assert change.paired
    assert change.is_significant
    assert change.needed is None


def test_an_unsettled_change_says_how_many_questions_it_would_take():
    sweep = fakes.sweep(limit=200)
    draw = random.Random(0)
    whole = [QuestionScore(str(i), [], int(draw.random() < 0.5), 0) for i in range(200)]
    # 24 questions the other way and 6 more lost: three points, as far as 200 questions can see
    # nothing.
    cut = [replace(a, prediction=1 - a.prediction) if i < 24 else a for i, a in enumerate(whole)]
    lost = sum(a.prediction == 0 for a in whole[:24])
    sweep = replace(sweep, questions=[whole, *[cut] * 15])
    change = changes.change(*(at(sweep, n)[ACCURACY] for n in (0, 5)))
    assert change.difference == pytest.approx((24 - 2 * lost) / 200)
    assert not change.is_significant
    spread = math.sqrt(24 / 200 - change.difference**2)
    assert change.needed == stats.needed(change.difference, spread)
    assert change.needed > 200


def test_losses_that_are_not_stored_per_text_give_no_interval():
    sweep = fakes.sweep(limit=200)
    change = changes.change(*(at(sweep, n)[LOSS] for n in (0, 5)))
    assert (change.low, change.high, change.paired, change.is_significant) == (
        None,
        None,
        False,
        False,
    )
    assert changes.describe(change, LOSS).endswith("no interval: losses per text were not stored")


@pytest.mark.parametrize(("gained", "lost"), [(0.05, 0.11), (0.10, 0.15), (0.02, 0.07)])
def test_needed_questions_see_the_difference_four_times_in_five(gained, lost):
    difference, spread = gained - lost, math.sqrt(gained + lost - (gained - lost) ** 2)
    n = stats.needed(difference, spread)
    draws = np.random.default_rng(1).multinomial(n, [gained, lost, 1 - gained - lost], size=400)
    seen = [stats.paired_interval(int(draw[0]), int(draw[1]), n)[1] < 0 for draw in draws]
    assert 0.72 < np.mean(seen) < 0.88


def test_needed_texts_see_the_difference_four_times_in_five():
    n = stats.needed(0.05, 0.2)
    assert n == 126  # ((1.96 + 0.8416) * 4) ** 2 = 125.6
    draws = np.random.default_rng(1).normal(0.05, 0.2, (400, n))
    seen = [stats.compare_losses([0.0] * n, row.tolist())[1] > 0 for row in draws]
    assert 0.72 < np.mean(seen) < 0.88


@pytest.mark.parametrize(
    ("n", "quantity", "paired", "is_told"),
    [
        (8, LOSS, True, True),
        (15, LOSS, True, True),
        (16, LOSS, True, False),
        (8, ACCURACY, True, False),
        (8, LOSS, False, False),
    ],
)
def test_an_interval_of_few_texts_says_how_often_it_is_right(n, quantity, paired, is_told):
    told = changes.describe(changes.Change(0.5, 0.4, 0.7, paired, n, None), quantity)
    assert told.endswith("few texts: rather 90 %") == is_told
