"""The size of a model, from its configuration."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LayerFacts:
    """What one decoder layer holds."""

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
    """What each decoder layer holds; empty in results that are older than this field."""

    @property
    def n_parameters(self) -> int:
        """All parameters, tied weights counted once."""
        return sum(self.layer_parameters) + self.other_parameters
