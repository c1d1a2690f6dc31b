"""Prompts: requests about them, the text of single tokens, drawing, and surprisal against naive
references.
"""

import random

import pytest
import torch

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.experiments.prompt.comparison_spec import (
    CompareResult,
    CompareSpec,
    Variant,
    Writing,
    differing,
    first_difference,
)
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.models.architecture import decoder as architecture
from analysis.models.running import generation, pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import build

VARIANTS = (
    Variant(),
    Variant("pruned", LayerSet((1, 3))),
    Variant("healed", Block(1, 2), "adapters/a"),
)
FULL = CompareSpec(ModelSpec("some/model"), "Once", VARIANTS, 7, 0.5, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CompareSpec(prompt=" \n"), "prompt is empty"),
        (lambda: MicroscopeSpec(prompt="a" * 2345), "has 2,345 characters, at most 2,000"),
        (lambda: CompareSpec(prompt="\ud800"), "not valid text"),
        (lambda: CompareSpec(variants=()), "Between 1 and 8 variants"),
        (lambda: CompareSpec(max_new_tokens=0), "must be 1..512, not 0"),
        (lambda: CompareSpec(temperature=-1.0), "must be 0"),
        (lambda: CompareSpec(seed=-1), "seed must be"),
        (lambda: Variant("cured"), "one of unpruned, pruned, instant, healed"),
        (lambda: Variant("unpruned", Block(1, 1)), "no removed layers"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(make, sentence):
    with pytest.raises(SpecError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("a", "b", "where"),
    [
        ([], [], None),
        ([1, 2], [1, 2], None),
        ([1, 2], [1, 3], 1),
        ([1], [1, 3], 1),
        ([1, 3], [], 0),
    ],
)
def test_where_two_texts_part(a, b, where):
    assert first_difference(a, b) == where


@pytest.mark.parametrize(
    ("a", "b", "places"),
    [
        ([1, 2, 3], [1, 2, 3], set()),
        ([1, 9, 3, 4], [1, 2, 3, 4], {1}),
        ([1, 9, 2, 3], [1, 2, 3], {1}),
        ([1, 3], [1, 2, 3], set()),
        ([7, 8], [1, 2], {0, 1}),
        ([1, 2], [], {0, 1}),
        ([], [1], set()),
    ],
)
def test_tokens_that_another_text_does_not_have(a, b, places):
    assert differing(a, b) == places


def test_common_tokens_stand_in_both_texts_in_order():
    draw = random.Random(0)
    for _ in range(200):
        a, b = ([draw.randrange(5) for _ in range(draw.randrange(12))] for _ in range(2))
        common, rest = (
            [token for place, token in enumerate(a) if place not in differing(a, b)],
            iter(b),
        )
        assert all(token in rest for token in common)


def test_growing_text_differs_only_within_the_common_length():
    def text(tokens, complete):
        return Writing(
            tokens,
            [str(token) for token in tokens],
            [0.0] * len(tokens),
            [],
            4,
            0.1,
            0.1,
            False,
            complete,
        )

    def result(whole, own, complete=False):
        return CompareResult(
            FULL, {}, 1.0, 1, complete, "m", 4, 3, [text(whole, complete), text(own, complete)]
        )

    assert result([1, 2], [1, 9, 3]).differs_at(1) == {1}, "token 3 has no counterpart yet"
    assert result([1, 2], [1, 9, 3], complete=True).differs_at(1) == {1, 2}
    assert result([1, 2], [1, 2, 3]).differs_at(0) == set(), (
        "other texts are compared with the unpruned text"
    )


def test_a_text_that_is_only_behind_has_not_parted_yet():
    def text(tokens, complete):
        return Writing(tokens, [], [], [], 4, 0.1, 0.2, ended=False, complete=complete)

    def result(*writings):
        return CompareResult(FULL, {}, 0.0, 0, False, "m", 6, 3, list(writings))

    whole = text([5, 6, 7], True)
    assert result(whole, text([5, 6], False)).parts_at(1) is None
    assert result(whole, text([5, 6], True)).parts_at(1) == 2
    assert result(whole, text([5, 9], False)).parts_at(1) == 1
    assert result(whole, text([5, 9], False)).parts_at(0) is None
    assert (whole.decode_rate, whole.prefill_rate(3)) == (pytest.approx(10), pytest.approx(30))
    assert text([5], True).decode_rate is None


def test_table_has_every_token_even_of_an_unfinished_text():
    done = Writing(
        [5, 6], [" a", " b"], [0.5, 0.6], [0.7, 0.8], 4, 0.1, 0.2, ended=False, complete=True
    )
    growing = Writing([5], [" a"], [0.5], [], 4, 0.1, 0.2, ended=False, complete=False)
    table = CompareResult(FULL, {}, 0.0, 0, False, "m", 6, 3, [done, growing]).table()
    assert [(row["model"], row["token"], row["surprise_unpruned"]) for row in table.records()] == [
        ("unpruned", 1, 0.7),
        ("unpruned", 2, 0.8),
        ("pruned", 1, None),
    ]


@pytest.mark.starter
@pytest.mark.parametrize(
    "text",
    [
        "The capital",
        " of Île-de-France",
        "日本語の文\n\n\tand 🙂🙃 more",
        "a  b .  c , d 's",
        "<|im_start|>x",
        "",
    ],
)
def test_pieces_joined_are_the_text(tokenizer, text):
    ids = tokenizer(text).input_ids
    pieces = generation.token_texts(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    grown, before = generation.TextPieces(tokenizer, tokenizer("Before").input_ids), []
    for token in ids:
        before.append(grown.add(token))
    assert "".join(before) + grown.rest() == text


@pytest.mark.starter
def test_a_single_token_keeps_its_space(tokenizer):
    (paris,) = tokenizer(" Paris").input_ids
    assert generation.token_text(tokenizer, paris) == " Paris"
    part_of_a_letter = tokenizer("🙂").input_ids[0]
    assert generation.token_text(tokenizer, part_of_a_letter) == "\ufffd"


def test_draws_follow_the_models_probabilities_at_every_temperature():
    logits = torch.tensor([0.0, 1.0, -2.0, 0.5])
    for temperature in (1.0, 0.5, 2.0):
        chooser = generation.Chooser(temperature, 1)
        drawn = (
            torch.tensor([chooser.choose(logits) for _ in range(8000)]).bincount(minlength=4) / 8000
        )
        assert drawn.tolist() == pytest.approx(
            (logits / temperature).softmax(-1).tolist(), abs=0.02
        )
    assert {generation.Chooser(0.0, seed).choose(logits) for seed in range(20)} == {1}


def test_nearly_equal_models_draw_the_same_token_with_one_seed():
    logits = torch.randn(500, generator=torch.Generator().manual_seed(0))
    near = logits + 0.01 * torch.randn(500, generator=torch.Generator().manual_seed(1))
    one, other, independent = (
        generation.Chooser(1.0, 3),
        generation.Chooser(1.0, 3),
        generation.Chooser(1.0, 4),
    )
    same = sum(one.choose(logits) == other.choose(near) for _ in range(200))
    assert same > 180
    assert (
        sum(
            generation.Chooser(1.0, 3).choose(logits) == independent.choose(logits)
            for _ in range(200)
        )
        < 100
    )


def tokens(n: int, seed: int) -> list[int]:
    return torch.randint(3, 300, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "granite", "qwen2"])
@pytest.mark.parametrize("block", [None, Block(1, 2)], ids=["whole", "cut"])
def test_tokens_and_surprisal_match_whole_passes_without_a_cache(family, block):
    decoder = architecture.find_decoder(build(family))
    prompt = tokens(6, 0)
    with pruning.without_block(decoder, block):
        steps = list(generation.generate(decoder, prompt, 10, generation.Chooser(0.0, 0)))
        ids = list(prompt)
        for step in steps:
            with torch.inference_mode():
                scores = (
                    decoder.model(torch.tensor([ids]), use_cache=False)
                    .logits[0, -1]
                    .float()
                    .log_softmax(-1)
                )
            assert step.token == scores.argmax().item()
            assert step.surprise == pytest.approx(-scores[step.token].item(), abs=1e-4)
            ids.append(step.token)
        read = generation.surprisals(decoder, prompt, ids[len(prompt) :])
    assert read == pytest.approx([step.surprise for step in steps], abs=1e-4)
    assert min(read) >= 0
    assert generation.surprisals(decoder, prompt, []) == []


def test_output_that_is_no_number_is_one_sentence():
    decoder = architecture.find_decoder(build("llama"))
    with torch.no_grad():
        decoder.head.weight.fill_(float("nan"))
    with pytest.raises(UnsupportedModelError, match="Choose float32"):
        next(generation.generate(decoder, [5, 6], 3, generation.Chooser(0.0, 0)))
