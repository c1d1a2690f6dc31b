"""The header of a GGUF file, never read beyond its end: its facts about the model, and a check that the file is whole.

Source: the format's description in ggml-org/ggml, docs/gguf.md.
"""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core.errors import UnsupportedModelError

SUFFIX = ".gguf"
"""Of its files."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""How a value is packed, by the number of its type."""
_TEXT, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_MOST_ITEMS = 8_000_000
"""Entries of all lists together; a vocabulary has a million with its merges."""
_MOST_KEYS, _MOST_TENSORS, _MOST_DIMENSIONS, _LONGEST = 10_000, 1_000_000, 8, 65_535


_ALIGNED = 32
"""Bytes to whose multiples tensors are put where the header says nothing else."""


class _BrokenError(Exception):
    """Why it is no header."""


@dataclass(frozen=True)
class Entry:
    """The header's facts about one tensor."""

    name: str
    shape: tuple[int, ...]
    """Of its numbers, the slowest dimension first, as PyTorch has it."""
    kind: int
    """How they are packed: the number of a type of ggml."""
    begin: int
    """Bytes from the start of the file."""


@contextlib.contextmanager
def taken_apart_once() -> Iterator[None]:
    """Let transformers read a GGUF file once for all: its configuration, its tokenizer and its weights share one reader.

    It makes a `gguf.GGUFReader` for each of them, which takes seconds apiece for the vocabulary alone.
    """
    import gguf as library

    own, made = library.GGUFReader, dict[str, Any]()

    def reader(path: Any, *given: Any) -> Any:
        real = os.path.realpath(path)
        if real not in made:
            made[real] = own(path, *given)
        return made[real]

    library.GGUFReader = reader  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        library.GGUFReader = own  # type: ignore[misc]


def header(path: Path) -> dict[str, Any]:
    """The numbers, switches and texts of a header by key; of lists and long texts only that they are there is looked at.

    Raises:
        UnsupportedModelError: when it is no GGUF file of a version that is read, or not a whole one.
        OSError: when it cannot be opened.
    """
    return _read(path).settings


def tensors(path: Path) -> list[Entry]:
    """Where its tensors are and how they are packed, in the order of the header; raises as `header` does."""
    return _read(path).tensors


def contents(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    """Both, of one look at it: `header` and `tensors`; raises as these do."""
    found = _read(path)
    return found.settings, found.tensors


def _read(path: Path) -> "_Reader":
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content)
    except ValueError as error:  # nothing can be mapped of an empty file
        raise UnsupportedModelError(f"{path.name} is empty. Get it again.") from error
    except (_BrokenError, struct.error) as error:
        said = str(error) if isinstance(error, _BrokenError) else "it ends within its header"
        raise UnsupportedModelError(f"{path.name} is not a readable GGUF file: {said}. Get it again.") from error


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0
        self._left = _MOST_ITEMS
        self.settings: dict[str, Any] = {}
        self.tensors: list[Entry] = []
        self._header()

    def _header(self) -> None:
        if self._content[:4] != b"GGUF":
            raise _BrokenError("it does not start with the letters GGUF")
        self._at = 4
        version = self._number("I")
        if version not in _VERSIONS:
            raise _BrokenError(f"its version is {version}, but only 2 and 3 can be read")
        n_tensors, n_keys = self._number("Q"), self._number("Q")
        if n_tensors > _MOST_TENSORS or n_keys > _MOST_KEYS:
            raise _BrokenError(f"it names {n_tensors:,} tensors and {n_keys:,} settings, more than can be read")
        for _ in range(n_keys):
            key = self._name()
            self.settings[key] = self._value(self._number("I"))
        self._tensors(n_tensors)

    def _tensors(self, count: int) -> None:
        told = []
        for _ in range(count):
            name, n_dimensions = self._name(), self._number("I")
            if n_dimensions > _MOST_DIMENSIONS:
                raise _BrokenError(f"one of its tensors has {n_dimensions:,} dimensions, more than can be read")
            shape = tuple(self._number("Q") for _ in range(n_dimensions))[::-1]
            told.append((name, shape, self._number("I"), self._number("Q")))
        aligned = self.settings.get("general.alignment", _ALIGNED)
        if not isinstance(aligned, int) or aligned < 1:
            raise _BrokenError(f"its tensors are aligned to {aligned!r} bytes, which is not possible")
        data = -(-self._at // aligned) * aligned
        if any(data + offset >= len(self._content) for *_, offset in told):
            raise _BrokenError("it ends within its weights")
        self.tensors = [Entry(name, shape, kind, data + offset) for name, shape, kind, offset in told]

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY or depth > 2:
            raise _BrokenError(f"one of its settings has the unknown type {kind}")
        of, length = self._number("I"), self._number("Q")
        if of in _NUMBERS:
            self._skip(length * struct.calcsize(_NUMBERS[of]))
            return None
        self._left -= length
        if self._left < 0:
            raise _BrokenError(f"one of its lists has {length:,} entries, more than can be read")
        for _ in range(length):
            if of == _TEXT:
                self._skip(self._number("Q"))
            else:
                self._value(of, depth + 1)
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
        """The text that begins here; None for one that is longer than any that is looked at."""
        length = self._number("Q")
        begin = self._at
        self._skip(length)
        if length > _LONGEST:
            return None
        return self._content[begin : self._at].decode("utf-8", "replace")

    def _skip(self, length: int) -> None:
        self._at += length
        if self._at > len(self._content):
            raise _BrokenError("it ends within its header")
