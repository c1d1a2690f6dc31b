"""The blind test: comparisons that can be played, orders that nothing gives away, and the score of the picks."""

from collections import Counter
from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from analysis.models.source.model_spec import ModelSpec
from analysis.results.words import blind

CUT = Block(2, 2)
UNPRUNED, PRUNED = Variant(), Variant("pruned", CUT)
INSTANT, HEALED = Variant("instant", CUT, "adapters/a"), Variant("healed", CUT, "adapters/b")


def comparison(**texts: str) -> CompareResult:
    variants = {"unpruned": UNPRUNED, "pruned": PRUNED, "instant": INSTANT, "healed": HEALED}
    spec = CompareSpec(ModelSpec("m"), "Once", tuple(variants[name] for name in texts))
    written = [Writing([1], [text], [0.1], [0.1], 4, 0.1, 0.1, ended=False, complete=True) for text in texts.values()]
    return CompareResult(spec, {}, 1.0, 9, True, "m", 6, 3, written)


THREE = comparison(unpruned="a", pruned="b", healed="c")


@pytest.mark.parametrize(
    "result",
    [
        replace(THREE, complete=False),
        comparison(pruned="b", healed="c"),
        comparison(unpruned="a", healed="c"),
        comparison(unpruned="a", pruned="a", healed="c"),
        comparison(unpruned="a", pruned="b", healed="b"),
    ],
)
def test_where_nobody_could_tell_there_is_no_round(result):
    assert blind.as_round("key", result, "seed") is None


def test_pruned_text_can_be_found_beside_equal_other_texts():
    assert blind.as_round("key", comparison(unpruned="a", pruned="b", healed="a"), "seed") is not None


def test_trained_heal_precedes_the_instant_one_and_may_be_missing():
    four = blind.as_round("key", comparison(unpruned="a", pruned="b", healed="d", instant="c"), "seed")
    assert sorted(four.texts) == ["a", "b", "d"]
    assert sorted(blind.as_round("key", comparison(unpruned="a", pruned="b"), "seed").texts) == ["a", "b"]


def test_orders_are_equally_frequent_and_fixed_by_seed_and_key():
    orders = Counter(blind.as_round(f"{key}", THREE, "seed").columns for key in range(3000))
    assert len(orders) == 6
    assert all(400 < count < 600 for count in orders.values())
    assert blind.as_round("7", THREE, "seed") == blind.as_round("7", THREE, "seed")
    assert len({blind.as_round("7", THREE, f"{seed}").columns for seed in range(50)}) == 6


def test_the_pruned_one_is_where_its_text_is():
    for key in range(20):
        played = blind.as_round(f"{key}", THREE, "seed")
        assert played.texts[played.pruned] == "b"


def test_score_has_its_interval_and_the_share_of_guessing():
    rounds = [blind.as_round(f"{key}", THREE, "seed") for key in range(10)]
    picks = [played.pruned if key < 7 else (played.pruned + 1) % 3 for key, played in enumerate(rounds)]
    score = blind.score(rounds, picks)
    assert score.describe() == "7 of 10 right (95 % CI 40 to 89 %, guessing gives 33 %)"
    assert score.verdict() == "You recognize the pruned model significantly more often than by guessing."
    assert blind.score([], []).describe() == "No pick yet"


@pytest.mark.parametrize(("right", "said"), [(1, "Not signif"), (0, "less often"), (5, "Not signif"), (12, "more often")])
def test_a_verdict_needs_the_interval_to_leave_out_guessing(right, said):
    assert said in blind.Score(right, 12, 1 / 3).verdict()


def test_rounds_of_two_and_of_three_share_their_chance():
    rounds = [blind.as_round("a", THREE, "s"), blind.as_round("b", comparison(unpruned="a", pruned="b"), "s")]
    assert blind.score(rounds, [0, 0]).chance == pytest.approx(5 / 12)
