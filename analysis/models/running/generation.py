"""Generation token by token with a KV cache, surprisals, and the text of single tokens."""

import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.models.architecture.decoder import Decoder, cache_of
from analysis.models.running.head import log_probabilities

_MAX_BATCH_SIZE = 16
"""Maximum number of prompts per batch."""
_N_PREFILL = 20
_N_DECODE = 6
"""Numbers of trial tokens for the cache: of the prefill, and decoded one by one after it."""
_CACHE_TOLERANCE = 0.05
"""Tolerance of the relative error of the logits with a cache. Recurrent layers use other code for
single tokens, which rounds more. A cache that wrongly drops tokens has three times this error from
the first token on."""
_TRIED: WeakSet[nn.Module] = WeakSet()
"""Models whose cache passed the trial."""
OnStep = Callable[[int, int], None]
"""Callback with the number of decoded tokens per prompt and its maximum; may raise `Cancelled`."""


class Cached:
    """A model with a KV cache. It supports pruned models, because pruning renumbers the layers."""

    def __init__(self, decoder: Decoder, *, is_trial: bool = False) -> None:
        """Create an empty cache.

        Args:
            decoder: the model in its present state.
            is_trial: whether this is the trial of the cache, which runs once per model.

        Raises:
            UnsupportedModelError: If reading tokens one by one gives other logits than reading all
                at once.
        """
        if not is_trial:
            _try_cache(decoder)
        parameters = inspect.signature(decoder.model.forward).parameters
        self._model = decoder.model
        self._name = decoder.cache_name
        self._settings: dict[str, Any] = {"use_cache": True}
        if "logits_to_keep" in parameters:
            self._settings["logits_to_keep"] = 1
        self._cache: Any = None

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """Read (batch, n) more tokens and return the logits of the next token, (batch, vocabulary).

        Raises:
            UnsupportedModelError: If the family does not return a cache.
        """
        output = self._model(
            input_ids=ids,
            **self._settings,
            **({} if self._cache is None else {self._name: self._cache}),
        )
        self._cache = cache_of(self._model, output, self._name)
        logits: Tensor = output.logits[:, -1]
        return logits


@torch.inference_mode()
def _try_cache(decoder: Decoder) -> None:
    """Check on a few tokens that the cache does not change the logits."""
    if decoder.model in _TRIED:
        return
    ids = torch.tensor([decoder.trial_tokens(_N_PREFILL + _N_DECODE)], device=decoder.device)
    at_once = decoder.model(input_ids=ids, use_cache=False).logits[0, _N_PREFILL:]
    cached = Cached(decoder, is_trial=True)
    cached.read(ids[:, :_N_PREFILL])
    one_by_one = torch.cat([cached.read(token) for token in ids[:, _N_PREFILL:].split(1, dim=1)])
    distance = (one_by_one - at_once).float().norm(dim=-1) / at_once.float().norm(dim=-1)
    if (
        distance.isfinite().all()
        and distance.median() > _CACHE_TOLERANCE
        and not decoder.agree(one_by_one, at_once)
    ):
        raise UnsupportedModelError(
            f"{type(decoder.model).__name__} gives other outputs with its cache than without it, by"
            " its code in transformers, so generation is not available. Distances, scores and"
            " healing are available."
        )
    _TRIED.add(decoder.model)


@torch.inference_mode()
def greedy(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    stop: Collection[int] = (),
    on_step: OnStep = lambda done, total: None,
) -> list[list[int]]:
    """Continue every prompt greedily, with a KV cache.

    Prompts of equal length run together, because families differ in their padding.

    Args:
        decoder: the model in its present state.
        prompts: token ids, at least one each.
        max_new_tokens: maximum number of new tokens.
        stop: stop tokens; an ended text keeps its stop token.
        on_step: receives the number of generated tokens and the total.
    """
    by_length = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    groups: list[list[int]] = []
    for indices in by_length.values():
        for first in range(0, len(indices), _MAX_BATCH_SIZE):
            groups.append(indices[first : first + _MAX_BATCH_SIZE])
    written: list[list[int]] = [[] for _ in prompts]
    for number, group in enumerate(groups):
        ids = torch.tensor([list(prompts[index]) for index in group], device=decoder.device)
        model = Cached(decoder)
        for step in range(max_new_tokens):
            ids = model.read(ids).argmax(-1, keepdim=True)
            for index, token in zip(group, ids[:, 0].tolist(), strict=True):
                if not written[index] or written[index][-1] not in stop:
                    written[index].append(token)
            on_step(number * max_new_tokens + step + 1, len(groups) * max_new_tokens)
            if all(written[index][-1] in stop for index in group):
                break
    return written


