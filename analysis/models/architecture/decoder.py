"""The layers, final norm and head of a causal language model."""

import contextlib
import inspect
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from analysis.core.blocks import ATTENTION, FEED_FORWARD
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture import families
from analysis.models.architecture.families import Family

_SHORT_WINDOW = 12
_ROUNDING = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 6e-2}
"""Tolerance of the median relative error of equal states, by dtype; bfloat16 reached 0.02 on 30
layers."""
_ROUNDING_8BIT = 0.25
"""Tolerance of 8-bit products, which round their inputs as well, in any dtype; 0.09 was the largest
error measured."""
_LOGITS_AT_ONCE = 1 << 25
"""Maximum number of logits in memory (128 MB in float32)."""
_LOGITS_IN_CACHE = 1 << 23
"""Maximum number of logits in memory on a CPU, to fit its caches. Four times as many made a loss a
third slower."""
_passes_on_more: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Results of `Decoder.check_states_are_own`, by model."""
_share_weights: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Whether layers share weights, by model."""


class Absent(nn.Module):
    """Base class of the modules that replace removed sublayers (`sublayers`)."""


def output_stream(output: Any) -> Tensor:
    """Return the output of a layer as a tensor: transformers 5 returns one, older layers return a
    tuple.
    """
    return output if isinstance(output, Tensor) else output[0]


def input_stream(args: Any, kwargs: Any) -> Tensor:
    """Return the residual stream among the arguments of a layer."""
    return args[0] if args else kwargs["hidden_states"]


def other_arguments(args: Any, kwargs: Any) -> tuple[tuple, dict]:
    """Return the arguments of a layer without the stream: masks, rotary tables, positions."""
    return args[1:], {name: value for name, value in kwargs.items() if name != "hidden_states"}


def with_stream(stream: Tensor, args: Any, kwargs: Any) -> tuple[tuple, dict]:
    """Return the arguments of a layer with another stream."""
    return ((stream, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stream})


class StoredLayers(Protocol):
    """Decoder layers whose weights stay on the disk (`loading.layers_on_disk`)."""

    identity: str
    """Identity of the weights and of their compute precision."""
    room_bytes: int
    """Maximum bytes of residual streams in memory."""

    @property
    def bytes_read(self) -> int:
        """Bytes of weights read from the disk so far."""

    @property
    def layer_bytes(self) -> list[int]:
        """Bytes of each layer on the disk."""

    def each(self, first: int = 0) -> Iterator[tuple[int, nn.Module]]:
        """Yield the layers from `first` on. A layer has its weights until the next one is
        requested.
        """

    def in_memory(self, like: Mapping[int, int]) -> contextlib.AbstractContextManager[None]:
        """Load some layers with the weights of layers of the same kind, by index."""


