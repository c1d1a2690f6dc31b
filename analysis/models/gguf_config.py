"""What a GGUF file says of a model that transformers does not read of it: without it some would be built as another model."""

from pathlib import Path
from typing import Any

from analysis.models import gguf

_HEADS = ("qwen3",)
"""Families whose heads are as large as the file says; transformers takes them for those of the released models."""
_LARGEST_GEMMA = 62
"""Layers of Gemma 3 27B, the only one whose queries are scaled by the share of a head in the stream."""


def complete(config: Any, path: Path) -> None:
    """Put into a configuration what transformers left out.

    Args:
        config: of transformers, read of the file; it is changed.
        path: the file.

    Raises:
        UnsupportedModelError: when the file is none that can be read.
    """
    told = gguf.header(path)
    size = told.get(f"{told.get('general.architecture')}.attention.key_length")
    if config.model_type in _HEADS and isinstance(size, int):
        config.head_dim = size
    if config.model_type == "gemma3_text":
        is_largest = config.num_hidden_layers == _LARGEST_GEMMA
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if is_largest else config.head_dim
        )  # fmt: skip
    if "tokenizer.ggml.padding_token_id" not in told and (getattr(config, "pad_token_id", None) or 0) >= config.vocab_size:
        config.pad_token_id = None  # the default of the family, which this model has no such token for
