"""Greedy writing: known rates of known texts, the library's own continuations, cuts, and a loop
that is seen as one.
"""

import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.accuracy import generation
from analysis.models.architecture import decoder as architecture
from analysis.models.running import generation as writing
from analysis.models.running import pruning
from tests.support.families import build


@pytest.mark.parametrize(
    ("tokens", "repetition", "distinct"),
    [
        ([], 0.0, 0.0),
        ([1, 2, 3], 0.0, 1.0),
        (list(range(20)), 0.0, 1.0),
        ([7] * 13, 0.9, 1 / 13),  # ten runs of four, all the same
        ([1, 2, 3, 4, 1, 2, 3, 4], 0.2, 0.5),  # 1234 2341 3412 4123 1234
    ],
)
def test_rates_of_known_texts(tokens, repetition, distinct):
    assert generation.repetition_rate(tokens) == pytest.approx(repetition)
    assert generation.distinct_rate(tokens) == pytest.approx(distinct)


@pytest.mark.parametrize(
    ("text", "number"),
    [(" 42", 42), ("is -3.", -3), ("1,234 or 5", 1234), ("none", None), ("7, 8", 7), ("", None)],
)
def test_the_first_number(text, number):
    assert generation.first_number(text) == number


def test_sums_are_seeded_right_and_different():
    made = generation.sums(200)
    assert generation.sums(20) == made[:20]
    assert generation.sums(20, seed=1) != made[:20]
    assert len({one.question for one in made}) == 200
    assert len(generation.sums(10_000)) == 688
    assert {one.question.split()[3] for one in made} == {"+", "-", "*"}
    for one in made:
        assert eval(one.question.removeprefix("What is ").removesuffix("?")) == one.answer >= 0
        assert one.question not in generation.sum_prompt(generation.Sum("", 0))


def tokens(n, seed):
    return torch.randint(3, 300, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "qwen2", "opt"])
@pytest.mark.parametrize("block", [None, Block(1, 2)], ids=["whole", "cut"])
def test_the_same_tokens_as_the_library_writes_without_a_cache(family, block):
    prompts = [tokens(5, 0), tokens(9, 1), tokens(5, 2)]
    decoder = architecture.find_decoder(build(family))
    with pruning.without_block(decoder, block):
        written = writing.greedy(decoder, prompts, 12)
    other = architecture.find_decoder(build(family))
    if block is not None:
        pruning.cut(other, block)
    for prompt, found in zip(prompts, written, strict=True):
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(12):
                ids.append(
                    other.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item()
                )
        assert found == ids[len(prompt) :]


def test_a_text_ends_at_a_stop_token_and_others_continue():
    decoder = architecture.find_decoder(build("llama"))
    prompts = [tokens(5, 0), tokens(5, 1)]
    first, second = writing.greedy(decoder, prompts, 12)
    stop = next(token for token in first if token not in second)
    done = []
    stopped, other = writing.greedy(decoder, prompts, 12, {stop}, lambda *step: done.append(step))
    assert stopped == first[: first.index(stop) + 1]
    assert other == second
    assert done[-1] == (12, 12)
