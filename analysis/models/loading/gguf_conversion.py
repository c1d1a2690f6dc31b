"""GGUF files turned into plain folders in the cache, the starter model among them."""

from pathlib import Path
from typing import Any

import torch
from transformers import GgufConfig

from analysis.core import disk, store, units
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data.starter import NAME, gguf_file, model_identity
from analysis.models.loading import tokenizer as tokenizers
from analysis.models.loading import weights
from analysis.models.loading.config import read_config, reading_errors_explained
from analysis.models.source import conversions, gguf
from analysis.models.source.location import Source, locate
from analysis.models.source.model_spec import ModelSpec


def model_folder(on_progress: OnProgress = ignore) -> Path:
    """The starter model as a plain Hugging Face folder in float32, converted on first use.

    Raises:
        ModelNotFoundError: when the pack is not installed.
        StorageError: when the disk is full; nothing half-written stays.
    """
    file, folder = gguf_file(), conversions.starter_folder()
    if not conversions.is_starter_converted():
        on_progress(Progress("converting the starter model", 0, 1, "Converting the starter model once, about 10 seconds."))
        source = Source(file.parent, file.name, NAME, model_identity())
        store.write_folder(folder, lambda target: _convert(source, target))
        on_progress(Progress("converting the starter model", 1, 1, f"The starter model is ready in {folder.name}."))
    return folder


def with_weights(spec: ModelSpec, on_progress: OnProgress = ignore) -> Source:
    """Find a model's files as `locate` does, its weights included; the starter model is converted on first use."""
    if spec.source == "starter":
        model_folder(on_progress)
    return locate(spec, on_progress)


def _convert(source: Source, target: Path) -> None:
    with gguf.shared_reader():
        tokenizer = tokenizers.load(source)
        plain = unpacked(source, read_config(source))
        with reading_errors_explained(source, "weights"):
            model = weights.whole(source.name, source.folder, {**plain, "dtype": torch.float32})
    tokenizer.save_pretrained(target)
    model.save_pretrained(target)


def converted(source: Source, n_parameters: int, free_bytes: int, on_progress: OnProgress = ignore) -> Source:
    """A GGUF file as a plain folder in the cache, made once: every command and page then reads that.

    Args:
        source: of a GGUF file.
        n_parameters: of the model, which is in float32 during the conversion, and in the folder.
        free_bytes: of memory.
        on_progress: receives reports, also on why the file itself is read if the disk is too small for a folder.

    Raises:
        UnsupportedModelError: when the file cannot be used.
        StorageError: when the cache folder cannot be written.
    """
    assert source.gguf_file is not None
    phase, folder, takes = "converting the GGUF file", conversions.folder_of(source.identity), 4 * n_parameters
    for where, free in (("memory", free_bytes), ("the disk of the cache folder", disk.free_bytes(folder))):
        if takes > free:
            message = f"{source.gguf_file} is unpacked at every start: as a folder it needs {units.size(takes)}, but only"
            on_progress(Progress(phase, message=f"{message} {units.size(free)} of {where} are free."))
            return source

    def fill(target: Path) -> None:
        _convert(source, target)
        conversions.sign(target, str(source.gguf_file))

    message = f"Converting {source.gguf_file} once into a folder of {units.size(takes)}. Later starts load the folder."
    on_progress(Progress(phase, 0, 1, message))
    store.write_folder(folder, fill)
    on_progress(Progress(phase, 1, 1))
    return Source(folder, None, source.name, source.identity)


def unpacked(source: Source, config: Any) -> dict[str, Any]:
    """The options of `from_pretrained` that make a plain model of a GGUF file.

    Args:
        source: of the file.
        config: of transformers, with the fields that it does not read of the file (`read_config`).
    """
    return {"gguf_file": source.gguf_file, "config": config, "quantization_config": GgufConfig(dequantize=True)}
