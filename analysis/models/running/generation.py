"""Continues a prompt token by token, with the surprisal of each token, and splits a prompt into tokens."""

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

_AT_ONCE = 16
"""Prompts decoded together."""
_AT_FIRST, _ONE_BY_ONE = 20, 6
"""Tokens on which the cache of a model is tried out: together, and after them."""
_OTHERWISE = 0.05
"""Allowed distance of their logits, as a share of their length, if that is more than rounding.

Recurrent layers have other code for one token, which rounds more. A cache that wrongly forgets tokens is three times as
far off from the first token on.
"""
_TRIED: WeakSet[nn.Module] = WeakSet()
"""Models whose cache is right."""
OnStep = Callable[[int, int], None]
"""Receives how many tokens of how many at most have been decoded for every prompt; may raise `Cancelled`."""


class Cached:
    """A model that continues a sequence with a KV cache; it works on pruned models because pruning renumbers the layers."""

    def __init__(self, decoder: Decoder, *, is_trial: bool = False) -> None:
        """Begin with nothing read; the name of the cache is looked up with the first tokens.

        Args:
            decoder: the model as it is now.
            is_trial: whether this run tests its cache, which is done once for every model.

        Raises:
            UnsupportedModelError: when tokens that are read one by one come out otherwise than read all at once.
        """
        if not is_trial:
            _try_cache(decoder)
        parameters = inspect.signature(decoder.model.forward).parameters
        self._model = decoder.model
        # The library renamed the argument; both names are in the range that is supported.
        self._name = "cache" if "cache" in parameters else "past_key_values"
        self._settings: dict[str, Any] = {"use_cache": True}
        if "logits_to_keep" in parameters:
            self._settings["logits_to_keep"] = 1
        self._cache: Any = None

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """Read (batch, n) further tokens and return the logits of the token after them, (batch, vocabulary).

        Raises:
            UnsupportedModelError: when the family keeps the tokens it has read in another way.
        """
        output = self._model(input_ids=ids, **self._settings, **({} if self._cache is None else {self._name: self._cache}))
        self._cache = cache_of(self._model, output, self._name)
        logits: Tensor = output.logits[:, -1]
        return logits


