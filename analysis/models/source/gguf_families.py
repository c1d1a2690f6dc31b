"""Architectures whose GGUF files can be exported without some layers.

Source: the loaders of ggml-org/llama.cpp (src/models), which define what a layer computes.
"""

import itertools
import re
from pathlib import Path

from analysis.core.blocks import PartSet, Removal
from analysis.core.errors import UnsupportedModelError
from analysis.models.source import gguf
from analysis.models.source.location import gguf_of
from analysis.models.source.model_spec import ModelSpec

PERIODS = {
    "llama": 1,
    "qwen2": 1,
    "qwen2moe": 1,
    "qwen3": 1,
    "qwen3moe": 1,
    "falcon": 1,
    "phi3": 1,
    "bloom": 1,
    "stablelm": 1,
    "gpt2": 1,
    "starcoder2": 1,
    "nemotron": 1,
    "deci": 1,
    "lfm2": 1,
    "gemma2": 2,
    "gpt-oss": 2,
    "gemma3": 6,
}
"""Period p of the attention types by architecture: in llama.cpp, every p-th layer has full
attention, and the others a window.

A file may state another period, but no list. With period 1, a layer depends only on its tensors and
per-layer arrays.
"""
_SCALED = {"gemma2": 46, "gemma3": 62}
"""Number of layers by which llama.cpp recognizes the largest model of a family, whose attention it
scales differently."""
BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
"""Name of a tensor of a layer."""
_FOLDER = "Export a model folder (hf) instead"


def refusal(spec: ModelSpec, cut: Removal | None) -> str | None:
    """Return why a model cannot be exported as a GGUF file without some layers, None if it can.

    Raises:
        UnsupportedModelError: If the file is broken.
    """
    if isinstance(cut, PartSet):
        return (
            f"A GGUF file contains whole layers only, so {cut.brief()} cannot be removed."
            f" {_FOLDER}."
        )
    path = gguf_of(spec)
    if path is None:
        return (
            "Only a model that comes as a GGUF file is exported as one. Export a model folder (hf),"
            " and convert it by `python convert_hf_to_gguf.py FOLDER` of llama.cpp."
        )
    settings, entries = gguf.contents(path)
    family = settings.get("general.architecture")
    n_layers = settings.get(f"{family}.block_count")
    if family not in PERIODS:
        return (
            f"GGUF files of the architecture {family} cannot be cut: llama.cpp may derive the type"
            f" of a layer from its index. {_FOLDER}."
        )
    if not isinstance(n_layers, int):
        raise broken(path, "it states no number of layers")
    blocks = {int(match[1]) for entry in entries if (match := BLOCK.fullmatch(entry.name))}
    if blocks != set(range(n_layers)):
        raise broken(path, f"it states {n_layers} layers and has tensors of {len(blocks)}")
    if any(entry.begin > following.begin for entry, following in itertools.pairwise(entries)):
        raise broken(path, "its tensors are not in the order of its header")
    kept = [layer for layer in range(n_layers) if cut is None or layer not in cut.layers]
    if _SCALED.get(family) in (n_layers, len(kept)):
        return (
            f"llama.cpp scales the attention of a {family} model by {_SCALED[family]} layers"
            f" differently. {_FOLDER}."
        )
    period = settings.get(f"{family}.attention.sliding_window_pattern", PERIODS[family])
    period = (
        PERIODS[family]
        if not isinstance(period, int) or isinstance(period, bool)
        else max(period, 1)
    )
    is_full = [(layer + 1) % period == 0 for layer in range(n_layers)]
    moved = next(
        (index for index, layer in enumerate(kept) if is_full[layer] != is_full[index]), None
    )
    if moved is not None:
        return (
            f"llama.cpp gives every {period}th layer of a {family} model full attention, and layer"
            f" {kept[moved]} would become layer {moved}. Remove {period} layers in a row or the"
            " last ones, or export a model folder (hf)."
        )
    return None


def cut_bytes(path: Path, cut: Removal) -> int:
    """Return the size in bytes of a GGUF file without some layers."""
    entries = sorted(gguf.tensors(path), key=lambda entry: entry.begin)
    n_bytes = path.stat().st_size
    ends = [*(entry.begin for entry in entries[1:]), n_bytes]
    blocks = (
        (BLOCK.fullmatch(entry.name), end - entry.begin)
        for entry, end in zip(entries, ends, strict=True)
    )
    return n_bytes - sum(
        size for block, size in blocks if block is not None and int(block[1]) in cut.layers
    )


def broken(path: Path, reason: str) -> UnsupportedModelError:
    """Return the error for a file that llama.cpp would not load."""
    return UnsupportedModelError(f"{path.name} is not a usable GGUF file: {reason}. Get it again.")
