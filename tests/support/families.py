"""Tiny random models of many families, built from their configurations: no download."""

from typing import Any

import torch
import transformers

N_LAYERS = 6
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MIXED = [
    ("full_attention" if index % 3 == 2 else "sliding_attention") for index in range(N_LAYERS)
]
_DENSE = {"mlp_only_layers": [0, 4]}
_FAMILIES = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, **_DENSE},
    ),
    "gemma2": ("Gemma2Config", {"sliding_window": 64}),
    "gemma3_text": ("Gemma3TextConfig", {"sliding_window": 64, "layer_types": _MIXED}),
    "phi": ("PhiConfig", {"num_key_value_heads": 4}),
    "phi3": ("Phi3Config", {}),
    "cohere": ("CohereConfig", {}),
    "granite": ("GraniteConfig", {"logits_scaling": 3.0}),
    "olmo2": ("Olmo2Config", {}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 1, 1, 0, 1, 1]}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt2": ("GPT2Config", {}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32, "num_key_value_heads": 4}),
}
_SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_BY_ROW = {
    "bloom": ("BloomConfig", {"n_head": 4}),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 4, "max_seq_len": 512}),
    "falcon_alibi": ("FalconConfig", {"num_attention_heads": 4, "alibi": True}),
    "gpt_neo": (
        "GPTNeoConfig",
        {"num_heads": 4, "attention_types": [[["global", "local"], 3]], "window_size": 32},
    ),
}
_FAR = {"gpt_neo_far": ("GPTNeoConfig", _BY_ROW["gpt_neo"][1] | {"window_size": 190})}
"""With a window that is longer than one question, and shorter than a sequence of several."""
BY_ROW = tuple(_BY_ROW)
"""Families whose attention goes by places in the row: ALiBi, and local attention that no mask of
ours reaches."""
_BY_MASK = {
    "falcon": ("FalconConfig", {"num_attention_heads": 4, "alibi": False}),
    "gpt_neo_global": ("GPTNeoConfig", {"num_heads": 4, "attention_types": [[["global"], 6]]}),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_head": 4, "rotary_dim": 4}),
    "mistral_window": ("MistralConfig", {**_COMMON, "sliding_window": 16}),
    "qwen2_window": (
        "Qwen2Config",
        {**_COMMON, "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    ),
    "starcoder2": ("Starcoder2Config", {**_COMMON, "sliding_window": 16}),
    "stablelm": ("StableLmConfig", {**_COMMON}),
    "olmo": ("OlmoConfig", {**_COMMON}),
}
BY_MASK = tuple(_BY_MASK)
"""Further families that attend by their mask, at the positions that they are given."""
_NAMES_OF_DEPTH = {"MptConfig": "n_layers", "GPTNeoConfig": "num_layers", "GPTJConfig": "n_layer"}
_HYBRID = {
    "jamba": (
        "JambaConfig",
        {
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "num_experts": 2,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "mamba_d_state": 8,
            "mamba_dt_rank": 4,
        },
    )
}
"""Families whose configuration computes the kind of each layer."""
FAMILIES = tuple(_FAMILIES)
"""Families that every package must handle."""
PER_LAYER_LISTS = {
    "qwen3": "layer_types",
    "gemma2": "layer_types",
    "gemma3_text": "layer_types",
    "smollm3": "no_rope_layers",
}
"""Families whose configuration has a list with one entry per layer."""


def build(family: str, *, vocab_size: int = 300, n_layers: int = N_LAYERS) -> torch.nn.Module:
    """A random model of `family` in float32 and eval mode, the same at every call."""
    name, extra = {**_FAMILIES, **_BY_ROW, **_FAR, **_HYBRID, **_BY_MASK}[family]
    if family not in _FAMILIES:
        depth = {_NAMES_OF_DEPTH.get(name, "num_hidden_layers"): n_layers}
        config = getattr(transformers, name)(
            **{**_SIZES, **extra, **depth, "vocab_size": vocab_size}
        )
    elif family == "gpt2":
        config = transformers.GPT2Config(
            n_embd=32,
            n_layer=n_layers,
            n_head=4,
            vocab_size=vocab_size,
            bos_token_id=1,
            eos_token_id=2,
        )
    else:
        config = getattr(transformers, name)(
            **{**_COMMON, **extra, "num_hidden_layers": n_layers, "vocab_size": vocab_size}
        )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    # Default initialisation is so small that layers hardly do anything; make every layer matter.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(3)
    return model.float().eval()


@torch.inference_mode()
def own_texts(decoder: Any, n: int, length: int = 40, seed: int = 0) -> list[list[int]]:
    """Texts that a model wrote itself: nothing predicts them better than it does."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 300, (n, 1), generator=generator)
    while ids.shape[1] < length:
        odds = decoder.model(ids, use_cache=False).logits[:, -1].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(odds, 1, generator=generator)], dim=1)
    return ids.tolist()
