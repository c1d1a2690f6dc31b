"""The forms in which a cut model is saved: each writes it into a folder, and loads it again as anyone would."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from analysis.core import failures
from analysis.core.blocks import Removal
from analysis.core.errors import UnsupportedModelError
from analysis.exports import folders
from analysis.models.architecture import layer_removal
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import config, gguf_conversion, pretrained, weights
from analysis.models.loading.planning import Plan
from analysis.models.running import gguf_cut
from analysis.models.source import gguf, gguf_families, location
from analysis.models.source.location import Source
from analysis.models.source.model_spec import ModelSpec


@dataclass(frozen=True)
class Saved:
    """The parts of a model to save."""

    planned: Plan
    """Of the model before the cut."""
    cut: Removal
    healed: bool
    model: Any
    """Of transformers: cut, and healed if it was."""
    tokenizer: Any


@dataclass(frozen=True)
class Form:
    """One way of saving it."""

    name: str
    """Its name in a request."""
    why_not: Callable[[ModelSpec, Removal], str | None]
    """From the model and the cut: why it cannot be, in a sentence, before anything is loaded; None if it may."""
    check: Callable[[Decoder], None]
    """Refuses a cut model that would not be the same one again: raises an `UnsupportedModelError`."""
    write: Callable[[Path, Saved], None]
    """Into a folder that is there."""
    load: Callable[[Path, str], Any]
    """From the folder and a dtype: the model of transformers, on the CPU."""


def _write_folder(folder: Path, saved: Saved) -> None:
    saved.model.save_pretrained(folder)
    saved.tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | _by_older_names(config), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _by_older_names(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are rotated, in the fields that it was said in before transformers 5, which MLX and others still read.

    Where they are missing, those take the default of the family, and compute another model without a word.
    """
    rope = config.get("rope_parameters") or {}
    if set(rope) == {"full_attention", "sliding_attention"}:
        if not {(part or {}).get("rope_type") for part in rope.values()} <= {"default", "linear"}:
            return {}  # newer than those fields, or layers that rotate nothing
        full = rope["full_attention"]
        local = {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"]}
        return {**_by_older_names({"rope_parameters": full}), **local}
    if "rope_theta" not in rope:
        return {}
    scaled = {name: value for name, value in rope.items() if name not in ("rope_theta", "partial_rotary_factor")}
    values = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    return values | ({} if rope.get("rope_type", "default") == "default" else {"rope_scaling": scaled})


def _load_folder(folder: Path, dtype: str) -> Any:
    return weights.whole("The saved folder", folder, {"dtype": getattr(torch, dtype), "use_safetensors": True})


def _check_folder(decoder: Decoder) -> None:
    """Compare the cut model with the one that its cut configuration builds: same names, same shapes."""
    try:
        with pretrained.BUILDING, torch.device("meta"):
            rebuilt = AutoModelForCausalLM.from_config(layer_removal.as_saved(decoder.model.config))
    except Exception as error:  # transformers refuses a configuration with a dozen unrelated types of error
        raise UnsupportedModelError(
            f"Plain transformers cannot load this {decoder.config.model_type} model without the block: "
            f"{failures.clause(error)}. Choose another block."
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in rebuilt.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in decoder.model.state_dict().items()}
    if expected != shapes:
        wrong = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
        counted = {name: getattr(decoder.config, name, None) for name in decoder.family.periods}
        orders = ", ".join(f"{name} {period}" for name, period in counted.items() if isinstance(period, int) and period > 1)
        raise UnsupportedModelError(
            f"The configuration of {decoder.config.model_type} does not rebuild the pruned model ({wrong[0]} and "
            f"{len(wrong) - 1} more differ){f': it counts layers by {orders}' if orders else ''}. Choose another block."
        )


def _write_gguf(folder: Path, saved: Saved) -> None:
    source = location.gguf_of(saved.planned.spec)
    assert source is not None, "a model without a file is refused"
    name = folders.suggested_name(saved.planned.facts.name, saved.cut, healed=saved.healed) + gguf.SUFFIX
    changed = gguf_cut.changed(source, saved.cut, saved.model) if saved.healed else None
    gguf_cut.write(source, saved.cut, folder / name, changed)
    # Ollama reads the chat template from the file.
    (folder / "Modelfile").write_text(f"FROM ./{name}\nPARAMETER temperature 0.7\n", encoding="utf-8")


def _load_gguf(folder: Path, dtype: str) -> Any:
    (path,) = folder.glob(f"*{gguf.SUFFIX}")
    with gguf.shared_reader():
        saved = Source(folder, path.name, path.stem, "")
        plain = gguf_conversion.unpacked(saved, config.read_config(saved))
        return weights.whole("The saved file", folder, {**plain, "dtype": getattr(torch, dtype)})


FORMS = {
    form.name: form
    for form in (
        Form("hf", lambda family, cut: None, _check_folder, _write_folder, _load_folder),
        Form("gguf", gguf_families.refusal, lambda decoder: None, _write_gguf, _load_gguf),
    )
}
"""By name."""
