"""A model, its size, the savings of a cut, and the request that looks at a model before loading."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from analysis.core.blocks import ATTENTION, FEED_FORWARD, Part, Removal, single_parts
from analysis.core.bounds import one_of
from analysis.core.errors import SpecError
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.options import Part as RequestPart
from analysis.core.record import Result, Spec, require
from analysis.models import weights_format as formats

AUTO = "auto"
"""A dtype or device that the machine chooses."""
DTYPES = (AUTO, "float32", "bfloat16", "float16")
HALF = ("bfloat16", "float16")
"""Those in which the residual stream alone is in float32 (`residual`)."""
QUANTIZATIONS = ("none", "4bit", "8bit")
_QUANTIZED = {"4bit": "NF4", "8bit": "8-bit"}


@dataclass(frozen=True)
class ModelSpec(Spec):
    """Which model, and in which precision and place it runs."""

    kind: ClassVar[str] = "model"

    source: Annotated[str, Option("MODEL", required=True)] = "starter"
    """Model: `starter`, a Hub id, a folder, or a GGUF file (a path, or ORG/NAME/FILE.gguf on the Hub)."""
    revision: Annotated[str | None, Option()] = None
    """Branch, tag or commit of a Hub id (default: the default branch)."""
    dtype: Annotated[str, Option(choices=DTYPES)] = "auto"
    """Compute dtype. `auto` takes the fastest of this machine."""
    device: Annotated[str, Option()] = "auto"
    """Device: cpu, cuda (as many GPUs as the model needs), cuda:1, cuda:all, mps or auto."""
    quantization: Annotated[str, Option(choices=QUANTIZATIONS)] = "none"
    """Quantization: none, 4bit (NF4) or 8bit."""
    identity: str = ""
    """Identity of the weights, under any path: filled in by `load.resolve`, empty before."""

    @property
    def is_exact(self) -> bool:
        """Return whether it is in the precision that others are compared with: float32 weights as they are."""
        return (self.dtype, self.quantization) == ("float32", "none")

    @property
    def precision(self) -> str:
        """How the weights are held, in words: "float32", or "NF4, bfloat16" for quantized layers that compute in bfloat16."""
        return ", ".join(part for part in (_QUANTIZED.get(self.quantization), self.dtype) if part)

    def format_of_weights(self, facts: "ModelFacts | None" = None) -> str:
        """Return the format of the stored weights, for example "Q4_1"; "" where it is not known.

        Args:
            facts: of a result; an older one without the format is looked up by the identity of the weights.
        """
        return facts.weights_format if facts and facts.weights_format else formats.of_stored(self.identity, self.source)

    def precision_in_words(self, facts: "ModelFacts | None" = None) -> str:
        """Return `precision` with the format of the stored weights: "float32 from Q4_1 weights"."""
        return formats.in_words(self.precision, self.format_of_weights(facts))

    def also_keyed(self) -> dict[str, str]:
        """In half precision the residual stream was in half precision, too, and results of then are other ones."""
        return {"stream": "float32"} if self.dtype in HALF else {}

    def __post_init__(self) -> None:
        require(bool(self.source.strip()), "No model is given. Give `starter`, a Hub id, a folder or a GGUF file.")
        one_of("dtype", self.dtype, DTYPES)
        one_of("quantization", self.quantization, QUANTIZATIONS)


@dataclass(frozen=True)
class PartFacts:
    """Sizes of the attention or the feed-forward part of one decoder layer, without the norms before and behind it."""

    parameters: int
    other_parameters: int
    """As of `LayerFacts`."""
    int8_bytes: int
    nf4_bytes: int


@dataclass(frozen=True)
class LayerFacts:
    """Sizes of one decoder layer."""

    other_parameters: int
    """Parameters that stay in the dtype of the rest when layers are quantized: norms, biases, fused experts."""
    int8_bytes: int
    """Bytes of its matrices in 8 bits, with a float32 scale for each of their outputs."""
    nf4_bytes: int
    """Bytes of its matrices in NF4 with double quantization, scales and tables included."""
    cache_width: int | None
    """Elements of the keys and values that it keeps for each token; None where they are not kept token by token."""
    cache_tokens: int | None
    """The most tokens it keeps them of, one less than its sliding window; None for all."""
    attention: PartFacts | None = None
    """Sizes of its attention; None in results that are older than this field, and where it has no known name."""
    feed_forward: PartFacts | None = None
    """The same of its feed-forward part."""
    expert_parameters: int = 0
    """Parameters of the experts that its router chooses from; 0 without any, and in results that are older than this field."""
    idle_parameters: int = 0
    """Of these, as many as a token does not go through."""
    n_experts: int = 0
    """How many experts these are."""


@dataclass(frozen=True)
class ModelFacts:
    """The size of a model, from its configuration."""

    name: str
    """Name to show: the hub id, the folder's name, or the starter model's name."""
    family: str
    """`model_type` of the configuration: llama, qwen3, gpt2 …"""
    n_layers: int
    hidden_size: int
    vocab_size: int
    layer_parameters: list[int]
    """Parameters of each decoder layer."""
    other_parameters: int
    """Embeddings, final norm and head; tied weights counted once."""
    bytes_per_parameter: float
    """Bytes per decoder-layer weight in the dtype or quantization used."""
    max_positions: int | None
    """The model's window in tokens, if it states one."""
    layers: list[LayerFacts] = field(default_factory=list)
    """Sizes of each decoder layer; empty in results that are older than this field."""
    part_of: str = ""
    """Of the text part of a multimodal model the family of the whole one: llava, qwen2_5_vl …; "" of others."""

    weights_format: str = ""
    """Format of the stored weights, for example "Q4_1" or "bfloat16"; "" in results that are older than this field."""

    @property
    def family_in_words(self) -> str:
        """Return its family, and the model that it is a part of: "llama", or "llama, the text part of a llava model"."""
        return f"{self.family}, the text part of a {self.part_of} model" if self.part_of else self.family

    @property
    def n_parameters(self) -> int:
        """All parameters, tied weights counted once."""
        return sum(self.layer_parameters) + self.other_parameters

    @property
    def expert_parameters(self) -> int:
        """Those of experts that a router chooses from; 0 in a model without, and in results that are older than this."""
        return sum(layer.expert_parameters for layer in self.layers)

    @property
    def active_parameters(self) -> int:
        """Those that a token goes through: all, but for the experts that it is not sent to."""
        return self.n_parameters - sum(layer.idle_parameters for layer in self.layers)


DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Savings:
    """Parameters and layers that remain after a cut, and those that are removed."""

    parameters: int
    """Removed parameters."""
    fraction: float
    """Removed share of ALL parameters, embeddings and head included; below n/L, since those stay."""
    weight_bytes: int
    """Removed bytes of weights in the dtype or quantization of the model."""
    kept_parameters: int
    active_parameters: int
    """Of those that are kept, as many as a token goes through: the others are experts that it is not sent to."""


def savings(model: ModelFacts, block: Removal | None) -> Savings:
    """Return the savings from removing `block`; embeddings, final norm and head are never removed.

    Raises:
        SpecError: when parts of layers are removed and their size is not known (`knows`).
    """
    removed = sum(model.layer_parameters[layer] for layer in block.layers) if block is not None else 0
    removed += sum(part.parameters for parts in _lost_parts(model, block).values() for part in parts)
    without_experts = frozenset[int]() if block is None else {layer for layer, part in block.parts if part == FEED_FORWARD}
    idle = sum(layer.idle_parameters for index, layer in enumerate(model.layers) if index not in without_experts)
    return Savings(
        parameters=removed,
        fraction=removed / model.n_parameters,
        weight_bytes=int(removed * model.bytes_per_parameter),
        kept_parameters=model.n_parameters - removed,
        active_parameters=model.n_parameters - removed - idle,
    )


def weight_bytes(model: ModelFacts, block: Removal | None, precision: str, *, rest: str = "bfloat16") -> int | None:
    """Bytes of the weights that are left without `block`.

    Args:
        model: the unpruned model.
        block: the removed layers; None for the unpruned model.
        precision: a dtype, or `8bit` or `4bit` (NF4 with double quantization) for the matrices of the decoder layers.
        rest: the dtype of everything else where the layers are quantized: embeddings, head, norms, biases, fused experts.

    Returns:
        The bytes, quantization constants included; None for a quantized precision where the layers' facts are not known.
    """
    if precision in DTYPE_BYTES:
        return int(savings(model, block).kept_parameters * DTYPE_BYTES[precision])
    layers = layer_bytes(model, block, precision, rest=rest)
    return sum(layers) + int(model.other_parameters * DTYPE_BYTES[rest]) if layers else None


def layer_bytes(model: ModelFacts, block: Removal | None, precision: str, *, rest: str = "bfloat16") -> list[int]:
    """Bytes of the weights of each layer that is left without `block`; arguments as of `weight_bytes`.

    Returns:
        The bytes, first layer first; none for a quantized precision where the layers' facts are not known.
    """
    lost, kept = _lost_parts(model, block), _kept(model, block)
    if precision in DTYPE_BYTES:
        left = [model.layer_parameters[layer] - sum(part.parameters for part in lost.get(layer, ())) for layer in kept]
        return [int(n * DTYPE_BYTES[precision]) for n in left]

    def quantized(facts: LayerFacts | PartFacts) -> int:
        return (facts.nf4_bytes if precision == "4bit" else facts.int8_bytes) + int(facts.other_parameters * DTYPE_BYTES[rest])

    return [quantized(model.layers[layer]) - sum(map(quantized, lost.get(layer, ()))) for layer in kept if model.layers]


DIVIDED = ("none", "4bit")
"""Quantizations of models whose layers can be divided over processes.

LLM.int8 keeps numbers beside its weights that cannot be divided.
"""


