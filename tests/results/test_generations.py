"""Stored generations by block: one condition, exact blocks, the first English prompt, words that
differ.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.data.spec import GenerationSpec
from analysis.results import evidence
from analysis.results.compared import generations
from analysis.results.score.score import ACCURACY
from tests.support import fakes


def test_a_generation_belongs_to_exactly_its_block():
    found = generations.collect(fakes.MODEL, [fakes.generating_sweep()])
    own = fakes.sweep().points[5].block
    assert found.of(own).check.continuations[0].text == "five 5"
    assert found.of(Block(own.start + 1, 5)) is None
    assert found.of(None).removed is None


@pytest.mark.parametrize("first", ["with text", "without"])
def test_the_first_result_with_text_is_kept(first):
    block = Block(14, 5)
    texts = {text: fakes.generating(block, text) for text in ("stronger", "weaker")}
    bare = replace(texts["stronger"], writing=None)
    order = (
        [texts["stronger"], bare, texts["weaker"]]
        if first == "with text"
        else [bare, texts["stronger"], texts["weaker"]]
    )
    found = generations.collect(fakes.MODEL, order, bare.spec.generation)
    assert found.of(block).check.continuations[0].text == "stronger"


def test_another_precision_other_prompts_and_healed_models_are_ignored():
    block, sweep = Block(14, 5), fakes.generating_sweep()
    own = fakes.generating(block, "other")
    healed = replace(own, spec=replace(own.spec, adapter="folder"))
    exact = replace(own, spec=replace(own.spec, model=replace(fakes.MODEL, dtype="float32")))
    longer = replace(own, spec=replace(own.spec, generation=GenerationSpec(max_new_tokens=128)))
    found = generations.collect(fakes.MODEL, [sweep, healed, exact, longer], sweep.spec.generation)
    assert found.of(block) is None
    assert (
        found.condition()
        == "8 Wikipedia articles of 64 tokens each, 24 arithmetic problems, seed 0, bfloat16 from"
        " Q4_1 weights"
    )


@pytest.mark.parametrize(
    ("texts", "position"),
    [
        (["日本管理会計学会 is the", "F.C. Internazionale 2000-01", "He was born in the town"], 2),
        (["日本管理会計学会", "F.C. Internazionale 2000-01"], 0),
    ],
)
def test_the_first_english_prompt_is_found(texts, position):
    assert generations.first_english(texts) == position


def test_words_that_differ_from_the_reference_are_marked():
    assert generations.differing("a b c d", "a x c d") == [
        ("a", False),
        ("x", True),
        ("c d", False),
    ]
    assert generations.differing("same words", "same words") == [("same words", False)]
    assert generations.differing("", "<b>x</b>") == [("<b>x</b>", True)]


def test_evaluation_that_only_generated_is_no_score_of_its_block(cache):
    block = Block(15, 11)
    own = fakes.generating(block, "text")
    point = replace(own.point, acc=None, acc_norm=None, loss=None, n_samples=0, n_texts=0)
    replace(own, spec=replace(own.spec, benchmark=None, loss_corpus=None), point=point).save()
    assert evidence.stored(block, fakes.MODEL, facts=fakes.FACTS).score(ACCURACY) is None
    fakes.evaluate(block).save()
    assert evidence.stored(block, fakes.MODEL, facts=fakes.FACTS).score(ACCURACY).value == 0.37
