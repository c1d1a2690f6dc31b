"""Tiny GGUF files of several families: random numbers in several kinds of blocks, and the first of
the starter's tokens.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gguf import (
    GGML_QUANT_SIZES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    dequantize,
    quantize,
)
from gguf.quants import _type_traits as dequantizers

from analysis.data import starter
from analysis.models.loading import tokenizer

N_LAYERS, N_TOKENS = 4, 400
_BLOCK = 256
"""Numbers of the largest blocks."""
_WIDTH, _HEADS, _KV_HEADS, _HEAD, _INNER, _EXPERTS = 64, 4, 2, 16, 96, 4
_Q8, _Q5, _Q4 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q5_0, GGMLQuantizationType.Q4_0
_F32, _F16, _BF16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16
DOWN = (_WIDTH, _BLOCK)
"""The shape of `ffn_down` where its kind is chosen."""
_ATTENTION = {
    "attn_q.weight": ((_HEADS * _HEAD, _WIDTH), _Q8),
    "attn_k.weight": ((_KV_HEADS * _HEAD, _WIDTH), _Q8),
    "attn_v.weight": ((_KV_HEADS * _HEAD, _WIDTH), _F16),
    "attn_output.weight": ((_WIDTH, _HEADS * _HEAD), _BF16),
}
_FEED_FORWARD = {
    "ffn_gate.weight": ((_INNER, _WIDTH), _Q4),
    "ffn_up.weight": ((_INNER, _WIDTH), _Q4),
    "ffn_down.weight": ((_WIDTH, _INNER), _Q8),
}
_EXPERT_INNER = 768
"""Which transformers takes for granted, since it does not read the key that says it."""
_EXPERT_PARTS = {
    "ffn_gate_inp.weight": ((_EXPERTS, _WIDTH), _F32),
    "ffn_gate_exps.weight": ((_EXPERTS, _EXPERT_INNER, _WIDTH), _Q4),
    "ffn_up_exps.weight": ((_EXPERTS, _EXPERT_INNER, _WIDTH), _Q8),
    "ffn_down_exps.weight": ((_EXPERTS, _WIDTH, _EXPERT_INNER), _Q8),
}
_NORMS = {"attn_norm.weight": ((_WIDTH,), _F32), "ffn_norm.weight": ((_WIDTH,), _F32)}
_HEAD_NORMS = {"attn_q_norm.weight": ((_HEAD,), _F32), "attn_k_norm.weight": ((_HEAD,), _F32)}
_GPT2 = {
    "attn_qkv.weight": ((3 * _WIDTH, _WIDTH), _Q8),
    "attn_qkv.bias": ((3 * _WIDTH,), _F32),
    "attn_output.weight": ((_WIDTH, _WIDTH), _F16),
    "attn_output.bias": ((_WIDTH,), _F32),
    "ffn_up.weight": ((4 * _WIDTH, _WIDTH), _Q4),
    "ffn_up.bias": ((4 * _WIDTH,), _F32),
    "ffn_down.weight": ((_WIDTH, 4 * _WIDTH), _Q8),
    "ffn_down.bias": ((_WIDTH,), _F32),
    **_NORMS,
    "attn_norm.bias": ((_WIDTH,), _F32),
    "ffn_norm.bias": ((_WIDTH,), _F32),
}
_CONVOLUTION = {
    "shortconv.conv.weight": ((_WIDTH, 3), _F32),
    "shortconv.in_proj.weight": ((3 * _WIDTH, _WIDTH), _Q8),
    "shortconv.out_proj.weight": ((_WIDTH, _WIDTH), _Q4),
}
_LAYERS = {
    "llama": [{**_NORMS, **_ATTENTION, **_FEED_FORWARD}],
    "gemma2": [
        {
            **_NORMS,
            "post_attention_norm.weight": ((_WIDTH,), _F32),
            "post_ffw_norm.weight": ((_WIDTH,), _F32),
            **_ATTENTION,
            **_FEED_FORWARD,
            "ffn_gate.weight": ((_INNER, _WIDTH), _Q5),
        }
    ],
    "gemma3": [
        {
            **_NORMS,
            "post_attention_norm.weight": ((_WIDTH,), _F32),
            "post_ffw_norm.weight": ((_WIDTH,), _F32),
            **_HEAD_NORMS,
            **_ATTENTION,
            **_FEED_FORWARD,
        }
    ],
    "qwen3moe": [{**_NORMS, **_HEAD_NORMS, **_ATTENTION, **_EXPERT_PARTS}],
    "gpt2": [_GPT2],
    "lfm2": [
        {**_NORMS, **_CONVOLUTION, **_FEED_FORWARD},
        {**_NORMS, **_HEAD_NORMS, **_ATTENTION, **_FEED_FORWARD},
    ],
}
"""Tensors of the layers, in turn."""
ARCHITECTURES = tuple(_LAYERS)


KINDS = tuple(kind for kind in GGMLQuantizationType if kind in dequantizers)
"""Of blocks that can be read at all."""


def write(
    path: Path, architecture: str, *, without: str = "", downs: Sequence[GGMLQuantizationType] = ()
) -> Path:
    """Write a random model; the same at every call.

    Args:
        path: of the file.
        architecture: one of `ARCHITECTURES`.
        without: the name of a tensor to leave out.
        downs: for each layer of a llama the kind of blocks of its `ffn_down`, which are any bytes
            that mean small numbers.
    """
    drawn, written = np.random.default_rng(0), GGUFWriter(path, architecture)
    settings = dict(_settings(architecture))
    if downs:
        settings |= {
            f"{architecture}.block_count": len(downs),
            f"{architecture}.feed_forward_length": _BLOCK,
        }
    for key, value in settings.items():
        add_setting = {
            list: written.add_array,
            int: written.add_uint32,
            float: written.add_float32,
            str: written.add_string,
        }
        add_setting[type(value)](key, value)
    for key, value in _tokens().items():
        add = (
            written.add_array
            if isinstance(value, list)
            else written.add_uint32
            if isinstance(value, int)
            else written.add_string
        )
        add(key, value)
    tensors = {"token_embd.weight": ((N_TOKENS, _WIDTH), _Q8)}
    if architecture not in ("gemma2", "gemma3"):  # whose head is its embeddings
        tensors["output.weight"] = ((N_TOKENS, _WIDTH), _Q8)
    tensors["token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight"] = (
        (_WIDTH,),
        _F32,
    )
    if architecture == "gpt2":
        tensors |= {
            "output_norm.bias": ((_WIDTH,), _F32),
            "position_embd.weight": ((1024, _WIDTH), _F32),
        }
    for index in range(len(downs) or N_LAYERS):
        kinds = _LAYERS[architecture]
        tensors |= {f"blk.{index}.{name}": held for name, held in kinds[index % len(kinds)].items()}
    for index, kind in enumerate(downs):
        inner = {"ffn_gate.weight": (_BLOCK, _WIDTH), "ffn_up.weight": (_BLOCK, _WIDTH)}
        tensors |= {f"blk.{index}.{name}": (shape, _Q8) for name, shape in inner.items()}
        written.add_tensor(f"blk.{index}.ffn_down.weight", any_blocks(kind, DOWN), raw_dtype=kind)
        del tensors[f"blk.{index}.ffn_down.weight"]
    for name, (shape, kind) in tensors.items():
        numbers = drawn.standard_normal(shape).astype(np.float32) * 0.2
        if name != without:
            written.add_tensor(
                name, quantize(1 + numbers if len(shape) == 1 else numbers, kind), raw_dtype=kind
            )
    for step in (
        written.write_header_to_file,
        written.write_kv_data_to_file,
        written.write_tensors_to_file,
        written.close,
    ):
        step()
    tokenizer._passed.add(
        tokenizer._key(path.parent, path.name)
    )  # a trial of it imports torch in a process of its own
    return path


def any_blocks(kind: GGMLQuantizationType, shape: tuple[int, int]) -> np.ndarray:
    """Bytes of a matrix of small numbers, by rows; the same at every call."""
    drawn, (of_block, n_bytes) = np.random.default_rng(int(kind)), GGML_QUANT_SIZES[kind]
    wanted = shape[0] * shape[1] // of_block
    found: list[np.ndarray] = []
    while len(found) < wanted:
        for block in drawn.integers(0, 256, (64, n_bytes), dtype=np.uint8):
            with np.errstate(all="ignore"):
                numbers = dequantize(block, kind)
            if np.isfinite(numbers).all() and 0 < np.abs(numbers).max() < 1:
                found.append(block)
    return np.concatenate(found[:wanted]).reshape(shape[0], -1)


def _settings(architecture: str) -> Iterator[tuple[str, Any]]:
    kv_heads: Any = _KV_HEADS
    if architecture == "lfm2":
        kv_heads = [_KV_HEADS * (index % 2) for index in range(N_LAYERS)]
        yield "lfm2.shortconv.l_cache", 3
    if architecture == "qwen3moe":
        yield from {"qwen3moe.expert_count": _EXPERTS, "qwen3moe.expert_used_count": 2}.items()
    if architecture in ("gemma2", "gemma3"):
        yield f"{architecture}.attention.sliding_window", 16
    if architecture == "gemma3":
        yield "gemma3.attention.sliding_window_pattern", 2
    yield "general.size_label", "270M"
    yield f"{architecture}.context_length", 256
    yield f"{architecture}.block_count", N_LAYERS
    yield f"{architecture}.embedding_length", _WIDTH
    yield f"{architecture}.feed_forward_length", _INNER
    yield f"{architecture}.rope.dimension_count", _HEAD
    yield f"{architecture}.rope.freq_base", 10000.0
    yield f"{architecture}.attention.key_length", _HEAD
    yield f"{architecture}.attention.head_count", _HEADS
    yield f"{architecture}.attention.head_count_kv", kv_heads
    yield f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5
    yield f"{architecture}.attention.layer_norm_epsilon", 1e-5


@cache
def _tokens() -> dict[str, Any]:
    fields = GGUFReader(starter.gguf_file()).fields
    told = {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer.")}
    tokens = told["tokenizer.ggml.tokens"][:N_TOKENS]
    known = set(tokens)
    merges = [
        merge for merge in told["tokenizer.ggml.merges"] if merge.replace(" ", "", 1) in known
    ]
    cut = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges}
    cut["tokenizer.ggml.token_type"] = told["tokenizer.ggml.token_type"][:N_TOKENS]
    kept = {key: value for key, value in told.items() if type(value) in (str, int)}
    return kept | {key: value for key, value in cut.items() if key in told}
