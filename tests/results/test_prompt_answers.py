"""Stored texts that answer a form, and the reason why their surprisal ranks no model."""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block, LayerSet
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import prompt_answers

CUT = Block(14, 5)
WHO = (Variant(), Variant("pruned", CUT))
ASKED = CompareSpec(ModelSpec(), "The capital of France is", WHO, 48)
STORED = replace(
    ASKED,
    model=ModelSpec(dtype="float32", identity="x"),
    variants=(*WHO, Variant("instant", CUT, "adapters/a", "adapter:b")),
)


def writing(tokens) -> Writing:
    n = len(tokens)
    return Writing(
        list(tokens),
        [f" {token}" for token in tokens],
        [0.5] * n,
        [0.7] * n,
        25,
        0.1,
        0.2,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        ({}, True),
        ({"prompt": "Once upon a time"}, False),
        ({"variants": (Variant(), Variant("pruned", Block(11, 5)))}, False),
        ({"variants": (*WHO, Variant("instant", CUT, "adapters/other"))}, False),
        ({"variants": (Variant(),)}, True),
        ({"max_new_tokens": 16}, False),
        ({"temperature": 0.8}, False),
        ({"seed": 3}, True),
        ({"model": ModelSpec(dtype="bfloat16")}, False),
        ({"model": ModelSpec(quantization="4bit")}, False),
    ],
)
def test_only_the_same_prompt_block_heal_and_settings_answer(change, is_one):
    assert prompt_answers.is_answer(STORED, replace(ASKED, **change)) is is_one


def test_a_seed_counts_where_tokens_are_drawn():
    drawn = replace(ASKED, temperature=0.8, seed=1)
    assert prompt_answers.is_answer(drawn, drawn)
    assert not prompt_answers.is_answer(drawn, replace(drawn, seed=2))


def test_a_look_answers_its_own_block_only():
    asked = MicroscopeSpec(ModelSpec(), "Once upon", CUT)
    assert prompt_answers.is_answer(replace(asked, model=ModelSpec(dtype="float32")), asked)
    assert not prompt_answers.is_answer(replace(asked, block=LayerSet((1, 4))), asked)
    assert not prompt_answers.is_answer(ASKED, asked)


def test_columns_that_were_not_asked_for_are_left_out():
    stored = CompareResult(
        STORED, {}, 1.0, 3, True, "m", 30, 5, [writing([1]), writing([2]), writing([3])]
    )
    shown = prompt_answers.narrowed(stored, ASKED)
    assert [variant.label for variant in shown.spec.variants] == ["unpruned", "pruned"]
    assert [text.token_ids for text in shown.writings] == [[1], [2]]
    assert prompt_answers.narrowed(stored, STORED) == stored
