"""Makers of tiny model and adapter folders, whole or with one fault."""

import json
import math
import struct
from pathlib import Path
from typing import Any

from tests.corpus import Make, files

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
"""A llama of three layers."""
EMPTY_WEIGHTS = struct.pack("<Q", 2) + b"{}"
"""A safetensors file with nothing in it."""
WORDS = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "The",
    "capital",
    "of",
    "France",
    "is",
    *"abcdefghijklmnopqrstuvwxyz.,?:",
)


def tokenizer_files() -> dict[str, str]:
    """A tokenizer of a few words."""
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(WORDS))}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    said = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "bos_token": "<s>",
    }
    return {"tokenizer.json": json.dumps(whole), "tokenizer_config.json": json.dumps(said)}


def weights(config: dict[str, Any] = CONFIG, **changed: tuple[list[int], bytes] | None) -> bytes:
    """All weights of a llama with this configuration as a safetensors file; `changed` ones of another shape, or None for none."""
    hidden, wide, vocabulary = (
        config["hidden_size"],
        config["intermediate_size"],
        config["vocab_size"],
    )
    shapes = {
        "model.embed_tokens.weight": [vocabulary, hidden],
        "model.norm.weight": [hidden],
        "lm_head.weight": [vocabulary, hidden],
    }
    for layer in range(config["num_hidden_layers"]):
        within = f"model.layers.{layer}"
        for part in "qkvo":
            shapes[f"{within}.self_attn.{part}_proj.weight"] = [hidden, hidden]
        for part, shape in (
            ("gate", [wide, hidden]),
            ("up", [wide, hidden]),
            ("down", [hidden, wide]),
        ):
            shapes[f"{within}.mlp.{part}_proj.weight"] = shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{within}.{norm}.weight"] = [hidden]
    contents = {
        name: (shape, _numbers(shape, place)) for place, (name, shape) in enumerate(shapes.items())
    }
    contents = {name: one for name, one in (contents | changed).items() if one is not None}
    return safetensors({name: ("F32", *one) for name, one in contents.items()})


def _numbers(shape: list[int], seed: int) -> bytes:
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    return struct.pack(
        f"<{count}f", *(((seed * 31 + place * 17) % 97 - 48) / 500 for place in range(count))
    )


def whole_numbers(which: str, dtype: str, size: int) -> bytes:
    """All weights, one of them of whole numbers."""
    content = weights()
    (length,) = struct.unpack("<Q", content[:8])
    head, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    held = {
        name: ("F32", said["shape"], body[slice(*said["data_offsets"])])
        for name, said in head.items()
    }
    return safetensors(
        held
        | {which: (dtype, head[which]["shape"], b"\1" * size * math.prod(head[which]["shape"]))}
    )


def numbers(shape: list[int], value: float) -> tuple[list[int], bytes]:
    """A weight of one and the same number."""
    return shape, struct.pack("<f", value) * (shape[0] * (shape[1] if len(shape) > 1 else 1))


def safetensors(contents: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """Arrays by name, each of a dtype, a shape and its bytes."""
    head, body = {}, b""
    for name, (dtype, shape, content) in contents.items():
        head[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(body), len(body) + len(content)],
        }
        body += content
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def whole(folder: Path) -> None:
    """Write a whole tiny model."""
    files({"config.json": json.dumps(CONFIG), "model.safetensors": weights(), **tokenizer_files()})(
        folder
    )


def folder(**changed: Any) -> Make:
    """A model folder with other contents for some files; None for none. Names with a dot are written with two underscores."""
    usual = {
        "config.json": json.dumps(CONFIG),
        "model.safetensors": EMPTY_WEIGHTS,
        **tokenizer_files(),
    }
    contents = usual | {name.replace("__", "."): content for name, content in changed.items()}
    return files(
        {f"m/{name}": content for name, content in contents.items() if content is not None}
    )


ADAPTER: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 2,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": ["down_proj"],
    "base_model_name_or_path": None,
    "inference_mode": True,
}
"""Configuration of an adapter of the tiny model."""
LORA = [
    f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_{side}.weight"
    for layer in (0, 1)
    for side in "AB"
]
"""Names of its weights."""


def adapter_weights(**changed: Any) -> bytes:
    """Adapter weights for two layers of the tiny model, which remain of three without one."""
    shapes = {name: ([2, 24] if "lora_A" in name else [16, 2]) for name in LORA}
    contents = {name: numbers(shape, 0.01) for name, shape in shapes.items()} | changed
    return safetensors({name: ("F32", *one) for name, one in contents.items() if one is not None})


def adapter(**changed: bytes | str | None) -> Make:
    """An adapter folder with other contents for some files; None for none."""
    usual = {
        "adapter_config.json": json.dumps(ADAPTER),
        "adapter_model.safetensors": adapter_weights(),
    }
    contents = usual | {name.replace("__", "."): content for name, content in changed.items()}
    return files(
        {f"a/{name}": content for name, content in contents.items() if content is not None}
    )
