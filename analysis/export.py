"""What leaves the house: a cut model as a plain Hugging Face folder, or the cut as a mergekit recipe."""

import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from analysis import architecture, evaluation, machine, models, pruning, storage
from analysis.architecture import Decoder
from analysis.blocks import Block
from analysis.errors import SpecError, StorageError, UnsupportedModelError
from analysis.progress import OnProgress, Progress, ignore
from analysis.specs import ModelSpec

FORMATS = ("hf", "mergekit")


def export(
    spec: ModelSpec,
    block: Block,
    out: Path,
    *,
    adapter: str | None = None,
    format: str = "hf",
    on_progress: OnProgress = ignore,
) -> Path:
    """Write the model without `block` to the folder `out`, which must not exist yet or be empty.

    `hf` writes a folder that plain transformers loads and generates from, with the adapter merged in if there is one;
    `mergekit` writes the recipe `mergekit.yaml` that makes the same cut.

    Returns:
        The folder.

    Raises:
        SpecError: an unknown format, a folder in use, or a combination that cannot work.
        StorageError: not enough space; nothing half-written stays.
        UnsupportedModelError: the cut configuration would not reload as the same model.
    """
    if format not in FORMATS:
        raise SpecError(f"format must be one of {', '.join(FORMATS)}, not {format!r}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"{out} already exists and is not empty; name a new folder.")
    planned = models.plan(spec, on_progress)
    block.check(planned.facts.n_layers)
    if format == "mergekit":
        if adapter is not None:
            raise SpecError("A mergekit recipe cannot carry an adapter; export the hf format, which merges it.")
        content = mergekit_recipe(planned.source.name, block, planned.facts.n_layers, planned.spec.dtype)
        storage.write_folder(out, lambda folder: storage.write_atomic(folder / "mergekit.yaml", content.encode()))
        return out
    if spec.quantization != "none":
        raise SpecError("A quantized model is not exported: rounding would be baked in; choose quantization none.")
    _check_space(out, planned.weight_bytes)
    loaded = models.load(planned.spec, on_progress)
    if adapter is None:
        pruning.cut(loaded.decoder, block)
        model = loaded.model
    else:
        model = evaluation.with_adapter(loaded, block, adapter).model.merge_and_unload()
    on_progress(Progress("saving the model", 0, 1))
    _check_reloads(architecture.find_decoder(model))
    provenance = {
        "model": planned.spec.to_json(),
        "removed": block.to_json() | {"layers": list(block.layers), "description": block.describe()},
        "adapter": adapter,
        "versions": machine.versions(),
        "method": "Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, arXiv:2403.17887",
    }

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        (folder / "layerscope.json").write_text(json.dumps(provenance, indent=1))

    storage.write_folder(out, fill)
    on_progress(Progress("saving the model", 1, 1, f"Saved to {out}."))
    return out


def mergekit_recipe(model: str, block: Block, n_layers: int, dtype: str) -> str:
    """The mergekit configuration of the same cut; its layer ranges are half-open, like ours."""
    ranges = [(0, block.start), (block.stop, n_layers)]
    lines = [f"# {model} without {block.describe()} of {n_layers} layers (0-based); ranges are half-open.", "slices:"]
    for begin, end in ranges:
        if begin < end:
            lines += ["  - sources:", f"      - model: {model}", f"        layer_range: [{begin}, {end}]"]
    return "\n".join([*lines, "merge_method: passthrough", f"dtype: {dtype}", ""])


def _check_space(out: Path, size: int) -> None:
    parent = next(folder for folder in [out, *out.resolve().parents] if folder.exists())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise StorageError(
            f"The model needs about {size / 1e9:.1f} GB on disk, and {free / 1e9:.1f} GB are free at {parent}; free some space "
            f"or choose another folder."
        )


def _check_reloads(decoder: Decoder) -> None:
    """Compare the cut model with what its cut configuration builds: same names, same shapes."""
    with torch.device("meta"):
        rebuilt = AutoModelForCausalLM.from_config(decoder.model.config)
    expected = {name: tuple(tensor.shape) for name, tensor in rebuilt.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in decoder.model.state_dict().items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise UnsupportedModelError(
            f"After this cut the configuration of {decoder.config.model_type} would not rebuild the same model ({wrong[0]} and "
            f"{len(wrong) - 1} more differ); choose another block."
        )
