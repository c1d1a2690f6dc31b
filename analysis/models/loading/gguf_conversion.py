"""Conversion of GGUF files to Hugging Face folders in the cache."""

from pathlib import Path
from typing import Any

import torch
from transformers import GgufConfig

from analysis.core import disk, store, units
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.loading import tokenizer as tokenizers
from analysis.models.loading import weights
from analysis.models.loading.config import read_config, reading_errors_explained
from analysis.models.source import conversions, gguf
from analysis.models.source.location import Source


def converted(
    source: Source, n_parameters: int, free_bytes: int, on_progress: OnProgress = ignore
) -> Source:
    """Convert a GGUF file once to a folder in the cache, which all later loads read.

    Args:
        source: the GGUF file.
        n_parameters: parameters of the model, which is converted and stored in float32.
        free_bytes: free memory.
        on_progress: receives progress, and a message if memory or disk is too small for the
            conversion.

    Returns:
        The folder, or `source` if it is not converted.

    Raises:
        UnsupportedModelError: If the file cannot be used.
        StorageError: If the cache folder cannot be written.
    """
    assert source.gguf_file is not None
    phase = "converting the GGUF file"
    folder = conversions.folder_of(source.identity)
    takes = 4 * n_parameters
    for where, free in (
        ("memory", free_bytes),
        ("the disk of the cache folder", disk.free_bytes(folder)),
    ):
        if takes > free:
            message = (
                f"{source.gguf_file} is unpacked at every start: as a folder it needs"
                f" {units.size(takes)}, but only"
            )
            on_progress(
                Progress(phase, message=f"{message} {units.size(free)} of {where} are free.")
            )
            return source

    def fill(target: Path) -> None:
        with gguf.shared_reader():
            tokenizer = tokenizers.load(source)
            plain = unpacked(source, read_config(source))
            with reading_errors_explained(source, "weights"):
                model = weights.load_all(
                    source.name, source.folder, {**plain, "dtype": torch.float32}
                )
        tokenizer.save_pretrained(target)
        model.save_pretrained(target)
        conversions.sign(target, str(source.gguf_file))

    message = (
        f"Converting {source.gguf_file} once into a folder of {units.size(takes)}. Later starts"
        " load the folder."
    )
    on_progress(Progress(phase, 0, 1, message))
    store.write_folder(folder, fill)
    on_progress(Progress(phase, 1, 1))
    return Source(folder, None, source.name, source.identity)


def unpacked(source: Source, config: Any) -> dict[str, Any]:
    """Return the options of `from_pretrained` that dequantize a GGUF file.

    Args:
        source: the file.
        config: transformers configuration, completed by `read_config`.
    """
    return {
        "gguf_file": source.gguf_file,
        "config": config,
        "quantization_config": GgufConfig(dequantize=True),
    }
