"""Sizes of a model before and after pruning: parameters, bytes of weights, KV cache."""

from dataclasses import dataclass, field

from analysis.core.blocks import ATTENTION, FEED_FORWARD, Part, Removal, single_parts
from analysis.core.bounds import Count, NonNegative
from analysis.core.errors import SpecError


@dataclass(frozen=True)
class PartFacts:
    """Sizes of the attention or the feed-forward part of one decoder layer, without its norms."""

    parameters: Count
    other_parameters: Count
    """Parameters that stay in the dtype of the rest when layers are quantized."""
    int8_bytes: Count
    nf4_bytes: Count


@dataclass(frozen=True)
class LayerFacts:
    """Sizes of one decoder layer."""

    other_parameters: Count
    """Parameters that stay in the dtype of the rest when layers are quantized: norms, biases, fused
    experts."""
    int8_bytes: Count
    """Bytes of the matrices in 8 bits, with a float32 scale for each output."""
    nf4_bytes: Count
    """Bytes of the matrices in NF4 with double quantization, including scales and tables:
    `layer_sizes.nf4_bytes`."""
    cache_width: Count | None
    """Elements of the cached keys and values per token; None if they are not cached token by
    token."""
    cache_tokens: Count | None
    """Maximum number of cached tokens, one less than the sliding window; None without a maximum."""
    attention: PartFacts | None = None
    """Sizes of the attention part; None in results that are older than this field, and if the part
    has no known name."""
    feed_forward: PartFacts | None = None
    """Sizes of the feed-forward part; None as for `attention`."""
    expert_parameters: Count = 0
    """Parameters of the routed experts; 0 without experts, and in results that are older than this
    field."""
    idle_parameters: Count = 0
    """Expert parameters that a token does not use."""
    n_experts: Count = 0
    """Number of routed experts."""


@dataclass(frozen=True)
class ModelFacts:
    """The size of a model, from its configuration."""

    name: str
    """Displayed name: the Hub id, the folder's name, or the starter model's name."""
    family: str
    """`model_type` of the configuration, for example llama, qwen3 or gpt2."""
    n_layers: Count
    hidden_size: Count
    vocab_size: Count
    layer_parameters: list[Count]
    """Parameters of each decoder layer."""
    other_parameters: Count
    """Parameters of embeddings, final norm and head; tied weights count once."""
    bytes_per_parameter: NonNegative
    """Bytes per decoder-layer weight in the dtype or quantization of the model."""
    max_positions: Count | None
    """Context window in tokens; None if not stated."""
    layers: list[LayerFacts] = field(default_factory=list)
    """Sizes of each decoder layer; empty in results that are older than this field."""
    part_of: str = ""
    """Family of the multimodal model that this is the text part of, for example llava; "" for other
    models."""

    weights_format: str = ""
    """Format of the stored weights, for example "Q4_1" or "bfloat16"; "" in results that are older
    than this field."""

    @property
    def family_in_words(self) -> str:
        """Family in words: "llama", or "llama, the text part of a llava model"."""
        return (
            f"{self.family}, the text part of a {self.part_of} model"
            if self.part_of
            else self.family
        )

    @property
    def n_parameters(self) -> int:
        """Number of parameters; tied weights count once."""
        return sum(self.layer_parameters) + self.other_parameters

    @property
    def expert_parameters(self) -> int:
        """Parameters of the routed experts; 0 without experts, and in results that are older than
        this field.
        """
        return sum(layer.expert_parameters for layer in self.layers)

    @property
    def active_parameters(self) -> int:
        """Parameters that a token uses: all except those of experts that it is not routed to."""
        return self.n_parameters - sum(layer.idle_parameters for layer in self.layers)

    def flop(self, layers: float, heads: float) -> float:
        """Return the floating-point operations of a token that passes through `layers` layers and
        `heads` heads.
        """
        return 2 * (
            layers * sum(self.layer_parameters) / self.n_layers
            + heads * self.hidden_size * self.vocab_size
        )


DTYPE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Savings:
    """Parameters and layers that a cut removes, and those that remain."""

    parameters: int
    """Number of removed parameters."""
    fraction: float
    """Removed share of all parameters, including embeddings and head, which always stay."""
    kept_parameters: int
    active_parameters: int
    """Kept parameters that a token uses: all except those of experts that it is not routed to."""


def savings(model: ModelFacts, block: Removal | None) -> Savings:
    """Return the savings from removing `block`; embeddings, final norm and head are never removed.

    Raises:
        SpecError: If the size of a removed part is not known (`knows`).
    """
    removed = (
        sum(model.layer_parameters[layer] for layer in block.layers) if block is not None else 0
    )
    removed += sum(
        part.parameters for parts in _lost_parts(model, block).values() for part in parts
    )
    without_experts = (
        frozenset[int]()
        if block is None
        else {layer for layer, part in block.parts if part == FEED_FORWARD}
    )
    idle = sum(
        layer.idle_parameters
        for index, layer in enumerate(model.layers)
        if index not in without_experts
    )
    return Savings(
        parameters=removed,
        fraction=removed / model.n_parameters,
        kept_parameters=model.n_parameters - removed,
        active_parameters=model.n_parameters - removed - idle,
    )


