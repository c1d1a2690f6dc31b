"""Scores are found for exactly one block under one condition; all others are returned separately
with their own condition.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.results.compared import scores_of_block
from analysis.results.score import stored_scores
from analysis.results.score.score import ACCURACY
from tests.support import fakes

OTHER = Block(3, 5)


def asking(result, **changes):
    """Return the result on another dataset."""
    return replace(
        result, spec=replace(result.spec, benchmark=replace(result.spec.benchmark, **changes))
    )


def held(result, **changes):
    """Return the result in another precision."""
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


def own(n: int) -> Block:
    return next(point.block for point in fakes.sweep().points if point.n == n)


def test_another_block_of_the_same_size_has_no_scores():
    found = scores_of_block.select(OTHER, [fakes.sweep()])
    assert found.accuracy.score is None
    assert found.loss.score is None
    assert found.accuracy.unpruned is not None
    assert found.accuracy.change is None


def test_a_block_is_found_in_any_result_of_the_condition():
    curve = fakes.sweep(answers=True)
    alone = fakes.evaluate(OTHER, curve=curve)
    found = scores_of_block.select(OTHER, [curve, alone], shown=curve)
    assert found.accuracy.score.value == alone.point.acc
    assert found.accuracy.change.difference == pytest.approx(alone.point.acc - curve.points[0].acc)


@pytest.mark.parametrize(
    "other",
    [
        asking(fakes.sweep(), task="arc_challenge"),
        asking(fakes.sweep(), shots=3),
        fakes.sweep(limit=50),
        held(fakes.sweep(), dtype="float32"),
        held(fakes.sweep(), quantization="4bit"),
        held(fakes.sweep(), identity="sha256:another"),
    ],
)
def test_scores_of_another_condition_stand_elsewhere(other):
    shown = replace(fakes.sweep(), points=fakes.sweep().points[:3])
    found = scores_of_block.select(own(8), [shown, other], shown=shown)
    assert found.accuracy.condition == stored_scores.conditions_of(shown)[ACCURACY]
    assert found.accuracy.score is None
    assert [cost.condition for cost in found.accuracy.elsewhere] == [
        stored_scores.conditions_of(other)[ACCURACY]
    ]


def test_the_condition_is_that_of_the_result_on_screen():
    strong, weak = fakes.sweep(limit=200), asking(fakes.sweep(), task="arc_challenge")
    assert (
        scores_of_block.select(own(5), [strong, weak], shown=weak).accuracy.condition.material.task
        == "arc_challenge"
    )
    assert scores_of_block.select(own(5), [strong, weak]).accuracy.condition.n == 200


def test_a_healed_model_scores_no_block():
    heal = fakes.heal()
    found = scores_of_block.select(heal.spec.block, [heal], shown=heal)
    assert found.loss.score.value == heal.pruned.loss
    assert found.loss.unpruned.value == heal.unpruned.loss


def test_scores_of_a_file_never_select_the_condition():
    curve, alone = (
        held(fakes.sweep(), dtype="float32"),
        held(fakes.evaluate(OTHER), dtype="float32"),
    )
    file = replace(alone, spec=replace(alone.spec, adapter="adapters/a", as_file=True))
    assert (
        scores_of_block.select(OTHER, [file, curve]).accuracy.condition
        == stored_scores.conditions_of(curve)[ACCURACY]
    )
