"""Comparison of an exported GGUF file in llama.cpp with the same file as this program computes
it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from analysis.core.errors import UnsupportedModelError
from analysis.exports.spec import RuntimeCheck
from analysis.models.running import gguf_cut, llama_cpp

N_PROMPTS = 10
N_PREFIXES = 50
NEW_TOKENS = 16
_TOP = 5
"""Most likely next tokens that are compared."""
TOLERANCE = 0.01
"""Largest mean difference of their log-probabilities, in nats, with the weights in float32.

The starter without layers 14-18 has less than 0.0005. With the file as it is (Q4_1) it has 0.07,
since llama.cpp rounds activations to 8 bits, so a wrong cut could not be told from a right one.
"""


@torch.inference_mode()
def check(file: Path, model: Any, tokenizer: Any, texts: Sequence[Sequence[int]]) -> RuntimeCheck:
    """Compare greedy text and next-token log-probabilities.

    Args:
        file: the exported file.
        model: of transformers, loaded from it in float32.
        tokenizer: of the model.
        texts: token ids that prompts and prefixes are taken from.

    Raises:
        UnsupportedModelError: if llama.cpp does not load the file, or differs with the weights in
            float32.
    """
    positions = [(row, end) for row, ids in enumerate(texts) for end in range(4, len(ids))]
    step = max(1, len(positions) // N_PREFIXES)
    prefixes = [list(texts[row][:end]) for row, end in positions[::step][:N_PREFIXES]]
    prompts = prefixes[:: max(1, len(prefixes) // N_PROMPTS)][:N_PROMPTS]
    # Of longer texts the first entry may be a later token: llama.cpp holds tokens back until their
    # bytes are whole characters.
    requests = [{"prompt": ids, "max_tokens": 1, "logprobs": _TOP} for ids in prefixes]
    requests += [{"prompt": ids, "max_tokens": NEW_TOKENS} for ids in prompts]
    exact = file.with_name("float32.gguf")
    gguf_cut.write(file, None, exact, in_float32=True)
    answers, _ = llama_cpp.complete(exact, requests, in_float32=True)
    exact.unlink()
    stored, _ = llama_cpp.complete(file, requests)
    logprobs = [next_logprobs(model, ids) for ids in prefixes]
    texts_here = [_text(model, tokenizer, ids) for ids in prompts]
    exact_difference, n_prefixes = mean_difference(logprobs, answers)
    if not exact_difference <= TOLERANCE:
        raise UnsupportedModelError(
            f"llama.cpp computes {file.name} differently: next-token log-probabilities differ by"
            f" {exact_difference:.2f} nats on average (allowed: {TOLERANCE:g}), so it was deleted."
            " Export a model folder (hf) instead."
        )
    return RuntimeCheck(
        "llama.cpp",
        len(prompts),
        _n_same(texts_here, answers[len(prefixes) :]),
        n_prefixes,
        exact_difference,
        TOLERANCE,
        _n_same(texts_here, stored[len(prefixes) :]),
        mean_difference(logprobs, stored)[0],
    )


@torch.inference_mode()
def next_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    """Return the log-probability of every token after a prefix."""
    logits: torch.Tensor = model(torch.tensor([ids], device=model.device), use_cache=False).logits[
        0, -1
    ]
    return logits.float().log_softmax(-1)


def _text(model: Any, tokenizer: Any, ids: list[int]) -> str:
    rows = torch.tensor([ids], device=model.device)
    output = model.generate(
        rows, max_new_tokens=NEW_TOKENS, do_sample=False, attention_mask=torch.ones_like(rows)
    )
    return str(tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))


def mean_difference(
    logprobs: Sequence[torch.Tensor], answers: Sequence[dict[str, Any]]
) -> tuple[float, int]:
    """Return the mean difference of the most likely tokens' log-probabilities, and the number of
    compared prefixes.
    """
    differences = []
    for expected, answer in zip(logprobs, answers, strict=False):
        if (reported := answer["choices"][0]["logprobs"]) is not None:  # None if the text ends here
            tokens = reported["content"][0]["top_logprobs"]
            differences.append(
                fmean(abs(token["logprob"] - float(expected[token["id"]])) for token in tokens)
            )
    return (fmean(differences) if differences else math.nan), len(differences)


def _n_same(texts: Sequence[str], answers: Sequence[dict[str, Any]]) -> int:
    """Count equal texts, without bytes that are no character. llama.cpp may end at a token that
    transformers does not know.
    """
    n_same = 0
    for text, answer in zip(texts, answers, strict=True):
        choice = answer["choices"][0]
        here = text.replace("\ufffd", "")
        there = choice["text"].replace("\ufffd", "")
        n_same += here == there or (choice["finish_reason"] == "stop" and here.startswith(there))
    return n_same
