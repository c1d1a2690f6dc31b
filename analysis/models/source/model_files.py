"""Files of a model or adapter folder, checked before any library reads one of them.

Libraries open the files that a weights index, a configuration or a tokenizer names, wherever they
are. `check` refuses a folder with a link that leads out of it, and a folder with a document that
names a file elsewhere. A snapshot in the Hub's cache consists of links into the `blobs` folder of
its own repository; those count as inside.
"""

import contextlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.core import input_files
from analysis.core.bounds import shown
from analysis.core.errors import UnsupportedModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_INDEX_ENDING = ".index.json"
_SAFE = ".safetensors"
_TEMPLATES = "additional_chat_templates"
_READ = (".json", ".model", ".txt", ".jinja", _SAFE, ".gguf", ".bin", ".tiktoken")
"""Suffixes of files that libraries look for by name. A folder with such a name is refused."""
_REPOSITORY = re.compile(r"(models|datasets)--.+")
_MAX_INDEX_BYTES = 64 << 20
_MAX_BYTES = 16 << 20
_OF_TOKENIZER = re.compile(r".*_files?|vocab|merges")
"""Pattern of keys that name files of a tokenizer. An inline vocabulary is a list or an object, not
text."""
_NEVER_OPENED = ("special_tokens_map_file", "added_tokens_file")
"""Keys that older versions of transformers left in tokenizer_config.json. Their paths are
ignored."""
_OF_ADAPTER = re.compile(r".*_(files?|path|dir|folder)")
"""Pattern of keys that name files in the configuration of an adapter."""
_BASE = "base_model_name_or_path"
"""Key of the model that an adapter was trained on. PEFT does not open it."""


@dataclass(frozen=True)
class _Reference:
    """A reference to a file in a document."""

    document: str
    key: str
    name: Any
    """Name as written in the document."""
    is_possible: bool
    """Whether this kind of document may refer to a file."""


def check(folder: Path) -> None:
    """Refuse a folder that refers to files outside it.

    Args:
        folder: Folder of a model or an adapter, or a link to one.

    Raises:
        UnsupportedModelError: If a link or a document refers to a file outside the folder.
        OSError: If something that would be read is not a regular file, or cannot be read.
    """
    homes = _homes(folder)
    names = set[str]()
    for entry in _entries(folder):
        names.add(entry.name)
        if entry.is_symlink() and not any(
            Path(os.path.realpath(entry)).is_relative_to(home) for home in homes
        ):
            raise UnsupportedModelError(
                f"{entry.name} in {folder.name} is a link that leads out of this folder. Layerscope"
                " reads only files of the folder. Put a copy of the file in its place."
            )
        if _is_special(entry):
            input_files.regular(entry)
    for reference in _references(folder, names):
        if not reference.is_possible:
            raise UnsupportedModelError(
                f"{reference.document} of {folder.name} names {shown(reference.name)} under"
                f" {reference.key}. Only files of this folder are read, each by its name alone. Put"
                " the file into the folder, or remove the entry."
            )


@contextlib.contextmanager
def checked(folder: Path) -> Iterator[None]:
    """Run the body of a `with` statement on a checked folder, and raise if files changed during the
    body.

    A file's change time cannot be set, so an exchange is noticed even if it was undone.

    Raises:
        UnsupportedModelError: As `check`, and if a file was exchanged.
        OSError: As `check`.
    """
    before = _stamps(folder)
    check(folder)
    yield
    if _stamps(folder) != before:
        raise UnsupportedModelError(
            f"The files of {folder.name} changed while they were read. Wait until they are"
            " complete, and run it again."
        )


