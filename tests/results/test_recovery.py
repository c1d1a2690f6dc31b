"""Share of the loss increase that heals recover: its interval, its range over blocks, and when none
is stated.
"""

from dataclasses import replace
from random import Random

import pytest

from analysis.core import stats
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.compared import recovery
from tests.support import fakes

N = 32
TOKENS = [128 + 4 * place for place in range(N)]


def heal(
    increase: float = 1.0,
    share: float = 0.8,
    *,
    noise: float = 0.1,
    right: tuple[int, int, int] = (100, 60, 62),
):
    """Return a heal of a block with this loss increase; a share of it is recovered, text by text
    with some noise.
    """
    random, made = Random(0), fakes.heal()
    unpruned = [3 + random.gauss(0, 0.5) for _ in range(N)]
    pruned = [loss + increase + random.gauss(0, noise) for loss in unpruned]
    healed = [after - share * increase + random.gauss(0, noise) for after in pruned]
    losses = {"unpruned": unpruned, "pruned": pruned, "healed": healed}
    points = {
        name: replace(
            getattr(made, name),
            loss=stats.weighted_mean_and_stderr(of, TOKENS)[0],
            n_texts=N,
            n_samples=200,
        )
        for name, of in losses.items()
    }
    answers = {
        name: [
            QuestionScore(f"q{index}", [0.0, 0.0], int(index >= count), 0) for index in range(200)
        ]
        for name, count in zip(losses, right, strict=True)
    }
    return replace(made, **points, text_losses=losses, text_tokens=TOKENS, questions=answers)


def test_share_and_interval_are_the_paired_ratio_of_means():
    made = heal()
    found = recovery.of(made)
    points = [made.unpruned.loss, made.pruned.loss, made.healed.loss]
    assert found.share == pytest.approx((points[1] - points[2]) / (points[1] - points[0]))
    assert found.low < found.share < found.high
    assert (found.n, found.texts) == (N, "C4")
    assert found.in_words().startswith("recovers 81 % (95 % CI 75 to 85) of the loss increase")


def test_eight_text_intervals_hold_the_ratio_in_95_percent():
    random, hits = Random(0), 0
    for _ in range(1000):
        below = [random.lognormvariate(0, 0.35) for _ in range(8)]
        above = [0.8 * value + random.gauss(0, 0.25) for value in below]
        _, low, high = stats.ratio_of_means(
            above, below, [random.randint(128, 256) for _ in range(8)]
        )
        hits += low <= 0.8 <= high
    assert 0.92 <= hits / 1000 <= 0.97


def test_no_share_without_a_significant_loss_increase():
    assert recovery.of(heal(0.01, noise=0.5)) is None
    assert "has no loss increase to recover (not significant" in recovery.loss_in_words(
        heal(0.01, noise=0.5)
    )


def test_without_losses_per_text_no_interval_is_claimed():
    found = recovery.of(replace(heal(), text_losses={}))
    assert found.low is None
    assert "no interval: losses per text were not stored" in found.in_words()


@pytest.mark.parametrize("keeps_losses", [True, False])
def test_a_single_text_gives_no_share(keeps_losses):
    made = heal()
    points = {name: replace(point, n_texts=1) for name, point in made.models.items()}
    losses = {name: of[:1] for name, of in made.text_losses.items()} if keeps_losses else {}
    single = replace(made, **points, text_losses=losses, text_tokens=TOKENS[:1])
    assert recovery.of(single) is None
    assert (
        recovery.loss_in_words(single)
        == "has no stated recovery: fewer than 4 texts give no interval"
    )


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (
            (100, 60, 62),
            (
                "accuracy: not significantly different from the pruned model (95 % CI -1 to +3"
                " points, n = 200)"
            ),
        ),
        (
            (100, 60, 90),
            "accuracy: 15 points higher than the pruned model (95 % CI +10 to +20 points, n = 200)",
        ),
        (
            (100, 60, 30),
            "accuracy: 15 points lower than the pruned model (95 % CI -20 to -10 points, n = 200)",
        ),
    ],
)
def test_accuracy_is_stated_with_its_interval_and_n(right, said):
    assert recovery.accuracy_in_words(heal(right=right)) == said
    assert recovery.clause(heal(right=right)).endswith(f". A{said[1:]}")


C4 = CorpusSpec("c4", 32, 256)
