"""Facts about a model that transformers does not read of a GGUF file: without them some would be built as another model."""

import math
import struct
from pathlib import Path
from typing import Any

from analysis.core.errors import UnsupportedModelError
from analysis.models import gguf
from analysis.models.gguf import Entry

_HEADS = ("qwen3",)
"""Families whose heads are as large as the file says; transformers takes them for those of the released models."""
_LARGEST_GEMMA = 62
"""Layers of Gemma 3 27B, the only one whose queries are scaled by the share of a head in the stream."""
_LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How Llama 3.1 and later stretch positions, but for the factor: files hold the divisors that come of it."""
_FLOAT32 = 0
"""The number of this type in ggml."""


def complete(config: Any, path: Path) -> None:
    """Put the facts that transformers left out into a configuration.

    Args:
        config: of transformers, read of the file; it is changed.
        path: the file.

    Raises:
        UnsupportedModelError: when the file is none that can be read.
    """
    told, tensors = gguf.contents(path)
    _scale(config, told, {entry.name: entry for entry in tensors}, path)
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


def _scale(config: Any, told: dict[str, Any], kept: dict[str, Entry], path: Path) -> None:
    """Stretch positions as the file says, or refuse a scaling that a configuration cannot express.

    Source: Llama 3's rule as in transformers' `rope_type="llama3"`; linear scaling as in arXiv:2306.15595.
    """
    family = told.get("general.architecture")
    if family == "gpt-oss":  # the only family whose scaling transformers reads
        return
    if any(name.startswith("rope_factors_") for name in kept):
        raise _not_said(path, "with separate tables for short and long texts")
    kind = told.get(f"{family}.rope.scaling.type", "none")
    factor = told.get(f"{family}.rope.scaling.factor", told.get(f"{family}.rope.scale_linear", 1.0))
    if kind not in ("none", "linear"):
        raise _not_said(path, f"by the rule {kind}")
    if factor not in (0.0, 1.0):
        _stretch(config, {"rope_type": "linear", "factor": float(factor)})
    if "rope_freqs.weight" in kept:
        divisors = _numbers(path, kept["rope_freqs.weight"])
        if any(divisor != 1.0 for divisor in divisors):
            theta = config.rope_parameters.get("rope_theta")
            rule = {"rope_type": "llama3", "factor": float(max(divisors)), **_LLAMA_3}
            expected = _divisors(theta, rule, len(divisors)) if theta else []
            if len(expected) != len(divisors) or not all(map(_alike, divisors, expected)):
                raise _not_said(path, "with frequency divisors that differ from those of Llama 3.1")
            _stretch(config, rule)


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-4)


def _divisors(theta: float, rule: dict[str, Any], n: int) -> list[float]:
    """Return the divisor of Llama 3 for each of n frequencies: long waves by the factor, short ones by 1, others by both."""
    found = []
    for place in range(n):
        waves = rule["original_max_position_embeddings"] * theta ** (-place / n) / (2 * math.pi)
        share = (waves - rule["low_freq_factor"]) / (rule["high_freq_factor"] - rule["low_freq_factor"])
        share = min(1.0, max(0.0, share))
        found.append(1 / ((1 - share) / rule["factor"] + share))
    return found


def _stretch(config: Any, rule: dict[str, Any]) -> None:
    """Put a rule into a configuration: in one with two kinds of layers into that of those that attend to everything."""
    parameters = config.rope_parameters
    chosen = parameters.get("full_attention", parameters)
    chosen.update(rule)


def _numbers(path: Path, entry: Entry) -> list[float]:
    if entry.kind != _FLOAT32 or len(entry.shape) != 1:
        raise _not_said(path, "with divisors that are not plain numbers")
    (n,) = entry.shape
    with path.open("rb") as file:
        file.seek(entry.begin)
        content = file.read(4 * n)
    if len(content) != 4 * n:
        raise UnsupportedModelError(f"{path.name} ends within its weights. Get it again.")
    return list(struct.unpack(f"<{n}f", content))


def _not_said(path: Path, how: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path.name} scales its rotary positions {how}, which Layerscope cannot read from a GGUF file. Use the original model."
    )
