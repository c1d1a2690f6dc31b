"""Pickled weights (`pytorch_model.bin`) made into safetensors once, in a folder of their own, without running their code.

PyTorch reads them with an unpickler that knows tensors and nothing else (`weights_only`). So a file with code in it raises an
error and is not run. Models are loaded from the safetensors files, never from a pickle. Each file is read in a process of its
own with bounds of memory and time, and written tensor by tensor.
"""

import json
import math
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from analysis.core import disk, input_files, sandbox, store, units
from analysis.core.errors import ModelNotFoundError, StorageError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.source import model_files
from analysis.models.source.remote import BESIDE

_WEIGHTS = "pytorch_model*.bin"
_PHASE = "converting pickled weights"
_MOST_TIMES = 4
"""The tensors of a file may take as many times its size: several names may share one tensor, as tied embeddings do."""
_SMALL_BYTES = 1 << 20
_EXTRA_BYTES = 1 << 30
_LEAST_S, _SLOWEST_BYTES_PER_S = 120.0, 5e6
_WRITTEN_BYTES = 64 << 20
"""At a time."""
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of dtypes in a safetensors file."""


def convert(source: Path, target: Path, on_progress: OnProgress = ignore) -> list[str]:
    """Write the model in a folder with pickled weights as a folder with safetensors: the same tensors under the same names.

    Args:
        source: with a config.json and pytorch_model.bin, in one file or several.
        target: is made; nothing half-written stays.
        on_progress: receives reports of each file.

    Returns:
        Names of the files that were converted.

    Raises:
        ModelNotFoundError: when the folder has no such weights.
        UnsupportedModelError: when a file holds anything but tensors by name, or tensors that are larger than the file. Also
            when the folder leads to files elsewhere.
        StorageError: when the target is there, or the disk is full.
    """
    files = sorted(source.glob(_WEIGHTS)) if (source / "config.json").is_file() else []
    if not files:
        raise ModelNotFoundError(
            f"The folder {source.name} has no config.json with a pytorch_model.bin next to it. Give the folder of "
            "a model with pickled weights."
        )
    try:
        model_files.check(source)
        sizes = [input_files.regular(file).st_size for file in files]
    except OSError as error:
        raise UnsupportedModelError(
            f"{Path(error.filename or source).name} of {source.name} cannot be read: {error.strerror or error}. Get it again."
        ) from error
    if target.exists():
        raise StorageError(f"{target.name} exists already, and Layerscope does not replace it. Name a new folder.")
    takes, free = sum(sizes), disk.free_bytes(target)
    if takes > free:
        raise StorageError(
            f"The converted weights need {units.size(takes)}, but only {units.size(free)} of the disk are free. "
            "Free some space."
        )

    def fill(folder: Path) -> None:
        places: dict[str, str] = {}
        for number, file in enumerate(files):
            on_progress(Progress(_PHASE, number, len(files), f"Converting {file.name} without running its code."))
            name = "model.safetensors" if len(files) == 1 else f"model-{number + 1:05}-of-{len(files):05}.safetensors"
            names = _write_apart(file, folder / name)
            if twice := sorted(places.keys() & set(names)):
                raise UnsupportedModelError(
                    f"{file.name} holds {twice[0]}, which is also in another file. Get its files again."
                )
            places |= dict.fromkeys(names, name)
        if len(files) > 1:
            index = {"metadata": {"total_size": takes}, "weight_map": places}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True))
        for file in sorted(source.iterdir()):
            if file.is_file() and file.suffix in BESIDE and not file.name.endswith(".bin.index.json"):
                shutil.copyfile(file, folder / file.name)
        on_progress(Progress(_PHASE, len(files), len(files)))

    store.write_folder(target, fill)
    return [file.name for file in files]


def _write_apart(file: Path, target: Path) -> list[str]:
    """Convert one file in a process of its own, whose memory and time are bounded by the size of the file."""
    size = file.stat().st_size
    try:
        names: list[str] = sandbox.answer(
            f"{__name__}:write",
            str(file.absolute()),
            str(target.absolute()),
            memory_bytes=psutil.Process().memory_info().vms + _EXTRA_BYTES + 3 * size,
            seconds=_LEAST_S + size / _SLOWEST_BYTES_PER_S,
        )
    except sandbox.OverLimitError as error:
        raise UnsupportedModelError(
            f"Converting {file.name} takes more than {error}. Its size ({units.size(size)}) does not explain that. "
            f"Get the model's safetensors, or its files again."
        ) from error
    return names


def write(file: str, target: str) -> list[str]:
    """Write the tensors of a pickled file as a safetensors file, one after another; returns their names.

    Raises:
        UnsupportedModelError: when the file holds something else, or tensors that a safetensors file cannot hold.
        StorageError: when the target cannot be written.
    """
    tensors = _tensors(Path(file))
    _check_tensors(Path(file), tensors)
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each is aligned
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + _size(tensors[name])
        head[name] = {"dtype": _DTYPES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with store.disk_errors_explained(Path(target)), open(target, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            plain = tensors[name].resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
            for part in plain.split(_WRITTEN_BYTES):
                stream.write(part.numpy().data)
    return names


def _size(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()


def _check_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse objects other than plain tensors, and tensors that take far more than their file, before memory is allocated."""
    for name, tensor in tensors.items():
        kinds = {
            "nested": tensor.is_nested,
            "sparse": tensor.layout != torch.strided,
            "quantized": tensor.is_quantized,
            "without numbers": tensor.device.type != "cpu",
            f"of the type {tensor.dtype}": tensor.dtype not in _DTYPES,
        }
        if kind := next((kind for kind, is_so in kinds.items() if is_so), ""):
            raise UnsupportedModelError(
                f"{name[:80]} in {file.name} is {kind}. Only plain tensors can be converted. Save the model again with plain "
                f"weights."
            )
        if name == "__metadata__" or not name.isprintable():
            raise UnsupportedModelError(
                f"{file.name} holds a tensor called {name[:80]!r}, which a safetensors file cannot hold. Get its files again."
            )
    takes, size = sum(map(_size, tensors.values())), file.stat().st_size
    if takes > max(_MOST_TIMES * size, _SMALL_BYTES):
        raise UnsupportedModelError(
            f"The tensors of {file.name} need {units.size(takes)}, but the file has only {units.size(size)}, "
            "because they share numbers. Save the model again with a separate tensor for each name."
        )


def _tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; they may share memory.

    Raises:
        UnsupportedModelError: when something else is in it.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
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
            f"{file.name} is incomplete or holds more than tensors. None of it was run. Get the model's "
            "safetensors, or its files again."
        ) from error
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise UnsupportedModelError(
            f"{file.name} does not hold tensors by name, as `save_pretrained` writes them. Give a file with a model's weights."
        )
    return {name: tensor.detach() for name, tensor in content.items()}
