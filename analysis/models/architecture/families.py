"""Differences between model families: one row each, and a generic row for all others.

A row lists only the parts that the generic lookups do not find. A file that registers a row when
imported adds a family (`analysis.core.extensions`):

    from analysis.models.architecture.families import Family, register

    register(Family("ladder", layers=("rungs",), norm=("closing",), logits_times=("temperature",)))

Wrong rows are harmless: `Decoder.check` refuses a model if its parts do not reproduce its output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from analysis.core.errors import SpecError
from analysis.core.registry import Registry

DEPENDENT_ON_INDEX = ("beam", "diffllama", "minicpm3")
"""Families whose layers depend on their index or on the number of layers, so copied layers have
other outputs."""


def _never(config: Any) -> bool:
    return False


@dataclass(frozen=True)
class Family:
    """One family. If several names are given, the first that exists is used."""

    name: str
    """`model_type` of the configuration, of its text part if it has several."""
    classes: tuple[str, ...] = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    """Endings of the names of its classes with a head for left-to-right text."""

    plain: Mapping[str, Any] = field(default_factory=dict)
    """Configuration fields that turn the text part of a multimodal model without a causal class
    into a plain model: the `model_type` of the family with the same computation on text, and other
    fields that its configuration needs."""

    layers: tuple[str, ...] = (
        "layers",
        "h",
        "decoder.layers",
        "blocks",
        "language_model.layers",
        "text_model.layers",
    )
    """Path of its decoder layers below `base_model`."""
    norm: tuple[str, ...] = (
        "norm",
        "final_layernorm",
        "final_layer_norm",
        "ln_f",
        "norm_f",
        "embedding_norm",
        "final_norm",
        "layer_norm",
        "layernorm",
        "ln_out",
        "out_norm",
    )
    """Names of the norm between the last layer and the head, next to the layers."""
    attention: tuple[str, ...] = ("self_attn", "attn", "attention", "self_attention")
    """Names of the attention of a layer."""
    queries: tuple[str, ...] = ("q_proj",)
    """Names of the matrix of attention that makes its queries and nothing else."""
    feed_forward: tuple[str, ...] = (
        "mlp",
        "feed_forward",
        "ffn",
        "feedforward",
        "block_sparse_moe",
        "shared_mlp",
        "mlp_block",
    )
    """Names of the feed-forward part of a layer; several are parallel (Granite MoE)."""
    feed_forward_linears: tuple[str, ...] = ("fc1", "fc2")
    """Feed-forward weights that are kept in the layer itself (OPT); all of them count."""
    feed_forward_width: tuple[str, ...] = ("intermediate_size", "ffn_dim", "n_inner")
    """Names of the width of the feed-forward part in the configuration; 4 x hidden_size if it has
    none."""
    writers: tuple[str, ...] = (
        "o_proj",
        "out_proj",
        "dense",
        "c_proj",
        "wo",
        "down_proj",
        "fc2",
        "dense_4h_to_h",
        "w2",
        "fc_out",
        "output_linear",
    )
    """Names of the weights whose output is added to the residual stream; all of them count."""
    experts: tuple[str, ...] = ("moe", "expert", "router")
    """Words in the class names of a mixture of experts."""
    routers: tuple[str, ...] = ("router", "gating")
    """Words in the names or class names of the modules that send tokens to the experts."""
    n_experts: tuple[str, ...] = (
        "num_local_experts",
        "num_experts",
        "n_routed_experts",
        "moe_num_experts",
    )
    """Names of the number of experts in a layer in the configuration."""
    experts_used: tuple[str, ...] = (
        "num_experts_per_tok",
        "num_experts_per_token",
        "top_k_experts",
        "moe_top_k",
        "moe_topk",
        "moe_k",
    )
    """Names of the number of experts that a token goes through in the configuration."""

    row_bound: Callable[[Any], bool] = _never
    """Function of the configuration that returns whether attention depends on the position of a
    token in its row, regardless of position ids and mask. Other families are tested before
    questions are packed; a short trial would not notice these."""
    layer_types: str = "layer_types"
    """Name of the list of attention types in the configuration."""
    sliding_window: str = "sliding_window"
    """Name of the size of the sliding window in the configuration, if every pass makes its masks
    from it."""
    attention_chunk: str = "attention_chunk_size"
    """Name of the length of the chunks of chunked attention in the configuration."""

    shares_states: tuple[str, ...] = ("num_kv_shared_layers",)
    """Configuration fields that make layers reuse keys and values of earlier layers, so none can be
    skipped (Gemma 3n)."""
    joins_layers: tuple[str, ...] = ("hidden_size_per_layer_input",)
    """Configuration fields that give a module outside the layers a part for each layer, such as the
    per-layer embeddings of Gemma 3n. Removing a layer would have to remove that part as well."""

    logits_times: tuple[str, ...] = ("logit_scale",)
    """Configuration field that the logits are multiplied by (Cohere)."""
    logits_over: tuple[str, ...] = ("logits_scaling",)
    """Configuration field that the logits are divided by (Granite)."""
    logits_cap: tuple[str, ...] = (
        "final_logit_softcapping",
        "logits_soft_cap",
        "output_logit_soft_cap",
    )
    """Configuration field of the soft cap of the logits (Gemma 2 and later, RecurrentGemma,
    xLSTM)."""

    depth: tuple[str, ...] = ("layer_idx", "layer_id", "layer_number")
    """Names of the attribute with a module's layer index, which addresses the KV cache and must be
    gapless from 0."""
    layer_numbers: tuple[str, ...] = (
        "mlp_only_layers",
        "moe_layers",
        "cross_attention_layers",
        "full_attn_idxs",
        "attn_layer_indices",
    )
    """Configuration lists of layer indices, which a cut renumbers."""
    leading: tuple[str, ...] = (
        "first_k_dense_replace",
        "num_dense_layers",
        "moe_layer_start_index",
    )
    """Configuration fields with the number of first layers of another kind, which a cut reduces."""
    periods: tuple[str, ...] = (
        "attn_layer_period",
        "expert_layer_period",
        "decoder_sparse_step",
        "moe_layer_interval",
        "moe_layer_freq",
    )
    """Configuration fields with the period of layers of another kind. Only some cuts preserve a
    period."""

    spaced: tuple[str, str, str] = (
        "moe_layer_interval",
        "moe_layer_start_index",
        "moe_layer_end_index",
    )
    """Configuration fields of k, first and last, if every k-th layer from the first to the last has
    experts (Ernie 4.5)."""
    over_depth: tuple[str, ...] = ("scale_depth",)
    """Configuration fields that the model divides by the square root of its number of layers
    (MiniCPM). A cut model keeps the quotient of the unpruned model."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(entry.default, tuple) and not isinstance(value, tuple):
                raise SpecError(
                    f"{entry.name} of the family {self.name} must be a tuple of names, not"
                    f" {value!r}."
                )


