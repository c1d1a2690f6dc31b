"""The forms in which a cut model is saved: each writes a folder, and loads it again without code of
this program.
"""

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
from analysis.exports import folders, gguf_adapter
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
    """A pruned model to save."""

    planned: Plan
    """Plan of the unpruned model."""
    cut: Removal
    adapter: str | None
    """Folder of the adapter that is merged in; None for a model that is not healed."""
    model: Any
    """Model of transformers, pruned, with the adapter merged in."""
    tokenizer: Any


@dataclass(frozen=True)
class Form:
    """A way to save a model."""

    name: str
    """Name in a request."""
    why_not: Callable[[ModelSpec, Removal], str | None]
    """Function of the model and the removed layers that returns why they cannot be saved, None if
    they can."""
    check: Callable[[Decoder], None]
    """Function that raises an `UnsupportedModelError` if the pruned model would be another one
    after loading."""
    write: Callable[[Path, Saved], str]
    """Function that writes into an existing folder, and returns a remark, "" for none."""
    load: Callable[[Path, str], Any]
    """Function of the folder and a dtype that returns the model of transformers, on the CPU."""


def _write_folder(folder: Path, saved: Saved) -> str:
    saved.model.save_pretrained(folder)
    saved.tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps(config | _by_older_names(config), indent=2, sort_keys=True) + "\n",
        encoding="utf-8",
    )
    return ""


def _by_older_names(config: dict[str, Any]) -> dict[str, Any]:
    """Return the rotation of positions in the fields of transformers before version 5, which MLX
    and others still read.

    Without these fields they silently compute with the default of the family.
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
    scaled = {
        name: value
        for name, value in rope.items()
        if name not in ("rope_theta", "partial_rotary_factor")
    }
    values = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    return values | (
        {} if rope.get("rope_type", "default") == "default" else {"rope_scaling": scaled}
    )


def _load_folder(folder: Path, dtype: str) -> Any:
    return weights.load_all(
        "The saved folder", folder, {"dtype": getattr(torch, dtype), "use_safetensors": True}
    )


def _check_folder(decoder: Decoder) -> None:
    """Compare names and shapes of the weights with those of the model that the pruned configuration
    builds.
    """
    try:
        with pretrained.BUILDING, torch.device("meta"):
            rebuilt = AutoModelForCausalLM.from_config(layer_removal.as_saved(decoder.model.config))
    except (
        Exception
    ) as error:  # transformers refuses a configuration with a dozen unrelated types of error
        raise UnsupportedModelError(
            f"Plain transformers cannot load this {decoder.config.model_type} model without the"
            f" block: {failures.clause(error)}. Choose another block."
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in rebuilt.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in decoder.model.state_dict().items()}
    if expected != shapes:
        wrong = sorted(
            name
            for name in expected.keys() | shapes.keys()
            if expected.get(name) != shapes.get(name)
        )
        counted = {name: getattr(decoder.config, name, None) for name in decoder.family.periods}
        orders = ", ".join(
            f"{name} {period}"
            for name, period in counted.items()
            if isinstance(period, int) and period > 1
        )
        raise UnsupportedModelError(
            f"The configuration of {decoder.config.model_type} does not rebuild the pruned model"
            f" ({wrong[0]} and {len(wrong) - 1} more"
            f" differ){f': it counts layers by {orders}' if orders else ''}. Choose another block."
        )


def _write_gguf(folder: Path, saved: Saved) -> str:
    source = location.gguf_of(saved.planned.spec)
    adapter = saved.adapter
    assert source is not None, "a model without a file is refused"
    name = (
        folders.suggested_name(saved.planned.facts.name, saved.cut, healed=adapter is not None)
        + gguf.SUFFIX
    )
    changed = None if adapter is None else gguf_cut.changed(source, saved.cut, saved.model)
    gguf_cut.write(source, saved.cut, folder / name, changed)
    # Ollama reads the chat template from the file.
    (folder / "Modelfile").write_text(
        f"FROM ./{name}\nPARAMETER temperature 0.7\n", encoding="utf-8"
    )
    why_not = None if adapter is None else gguf_adapter.refusal(source, Path(adapter))
    if adapter is None or why_not is not None:
        return why_not or ""
    gguf_adapter.write(source, Path(adapter), saved.model.config, folder / folders.ADAPTER)
    return (
        f"{folders.ADAPTER} is the adapter alone: llama.cpp applies it by --lora to the cut file"
        " that is not healed."
    )


def _load_gguf(folder: Path, dtype: str) -> Any:
    path = folders.gguf_file(folder)
    assert path is not None
    with gguf.shared_reader():
        saved = Source(folder, path.name, path.stem, "")
        plain = gguf_conversion.unpacked(saved, config.read_config(saved))
        return weights.load_all("The saved file", folder, {**plain, "dtype": getattr(torch, dtype)})


FORMS = {
    form.name: form
    for form in (
        Form("hf", lambda family, cut: None, _check_folder, _write_folder, _load_folder),
        Form("gguf", gguf_families.refusal, lambda decoder: None, _write_gguf, _load_gguf),
    )
}
"""Forms by name."""
