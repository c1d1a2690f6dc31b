"""A removal in the formats of other programs: a mergekit configuration and llama.cpp commands."""

import json
from pathlib import Path

from analysis.core import escapes
from analysis.core.blocks import PartSet, Removal
from analysis.core.errors import SpecError
from analysis.data import starter
from analysis.models.architecture.families import DEPENDENT_ON_INDEX
from analysis.models.source.model_spec import ModelSpec

_LISTING = (
    "cohere2",
    "exaone4",
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "lfm2",
    "llama4_text",
    "ministral",
    "olmo3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_5_text",
    "qwen3_next",
    "smollm3",
)
"""Common families whose configuration lists the kind of each layer."""


def mergekit_stops(family: str) -> str:
    """Return the way in which mergekit fails for this family, in a sentence; "" if it makes a
    complete folder.

    Found with mergekit 0.1.5 and transformers 5: it sets the number of layers, and leaves
    `layer_types` as long as it was.
    """
    if family in DEPENDENT_ON_INDEX:
        return (
            f"mergekit copies the layers of a {family} model unchanged, but they depend on their"
            " index, so the outputs would differ. Export a model folder (hf) instead."
        )
    if family not in _LISTING:
        return ""
    return (
        f"mergekit 0.1.5 saves the weights of a {family} model, but its configuration fails: it"
        " keeps all layer_types. Export a model folder (hf) instead, or use its config.json."
    )


def mergekit(model: str, cut: Removal, n_layers: int, dtype: str, *notes: str) -> str:
    """Return the mergekit configuration of the same cut; its layer ranges are half-open, like ours.

    Args:
        model: the source that mergekit loads: a hub id or a folder.
        cut: the removed layers.
        n_layers: L.
        dtype: float32, bfloat16 or float16.
        notes: comments at the top; empty ones are left out.

    Raises:
        SpecError: if single sublayers are removed.
    """
    check_whole(cut, "A mergekit recipe")
    name = json.dumps(
        model, ensure_ascii=False
    )  # a JSON string is a YAML string, with any characters
    lines = [
        f"# {name} without {cut.describe()} of {n_layers} layers (0-based). Ranges are half-open."
    ]
    lines += [*(f"# {note}" for note in notes if note), "slices:"]
    for begin, end in remaining_runs(cut, n_layers):
        lines += [
            "  - sources:",
            f"      - model: {name}",
            f"        layer_range: [{begin}, {end}]",
        ]
    return "\n".join([*lines, "merge_method: passthrough", f"dtype: {dtype}", ""])


def check_whole(cut: Removal, subject: str) -> None:
    """Refuse the removal of single sublayers for a format of whole layers.

    Args:
        cut: the removed layers.
        subject: the format or the command, as the error names it.

    Raises:
        SpecError: if single sublayers are removed.
    """
    if isinstance(cut, PartSet):
        raise SpecError(
            f"{subject} can remove whole layers only, not {cut.brief()}. Export the model as a"
            " folder (hf)."
        )


def mergekit_source(spec: ModelSpec, part_of: str = "") -> tuple[str, str]:
    """Return the source of a model for mergekit, and a caveat ("" for none).

    It reads no GGUF file, so that of the starter model is replaced by the original.

    Args:
        spec: the model.
        part_of: for a text part, the family of the complete model.
    """
    if part_of:
        return (
            spec.source,
            (
                f"mergekit cannot extract the text model of a {part_of} model. Export a model"
                " folder (hf) instead."
            ),
        )
    if spec.source.endswith(".gguf"):
        return (
            spec.source,
            (
                "mergekit reads no GGUF file. Put a folder or a Hub id of this model with"
                " safetensors in its place."
            ),
        )
    if spec.source != "starter":
        return spec.source, ""
    return (
        starter.HUB_ID,
        (
            "The starter model is this one rounded to about 4.5 bits. mergekit uses its unrounded"
            " weights."
        ),
    )


def remaining_runs(cut: Removal, n_layers: int) -> list[tuple[int, int]]:
    """Return the ranges of remaining layers, half-open."""
    removed = set(cut.layers)
    runs: list[tuple[int, int]] = []
    for layer in range(n_layers):
        if layer in removed:
            continue
        if runs and runs[-1][1] == layer:
            runs[-1] = (runs[-1][0], layer + 1)
        else:
            runs.append((layer, layer + 1))
    return runs


def to_gguf(folder: str, kind: str = "Q8_0") -> str:
    """Return the llama.cpp commands that make a quantized GGUF file of a model folder.

    Args:
        folder: a Hugging Face folder.
        kind: llama.cpp's name of the quantization.
    """
    stem = Path(folder).name
    convert = [
        "python",
        "convert_hf_to_gguf.py",
        folder,
        "--outtype",
        "f16",
        "--outfile",
        f"{stem}-f16.gguf",
    ]
    return "\n".join(
        map(
            escapes.command,
            [convert, ["llama-quantize", f"{stem}-f16.gguf", f"{stem}-{kind}.gguf", kind]],
        )
    )


def run_gguf(folder: str, file: str) -> str:
    """Return the commands that run an exported GGUF file in llama.cpp and in Ollama.

    Args:
        folder: folder of the export.
        file: name of the GGUF file in it.
    """
    name = file.removesuffix(".gguf").lower()
    commands = [
        ["llama-cli", "-m", f"{folder}/{file}"],
        ["ollama", "create", name, "-f", f"{folder}/Modelfile"],
        ["ollama", "run", name],
    ]
    return "\n".join(map(escapes.command, commands))
