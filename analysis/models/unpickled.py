"""Pickled weights (`pytorch_model.bin`) made into safetensors once, in a folder of their own, without running what is in them.

PyTorch reads them with an unpickler that knows tensors and nothing else (`weights_only`), so that a file with code in it is an
error and not run. Models are loaded from what was made, never from a pickle.
"""

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from analysis.core import disk, store, units
from analysis.core.errors import ModelNotFoundError, StorageError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.remote import BESIDE

_WEIGHTS = "pytorch_model*.bin"
_PHASE = "converting pickled weights"


def convert(source: Path, target: Path, on_progress: OnProgress = ignore) -> list[str]:
    """Write the model in a folder with pickled weights as a folder with safetensors: the same tensors under the same names.

    Args:
        source: with a config.json and pytorch_model.bin, in one file or several.
        target: is made; nothing half-written stays.
        on_progress: told of each file.

    Returns:
        Names of the files that were converted.

    Raises:
        ModelNotFoundError: when the folder has no such weights.
        UnsupportedModelError: when a file holds anything but tensors by name.
        StorageError: when the target is there, or the disk is full.
    """
    files = sorted(source.glob(_WEIGHTS)) if (source / "config.json").is_file() else []
    if not files:
        raise ModelNotFoundError(
            f"The folder {source.name} has no config.json with pytorch_model.bin beside it; give the folder of a model with "
            f"pickled weights."
        )
    if target.exists():
        raise StorageError(f"{target.name} is there already, and what is in it is not replaced; name a folder that is not.")
    takes, free = sum(file.stat().st_size for file in files), disk.free_bytes(target)
    if takes > free:
        raise StorageError(f"The converted weights take {units.size(takes)}, and {units.size(free)} of the disk are free.")

    def fill(folder: Path) -> None:
        places: dict[str, str] = {}
        for place, file in enumerate(files):
            on_progress(Progress(_PHASE, place, len(files), f"Reading {file.name}, of which nothing is run."))
            name = "model.safetensors" if len(files) == 1 else f"model-{place + 1:05}-of-{len(files):05}.safetensors"
            tensors = _tensors(file)
            if twice := sorted(places.keys() & tensors.keys()):
                raise UnsupportedModelError(
                    f"{file.name} holds {twice[0]}, which is in another file as well; get its files again."
                )
            save_file(tensors, folder / name, {"format": "pt"})
            places |= dict.fromkeys(tensors, name)
        if len(files) > 1:
            index = {"metadata": {"total_size": takes}, "weight_map": places}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True))
        for file in sorted(source.iterdir()):
            if file.is_file() and file.suffix in BESIDE and not file.name.endswith(".bin.index.json"):
                shutil.copyfile(file, folder / file.name)
        on_progress(Progress(_PHASE, len(files), len(files)))

    store.write_folder(target, fill)
    return [file.name for file in files]


def _tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, each with memory of its own.

    Raises:
        UnsupportedModelError: when something else is in it.
    """
    try:
        held: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
    ) as error:
        raise UnsupportedModelError(
            f"{file.name} holds more than tensors or is not whole, and nothing of it was run; get the model's safetensors, or "
            f"its files again."
        ) from error
    if not isinstance(held, dict) or not held or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in held.items()):
        raise UnsupportedModelError(
            f"{file.name} does not hold tensors by name, as `save_pretrained` wrote them; it is something else than a model's "
            f"weights."
        )
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in held.items()}
