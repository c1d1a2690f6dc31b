"""Which models have a GGUF file, why another has none, and the assumptions of llama.cpp about the common families.

Nothing here loads a model library, since pages use it, too. Source: their loaders in ggml-org/llama.cpp.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.core.blocks import PartSet, Removal
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.families import KNOW_THEIR_PLACE

KINDS = {"float32": ("F32", "ALL_F32"), "float16": ("F16", "MOSTLY_F16"), "bfloat16": ("BF16", "MOSTLY_BF16")}
"""ggml's names of a matrix and of a file, by dtype."""
_PERIODS = {"gemma2": 2, "gemma3_text": 6}
"""Every so many layers one reads all that came before: llama.cpp knows no other order of these families."""
INSTEAD = "Export the folder (hf) instead"
"""Advice after a refusal."""


@dataclass(frozen=True)
class GgufFamily:
    """How the models of a family stand in a GGUF file."""

    name: str
    """ggml's name of the family."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the format has no key for, with the one value that readers take for granted."""
    activation: str = "silu"
    turned: bool = False
    """Whether the rows of queries and keys stand in pairs that are rotated, where transformers has the halves of a head."""
    lifted: bool = False
    """Whether norms are stored with one added."""


_PLAIN = {"use_sliding_window": False, "attention_bias": False}
_LLAMA = {"attention_bias": False, "mlp_bias": False, "sliding_window": None}
_GEMMA = {
    "attention_bias": False,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "use_bidirectional_attention": False,
}
FAMILIES = {
    "llama": GgufFamily("llama", _LLAMA, turned=True),
    "mistral": GgufFamily("llama", _LLAMA, turned=True),
    "qwen2": GgufFamily("qwen2", _PLAIN),
    "qwen3": GgufFamily("qwen3", _PLAIN),
    "gemma3_text": GgufFamily("gemma3", _GEMMA, activation="gelu_pytorch_tanh", lifted=True),
    "phi3": GgufFamily("phi3", {"sliding_window": None}),
}
"""By their name in transformers (`model_type`)."""


def refusal(family: str, cut: Removal) -> str | None:
    """Why there is no GGUF file of a family without some layers, in a sentence; None where there may be one."""
    if isinstance(cut, PartSet):
        return f"A GGUF file contains whole layers only, so {cut.brief()} cannot be removed. {INSTEAD}."
    if family not in FAMILIES:
        return f"GGUF export supports {', '.join(FAMILIES)} models, and this is a {family} model. {INSTEAD}."
    return None


def file_name(name: str, dtype: str) -> str:
    """Return the name of a model's file by llama.cpp's convention: the model's name and the type of its matrices."""
    return f"{name}-{KINDS[dtype][0]}.gguf"


def check(config: Any) -> None:
    """Refuse a model of one of the families that a GGUF file would make another one of.

    Args:
        config: of the cut model.

    Raises:
        UnsupportedModelError: with the setting that the format has no place for.
    """
    family = FAMILIES[config.model_type]
    for name, value in {"hidden_act": family.activation, "hidden_activation": family.activation, **family.fixed}.items():
        own_value = getattr(config, name, value)
        if own_value != value and not (name == "hidden_act" and hasattr(config, "hidden_activation")):
            raise UnsupportedModelError(
                f"A GGUF file of a {config.model_type} model cannot store {name} {own_value!r} (llama.cpp computes with "
                f"{value!r}). {INSTEAD}."
            )
    for rope in ropes(config).values():
        kind = rope.get("rope_type", "default")
        if kind != "default":
            raise UnsupportedModelError(
                f"This model scales its positions ({kind}), and GGUF export does not support that. {INSTEAD}."
            )
        turned = rope.get("partial_rotary_factor", 1.0)
        if turned != 1.0:
            raise UnsupportedModelError(
                f"This model rotates only a part of each head (partial_rotary_factor {turned}), and GGUF export does not "
                "support "
                f"that. {INSTEAD}."
            )
    if family.lifted:
        _check_gemma(config)


def _check_gemma(config: Any) -> None:
    kinds, expected = list(config.layer_types), layer_types(config.num_hidden_layers)
    if kinds != expected:
        period = _PERIODS[config.model_type]
        layer = next(index for index in range(len(kinds)) if kinds[index] != expected[index])
        raise UnsupportedModelError(
            f"llama.cpp expects full attention in every {period}th layer of a {config.model_type} model. Without the removed "
            f"layers, layer {layer} has {kinds[layer].replace('_', ' ')}. Remove {period} layers in a row or the last "
            "ones, or export the folder (hf) instead."
        )
    local = float(ropes(config)["sliding_attention"]["rope_theta"])
    for name, value, expected_value in (
        ("query_pre_attn_scalar", config.query_pre_attn_scalar, config.head_dim),
        ("the rope_theta of its sliding layers", local, 10000.0),
    ):
        if value != expected_value:
            raise UnsupportedModelError(
                f"A GGUF file of a {config.model_type} model cannot store {name} {value} (llama.cpp computes with "
                f"{expected_value}). {INSTEAD}."
            )


def layer_types(n_layers: int, family: str = "gemma3_text") -> list[str]:
    """Return the types of layers that llama.cpp assumes for a Gemma model."""
    return ["sliding_attention" if (index + 1) % _PERIODS[family] else "full_attention" for index in range(n_layers)]


def can_be_pruned(family: str, cut: Removal, n_layers: int) -> bool:
    """Return whether llama.cpp gives the layers that stay their own types where it leaves the others out itself."""
    if family in KNOW_THEIR_PLACE:
        return False
    if family not in _PERIODS:
        return True
    kinds = [kind for layer, kind in enumerate(layer_types(n_layers, family)) if layer not in cut.layers]
    return kinds == layer_types(len(kinds), family)


def ropes(config: Any) -> dict[str, dict[str, Any]]:
    """The rotations of positions by kind of layer; "" for all layers."""
    rope = config.rope_parameters
    return dict(rope) if isinstance(next(iter(rope.values())), dict) else {"": rope}