COUNTED = (
    "Size: weights in memory. Embeddings, head and norms stay in the dtype if the layers are"
    " quantized."
)
"""Definition of `weight_bytes` for people."""


def weight_bytes(
    model: ModelFacts, block: Removal | None, dtype: str, quantization: str = "none"
) -> int | None:
    """Return the bytes in memory of the weights that are left without `block`, as `COUNTED` defines
    them.

    Args:
        model: The unpruned model.
        block: The removed layers; None for the unpruned model.
        dtype: Dtype of the weights. With a quantization, this is the dtype of embeddings, head,
            norms, biases and fused experts.
        quantization: Quantization of the matrices of the decoder layers: `8bit`, `4bit` (NF4 with
            double quantization) or `none`.

    Returns:
        The bytes including quantization constants; None for a quantization if the sizes of the
        layers are not known.
    """
    if quantization == "none":
        return int(savings(model, block).kept_parameters * DTYPE_BYTES[dtype])
    layers = layer_bytes(model, block, dtype, quantization)
    return sum(layers) + int(model.other_parameters * DTYPE_BYTES[dtype]) if layers else None


def removed_bytes(
    model: ModelFacts, block: Removal, dtype: str, quantization: str = "none"
) -> int | None:
    """Return the bytes of weights that removing `block` saves; arguments and None as in
    `weight_bytes`.
    """
    before, after = (weight_bytes(model, removed, dtype, quantization) for removed in (None, block))
    return None if before is None or after is None else before - after


def layer_bytes(
    model: ModelFacts, block: Removal | None, dtype: str, quantization: str = "none"
) -> list[int]:
    """Return the bytes of the weights of each remaining layer; arguments as in `weight_bytes`.

    Returns:
        The bytes by layer; empty for a quantization if the sizes of the layers are not known.
    """
    lost = _lost_parts(model, block)
    kept = _remaining_layers(model, block)
    if quantization == "none":
        n_parameters = [
            model.layer_parameters[layer] - sum(part.parameters for part in lost.get(layer, ()))
            for layer in kept
        ]
        return [int(n * DTYPE_BYTES[dtype]) for n in n_parameters]

    def quantized(facts: LayerFacts | PartFacts) -> int:
        return (facts.nf4_bytes if quantization == "4bit" else facts.int8_bytes) + int(
            facts.other_parameters * DTYPE_BYTES[dtype]
        )

    return [
        quantized(model.layers[layer]) - sum(map(quantized, lost.get(layer, ())))
        for layer in kept
        if model.layers
    ]


def kv_cache_bytes(
    model: ModelFacts, block: Removal | None, *, tokens: int, batch_size: int = 1, dtype: str
) -> int | None:
    """Return the bytes of the KV cache of a context, without `block`.

    Args:
        model: The unpruned model.
        block: The removed layers; None for the unpruned model. A layer without its attention caches
            nothing.
        tokens: Length of the context; a sliding-window layer caches no more than its window.
        batch_size: Number of contexts.
        dtype: Dtype of the model's computation.

    Returns:
        The bytes, or None in results that are older than this figure and for families that cache
        something other than keys and values for each token.
    """
    silent = frozenset[tuple[int, str]]() if block is None else block.parts
    elements = 0
    for layer in (
        facts for index, facts in enumerate(model.layers) if (index, ATTENTION) not in silent
    ):
        if layer.cache_width is None:
            return None
        elements += layer.cache_width * (
            tokens if layer.cache_tokens is None else min(tokens, layer.cache_tokens)
        )
    return int(elements * batch_size * DTYPE_BYTES[dtype]) if model.layers else None


def _remaining_layers(model: ModelFacts, block: Removal | None) -> list[int]:
    """Return the layers that remain, complete or in part."""
    removed = set(block.layers) if block is not None else set()
    return [layer for layer in range(len(model.layer_parameters)) if layer not in removed]


def knows(model: ModelFacts, block: Removal | None) -> bool:
    """Return whether the sizes of the parts in `block` are known; older results lack those of parts
    of layers.
    """
    return block is None or all(_part(model, part) is not None for part in single_parts(block))


def _part(model: ModelFacts, part: Part) -> PartFacts | None:
    layer, kind = part
    if layer >= len(model.layers):
        return None
    return model.layers[layer].attention if kind == ATTENTION else model.layers[layer].feed_forward


def _lost_parts(model: ModelFacts, block: Removal | None) -> dict[int, list[PartFacts]]:
    """Return the sizes of removed parts by layer, for layers that remain in part."""
    removed_parts: dict[int, list[PartFacts]] = {}
    for layer, kind in single_parts(block) if block is not None else ():
        facts = _part(model, (layer, kind))
        if facts is None:
            raise SpecError(
                f"The size of the {kind} part of layer {layer} of {model.name} is not recorded."
                " Look at the model again (page Model, or the command models), or remove whole"
                " layers."
            )
        removed_parts.setdefault(layer, []).append(facts)
    return removed_parts