def stop_tokens(decoder: Decoder, tokenizer: Any) -> set[int]:
    """Return the end-of-text tokens of a model."""
    configured = getattr(decoder.model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


_UNFINISHED = "\ufffd"
"""Replacement character that decoders return for incomplete bytes."""


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """Return the token ids of a prompt, special tokens included.

    Raises:
        SpecError: If there are none.
    """
    ids = [int(token) for token in tokenizer(prompt).input_ids]
    if not ids:
        raise SpecError(
            "The tokenizer of this model returns no token for this prompt. Write another prompt."
        )
    return ids


class TextPieces:
    """Splits a text that grows token by token into the text of each token."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        """Start after the tokens `before`, which determine a leading space."""
        self._tokenizer = tokenizer
        self._ids = list(before)
        self._n_returned = len(self._decode())

    def add(self, token: int) -> str:
        """Return the text that a token adds; empty until the last token of a multi-token
        character.
        """
        self._ids.append(token)
        text = self._decode()
        if text.endswith(_UNFINISHED):
            return ""
        piece = text[self._n_returned :]
        self._n_returned = len(text)
        return piece

    def rest(self) -> str:
        """Return the remaining text at the end."""
        return self._decode()[self._n_returned :]

    def _decode(self) -> str:
        # Cleaning up spaces would change text that was returned before.
        text: str = self._tokenizer.decode(self._ids, clean_up_tokenization_spaces=False)
        return text


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Return the text of each token; joined they are the full text."""
    pieces = TextPieces(tokenizer)
    pieces_of_text = [pieces.add(token) for token in ids]
    if pieces_of_text:
        pieces_of_text[-1] += pieces.rest()
    return pieces_of_text


def token_text(tokenizer: Any, token: int) -> str:
    """Return the text of a token inside a text, with its leading space; the replacement character
    for incomplete bytes.
    """
    pieces = TextPieces(tokenizer, tokenizer("a", add_special_tokens=False).input_ids)
    return pieces.add(token) or pieces.rest()


@dataclass(frozen=True)
class GeneratedToken:
    """A generated token."""

    token: int
    surprise: float
    """-log of its probability under the model itself, at temperature 1; nats, at least 0."""
    seconds: float
    """Time of the forward pass and the choice; the first step includes the prefill of the
    prompt."""


class Chooser:
    """Chooses the next token: the most likely one, or one drawn by the model's probabilities.

    A draw adds seeded Gumbel noise to the logits and takes the largest, which is an exact draw from
    their softmax. Two models with the same seed get the same noise at each step, so their texts
    diverge because the models differ, not by chance.
    """

    def __init__(self, temperature: float, seed: int) -> None:
        """Start at the first step; temperature 0 is greedy."""
        self._temperature = temperature
        self._noise = torch.Generator().manual_seed(seed)

    def choose(self, logits: Tensor) -> int:
        """Return the token for this step, from logits (vocabulary,)."""
        if self._temperature == 0:
            return int(logits.argmax())
        # The negative logarithm of an exponential variable is Gumbel distributed.
        waiting = torch.empty(logits.shape, dtype=torch.float64).exponential_(generator=self._noise)
        return int((logits.cpu().double() / self._temperature - waiting.log()).argmax())


@torch.inference_mode()
def warm_up(decoder: Decoder) -> None:
    """Run one token untimed, since the first access to the weights is slow."""
    decoder.model(
        input_ids=torch.zeros(1, 1, dtype=torch.long, device=decoder.device), use_cache=False
    )


def generate(
    decoder: Decoder, prompt: Sequence[int], max_new_tokens: int, chooser: Chooser
) -> Iterator[GeneratedToken]:
    """Continue a prompt, with a KV cache. The model must be in the same state at each step.

    Args:
        decoder: the model, unpruned, inside `pruning.without_block`, or pruned and healed.
        prompt: token ids, at least one.
        max_new_tokens: maximum number of new tokens. Callers stop iterating at a stop token.
        chooser: sampler of the next token.

    Raises:
        UnsupportedModelError: If the output of the model is not finite.
    """
    model = Cached(decoder)
    ids = list(prompt)
    for _ in range(max_new_tokens):
        started = time.perf_counter()
        logits = model.read(torch.tensor([ids], device=decoder.device))[0].float()
        token = chooser.choose(logits)
        surprise = -float(logits.log_softmax(-1)[token])
        if not surprise < float("inf"):
            raise UnsupportedModelError(
                "The model's output is not a finite number, because its precision is too low."
                " Choose float32."
            )
        yield GeneratedToken(token, max(0.0, surprise), time.perf_counter() - started)
        ids = [token]


@torch.inference_mode()
def surprisals(decoder: Decoder, prompt: Sequence[int], written: Sequence[int]) -> list[float]:
    """Return the surprisal of each generated token under a model that reads them, in nats.

    It takes one forward pass, with the head at the generated positions only.
    """
    if not written:
        return []
    ids = torch.tensor([[*prompt, *written]], device=decoder.device)
    states = decoder.body(input_ids=ids, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
    indices = torch.arange(len(written), device=decoder.head_device)
    targets = ids[0, len(prompt) :].to(decoder.head_device)
    nats: list[float] = (
        (-log_probabilities(decoder, states, indices, targets)).clamp(min=0).tolist()
    )
    return nats