def first(config: Any, names: tuple[str, ...]) -> Any:
    """Return the first of these fields that is set in a configuration, or None."""
    return next(
        (value for name in names if (value := getattr(config, name, None)) is not None), None
    )


FAMILIES: Registry[Family] = Registry("family")
"""Families that the generic lookups do not cover, by name."""
register = FAMILIES.add
"""Register the row of a family."""


def of(config: Any) -> Family:
    """Return the row of a model.

    Args:
        config: the transformers configuration of its text part.

    Returns:
        The row registered for its `model_type`, else the generic row under that name.
    """
    return FAMILIES.get(config.model_type) or Family(config.model_type)


register(Family("bloom", row_bound=lambda config: True))  # ALiBi
register(
    Family("mpt", row_bound=lambda config: True)
)  # ALiBi, under any setting of its configuration
register(Family("falcon", row_bound=lambda config: bool(config.alibi)))
register(Family("gpt_neo", row_bound=lambda config: "local" in config.attention_layers))
register(Family("cpmant", row_bound=lambda config: True))  # learned biases by distance
register(
    Family("recurrent_gemma", row_bound=lambda config: True)
)  # recurrent layers, and a local window in the others
register(Family("qwen2_vl_text", plain={"model_type": "qwen2"}))
register(Family("qwen2_5_vl_text", plain={"model_type": "qwen2"}))
register(Family("qwen3_vl_text", plain={"model_type": "qwen3"}))
register(Family("qwen3_vl_moe_text", plain={"model_type": "qwen3_moe", "norm_topk_prob": True}))
register(Family("qwen2_5_omni_text", plain={"model_type": "qwen2"}))
register(Family("qwen3_omni_moe_text", plain={"model_type": "qwen3_moe", "norm_topk_prob": True}))
register(Family("hunyuan_vl_text", plain={"model_type": "hunyuan_v1_dense"}))
register(Family("glm4v_text", plain={"model_type": "glm4"}))
register(Family("glm4v_moe_text", plain={"model_type": "glm4_moe"}))
