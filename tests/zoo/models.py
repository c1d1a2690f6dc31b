"""Small random models of every causal architecture that the installed transformers knows, with a
tokenizer of bytes.
"""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as of_tokenizers
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

N_LAYERS = 6
VOCABULARY = 300
_MOST_WEIGHTS = 20_000_000
_NAMES = {
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
    32: (
        "hidden_size d_model n_embd dim embed_dim word_embed_proj_dim embedding_size conv_dim"
        " lru_width embedding_dim"
    ),
    48: (
        """intermediate_size ffn_dim n_inner ffn_hidden_size d_inner dim_feedforward decoder_ffn_dim dense_intermediate_size
        intermediate_size_mlp block_ff_dim shared_intermediate_size"""
    ),
    16: (
        """moe_intermediate_size shared_expert_intermediate_size q_lora_rank kv_lora_rank sliding_window window_size
        attention_window expert_ffn_hidden_size linear_key_head_dim linear_value_head_dim mamba_d_state mamba_chunk_size
        chunk_size ffn_hidden moe_shared_expert_intermediate_size mamba_d_head mamba_head_dim index_head_dim o_lora_rank
        attention_chunk_size ssm_state_size mamba_state_size expert_intermediate_size state_size"""
    ),
    N_LAYERS: "num_hidden_layers n_layer num_layers n_layers",
    4: (
        """num_attention_heads encoder_attention_heads n_head n_heads num_heads num_experts num_local_experts n_routed_experts
        moe_num_experts rotary_dim linear_num_value_heads index_n_heads mamba_n_heads mamba_num_heads mamba_expand_heads
        moe_num_primary_experts num_heads_per_layer"""
    ),
    2: (
        """num_key_value_heads num_kv_heads num_experts_per_tok num_experts_per_token moe_k moe_topk moe_top_k top_k_experts
        top_k linear_num_key_heads mamba_expand num_attention_groups"""
    ),
    8: (
        "head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim hidden_size_per_layer_input"
        " attention_head_dim kv_channels"
    ),
    512: (
        """max_position_embeddings n_positions max_seq_len n_ctx max_sequence_length max_target_positions context_length
        original_max_position_embeddings index_topk"""
    ),
    1: (
        "bos_token_id n_group topk_group num_expert_group first_k_dense_replace n_shared_experts"
        " num_shared_experts"
    ),
}
_VALUES: dict[str, Any] = {name: value for value, names in _NAMES.items() for name in names.split()}
_VALUES |= {"eos_token_id": 2, "pad_token_id": 0, "is_decoder": True}
_IN_TURN = ["sliding_attention", "full_attention"] * (N_LAYERS // 2)
_OWN: dict[str, dict[str, Any]] = {
    "falcon": {"alibi": False, "new_decoder_architecture": False},
    "bamba": {"attn_layer_indices": [2, 5], "mamba_n_heads": 4, "mamba_d_head": 16},
    "gpt_neo": {"attention_types": [[["global", "local"], N_LAYERS // 2]]},
    "cohere_compass_text": {"layer_types": _IN_TURN},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 3},
    "zaya": {"num_experts_per_tok": 1},
    **{
        name: {"layer_types": ["conv", "full_attention"] * 3}
        for name in ("lfm2", "lfm2_moe", "lfm3")
    },
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 3},
    "qwen4_exp_text": {"layer_types": ["linear_attention", "full_attention"] * 3},
    "gemma3n_text": {"num_kv_shared_layers": 2, "layer_types": _IN_TURN},
    "jamba": {"attn_layer_period": 3, "attn_layer_offset": 1},
    "nemotron_h": {"n_groups": 1, "layers_block_type": ["mamba", "moe", "attention"] * 2},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"] * 3},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"] * 3},
    "qwen3_5_moe_text": {"layer_types": ["linear_attention", "full_attention"] * 3},
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 3},
    "inkling2_loop_text": {"unpadded_vocab_size": VOCABULARY},
    "inkling2_text": {"unpadded_vocab_size": VOCABULARY},
    "inkling_text": {"unpadded_vocab_size": VOCABULARY},
    "bailing_hybrid": {"num_key_value_heads": 4, "linear_head_dim": 8, "linear_num_heads": 4},
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"] * 3,
        "num_key_value_heads": 4,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
    },
    "falcon_h1": {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64, "mamba_n_groups": 1},
}
_OWN |= {
    f"{name}_text": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [1, 1, 2],
        }
    }
    for name in [
        "qwen2_vl",
        "qwen2_5_vl",
        "qwen2_5_omni",
        "qwen3_vl",
        "qwen3_vl_moe",
        "paddleocr_vl",
        "hunyuan_vl",
    ]
}
_OWN |= {
    f"{name}_text": {"rope_parameters": {"mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}}
    for name in ("glm4v", "glm4v_moe", "glm_ocr")
}
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon-alibi": ("falcon", {"alibi": True}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "qwen2-window": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    ),
    "gemma4_text-plain": ("gemma4_text", {"hidden_size_per_layer_input": 0}),
    "gpt_neo-global": ("gpt_neo", {"attention_types": [[["global"], N_LAYERS]]}),
}
"""Mechanisms that an architecture has only where its configuration asks for them."""


class NotBuiltError(Exception):
    """This transformers does not build the architecture small, as it says."""


def names() -> list[str]:
    """Every architecture with a class for left-to-right text, alone or beside other parts, and
    variants of some.
    """
    return sorted(
        {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES, *_VARIANTS}
    )


def class_of(config: Any) -> Any:
    """Return the class of transformers that builds a model with a head for text, beside any other
    parts.
    """
    return (
        AutoModelForCausalLM
        if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
        else AutoModelForMultimodalLM
    )


def config_of(name: str) -> Any:
    """A small configuration.

    Raises:
        NotBuiltError: when the library does not accept it.
    """
    model_type, own = _VARIANTS.get(name, (name, {}))
    try:
        return _small(CONFIG_MAPPING[model_type], _OWN.get(model_type, {}) | own)
    except Exception as error:
        raise NotBuiltError(f"{type(error).__name__}: {error}") from error


def _small(kind: Any, own: Mapping[str, Any]) -> Any:
    known = {
        *inspect.signature(kind.__init__).parameters,
        *getattr(kind, "__dataclass_fields__", ()),
    }
    known |= getattr(kind, "attribute_map", {}).keys() & known
    settings = {name: value for name, value in _VALUES.items() if name in known}
    defaults = {name: getattr(kind, name, None) for name in settings}
    # Settings that are off by default stay off, and lists of other lengths are made by the
    # configuration itself.
    settings = {
        name: value
        for name, value in settings.items()
        if not isinstance(defaults[name], bool | list | tuple)
    }
    if (
        "kv_lora_rank" in known and "num_key_value_heads" in settings
    ):  # keys and values are made of one latent for every head
        settings["num_key_value_heads"] = settings["num_attention_heads"]
    for part, kind_of_part in (getattr(kind, "sub_configs", None) or {}).items():
        if kind_of_part.__name__ == "AutoConfig":
            kind_of_part = type(getattr(kind(), part, None))
        if not hasattr(kind_of_part, "sub_configs"):
            continue
        is_decoder = "text" in part or "decoder" in part
        own_of_part = (
            _OWN.get(kind_of_part.model_type, {}) if is_decoder else _other_depth(kind_of_part)
        )
        made = _small(kind_of_part, own_of_part)
        settings[part] = made.to_dict()
    return kind(**settings | own)


def _other_depth(kind: Any) -> dict[str, Any]:
    """Towers beside the decoder are of another depth, so that nobody takes one for it."""
    known = {
        *inspect.signature(kind.__init__).parameters,
        *getattr(kind, "__dataclass_fields__", ()),
    }
    return {
        name: 2
        for name in ("num_hidden_layers", "depth", "n_layer", "encoder_layers")
        if name in known
    }


def build(name: str) -> Any:
    """Return a small random model in float32, the same at every call; every part of it matters to
    its output.

    Raises:
        NotBuiltError: when the library does not build it small.
    """
    config = config_of(name)
    try:
        with torch.device("meta"):
            skeleton = class_of(config).from_config(config)
        n_weights = sum(weight.numel() for weight in skeleton.parameters())
        if n_weights > _MOST_WEIGHTS:
            raise NotBuiltError(f"it has {n_weights} weights, too many for a test")
        torch.manual_seed(0)
        model = class_of(config).from_config(config).float().eval()
    except NotBuiltError:
        raise
    except Exception as error:
        raise NotBuiltError(f"{type(error).__name__}: {error}") from error
    _make_all_matter(model)
    try:
        with torch.inference_mode():
            finite = (
                model(input_ids=torch.arange(3, 20)[None], use_cache=False).logits.isfinite().all()
            )
    except Exception as error:
        raise NotBuiltError(f"it does not run: {type(error).__name__}: {error}") from error
    if not finite:
        raise NotBuiltError("it computes NaN or infinite values")
    return model


def _make_all_matter(model: Any) -> None:
    """Layers hardly do anything as they are initialised, and norms nothing."""
    with torch.no_grad():
        for owner, parameter in _with_owners(model):
            if parameter.dim() >= 2:
                parameter.mul_(3)
            elif "norm" in type(owner).__name__.lower():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))


def _with_owners(model: Any) -> Iterator[tuple[Any, torch.Tensor]]:
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            yield module, parameter


def tokenizer() -> Any:
    """One token a byte, after three special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", *letters])}
    made = Tokenizer(of_tokenizers.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer, made.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def save(name: str, folder: Path) -> None:
    """Write a small model and its tokenizer.

    Raises:
        NotBuiltError: as `build`; also when the library cannot write and read it again.
    """
    model = build(name)
    try:
        model.save_pretrained(folder)
    except Exception as error:
        raise NotBuiltError(f"it cannot be saved: {type(error).__name__}: {error}") from error
    tokenizer().save_pretrained(folder)
