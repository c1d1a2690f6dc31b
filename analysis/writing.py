"""How a model goes on with a prompt, token by token, and how much each written token surprises it or another model."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.architecture import Decoder
from analysis.errors import UnsupportedModelError
from analysis.generation import Cached


@dataclass(frozen=True)
class Step:
    """One token that was written."""

    token: int
    surprise: float
    """-log of its probability under the model itself, at temperature 1; nats, at least 0."""
    seconds: float
    """What it took to read what came before and to choose; the first step reads the whole prompt."""


class Chooser:
    """Chooses the next token: the likeliest, or one drawn by the model's probabilities.

    A draw adds seeded Gumbel noise to the logits and takes the largest, which is an exact draw from their softmax. Two models
    with one seed meet the same noise at the same step, so they part where they differ, and not by the luck of the draw.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        """Begin at the first step; temperature 0 is greedy."""
        self._temperature = temperature
        self._noise = torch.Generator().manual_seed(seed)

    def choose(self, logits: Tensor) -> int:
        """The token for this step, from logits (vocabulary,)."""
        if self._temperature == 0:
            return int(logits.argmax())
        # Minus the logarithm of an exponential variable is a Gumbel one.
        waiting = torch.empty(logits.shape, dtype=torch.float64).exponential_(generator=self._noise)
        return int((logits.cpu().double() / self._temperature - waiting.log()).argmax())


@torch.inference_mode()
def warm_up(decoder: Decoder) -> None:
    """Run one token untimed, so that no model's first token pays for the first touch of its weights."""
    decoder.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=decoder.device), use_cache=False)


def write(decoder: Decoder, prompt: Sequence[int], max_new_tokens: int, chooser: Chooser) -> Iterator[Step]:
    """Go on with a prompt, with a KV cache; works on the model as it is at each step, so stay in one state meanwhile.

    Args:
        decoder: the model, whole, inside `pruning.without_block`, or cut and healed.
        prompt: token ids, at least one.
        max_new_tokens: where it ends at the latest; a caller who sees a stop token just stops asking.
        chooser: how the next token is chosen.

    Raises:
        UnsupportedModelError: when the model's output is not a number.
    """
    model = Cached(decoder)
    ids = list(prompt)
    for _ in range(max_new_tokens):
        began = time.perf_counter()
        logits = model.read(torch.tensor([ids], device=decoder.device))[0].float()
        token = chooser.choose(logits)
        surprise = -float(logits.log_softmax(-1)[token])
        if not surprise < float("inf"):
            raise UnsupportedModelError(
                "The model's output is not a finite number, as happens where its precision is too low for it; choose float32."
            )
        yield Step(token, max(0.0, surprise), time.perf_counter() - began)
        ids = [token]


@torch.inference_mode()
def surprises(decoder: Decoder, prompt: Sequence[int], written: Sequence[int]) -> list[float]:
    """-log of the probability of each written token under a model that reads them, whoever wrote them; nats.

    One forward pass, the head only where it is needed.
    """
    if not written:
        return []
    ids = torch.tensor([[*prompt, *written]], device=decoder.device)
    states = decoder.body(input_ids=ids, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
    targets = ids[0, len(prompt) :]
    found: list[float] = []
    for begin in range(0, len(targets), decoder.states_at_once):
        part = slice(begin, begin + decoder.states_at_once)
        scores = decoder.logits(states[part]).log_softmax(-1)
        found += (-scores.gather(1, targets[part, None])[:, 0]).clamp(min=0).tolist()
    return found