@torch.inference_mode()
def _try_cache(decoder: Decoder) -> None:
    """Check that reading with the cache gives the same as reading without, as far as few tokens show it."""
    if decoder.model in _TRIED:
        return
    ids = torch.tensor([decoder.trial_tokens(_AT_FIRST + _ONE_BY_ONE)], device=decoder.device)
    at_once = decoder.model(input_ids=ids, use_cache=False).logits[0, _AT_FIRST:]
    cached = Cached(decoder, is_trial=True)
    cached.read(ids[:, :_AT_FIRST])
    one_by_one = torch.cat([cached.read(token) for token in ids[:, _AT_FIRST:].split(1, dim=1)])
    distance = (one_by_one - at_once).float().norm(dim=-1) / at_once.float().norm(dim=-1)
    if distance.isfinite().all() and distance.median() > _OTHERWISE and not decoder.agree(one_by_one, at_once):
        raise UnsupportedModelError(
            f"{type(decoder.model).__name__} gives other outputs with its cache than without it, by its code in "
            "transformers, so generation is not available. Distances, scores and healing are available."
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
    """Append the most likely next token, again and again, to every prompt; with a KV cache.

    Prompts of one length run together, so that no padding is needed, which families place in different ways.

    Args:
        decoder: the model as it is now.
        prompts: token ids, at least one each.
        max_new_tokens: maximum number of new tokens.
        stop: tokens that end a text; a text that ended keeps its stop token at its end.
        on_step: receives the number of tokens that are done, and of all.
    """
    by_length = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    groups = [places[first : first + _AT_ONCE] for places in by_length.values() for first in range(0, len(places), _AT_ONCE)]
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
    """The tokens with which this model ends a text."""
    configured = getattr(decoder.model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {token for token in (*listed, tokenizer.eos_token_id) if token is not None}


_UNFINISHED = "\ufffd"
"""The text that decoders give for a letter whose bytes are not all there yet."""


def encode(tokenizer: Any, prompt: str) -> list[int]:
    """The prompt as the tokenizer gives it to its model, special tokens included.

    Raises:
        SpecError: when nothing is left of it.
    """
    ids = [int(token) for token in tokenizer(prompt).input_ids]
    if not ids:
        raise SpecError("The tokenizer of this model returns no token for this prompt. Write another prompt.")
    return ids


class TextPieces:
    """Splits a text that grows token by token into the text of each token."""

    def __init__(self, tokenizer: Any, before: Sequence[int] = ()) -> None:
        """Begin after the tokens `before`, whose text decides about a leading space."""
        self._tokenizer = tokenizer
        self._ids = list(before)
        self._shown = len(self._decode())

    def add(self, token: int) -> str:
        """The text that this token adds; empty while a letter is unfinished, and then all of it with its last token."""
        self._ids.append(token)
        text = self._decode()
        if text.endswith(_UNFINISHED):
            return ""
        piece = text[self._shown :]
        self._shown = len(text)
        return piece

    def rest(self) -> str:
        """Return the text that was held back, at the end of the text."""
        return self._decode()[self._shown :]

    def _decode(self) -> str:
        # Tidying up spaces would change letters that were given out before.
        text: str = self._tokenizer.decode(self._ids, clean_up_tokenization_spaces=False)
        return text


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text of each token; joined they are the whole text."""
    pieces = TextPieces(tokenizer)
    pieces_of_text = [pieces.add(token) for token in ids]
    if pieces_of_text:
        pieces_of_text[-1] += pieces.rest()
    return pieces_of_text


def token_text(tokenizer: Any, token: int) -> str:
    """The text of one token in the middle of a text, with its leading space; a part of a letter is the mark for one."""
    pieces = TextPieces(tokenizer, tokenizer("a", add_special_tokens=False).input_ids)
    return pieces.add(token) or pieces.rest()


@dataclass(frozen=True)
class GeneratedToken:
    """One token that was written."""

    token: int
    surprise: float
    """-log of its probability under the model itself, at temperature 1; nats, at least 0."""
    seconds: float
    """Time to read the tokens before and to choose; the first step reads the whole prompt."""


class Chooser:
    """Chooses the next token: the most likely one, or one drawn by the model's probabilities.

    A draw adds seeded Gumbel noise to the logits and takes the largest, which is an exact draw from their softmax. Two models
    with one seed meet the same noise at the same step. So their texts diverge because the models differ, not by chance.
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


def generate(decoder: Decoder, prompt: Sequence[int], max_new_tokens: int, chooser: Chooser) -> Iterator[GeneratedToken]:
    """Continue a prompt, with a KV cache; each step uses the model as it is then, so leave it unchanged until the end.

    Args:
        decoder: the model, whole, inside `pruning.without_block`, or cut and healed.
        prompt: token ids, at least one.
        max_new_tokens: maximum number of new tokens; a caller that sees a stop token stops iterating.
        chooser: how the next token is chosen.

    Raises:
        UnsupportedModelError: when the model's output is not a number.
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
                "The model's output is not a finite number, because its precision is too low. Choose float32."
            )
        yield GeneratedToken(token, max(0.0, surprise), time.perf_counter() - started)
        ids = [token]


@torch.inference_mode()
def surprisals(decoder: Decoder, prompt: Sequence[int], written: Sequence[int]) -> list[float]:
    """Return -log of the probability of each written token under a model that reads them, from any writer; nats.

    One forward pass, with the head only at the positions that need it.
    """
    if not written:
        return []
    ids = torch.tensor([[*prompt, *written]], device=decoder.device)
    states = decoder.body(input_ids=ids, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
    targets = ids[0, len(prompt) :].to(decoder.head_device)
    nats: list[float] = []
    for begin in range(0, len(targets), decoder.states_at_once):
        part = slice(begin, begin + decoder.states_at_once)
        scores = decoder.logits(states[part]).log_softmax(-1)
        nats += (-scores.gather(1, targets[part, None])[:, 0]).clamp(min=0).tolist()
    return nats
