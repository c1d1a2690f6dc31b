"""Costs hold within one condition, and the best of many is reported on texts that did not choose
it.
"""

import math
from dataclasses import replace

import pytest

from analysis.core.blocks import Block, LayerSet, parse_removal
from analysis.data.spec import CorpusSpec
from analysis.results.compared import quality_costs
from analysis.results.score.score import ACCURACY, LOSS
from tests.support import fakes

OWN = LayerSet((2, 9, 10, 11, 12))


def on(corpus: CorpusSpec, result, shift: float = 0.0):
    """Return a curve or evaluation whose loss was read on these texts; these vary in the same way
    for every model.
    """
    points = result.points if hasattr(result, "points") else [result.point]
    points = [
        replace(point, loss=point.loss + shift * (point.n > 0), n_texts=8) for point in points
    ]
    losses = [[point.loss + 0.3 * math.sin(text) for text in range(8)] for point in points]
    spec = replace(result.spec, loss_corpus=corpus)
    if hasattr(result, "points"):
        return replace(result, spec=spec, points=points, text_losses=losses)
    return replace(result, spec=spec, point=points[0], text_losses=losses[0])


C4 = CorpusSpec("c4", 8, 256, split="validation", identity="c")


def test_costs_compare_with_the_unpruned_model_of_the_same_condition():
    curve, damage = fakes.sweep(), fakes.damage()
    found = quality_costs.of_cuts([curve, damage], LOSS, 5)
    assert len(found) == 1 + (30 - 5 + 1)
    assert found[0].cut == curve.points[5].block
    assert found[0].change.difference == pytest.approx(curve.points[5].loss - curve.points[0].loss)
    measured = {cost.cut: cost.change.difference for cost in found[1:]}
    assert measured == {Block(start, 5): value for start, value in enumerate(damage.increase[4])}
    (answers,) = quality_costs.of_cuts([curve, damage], ACCURACY, 5)
    assert answers.change.difference == pytest.approx(curve.points[5].acc - curve.points[0].acc)


def test_no_cost_without_an_unpruned_model_of_the_same_condition():
    alone = on(C4, fakes.evaluate(OWN))
    assert quality_costs.of_cuts([alone], LOSS, 5) == []
    (cost,) = [
        cost
        for cost in quality_costs.of_cuts([alone, on(C4, fakes.sweep())], LOSS, 5)
        if cost.cut == OWN
    ]
    assert cost.change.paired
    assert cost.change.difference == pytest.approx(3.3 - fakes.sweep().points[0].loss)


def test_parts_are_beside_cuts_of_as_many_parts_alone():
    parts, alike, whole = (
        parse_removal("a2+a9"),
        parse_removal("a3:2"),
        fakes.sweep().points[2].block,
    )
    results = [on(C4, fakes.sweep()), *(on(C4, fakes.evaluate(cut)) for cut in (parts, alike))]
    assert {cost.cut for cost in quality_costs.of_cuts(results, LOSS, parts)} == {parts, alike}
    assert {cost.cut for cost in quality_costs.of_cuts(results, LOSS, 2)} == {whole}


def test_a_healed_model_is_no_cut():
    healed = replace(
        fakes.evaluate(OWN), spec=replace(fakes.evaluate(OWN).spec, adapter="somewhere")
    )
    assert not [
        cost for cost in quality_costs.of_cuts([fakes.sweep(), healed], LOSS, 5) if cost.cut == OWN
    ]
    assert {cost.cut for cost in quality_costs.of_cuts([fakes.heal()], LOSS, 5)} == {
        fakes.heal().spec.block
    }


def test_best_costs_least_under_the_condition_of_most_removals():
    damage = fakes.damage()
    found = quality_costs.best_cut(quality_costs.of_cuts([fakes.sweep(), damage], LOSS, 5))
    least = min(range(26), key=damage.increase[4].__getitem__)
    assert (found.cut, found.change.difference) == (Block(least, 5), damage.increase[4][least])
