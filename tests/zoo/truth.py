"""The true figures, from plain transformers alone: a layer is left out by handing its input on, and
nothing is cached.
"""

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from tests.zoo import models


class Truth:
    """A model as plain transformers loads it."""

    def __init__(self, folder: Path) -> None:
        """Load it in float32."""
        kind = models.class_of(AutoConfig.from_pretrained(folder))
        self.model: Any = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        ).eval()
        self.n_layers: int = self.model.config.get_text_config().num_hidden_layers
        lists = [
            part
            for part in self.model.modules()
            if isinstance(part, nn.ModuleList) and len(part) == self.n_layers
        ]
        self.layers = lists[0] if lists else nn.ModuleList()

    @contextlib.contextmanager
    def without(self, removed: Collection[int]) -> Iterator[None]:
        """As if these layers were not there."""
        for index in removed:
            self.layers[index].forward = _handing_on(self.layers[index].forward)
        try:
            yield
        finally:
            for index in removed:
                del self.layers[index].forward

    @torch.inference_mode()
    def streams(self, ids: Sequence[int]) -> list[Tensor]:
        """x[0..L] of one text, each (n_tokens, hidden_size)."""
        found: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(
                lambda _, args, kwargs: found.append(_stream(args, kwargs)), with_kwargs=True
            )
            for layer in self.layers
        ]
        hooks.append(
            self.layers[-1].register_forward_hook(
                lambda _, args, output: found.append(_first(output))
            )
        )
        try:
            self.model(torch.tensor([list(ids)]), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return [stream[0] for stream in found]

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], removed: Collection[int] = ()) -> Tensor:
        """(n_tokens, vocab_size)."""
        with self.without(removed):
            found: Tensor = self.model(torch.tensor([list(ids)]), use_cache=False).logits[0]
        return found

    def log_probabilities(self, ids: Sequence[int], removed: Collection[int] = ()) -> list[float]:
        """Of every token but the first, nats."""
        found = self.logits(ids, removed).double().log_softmax(-1)
        return [found[at, token].item() for at, token in enumerate(ids[1:])]

    def loss(self, ids: Sequence[int], removed: Collection[int] = ()) -> float:
        """Mean over all tokens but the first, nats."""
        return -sum(self.log_probabilities(ids, removed)) / (len(ids) - 1)

    def angles(self, texts: Sequence[Sequence[int]]) -> dict[tuple[int, int], float]:
        """Mean angular distance of x[l] and x[l+n] at the last token, by (n, l)."""
        states = [[stream[-1].double() for stream in self.streams(ids)] for ids in texts]
        depths = self.n_layers + 1
        return {
            (b - a, a): sum(_angle(of_text[a], of_text[b]) for of_text in states) / len(states)
            for a in range(depths)
            for b in range(a + 1, depths)
        }


def _angle(a: Tensor, b: Tensor) -> float:
    return math.acos(max(-1.0, min(1.0, (a @ b / a.norm() / b.norm()).item()))) / math.pi


def _stream(args: Any, kwargs: Any) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _first(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _handing_on(forward: Any) -> Any:
    def instead(*args: Any, **kwargs: Any) -> Any:
        # It is run all the same, for the tensors that it returns beside the stream.
        output = forward(*args, **kwargs)
        stream = _stream(args, kwargs)
        return stream if isinstance(output, Tensor) else (stream, *output[1:])

    return instead
