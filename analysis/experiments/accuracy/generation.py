"""Generated text of a model: repetition in greedy continuations, and right answers to arithmetic
problems.

Likelihood scores only compare given answers, and so understate the harm of pruning. All functions
use the model in its present state, so they also work inside `pruning.without_block`.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from analysis.data import corpora
from analysis.data.spec import CorpusSpec, GenerationSpec
from analysis.experiments.accuracy.points import Continuation, GenerationCheck, SumAnswer
from analysis.experiments.scoring.repetition import distinct_rate, repetition_rate
from analysis.models.architecture.decoder import Decoder
from analysis.models.running.generation import OnStep, greedy, stop_tokens

SUM_TOKENS = 6
"""Maximum tokens of the answer to an arithmetic problem."""
PROMPT_TOKENS = 32
"""Number of tokens of a prompt, from the beginning of a held-out Wikipedia article."""
_WORKED_SUMS = ((3, "+", 4), (9, "-", 5), (2, "*", 6))
"""Solved problems before every prompt, which show the form of the answer and are never asked."""
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
}


@dataclass(frozen=True)
class Sum:
    """An arithmetic problem."""

    question: str
    answer: int


def first_number(text: str) -> int | None:
    """Return the first integer in a text, or None; thousands may be separated by commas."""
    match = re.search(r"-?\d+(?:,\d{3})*", text)
    return None if match is None else int(match.group().replace(",", ""))


def sums(n: int, seed: int = 0) -> list[Sum]:
    """Return `n` different problems, at most 688: additions up to 20 + 20, subtractions from 20,
    products up to 9 * 9.

    The problems of a smaller `n` are the first of those of a larger one.
    """
    small = range(1, 21)
    digits = range(1, 10)
    possible = [(a, "+", b) for a in small for b in small]
    possible += [(a, "-", b) for a in small for b in small if b <= a]
    possible += [(a, "*", b) for a in digits for b in digits]
    possible = [entry for entry in possible if entry not in _WORKED_SUMS]
    random.Random(seed).shuffle(possible)
    return [Sum(_ask(a, sign, b), _OPERATIONS[sign](a, b)) for a, sign, b in possible[:n]]


def _ask(a: int, sign: str, b: int) -> str:
    return f"What is {a} {sign} {b}?"


def sum_prompt(problem: Sum) -> str:
    """Return the prompt: solved problems, then the new one."""
    worked = "".join(
        f"Question: {_ask(a, s, b)}\nAnswer: {_OPERATIONS[s](a, b)}\n\n" for a, s, b in _WORKED_SUMS
    )
    return f"{worked}Question: {problem.question}\nAnswer:"


def continuations(
    decoder: Decoder,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    on_step: OnStep = lambda *_: None,
) -> list[Continuation]:
    """Return greedy continuations with their repetition and distinct tokens."""
    stop = stop_tokens(decoder, tokenizer)
    results = []
    for prompt, tokens in zip(
        prompts, greedy(decoder, prompts, max_new_tokens, stop, on_step), strict=True
    ):
        ended = tokens[-1] in stop
        text_tokens = tokens[:-1] if ended else tokens
        text = tokenizer.decode(text_tokens)
        results.append(
            Continuation(
                tokenizer.decode(list(prompt)),
                text,
                len(text_tokens),
                repetition_rate(text_tokens),
                distinct_rate(text_tokens),
                ended,
            )
        )
    return results


def check(
    decoder: Decoder,
    tokenizer: Any,
    spec: GenerationSpec,
    on_step: OnStep = lambda done, total: None,
) -> GenerationCheck:
    """Measure continuations and arithmetic of the model in its present state, on seeded prompts and
    problems.

    Args:
        decoder: The model, which may be pruned or healed.
        tokenizer: Its tokenizer.
        spec: Numbers and seed of prompts and problems.
        on_step: Receives the progress of the continuations, then of the problems.

    Raises:
        CorpusError: If there is no text for prompts.
    """
    corpus = CorpusSpec(
        "wiki", n_texts=spec.n_prompts, seq_len=PROMPT_TOKENS, split="validation", seed=spec.seed
    )
    prompts = corpora.tokenize(corpus, tokenizer).token_ids
    written = continuations(decoder, tokenizer, prompts, spec.max_new_tokens, on_step)
    problems = sums(spec.n_sums, spec.seed)
    encoded = [list(tokenizer(sum_prompt(problem)).input_ids) for problem in problems]
    answers = [
        SumAnswer(
            problem.question,
            problem.answer,
            text,
            first_number(text.partition("\n")[0]) == problem.answer,
        )
        for problem, text in zip(
            problems,
            map(tokenizer.decode, greedy(decoder, encoded, SUM_TOKENS, on_step=on_step)),
            strict=True,
        )
    ]
    right = [float(answer.is_right) for answer in answers]
    return GenerationCheck(
        continuations=written,
        sums=answers,
        repetition_rate=fmean(continuation.repetition_rate for continuation in written),
        distinct_rate=fmean(continuation.distinct_rate for continuation in written),
        n_tokens=fmean(continuation.n_tokens for continuation in written),
        acc=fmean(right),
        acc_stderr=stdev(right) / sqrt(len(right)) if len(right) > 1 else 0.0,
    )
