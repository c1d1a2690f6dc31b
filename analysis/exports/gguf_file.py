"""A cut model as one GGUF file, with the names, rows and keys that llama.cpp reads.

Weights are stored as they are, in float32, float16 or bfloat16; vectors (norms and biases) always in float32, as llama.cpp
wants them. Source: docs/gguf.md in ggml-org/ggml, and gguf-py and the converter in ggml-org/llama.cpp.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from analysis.core.errors import UnsupportedModelError
from analysis.exports.gguf_families import FAMILIES, INSTEAD, KINDS, GgufFamily, check, ropes
from analysis.exports.gguf_tokens import Entry


def write(path: Path, model: Any, tokens: Sequence[Entry], *, name: str, dtype: str) -> None:
    """Write a model of one of the families.

    Args:
        path: the file, which is not there yet.
        model: of transformers, on any device; its layers are numbered 0..L-n-1 in the file as in the model.
        tokens: its tokenizer, of `gguf_tokens`.
        name: the model's name inside the file.
        dtype: float32, float16 or bfloat16, of the matrices.

    Raises:
        UnsupportedModelError: as `check`, or when the model has a weight that its family has no name for.
        OSError: when the disk is full.
    """
    config = model.config
    check(config)
    family = FAMILIES[config.model_type]
    weights = dict(_ggml_tensors(model, family))
    file = gguf.GGUFWriter(path, family.name)
    file.add_type(gguf.GGUFType.MODEL)
    file.add_name(name)
    file.add_file_type(gguf.LlamaFileType[KINDS[dtype][1]])
    file.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _settings(file, config)
    for key, value, kind, item_type in tokens:
        file.add_key_value(key, value, kind, item_type)
    for tensor_name, tensor in weights.items():
        kind = _kind(tensor, dtype)
        size = tensor.numel() * (4 if kind == "F32" else 2)
        # Except for blocks, a tensor gets its stored type next to its type in numpy.
        file.add_tensor_info(tensor_name, tensor.shape, np.dtype(np.float32), size, gguf.GGMLQuantizationType[kind])
    try:
        for step in (file.write_header_to_file, file.write_kv_data_to_file, file.write_ti_data_to_file):
            step()
        for tensor_name, tensor in weights.items():  # one at a time: a turned or rounded tensor is a copy
            file.write_tensor_data(_bytes(_turned(tensor_name, tensor, config, family), dtype))
    finally:
        file.close()


def _ggml_tensors(model: Any, family: GgufFamily) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights by ggml's names; a head that shares the embeddings' is not written twice, and so read as shared."""
    kind = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.name)
    names = gguf.get_tensor_name_map(kind, model.config.num_hidden_layers)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    for key, tensor in model.state_dict().items():
        if head.weight is embeddings.weight and key == "lm_head.weight":
            continue
        gguf_name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise UnsupportedModelError(f"A GGUF file of {family.name} models has no name for the weight {key}. {INSTEAD}.")
        yield gguf_name, tensor


def _settings(file: Any, config: Any) -> None:
    rope = ropes(config)
    full = rope.get("full_attention") or rope[""]
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_block_count(config.num_hidden_layers)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(config.num_attention_heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_freq_base(full["rope_theta"])
    file.add_rope_dimension_count(size)
    file.add_key_length(size)
    file.add_value_length(size)
    file.add_vocab_size(config.vocab_size)
    if config.model_type == "gemma3_text":
        file.add_sliding_window(config.sliding_window)
    if config.model_type == "phi3":
        file.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)


def _kind(tensor: Tensor, dtype: str) -> str:
    return "F32" if tensor.dim() == 1 else KINDS[dtype][0]


def _turned(name: str, tensor: Tensor, config: Any, family: GgufFamily) -> Tensor:
    """A weight as llama.cpp computes with it."""
    if family.lifted and name.endswith("norm.weight"):
        return tensor.float() + 1
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
    if family.turned and heads is not None:
        # From the two halves of each head to pairs of neighbours.
        return tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, -1).transpose(1, 2).reshape(tensor.shape)
    return tensor


def _bytes(tensor: Tensor, dtype: str) -> np.ndarray:
    """The numbers as they lie in the file; numpy has no bfloat16, so that goes as two bytes each."""
    stored_dtype = torch.float32 if tensor.dim() == 1 else getattr(torch, dtype)
    plain = tensor.detach().to("cpu", stored_dtype).contiguous()
    array: np.ndarray = (plain.view(torch.int16) if stored_dtype == torch.bfloat16 else plain).numpy()
    return array