@dataclass(frozen=True)
class Decoder:
    """References to the parts of a causal language model."""

    model: Any
    """The transformers model, head included."""
    body: nn.Module
    """The `base_model`, which maps token ids to normed states."""
    owner: nn.Module
    """The module that holds `layers` as its attribute `layers_name`."""
    layers_name: str
    norm: nn.Module
    """The final norm, between x[L] and the head."""
    head: nn.Module
    """The vocabulary head."""
    on_disk: StoredLayers | None = None
    """Location of the layers' weights, if they are not in memory."""

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, 0-based."""
        layers: nn.ModuleList = getattr(self.owner, self.layers_name)
        return layers

    @property
    def config(self) -> Any:
        """The text part of the model's configuration."""
        return self.model.config.get_text_config()

    @property
    def family(self) -> Family:
        """Row of its family."""
        return families.of(self.config)

    @property
    def n_layers(self) -> int:
        """Current number of layers; fewer after a cut."""
        return len(self.layers)

    @property
    def device(self) -> torch.device:
        """Device of token ids and other inputs of the model: the first if a model is spread over
        several.
        """
        return next(self.body.parameters()).device

    @property
    def head_device(self) -> torch.device:
        """Device of the normed states and the logits."""
        return next(self.head.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Compute dtype: of the final norm, or of the embeddings if a norm has no weights
        (OLMo).
        """
        weight = next(self.norm.parameters(), self.model.get_input_embeddings().weight)
        return weight.dtype

    @property
    def layers_on(self) -> dict[torch.device, int]:
        """Current number of layers of each device; the stream that enters a layer is on that
        layer's device.
        """
        return dict(Counter(next(layer.parameters()).device for layer in self.layers))

    @property
    def cache_name(self) -> str:
        """Name of the KV cache in this version of transformers, as an argument and in the
        output.
        """
        return (
            "cache"
            if "cache" in inspect.signature(self.body.forward).parameters
            else "past_key_values"
        )

    @property
    def states_at_once(self) -> int:
        """Maximum number of states per call of the head, so that the logits of a full batch never
        exist.
        """
        at_once = (
            min(_LOGITS_AT_ONCE, _LOGITS_IN_CACHE)
            if self.head_device.type == "cpu"
            else _LOGITS_AT_ONCE
        )
        return max(1, at_once // self.config.vocab_size)

    @property
    def is_row_bound(self) -> bool:
        """Return whether attention depends on positions in the row even with other position ids
        (`Family.row_bound`).
        """
        return self.family.row_bound(self.config)

    @property
    def layer_types(self) -> tuple[str, ...]:
        """Attention type of each layer by the configuration; empty if it has none."""
        return tuple(getattr(self.config, self.family.layer_types, None) or ())

    @property
    def sliding_window(self) -> int | None:
        """Window of sliding attention in tokens, by the configuration; None if it has none."""
        window = getattr(self.config, self.family.sliding_window, None)
        return None if window is None else int(window)

    @property
    def feed_forward_width(self) -> int:
        """Width of the feed-forward part of a layer."""
        widths = (getattr(self.config, name, None) for name in self.family.feed_forward_width)
        return next(
            (width for width in widths if isinstance(width, int)), 4 * self.config.hidden_size
        )

    @property
    def experts_share(self) -> float:
        """Share of the experts of a layer that a token is routed to; 1 without experts."""
        used = families.first(self.config, self.family.experts_used)
        n_experts = families.first(self.config, self.family.n_experts)
        return (
            min(1.0, used / n_experts)
            if isinstance(used, int) and isinstance(n_experts, int) and n_experts > 0
            else 1.0
        )

    def check_states_are_own(self) -> None:
        """Check that layers can be skipped in a pass.

        Raises:
            UnsupportedModelError: If layers use tensors that other layers have computed.
        """
        if field := next(
            (name for name in self.family.shares_states if getattr(self.config, name, None)), None
        ):
            raise UnsupportedModelError(
                f"Layers of this {self.config.model_type} model reuse keys and values of earlier"
                f" layers ({field} {getattr(self.config, field)} in its configuration), so no layer"
                " can be removed. Only its distances can be measured."
            )
        if self.model not in _passes_on_more:
            # With its layers on the disk such a model is refused when it is loaded
            # (`layers_on_disk.check`).
            _passes_on_more[self.model] = self.on_disk is None and self._passes_on_more()
        if _passes_on_more[self.model]:
            raise UnsupportedModelError(
                f"Layers of this {self.config.model_type} model pass on more than the residual"
                " stream, so no layer can be removed. Only its distances can be measured."
            )

    @torch.inference_mode()
    def _passes_on_more(self) -> bool:
        """Return whether a layer receives a tensor that the previous layer returned next to the
        stream.
        """
        returned: list[Tensor] = []
        is_passed_on: list[bool] = []

        def before(module: nn.Module, args: Any, named: Any) -> None:
            received = {id(argument) for argument in (*args, *named.values())}
            is_passed_on.append(any(id(tensor) in received for tensor in returned))

        def after(module: nn.Module, args: Any, output: Any) -> None:
            returned.clear()
            if not isinstance(output, Tensor):
                returned.extend(tensor for tensor in output[1:] if isinstance(tensor, Tensor))

        hooks = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in self.layers]
        hooks += [layer.register_forward_hook(after) for layer in self.layers]
        try:
            self.body(
                input_ids=torch.tensor([self.trial_tokens(4)], device=self.device), use_cache=False
            )
        finally:
            for hook in hooks:
                hook.remove()
        return any(is_passed_on)

    def check_layers_are_apart(self) -> None:
        """Check that layers can be removed from the model.

        Raises:
            UnsupportedModelError: If layers use tensors of other layers, or another module has a
                part for each layer.
        """
        self.check_states_are_own()
        if reason := self.why_not_apart():
            raise UnsupportedModelError(reason)

    def why_not_apart(self) -> str | None:
        """Return why no layer can be removed, although layers can be skipped; None if they can be
        removed.
        """
        can = (
            "Distances, scores and loss increases can be measured. Generation, healing and export"
            " are not available."
        )
        if field := next(
            (name for name in self.family.joins_layers if getattr(self.config, name, None)), None
        ):
            return (
                f"This {self.config.model_type} model keeps a part for each layer in shared tables"
                f" ({field} {getattr(self.config, field)} in its configuration), so no layer can be"
                f" taken out. {can}"
            )
        if self.model not in _share_weights:
            in_layers: Counter[int] = Counter()
            for layer in self.layers:
                in_layers.update({id(weight) for weight in layer.parameters()})
            _share_weights[self.model] = max(in_layers.values(), default=0) > 1
        if _share_weights[self.model]:
            return (
                f"Layers of this {self.config.model_type} model share weights, so no layer can be"
                f" taken out. {can}"
            )
        return None

    @contextlib.contextmanager
    def short_windows(self) -> Iterator[None]:
        """Shorten the windows of local attention, so that a short trial behaves like a long
        text.
        """
        before = {
            name: getattr(self.config, name, None)
            for name in (self.family.sliding_window, self.family.attention_chunk)
        }
        changed = {
            name: reach
            for name, reach in before.items()
            if isinstance(reach, int) and reach > _SHORT_WINDOW
        }
        try:
            for name in changed:
                setattr(self.config, name, _SHORT_WINDOW)
            yield
        finally:
            for name, reach in changed.items():
                setattr(self.config, name, reach)

    @contextlib.contextmanager
    def attending_by(self, name: str) -> Iterator[None]:
        """Use the attention function registered under a name. Families without PyTorch's fused
        attention keep their own.
        """
        before = self.config._attn_implementation
        if before == "sdpa":
            self.config._attn_implementation = name
        try:
            yield
        finally:
            self.config._attn_implementation = before

    def agree(self, states: Tensor, expected: Tensor, *, all_tokens: bool = False) -> bool:
        """Return whether states, (n_tokens, hidden_size), or logits are equal up to rounding in
        this model's precision.

        Args:
            states, expected: the two tensors to compare.
            all_tokens: whether the states of every token must agree, instead of the median.
        """
        states = states.float()
        expected = expected.float()
        distance = (states - expected).norm(dim=-1) / expected.norm(dim=-1)
        is_8bit = getattr(self.model, "is_loaded_in_8bit", False)
        rounding = _ROUNDING_8BIT if is_8bit else _ROUNDING[self.dtype]
        # The median: if a route among experts is nearly a tie, rounding sends single tokens another
        # way.
        return bool(
            (distance.max() if all_tokens else distance.median()) <= rounding
        )  # False if it is not a number

    def trial_tokens(self, n: int) -> list[int]:
        """Return token ids for trials, the same at every call. They are drawn uniformly, since
        repetitions amplify rounding.
        """
        vocabulary = self.config.vocab_size
        tokens = torch.randint(
            vocabulary // 10, vocabulary, (n,), generator=torch.Generator().manual_seed(0)
        )
        return list(map(int, tokens))

    def logits(self, states: Tensor) -> Tensor:
        """Return the float32 logits of normed states (..., hidden_size), scaled as in the
        family.
        """
        return self.scaled(self.head(states).float())

    def scaled(self, logits: Tensor) -> Tensor:
        """Return logits as the family scales the float32 products of its head."""
        config = self.config
        family = self.family
        if (times := families.first(config, family.logits_times)) is not None:
            logits = logits * times
        if (divisor := families.first(config, family.logits_over)) is not None:
            logits = logits / divisor
        cap = families.first(config, family.logits_cap)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def check(self) -> None:
        """Compare layers, norm and head with the logits of the model on a few tokens.

        Raises:
            UnsupportedModelError: If they differ. Families are either measured correctly or
                refused.
        """
        ids = torch.arange(3, 11, device=self.device)[None] % max(4, self.config.vocab_size)
        captured: list[Tensor] = []

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            captured.append(output_stream(output))

        handle = self.layers[-1].register_forward_hook(keep)
        try:
            with torch.inference_mode():
                expected = self.model(input_ids=ids, use_cache=False).logits.float()
                if captured[0].dim() != 3:
                    raise UnsupportedModelError(
                        f"{_kind(self)} has {captured[0].dim()}-dimensional states, for which no"
                        " angle is defined. Choose a causal decoder such as Llama, Qwen or GPT-2."
                    )
                logits = self.logits(self.norm(captured[0]))
        finally:
            handle.remove()
        error = (logits - expected).abs().max().item()
        if not math.isfinite(error):
            broken = [
                name
                for name, weight in self.model.named_parameters()
                if not weight.isfinite().all()
            ]
            if broken:
                raise UnsupportedModelError(
                    f"{_kind(self)} has NaN or infinite weights:"
                    f" {', '.join(broken[:3])}{' and more' if broken[3:] else ''}. Get its files"
                    " again."
                )
        if not error <= 1e-2 * max(1.0, expected.abs().max().item()):
            raise UnsupportedModelError(
                f"The parts of {_kind(self)} do not add up to its own output (largest difference"
                f" {error:.3g}), so figures of pruning would be wrong. This family is not"
                " supported. Choose another model."
            )
        before = ids.shape[1] // 2
        with torch.inference_mode():
            repeated = self.model(
                input_ids=torch.cat([ids[:, :before], ids[:, :before]], dim=1), use_cache=False
            ).logits
        if not self.agree(repeated[0, :before], expected[0, :before]):
            raise UnsupportedModelError(
                f"The output of {_kind(self)} for a token depends on later tokens, so its losses"
                " and scores would mean nothing. Choose a causal decoder such as Llama, Qwen or"
                " GPT-2."
            )


def _kind(decoder: Decoder) -> str:
    return f"{type(decoder.model).__name__} (model_type {decoder.config.model_type})"


def find_decoder(model: Any) -> Decoder:
    """Look up the parts of a transformers causal language model, or of a PEFT model around one.

    Raises:
        UnsupportedModelError: If the layers, the norm or the head are not at the path of any known
            family.
    """
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    body: Any = model.base_model
    if body is model:  # Llama 4 keeps it under another name than the one that its class gives
        body = getattr(model, "model", model)
    config = model.config.get_text_config()
    n_layers = config.num_hidden_layers
    family = families.of(config)
    for path in family.layers:
        *parents, last = path.split(".")
        owner: Any = body
        for parent in parents:
            owner = getattr(owner, parent, None)
        layers = getattr(owner, last, None)
        if isinstance(layers, nn.ModuleList) and len(layers) == n_layers:
            norm = next(
                (getattr(owner, name) for name in family.norm if hasattr(owner, name)), None
            )
            head = model.get_output_embeddings()
            if norm is None or head is None:
                break
            return Decoder(model, body, owner, last, norm, head)
        if isinstance(layers, nn.ModuleList):
            raise UnsupportedModelError(
                f"{type(model).__name__} has {len(layers)} modules for the {n_layers} layers of its"
                " configuration, so no layer can be taken out alone. Some modules hold several"
                " layers, or run several times. Choose a causal decoder such as Llama, Qwen,"
                " Mistral, Gemma, Phi or GPT-2."
            )
    raise UnsupportedModelError(
        f"Layerscope does not find {n_layers} decoder layers, a final norm and a head in"
        f" {type(model).__name__} (it looks in {', '.join(family.layers)}). Choose a causal decoder"
        " such as Llama, Qwen, Mistral, Gemma, Phi or GPT-2."
    )


def cache_of(model: Any, output: Any, name: str) -> Any:
    """Return the KV cache in the output of a model.

    Args:
        model: the model, for the error.
        output: its output with `use_cache=True`.
        name: key of the cache in the output.

    Raises:
        UnsupportedModelError: If there is none, because the family caches tokens in another way.
    """
    cache = output.get(name)
    if cache is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} returns no cache of earlier tokens, so generation and speed"
            " are not available. Distances, scores and healing are available."
        )
    return cache


def part_names(layer: nn.Module, family: Family) -> dict[str, tuple[str, ...]]:
    """Return the names of a layer's children that form its attention and feed-forward parts;
    unknown parts are left out.
    """
    children = [name for name, _ in layer.named_children()]
    attention = tuple(name for name in family.attention if name in children)[:1]
    feed_forward = tuple(name for name in family.feed_forward if name in children)[:1]
    feed_forward = feed_forward or tuple(
        name for name in family.feed_forward_linears if name in children
    )
    return {
        part: names
        for part, names in ((ATTENTION, attention), (FEED_FORWARD, feed_forward))
        if names
    }