@contextlib.contextmanager
def reading(folder: Path, gguf_file: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder that a library may read, and the keyword arguments for a GGUF file in it.

    Transformers also reads files next to a GGUF file: another tokenizer, an adapter and the model
    that the adapter names. So the folder contains only a link to the file.
    """
    if gguf_file is None:
        with checked(folder):
            yield folder, {}
        return
    input_files.regular(folder / gguf_file)
    with tempfile.TemporaryDirectory(prefix="layerscope-") as alone:
        (Path(alone) / gguf_file).symlink_to((folder / gguf_file).resolve())
        yield Path(alone), {"gguf_file": gguf_file}


def _stamps(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Return inode and times of each entry; of a link both its own and those of its target."""
    stamps = {}
    for entry in _entries(folder):
        try:
            looks = (entry.lstat(), entry.stat())
        except OSError:  # a library cannot read it either
            continue
        stamps[entry] = tuple(
            n for look in looks for n in (look.st_dev, look.st_ino, look.st_size, look.st_ctime_ns)
        )
    return stamps


def weights(folder: Path) -> list[Path]:
    """Return the files of weights that transformers would load.

    Raises:
        UnsupportedModelError: As `check`, and if a file is missing or the index cannot be read.
        OSError: As `check`.
    """
    check(folder)
    chosen = json_object(folder / "config.json").get("transformers_weights")
    first = folder / (chosen if isinstance(chosen, str) else WEIGHTS)
    index = first if first.name.endswith(_INDEX_ENDING) else folder / INDEX
    if first != index and (first.exists() or not index.exists()):
        return [first] if first.exists() else sorted(folder.glob(f"*{_SAFE}"))
    files = [folder / name for name in sorted(set(_shards(index)))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise UnsupportedModelError(
            f"{folder.name} lacks {', '.join(missing[:3])}. Get its files again."
        )
    return files


def _homes(folder: Path) -> tuple[Path, ...]:
    """Return the resolved folders that may contain files: the folder and, for a snapshot, its
    repository's blobs.
    """
    real = Path(os.path.realpath(folder))
    repository = real.parent.parent
    is_snapshot = real.parent.name == "snapshots" and _REPOSITORY.fullmatch(repository.name)
    return (real, repository / "blobs") if is_snapshot else (real,)


def _entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder that a library may read."""
    for entry in sorted(folder.iterdir()):
        if entry.name == _TEMPLATES:
            yield entry
            if entry.is_dir():
                yield from sorted(entry.iterdir())
        elif entry.name.endswith(_READ) or not entry.is_dir():
            yield entry


def _is_special(entry: Path) -> bool:
    try:
        mode = entry.stat().st_mode
    except OSError:  # a library cannot read it either
        return False
    return not stat.S_ISREG(mode) and not (entry.name == _TEMPLATES and stat.S_ISDIR(mode))


def _references(folder: Path, names: set[str]) -> Iterator[_Reference]:
    for index in sorted(name for name in names if name.endswith(_INDEX_ENDING)):
        is_read = index.endswith(_SAFE + _INDEX_ENDING)  # an index of pickles is never opened
        for name in (
            _shards(folder / index)
            if is_read
            else _values(json_object(folder / index).get("weight_map"))
        ):
            is_safe = not is_read or str(name).endswith(_SAFE)
            yield _Reference(index, "weight_map", name, is_safe and input_files.is_file_name(name))
    config = json_object(folder / "config.json")
    for key, value in _pairs(config):
        if key == "transformers_weights" and value is not None:
            is_safe = value == config.get(key) and str(value).endswith(
                (_SAFE, _SAFE + _INDEX_ENDING)
            )
            yield _Reference(
                "config.json",
                key,
                value,
                is_safe and input_files.is_file_name(value) and value in names,
            )
        elif key == "configuration_files":
            yield _Reference("config.json", key, value, not value)
    tokenizer_config = json_object(folder / "tokenizer_config.json")
    yield _Reference(
        "tokenizer_config.json",
        "init_inputs",
        tokenizer_config.get("init_inputs"),
        not tokenizer_config.get("init_inputs"),
    )
    for key, value in tokenizer_config.items():
        if _OF_TOKENIZER.fullmatch(key) and key not in _NEVER_OPENED:
            for name in (
                value if isinstance(value, dict | list) and key.endswith("_files") else [value]
            ):
                is_file = (
                    key not in ("vocab", "merges")
                    and input_files.is_file_name(name)
                    and name in names
                )
                yield _Reference(
                    "tokenizer_config.json",
                    key,
                    name,
                    is_file or name is None or isinstance(name, dict | list),
                )
    for key, value in json_object(folder / "special_tokens_map.json").items():
        is_name = _OF_TOKENIZER.fullmatch(key) and isinstance(value, str)
        yield _Reference("special_tokens_map.json", key, value, not is_name)
    for key, value in _pairs(json_object(folder / "adapter_config.json")):
        if _OF_ADAPTER.fullmatch(key) and key != _BASE:
            yield _Reference("adapter_config.json", key, value, not value)
    if {"config.json", "adapter_config.json"} <= names:
        raise UnsupportedModelError(
            f"{folder.name} holds a model and an adapter, and transformers would apply the adapter"
            " without being asked. Move the adapter into its own folder, and give that folder as"
            " --adapter."
        )


def _shards(index: Path) -> list[Any]:
    """Return the distinct file names in a weights index."""
    try:
        places = json.loads(input_files.read(index, _MAX_INDEX_BYTES).decode())[
            "weight_map"
        ].values()
        return sorted(
            {name if isinstance(name, str) else json.dumps(name): name for name in places}.values(),
            key=str,
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UnsupportedModelError(
            f"The index of the weights in {index.parent.name} cannot be read: {_reason(error)}. Get"
            " its files again."
        ) from error


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _reason(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def json_object(document: Path) -> dict[str, Any]:
    """Return a JSON object as the libraries parse it; {} for text that they refuse."""
    if not document.exists():
        return {}
    try:
        content = input_files.read(document, _MAX_BYTES)
    except OSError as error:
        raise UnsupportedModelError(
            f"{document.name} of {document.parent.name} cannot be read: {_reason(error)}. Get its"
            " files again."
        ) from error
    try:
        parsed = json.loads(content.decode())
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of an object and of all objects in it."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
