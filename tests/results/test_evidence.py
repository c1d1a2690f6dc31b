"""Strength of the evidence of results, by which the index orders them."""

import itertools
from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.data.spec import CorpusSpec
from analysis.results import evidence as of_block
from analysis.results.compared import answers
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.stored import evidence
from tests.support import fakes


def held(result, **changes):
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


def curve(questions=100, *, complete=True, texts=8, seq_len=256, last=15, **model):
    made = held(fakes.sweep(last, limit=questions, complete=complete), **model)
    corpus = replace(made.spec.loss_corpus, n_texts=texts, seq_len=seq_len)
    return replace(
        made,
        spec=replace(made.spec, loss_corpus=corpus),
        points=[replace(point, n_texts=texts) for point in made.points],
    )


# Strongest first: each is stronger than all that follow it, by the first property in which it
# differs.
IN_ORDER = [
    ("most questions in float32", curve(200, dtype="float32")),
    ("most texts", curve(100, dtype="float32", texts=32)),
    ("longest texts", curve(100, dtype="float32", texts=8, seq_len=512)),
    ("longest curve", curve(100, dtype="float32")),
    ("a shorter curve", curve(100, dtype="float32", last=4)),
    ("half precision", curve(1000, dtype="bfloat16", texts=32)),
    ("quantized", curve(5000, dtype="bfloat16", quantization="4bit", texts=64)),
    ("unfinished", curve(9000, dtype="float32", complete=False, texts=64)),
]


@pytest.mark.parametrize(
    "pair",
    list(itertools.combinations(IN_ORDER, 2)),
    ids=lambda pair: f"{pair[0][0]} > {pair[1][0]}",
)
def test_the_stronger_has_more_weight(pair):
    (_, stronger), (_, weaker) = pair
    assert evidence.weight(stronger) > evidence.weight(weaker)


def test_a_curve_is_as_sure_as_its_weakest_point():
    half_asked = curve(200)
    points = [*half_asked.points[:-1], replace(half_asked.points[-1], n_samples=24)]
    assert evidence.weight(replace(half_asked, points=points)).questions == 24


def test_maps_damage_heals_and_single_cuts_count_their_evidence():
    assert evidence.weight(fakes.distances())[4:] == (0, 32, 32 * 256, 0)
    many = replace(
        fakes.distances(),
        n_texts=64,
        spec=replace(fakes.distances().spec, corpus=CorpusSpec(n_texts=64)),
    )
    assert evidence.weight(many) > evidence.weight(fakes.distances())
    assert evidence.weight(fakes.damage(max_size=15)) > evidence.weight(fakes.damage(max_size=3))
    assert evidence.weight(fakes.heal()) > evidence.weight(fakes.heal(30))
    assert evidence.weight(fakes.heal())[4:6] == (100, 8)
    assert evidence.weight(fakes.evaluate(Block(3, 2)))[4:6] == (100, 8)
    assert evidence.weight(fakes.inspect()).questions == 0


def test_heal_judged_by_its_own_kind_of_text_is_weaker():
    fair = fakes.heal()
    flattered = replace(
        fair, spec=replace(fair.spec, validation=replace(fair.spec.corpus, split="validation"))
    )
    many = {name: replace(point, n_samples=900) for name, point in flattered.models.items()}
    assert evidence.weight(fair) > evidence.weight(replace(flattered, **many))


def test_a_block_of_a_table_of_methods_has_scores_and_the_baseline_of_a_curve():
    """Answers of a table have no ids, so that they are no per-question results."""
    cut, made = Block(10, 3), fakes.methods()
    curve_on_them = fakes.sweep()
    spec = replace(made.spec, benchmark=curve_on_them.spec.benchmark)
    cells = [replace(cell, removed=cut.describe()) for cell in made.cells[:1]] + made.cells[1:]
    table = replace(made, spec=spec, cells=cells)
    found = of_block.Evidence(cut, fakes.MODEL, fakes.FACTS, results=[curve_on_them, table])
    assert found.scored is table
    assert found.quantity(ACCURACY).state == found.quantity(LOSS).state == of_block.MEASURED
    assert found.baseline is not None
    assert answers.stored_answers([table], cut, found.selected.accuracy.condition) == ()
