"""Comparison of an exported GGUF file in llama.cpp with the same file as this program computes it."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from analysis.core.errors import UnsupportedModelError
from analysis.exports.spec import RuntimeCheck
from analysis.models.running import llama_cpp

N_PROMPTS, N_PREFIXES = 10, 50
NEW_TOKENS = 16
_TOP = 5
"""Most likely next tokens that are compared."""
TOLERANCE = 0.5
"""Largest mean difference of their log-probabilities, in nats.

The starter without layers 14-18 (Q4_1) has 0.35. How much of that is llama.cpp's rounding of activations to 8 bits was not
measured.
"""


@torch.inference_mode()
def check(file: Path, model: Any, tokenizer: Any, texts: Sequence[Sequence[int]]) -> RuntimeCheck | None:
    """Compare greedy text and next-token log-probabilities; None if llama.cpp is not installed.

    Args:
        file: the exported file.
        model: of transformers, loaded from it.
        tokenizer: of the model.
        texts: token ids that prompts and prefixes are taken from.

    Raises:
        UnsupportedModelError: if llama.cpp does not load the file, or differs by more than quantized activations explain.
    """
    if not llama_cpp.is_installed():
        return None
    positions = [(row, end) for row, ids in enumerate(texts) for end in range(4, len(ids))]
    step = max(1, len(positions) // N_PREFIXES)
    prefixes = [list(texts[row][:end]) for row, end in positions[::step][:N_PREFIXES]]
    every = max(1, len(prefixes) // N_PROMPTS)
    # In the order of the text, so that llama.cpp reads each token once.
    lengths = [NEW_TOKENS if index % every == 0 and index < every * N_PROMPTS else 1 for index in range(len(prefixes))]
    requests = [
        {"prompt": ids, "max_tokens": length, "logprobs": _TOP, "cache_prompt": True}
        for ids, length in zip(prefixes, lengths, strict=True)
    ]
    answers, _ = llama_cpp.complete(file, requests)
    same, differences = 0, []
    for ids, length, answer in zip(prefixes, lengths, answers, strict=True):
        rows, choice = torch.tensor([ids], device=model.device), answer["choices"][0]
        if length > 1:
            output = model.generate(rows, max_new_tokens=length, do_sample=False, attention_mask=torch.ones_like(rows))
            text = tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)
            # llama.cpp also ends at tokens that the configuration of transformers does not name.
            same += text == choice["text"] or (choice["finish_reason"] == "stop" and text.startswith(choice["text"]))
        if choice["logprobs"] is not None:  # None if the text ends here
            expected = model(rows, use_cache=False).logits[0, -1].float().log_softmax(-1)
            tokens = choice["logprobs"]["content"][0]["top_logprobs"]
            differences.append(fmean(abs(token["logprob"] - float(expected[token["id"]])) for token in tokens))
    difference = fmean(differences) if differences else math.nan
    if not difference <= TOLERANCE:
        raise UnsupportedModelError(
            f"llama.cpp computes {file.name} differently: next-token log-probabilities differ by {difference:.2f} nats on "
            f"average (allowed: {TOLERANCE:g}), so it was deleted. Export the folder (hf) instead."
        )
    n_prompts = sum(length > 1 for length in lengths)
    return RuntimeCheck("llama.cpp", n_prompts, same, len(differences), difference, TOLERANCE)
