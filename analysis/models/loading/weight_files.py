"""Reads tensors of safetensors and GGUF files, each once, in the order of the file and without
copies.

Both formats begin with a header with the position of each tensor. The tensors of a layer are a few
contiguous ranges, which are read directly into their destination. Source: the specifications of the
formats, github.com/huggingface/safetensors and docs/gguf.md in github.com/ggml-org/ggml.
"""

import math
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analysis.core import input_files
from analysis.core.errors import UnsupportedModelError
from analysis.models.source import gguf, model_files

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_GGUF_DTYPES = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}
"""Unquantized ggml types by number."""
_MAX_HEADER_BYTES = 100 << 20
_ALIGNED = 64
"""Alignment of reads in bytes, so that every tensor can be viewed in its dtype."""
_MAX_READ_BYTES = 64 << 20
"""Maximum bytes per system call."""


@dataclass(frozen=True)
class TensorPlace:
    """Location of one tensor."""

    file: Path
    begin: int
    end: int
    """End in bytes, exclusive."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    """Shape of the stored tensor. The last dimension of a quantized tensor is in bytes."""
    blocks: tuple[int, int, int] | None = None
    """ggml type, values per block and bytes per block of a quantized tensor."""

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return self.end - self.begin

    @property
    def numbers(self) -> tuple[int, ...]:
        """Shape of the dequantized tensor."""
        if self.blocks is None:
            return self.shape
        _, n_numbers, n_bytes = self.blocks
        return (*self.shape[:-1], self.shape[-1] // n_bytes * n_numbers)


class WeightFiles:
    """The tensors of a folder of safetensors files or of a GGUF file, by name."""

    def __init__(self, path: Path) -> None:
        """Read the headers of all files.

        Args:
            path: the folder, or the GGUF file.

        Raises:
            UnsupportedModelError: If a file is broken or has another format.
        """
        self.path = path
        self.places: dict[str, TensorPlace] = {}
        self.bytes_read = 0
        """Bytes of weights read so far."""
        self._file_identities: dict[Path, tuple[int, int]] = {}
        if path.is_file():
            self.places = _of_gguf(path)
            return
        with model_files.checked(path):
            for file in model_files.weights(path):
                self.places.update(_header(file))
                self._file_identities[file] = _file_identity(file.stat())

    @property
    def integers(self) -> list[str]:
        """Names of the tensors of integers or booleans."""
        return [name for name, place in self.places.items() if not place.dtype.is_floating_point]

    def n_bytes_of(self, names: Iterable[str]) -> int:
        """Return the bytes of some tensors in the files."""
        return sum(self.places[name].n_bytes for name in names)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return tensors on the CPU in their stored dtypes. Adjacent tensors share memory.

        Their pages in the file cache are released, since they are read only once.

        Raises:
            UnsupportedModelError: If a file is truncated.
            OSError: If a file cannot be read.
        """
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.places[name].file, []).append(name)
        tensors: dict[str, Tensor] = {}
        for file, names_in_file in by_file.items():
            tensors |= self._of_file(
                file, sorted(names_in_file, key=lambda name: self.places[name].begin)
            )
        return tensors

    def _of_file(self, file: Path, names: Sequence[str]) -> dict[str, Tensor]:
        tensors = {}
        handle = os.open(file, os.O_RDONLY)
        try:
            if self._file_identities.get(file, _file_identity(os.fstat(handle))) != _file_identity(
                os.fstat(handle)
            ):
                raise UnsupportedModelError(
                    f"{file.name} changed while it was read. Wait until it is complete, and run it"
                    " again."
                )
            for names_in_range in _contiguous_ranges(names, self.places):
                begin = self.places[names_in_range[0]].begin
                end = self.places[names_in_range[-1]].end
                before = begin % _ALIGNED
                buffer = torch.empty(before + end - begin, dtype=torch.uint8)
                _fill(handle, buffer[before:], begin, file)
                self.bytes_read += end - begin
                for name in names_in_range:
                    place = self.places[name]
                    part = buffer[before + place.begin - begin : before + place.end - begin]
                    if part.storage_offset() % place.dtype.itemsize:
                        part = part.clone()
                    tensors[name] = part.view(place.dtype).view(place.shape)
                if hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(handle, begin, end - begin, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
        return tensors


def _file_identity(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode of a file."""
    return status.st_dev, status.st_ino


def _fill(handle: int, buffer: Tensor, begin: int, file: Path) -> None:
    view = buffer.numpy().data
    done = 0
    while done < len(view):
        n_read = os.preadv(handle, [view[done : done + _MAX_READ_BYTES]], begin + done)
        if not n_read:
            raise UnsupportedModelError(f"{file.name} ends within its weights. Get it again.")
        done += n_read


def _contiguous_ranges(names: Sequence[str], places: Mapping[str, TensorPlace]) -> list[list[str]]:
    """Group names, in the order of the file, into contiguous ranges."""
    ranges: list[list[str]] = []
    for name in names:
        if ranges and 0 <= places[name].begin - places[ranges[-1][-1]].end < _ALIGNED:
            ranges[-1].append(name)
        else:
            ranges.append([name])
    return ranges


def _of_gguf(file: Path) -> dict[str, TensorPlace]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    size = file.stat().st_size
    places = {}
    for entry in gguf.tensors(file):
        try:
            n_numbers, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(entry.kind)]
        except (KeyError, ValueError) as error:
            raise UnsupportedModelError(
                f"{file.name} holds weights of the ggml type {entry.kind}, which cannot be read."
                " Choose another quantization."
            ) from error
        dtype = _GGUF_DTYPES.get(entry.kind)
        shape = entry.shape or (1,)
        blocks = None
        if dtype is None:
            dtype = torch.uint8
            blocks = (entry.kind, n_numbers, n_bytes)
            if shape[-1] % n_numbers:
                raise UnsupportedModelError(
                    f"{file.name} holds {entry.name} in blocks that do not fill it. Get it again."
                )
            shape = (*shape[:-1], shape[-1] // n_numbers * n_bytes)
        end = entry.begin + math.prod(shape) * dtype.itemsize
        if end > size:
            raise UnsupportedModelError(f"{file.name} ends within its weights. Get it again.")
        places[entry.name] = TensorPlace(file, entry.begin, end, dtype, shape, blocks)
    return places


def _header(file: Path) -> dict[str, TensorPlace]:
    """Return the positions of the tensors of a file, checked against its size and their shapes."""
    try:
        size = input_files.regular(file).st_size
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if not 0 < length <= min(size - 8, _MAX_HEADER_BYTES):
                raise ValueError("its header is longer than the file")
            header = input_files.parsed_object(opened.read(length).decode())
        header.pop("__metadata__", None)
        places = {}
        for name, entry in header.items():
            begin, end = (int(offset) + 8 + length for offset in entry["data_offsets"])
            dtype = _DTYPES[entry["dtype"]]
            shape = tuple(int(n) for n in entry["shape"])
            if not (
                8 + length <= begin <= end <= size
                and end - begin == math.prod(shape) * dtype.itemsize
            ):
                raise ValueError(f"the position of {name} does not match its shape or the file")
            places[name] = TensorPlace(file, begin, end, dtype, shape)
        return places
    except KeyError as error:
        raise UnsupportedModelError(
            f"{file.name} holds weights of the type {error}, which cannot be read layer by layer."
            " Choose a model in float32, float16 or bfloat16."
        ) from error
    except (OSError, ValueError, struct.error, TypeError, AttributeError) as error:
        raise UnsupportedModelError(
            f"{file.name} is not a safetensors file: {error}. Get it again."
        ) from error