def divided_bytes(model: ModelFacts, n: int, precision: str, *, rest: str = "bfloat16") -> int | None:
    """Bytes of the weights that each of `n` processes has in memory at most, where the layers are divided over them.

    They are all weights but the layers, its part of every layer, and the buffers of the layer at work. The buffers hold its
    part once more, the parts that all sent, and the layer itself. Arguments as of `weight_bytes`.
    """
    whole = weight_bytes(model, None, precision, rest=rest)
    layers = layer_bytes(model, None, precision, rest=rest)
    return None if whole is None else whole - sum(layers) + -(-(sum(layers) + max(layers)) // n) + 2 * max(layers)


def kv_cache_bytes(model: ModelFacts, block: Removal | None, *, tokens: int, batch_size: int = 1, dtype: str) -> int | None:
    """Bytes of the keys and values that are kept for a context, without `block`.

    Args:
        model: the unpruned model.
        block: the removed layers; None for the unpruned model. A layer without its attention keeps none.
        tokens: length of the context; a sliding-window layer keeps no more than its window needs.
        batch_size: contexts at once.
        dtype: of the model's computation, with any quantization of its weights.

    Returns:
        The bytes, or None where they are not known: of results that are older than this figure. None also for families that
        keep something else than keys and values for each token.
    """
    silent = frozenset[tuple[int, str]]() if block is None else block.parts
    elements = 0
    for layer in (facts for index, facts in enumerate(model.layers) if (index, ATTENTION) not in silent):
        if layer.cache_width is None:
            return None
        elements += layer.cache_width * (tokens if layer.cache_tokens is None else min(tokens, layer.cache_tokens))
    return int(elements * batch_size * DTYPE_BYTES[dtype]) if model.layers else None


def _kept(model: ModelFacts, block: Removal | None) -> list[int]:
    """The layers that are left, whole or in part."""
    removed = set(block.layers) if block is not None else set()
    return [layer for layer in range(len(model.layer_parameters)) if layer not in removed]


def knows(model: ModelFacts, block: Removal | None) -> bool:
    """Return whether the sizes of the parts in `block` are known; in older results those of parts of layers are not."""
    return block is None or all(_part(model, part) is not None for part in single_parts(block))


def _part(model: ModelFacts, part: Part) -> PartFacts | None:
    layer, which = part
    if layer >= len(model.layers):
        return None
    return model.layers[layer].attention if which == ATTENTION else model.layers[layer].feed_forward


def _lost_parts(model: ModelFacts, block: Removal | None) -> dict[int, list[PartFacts]]:
    """The removed parts of layers that stay in part, by layer."""
    found: dict[int, list[PartFacts]] = {}
    for layer, which in single_parts(block) if block is not None else ():
        facts = _part(model, (layer, which))
        if facts is None:
            raise SpecError(
                f"The size of the {which} part of layer {layer} of {model.name} is not recorded. Look at the model "
                "again (page Model, or the command models), or remove whole layers."
            )
        found.setdefault(layer, []).append(facts)
    return found


@dataclass(frozen=True)
class InspectSpec(Spec):
    """A model's facts and whether it fits, from its configuration alone; `fetch` fetches its weights, too."""

    kind: ClassVar[str] = "inspect"
    later: ClassVar[tuple[str, ...]] = ("fetch",)

    model: Annotated[ModelSpec, RequestPart(optional=("source",))] = field(default_factory=ModelSpec)
    load: bool = False
    """Whether to load it too, once, so that it is warm."""
    fetch: Annotated[bool, Option()] = False
    """Also download the weights of a Hub id. Interrupted downloads resume."""


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen, with its reason."""

    value: str
    reason: str


@dataclass(frozen=True)
class InspectResult(Result):
    """A model's facts, its memory needs, and the free memory of this machine."""

    kind: ClassVar[str] = "inspect"
    spec_type: ClassVar[type[Spec]] = InspectSpec

    model: ModelFacts
    dtype: Choice
    device: Choice
    weight_bytes: int
    """Estimated bytes of all weights as they would be loaded."""
    working_bytes: int
    """Estimated bytes on top while a map or sweep runs."""
    free_bytes: int
    """Free on the chosen device now."""
    fits: bool
    notes: list[str]
    """Sentences worth showing: quantization, a window shorter than asked, a family with caveats."""
    by_layer: bool = False
    """Whether it can be measured although it does not fit, its layers read from the disk one by one."""
    layered_bytes: int = 0
    """Estimated bytes that are in memory at least then; 0 in results that are older than this field."""
    commit: str = ""
    """Of a hub id the commit that was found, forty hexadecimal digits."""
    file_bytes: int = 0
    """Of a Hub id, bytes on the disk of its weights, configuration and tokenizer."""
    missing_bytes: int = 0
    """Of these, bytes that are not fetched yet."""


register(Experiment(InspectSpec, InspectResult, run="analysis.models.inspection:run", title="Model check", place=0))
