"""The header of a GGUF file: the model's metadata, its tensors, and a check that the file is
complete.

Source: the format's description in ggml-org/ggml, docs/gguf.md.
"""

import contextlib
import functools
import math
import mmap
import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core.errors import UnsupportedModelError

SUFFIX = ".gguf"
"""Suffix of GGUF files."""
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""`struct` format of a value by the number of its type."""
_TEXT = 8
_ARRAY = 9
_VERSIONS = (2, 3)
_MAX_ITEMS = 8_000_000
"""Limit of the entries of all lists together; a vocabulary with its merges has a million."""
_MAX_KEYS = 10_000
_MAX_TENSORS = 1_000_000
_MAX_DIMENSIONS = 8
_MAX_TEXT_BYTES = 65_535
_ALIGNED = 32
"""Default alignment of tensors in bytes."""


class _BrokenError(Exception):
    """The reason why a header cannot be read."""


@dataclass(frozen=True)
class TensorEntry:
    """The entry of a tensor in the header."""

    name: str
    shape: tuple[int, ...]
    """Shape in PyTorch's order, the slowest dimension first."""
    kind: int
    """Number of the tensor's ggml type."""
    begin: int
    """Offset in bytes from the start of the file."""


@contextlib.contextmanager
def shared_reader() -> Iterator[None]:
    """Let configuration, tokenizer and weights in transformers share one reader of a GGUF file.

    Transformers creates a `gguf.GGUFReader` for each of them, which takes seconds each for the
    vocabulary alone. It also looks up the tensor names of a family once per module, which takes
    seconds for hundreds of modules.
    """
    import gguf as library

    library_reader = library.GGUFReader
    readers = dict[str, Any]()
    library_names = library.get_tensor_name_map

    def reader(path: Any, *args: Any) -> Any:
        real = os.path.realpath(path)
        if real not in readers:
            readers[real] = library_reader(path, *args)
        return readers[real]

    library.GGUFReader = reader  # type: ignore[assignment,misc]
    library.get_tensor_name_map = functools.cache(library_names)
    try:
        yield
    finally:
        library.GGUFReader = library_reader  # type: ignore[misc]
        library.get_tensor_name_map = library_names


def header(path: Path) -> dict[str, Any]:
    """Return the metadata of a header by key: numbers, switches and short texts; other values are
    skipped.

    Raises:
        UnsupportedModelError: If the file is not a complete GGUF file of a supported version.
        OSError: If the file cannot be opened.
    """
    return contents(path)[0]


def tensors(path: Path) -> list[TensorEntry]:
    """Return the tensor entries in the order of the header; raises as `header` does."""
    return contents(path)[1]


def contents(path: Path) -> tuple[dict[str, Any], list[TensorEntry]]:
    """Return `header` and `tensors` from one read of the file; raises as `header` does."""
    status = path.stat()
    is_settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    read = _read if is_settled else _read.__wrapped__
    settings, entries = read(path, (status.st_ino, status.st_size, status.st_mtime_ns))
    return dict(settings), list(entries)


_SETTLED_NS = 1_000_000_000
"""Nanoseconds after which a further change of a file alters its modification time."""


