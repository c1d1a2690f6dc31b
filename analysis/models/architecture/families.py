"""The differences between families of models: one row each, and a generic one for all that no row names.

A row lists only the parts that the generic lookups do not find. One of your own is one file that registers it when imported
(`analysis.core.extensions`):

    from analysis.models.architecture.families import Family, register

    register(Family("ladder", layers=("rungs",), norm=("closing",), logits_times=("temperature",)))

A row that is wrong does no harm: `Decoder.check` refuses a model whose parts do not add up to its own output.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from analysis.core.errors import SpecError
from analysis.core.registry import Registry

KNOW_THEIR_PLACE = ("beam", "diffllama", "minicpm3")
"""Families whose layers compute with their own number or that of all layers: weights that are only moved compute otherwise."""


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
    """Fields of the text part of a multimodal model that has no causal class of its own.

        They are the `model_type` of the family that computes the same on text, and other fields that its configuration needs.
        """

    layers: tuple[str, ...] = ("layers", "h", "decoder.layers", "blocks", "language_model.layers", "text_model.layers")
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
    """Names of the norm between the last layer and the head, beside the layers."""
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
    """Names of the feed-forward part of a layer; more than one of them stand side by side (Granite MoE)."""
    feed_forward_linears: tuple[str, ...] = ("fc1", "fc2")
    """Feed-forward weights that are kept in the layer itself (OPT); all that are there count."""
    feed_forward_width: tuple[str, ...] = ("intermediate_size", "ffn_dim", "n_inner")
    """Names of the width of the feed-forward part in the configuration; 4 x hidden_size if it has none."""
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
    """Names of the weights whose output is added to the residual stream; all that are there count."""
    experts: tuple[str, ...] = ("moe", "expert", "router")
    """Words in the class names of a mixture of experts."""
    routers: tuple[str, ...] = ("router", "gating")
    """Words in the names or class names of the modules that send tokens to the experts."""
    n_experts: tuple[str, ...] = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
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
    """From the configuration: whether attention goes by the place of a token in its row, under any position ids and mask.

        Others are tried out before anything is packed; this is for models for which a short trial cannot show it.
        """
    layer_types: str = "layer_types"
    """The list in the configuration that says of every layer how it attends."""
    sliding_window: str = "sliding_window"
    """Name of the sliding window's size in the configuration, if masks are made from it at every pass."""
    attention_chunk: str = "attention_chunk_size"
    """Name of the length of the chunks of chunked attention in the configuration."""

    shares_states: tuple[str, ...] = ("num_kv_shared_layers",)
    """Configuration fields under which layers use keys and values of earlier ones, so that none can be left out (Gemma 3n)."""
    joins_layers: tuple[str, ...] = ("hidden_size_per_layer_input",)
    """Configuration fields under which something outside of the layers holds a part for each of them.

        A cut would have to take that part out as well (the embeddings by layer of Gemma 3n).
        """

    logits_times: tuple[str, ...] = ("logit_scale",)
    """Configuration field that the logits are multiplied by (Cohere)."""
    logits_over: tuple[str, ...] = ("logits_scaling",)
    """Configuration field that they are divided by (Granite)."""
    logits_cap: tuple[str, ...] = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    """Configuration field of the value that a tanh keeps them below (Gemma 2 and later, RecurrentGemma, xLSTM)."""

    depth: tuple[str, ...] = ("layer_idx", "layer_id", "layer_number")
    """Names of a module's own depth, which addresses the KV cache and must be gapless from 0; all that are there count."""
    layer_numbers: tuple[str, ...] = (
        "mlp_only_layers",
        "moe_layers",
        "cross_attention_layers",
        "full_attn_idxs",
        "attn_layer_indices",
    )
    """Configuration lists that name layers by number, so that the remaining layers have to be renumbered after a cut."""
    leading: tuple[str, ...] = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
    """Configuration fields that say how many of the first layers are of another kind, less those of them that a cut takes."""
    periods: tuple[str, ...] = (
        "attn_layer_period",
        "expert_layer_period",
        "decoder_sparse_step",
        "moe_layer_interval",
        "moe_layer_freq",
    )
    """Configuration fields that say that one in so many layers is of another kind: only some cuts leave such an order."""

    spaced: tuple[str, str, str] = ("moe_layer_interval", "moe_layer_start_index", "moe_layer_end_index")
    """Configuration fields by which every k-th layer from a first to a last one has experts (Ernie 4.5): k, first, last."""
    over_depth: tuple[str, ...] = ("scale_depth",)
    """Configuration fields that are divided by the root of the number of layers when the model is built (MiniCPM).

        A cut model keeps the quotient of the unpruned one.
        """

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(entry.default, tuple) and not isinstance(value, tuple):
                raise SpecError(f"{entry.name} of the family {self.name} must be a tuple of names, not {value!r}.")


def first(config: Any, names: tuple[str, ...]) -> Any:
    """The first of these fields that a configuration has a value for, or None."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


FAMILIES: Registry[Family] = Registry("family")
"""Every family that the generic lookups do not cover, by name."""
register = FAMILIES.add
"""Make the row of a family known."""


def of(config: Any) -> Family:
    """The row of a model.

    Args:
        config: the transformers configuration of its text part.

    Returns:
        The one that was registered for its `model_type`, or else the generic one under that name.
    """
    return FAMILIES.get(config.model_type) or Family(config.model_type)


register(Family("bloom", row_bound=lambda config: True))  # ALiBi
register(Family("mpt", row_bound=lambda config: True))  # ALiBi, under any setting of its configuration
register(Family("falcon", row_bound=lambda config: bool(config.alibi)))
register(Family("gpt_neo", row_bound=lambda config: "local" in config.attention_layers))
register(Family("cpmant", row_bound=lambda config: True))  # learned biases by distance
register(Family("recurrent_gemma", row_bound=lambda config: True))  # recurrent layers, and a local window in the others
register(Family("qwen2_vl_text", plain={"model_type": "qwen2"}))
register(Family("qwen2_5_vl_text", plain={"model_type": "qwen2"}))
register(Family("qwen3_vl_text", plain={"model_type": "qwen3"}))
register(Family("qwen3_vl_moe_text", plain={"model_type": "qwen3_moe", "norm_topk_prob": True}))
register(Family("qwen2_5_omni_text", plain={"model_type": "qwen2"}))
register(Family("qwen3_omni_moe_text", plain={"model_type": "qwen3_moe", "norm_topk_prob": True}))
register(Family("hunyuan_vl_text", plain={"model_type": "hunyuan_v1_dense"}))
register(Family("glm4v_text", plain={"model_type": "glm4"}))
register(Family("glm4v_moe_text", plain={"model_type": "glm4_moe"}))