@functools.lru_cache(maxsize=8)
def _read(path: Path, state: tuple[int, ...]) -> tuple[dict[str, Any], list[TensorEntry]]:
    """Read a header; cached per state of the file, since its lists have a hundred thousand
    entries.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            reader = _HeaderReader(content)
            return reader.settings, reader.tensors
    except ValueError as error:  # an empty file cannot be mapped
        raise UnsupportedModelError(f"{path.name} is empty. Get it again.") from error
    except (_BrokenError, struct.error) as error:
        reason = str(error) if isinstance(error, _BrokenError) else "it ends within its header"
        raise UnsupportedModelError(
            f"{path.name} is not a readable GGUF file: {reason}. Get it again."
        ) from error


class _HeaderReader:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0
        self._left = _MAX_ITEMS
        self.settings: dict[str, Any] = {}
        self.tensors: list[TensorEntry] = []
        self._header()

    def _header(self) -> None:
        if self._content[:4] != b"GGUF":
            raise _BrokenError("it does not start with the letters GGUF")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            raise _BrokenError(f"its version is {version}, but only 2 and 3 can be read")
        n_tensors = self._number("Q")
        n_keys = self._number("Q")
        if n_tensors > _MAX_TENSORS or n_keys > _MAX_KEYS:
            raise _BrokenError(
                f"it names {n_tensors:,} tensors and {n_keys:,} settings, more than can be read"
            )
        for _ in range(n_keys):
            key = self._name()
            self.settings[key] = self._value(self._number("I"))
        self._tensors(n_tensors)

    def _tensors(self, count: int) -> None:
        entries = []
        for _ in range(count):
            name = self._name()
            n_dimensions = self._number("I")
            if n_dimensions > _MAX_DIMENSIONS:
                raise _BrokenError(
                    f"one of its tensors has {n_dimensions:,} dimensions, more than can be read"
                )
            shape = tuple(self._number("Q") for _ in range(n_dimensions))[::-1]
            entries.append((name, shape, self._number("I"), self._number("Q")))
        aligned = self.settings.get("general.alignment", _ALIGNED)
        if not isinstance(aligned, int) or aligned < 1:
            raise _BrokenError(
                f"its tensors are aligned to {aligned!r} bytes, which is not possible"
            )
        data = -(-self._at // aligned) * aligned
        if any(data + offset >= len(self._content) for *_, offset in entries):
            raise _BrokenError("it ends within its weights")
        self.tensors = [
            TensorEntry(name, shape, kind, data + offset) for name, shape, kind, offset in entries
        ]

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY or depth > 2:
            raise _BrokenError(f"one of its settings has the unknown type {kind}")
        item_type = self._number("I")
        length = self._number("Q")
        if item_type in _NUMBERS:
            self._skip(length * struct.calcsize(_NUMBERS[item_type]))
            return None
        self._left -= length
        if self._left < 0:
            raise _BrokenError(f"one of its lists has {length:,} entries, more than can be read")
        for _ in range(length):
            if item_type == _TEXT:
                self._skip(self._number("Q"))
            else:
                self._value(item_type, depth + 1)
        return None

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._at)
        self._at += struct.calcsize(form)
        return value

    def _name(self) -> str:
        name = self._text()
        if name is None:
            raise _BrokenError("a name in it is too long")
        return name

    def _text(self) -> str | None:
        """Return the text at the current position; None if it is longer than the limit."""
        length = self._number("Q")
        begin = self._at
        self._skip(length)
        if length > _MAX_TEXT_BYTES:
            return None
        return self._content[begin : self._at].decode("utf-8", "replace")

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._content):
            raise _BrokenError("it ends within its header")


_PERIOD = "sliding_window_pattern"
"""Ending of the key of the period of the attention types; every such layer has full attention."""
_LARGEST_GEMMA = 62
"""Layers of Gemma 3 27B, the only size that scales queries by hidden size over heads."""
_LLAMA_3 = {
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
"""RoPE scaling of Llama 3.1 and later without its factor, which follows from the divisors in the
file."""
_FLOAT32 = 0
"""Number of the type float32 in ggml."""


def complete(config: Any, path: Path) -> None:
    """Add the fields that transformers does not read from a GGUF file to a configuration.

    Args:
        config: Configuration that transformers read from the file; changed in place.
        path: Path of the GGUF file.

    Raises:
        UnsupportedModelError: If the file cannot be read.
    """
    settings, tensors = contents(path)
    _scale(config, settings, {entry.name: entry for entry in tensors}, path)
    size = settings.get(f"{settings.get('general.architecture')}.attention.key_length")
    if hasattr(config, "head_dim") and isinstance(
        size, int
    ):  # transformers assumes that of the released models
        config.head_dim = size
    period = settings.get(f"{settings.get('general.architecture')}.attention.{_PERIOD}")
    if type(period) is int and period > 0 and hasattr(config, "layer_types"):
        # transformers assumes that of the released models here, too
        config.layer_types = [
            "sliding_attention" if (layer + 1) % period else "full_attention"
            for layer in range(config.num_hidden_layers)
        ]
    if config.model_type == "gemma3_text":
        is_largest = config.num_hidden_layers == _LARGEST_GEMMA
        config.query_pre_attn_scalar = (
            config.hidden_size // config.num_attention_heads if is_largest else config.head_dim
        )
    if (
        "tokenizer.ggml.padding_token_id" not in settings
        and (getattr(config, "pad_token_id", None) or 0) >= config.vocab_size
    ):
        config.pad_token_id = None  # the family's default, which is no token of this model


def _scale(
    config: Any, settings: dict[str, Any], entries: dict[str, TensorEntry], path: Path
) -> None:
    """Set the RoPE scaling of the file, or refuse one that a configuration cannot express.

    Source: Llama 3's rule as in transformers' `rope_type="llama3"`; linear scaling as in
    arXiv:2306.15595.
    """
    family = settings.get("general.architecture")
    if family == "gpt-oss":  # the only family whose scaling transformers reads
        return
    if any(name.startswith("rope_factors_") for name in entries):
        raise _unreadable_scaling(path, "with separate tables for short and long texts")
    kind = settings.get(f"{family}.rope.scaling.type", "none")
    factor = settings.get(
        f"{family}.rope.scaling.factor", settings.get(f"{family}.rope.scale_linear", 1.0)
    )
    if kind not in ("none", "linear"):
        raise _unreadable_scaling(path, f"by the rule {kind}")
    if factor not in (0.0, 1.0):
        _set_scaling(config, {"rope_type": "linear", "factor": float(factor)})
    if "rope_freqs.weight" in entries:
        divisors = _numbers(path, entries["rope_freqs.weight"])
        if any(divisor != 1.0 for divisor in divisors):
            theta = config.rope_parameters.get("rope_theta")
            rule = {"rope_type": "llama3", "factor": float(max(divisors)), **_LLAMA_3}
            expected = _divisors(theta, rule, len(divisors)) if theta else []
            if len(expected) != len(divisors) or not all(map(_is_same, divisors, expected)):
                raise _unreadable_scaling(
                    path, "with frequency divisors that differ from those of Llama 3.1"
                )
            _set_scaling(config, rule)


def _is_same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4)


def _divisors(theta: float, rule: dict[str, Any], n: int) -> list[float]:
    """Return Llama 3's divisor of each of n frequencies: the factor for long waves, 1 for short
    ones, a mean between.
    """
    divisors = []
    for index in range(n):
        waves = rule["original_max_position_embeddings"] * theta ** (-index / n) / (2 * math.pi)
        share = (waves - rule["low_freq_factor"]) / (
            rule["high_freq_factor"] - rule["low_freq_factor"]
        )
        share = min(1.0, max(0.0, share))
        divisors.append(1 / ((1 - share) / rule["factor"] + share))
    return divisors


def _set_scaling(config: Any, rule: dict[str, Any]) -> None:
    """Set the RoPE scaling of a configuration, or of its full-attention layers if it has two kinds
    of layers.
    """
    parameters = config.rope_parameters
    chosen = parameters.get("full_attention", parameters)
    chosen.update(rule)


def _numbers(path: Path, entry: TensorEntry) -> list[float]:
    if entry.kind != _FLOAT32 or len(entry.shape) != 1:
        raise _unreadable_scaling(path, "with divisors that are not plain numbers")
    (n,) = entry.shape
    with path.open("rb") as file:
        file.seek(entry.begin)
        content = file.read(4 * n)
    if len(content) != 4 * n:
        raise UnsupportedModelError(f"{path.name} ends within its weights. Get it again.")
    return list(struct.unpack(f"<{n}f", content))


def _unreadable_scaling(path: Path, how: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{path.name} scales its rotary positions {how}, which Layerscope cannot read from a GGUF"
        " file. Use the original model."
    )
