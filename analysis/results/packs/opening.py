"""Open a pack: all its files are checked in a process of its own. Its folder takes its place whole or not at all."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from analysis.core import escapes, extensions, input_files, sandbox, store
from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.bounds import shown
from analysis.core.errors import CorruptResultError, PackError, one_line
from analysis.core.experiment import RESULTS
from analysis.core.index_table import DESCRIPTIONS
from analysis.models.source.sizes import ModelFacts
from analysis.results.packs import limits
from analysis.results.stored import pack_list
from analysis.results.stored.pack_list import FILE, Manifest, OpenedPack, PackedResult

_DIGITS = 20
_LONGEST = 200
_MAX_LAYERS = 10_000
_MAX_COUNT = 2**53
"""Largest integer of a result."""
_LABELS = frozenset(
    [
        *("name", "model_name", "family", "source", "revision", "identity", "dtype", "device", "quantization", "format"),
        *("task", "split", "protocol", "metric", "objective", "strategy", "strategies", "recipe", "recipes", "method"),
        *("packing", "versions"),
    ]
)
"""Fields that stand on charts and in tables as names. Prompts, questions and generated texts may hold any text."""
_MARKUP = re.compile(r"[<>\x00-\x1f\x7f]")


def open_file(path: Path, name: str = "") -> OpenedPack:
    """Open a pack beside the own results; one that is open already stays as it is.

    Args:
        path: of the zip file.
        name: of the file, to show (default: that of the path).

    Raises:
        PackError: when it is none, or is refused; nothing is stored then.
        StorageError: when it cannot be stored.
    """
    title = shown(name or path.name)
    try:
        content = input_files.read(path, limits.PACK_BYTES)
    except OSError as error:
        raise PackError(
            f"{shown(name) if name else escapes.visible(str(path))} cannot be opened: {error.strerror or error}. "
            "Name a result pack."
        ) from error
    id = hashlib.sha256(content).hexdigest()[:_DIGITS]
    del content
    opened_packs = pack_list.opened()
    if same := [pack for pack in opened_packs if pack.id == id]:
        return same[0]
    if len(opened_packs) >= limits.OPENED:
        raise PackError(f"{title} was not opened: {len(opened_packs)} packs are open, and no more can be. Remove one first.")
    place = store.cache_dir() / pack_list.PACKS / id

    def unpacked(draft: Path) -> None:
        try:
            sandbox.answer(
                f"{__name__}:unpack",
                *(str(path.expanduser().absolute()), str(draft), title),
                memory_bytes=limits.MEMORY_BYTES,
                seconds=limits.SECONDS,
            )
        except sandbox.OverLimitError as error:
            raise PackError(f"{title} was not opened: checking it takes more than {error}. Make a smaller pack.") from error

    store.write_folder(place, unpacked)
    return pack_list.of_place(f"{pack_list.PACKS}/{id}")


def unpack(path: str, folder: str, title: str) -> None:
    """Check a pack and unpack it into an empty folder.

    Args:
        path: of the zip file.
        folder: to fill.
        title: of the file, for errors.

    Raises:
        PackError: when anything in it is not as a pack made by this program.
    """
    extensions.load()
    try:
        with limits.opened(Path(path)) as entries:
            _fill(entries, Path(folder))
    except (OSError, ValueError, RecursionError) as error:
        raise PackError(f"{title} is no result pack that can be opened: {error}. Nothing was opened.") from error


def _fill(entries: Mapping[str, Callable[[], bytes]], folder: Path) -> None:
    if FILE not in entries:
        raise ValueError(f"it has no {FILE}")
    manifest_json = entries[FILE]()
    manifest = pack_list.manifest(manifest_json)
    _check_names(entries, manifest)
    for name, digest in manifest.files.items():
        content = entries[name]()
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"its file {name} does not match its checksum")
        _write(folder / name, content)
    for result in manifest.results:
        _check_result(folder, result, manifest)
    _write(folder / FILE, manifest_json)


def _write(path: Path, content: bytes) -> None:
    """Write a new file for its owner alone, as all in the cache is."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _check_names(entries: Mapping[str, Any], manifest: Manifest) -> None:
    """Refuse a pack whose files are not those of its results, and all of them."""
    if unlisted := sorted(set(entries) - {FILE, *manifest.files}):
        raise ValueError(f"its file {shown(unlisted[0])} is not listed in {FILE}")
    if missing := sorted(set(manifest.files) - set(entries)):
        raise ValueError(f"its file {shown(missing[0])} is missing")
    folders = {f"{result.kind}/{result.key}" for result in manifest.results}
    if foreign := sorted(name for name in manifest.files if name.rpartition("/")[0] not in folders):
        raise ValueError(f"its file {shown(foreign[0])} belongs to no result")
    if unknown := sorted({result.kind for result in manifest.results} - set(RESULTS)):
        raise ValueError(f"it has results of the kind {shown(unknown[0])}, which this Layerscope does not know")
    if not manifest.results:
        raise ValueError("it has no result")


def _check_result(folder: Path, packed: PackedResult, manifest: Manifest) -> None:
    """Refuse a result that this program would not have written."""
    home, name = folder / packed.kind / packed.key, f"{packed.kind}/{packed.key}"
    kind = RESULTS[packed.kind]
    try:
        stored = store.read(home, precomputed=True, arrays=True)
        result = kind.read(stored)
        wrong = next(_wrong_counts(result), "")
        if not wrong:
            DESCRIPTIONS["index"](packed.kind, stored)
    except CorruptResultError as error:
        raise ValueError(f"its result {name} does not fit this version of Layerscope ({_why(error, folder)})") from error
    except Exception as error:  # a crafted result may break any rule that a computed one keeps
        raise ValueError(f"its result {name} does not fit this version of Layerscope ({type(error).__name__})") from error
    if broken := kind.broken_figure(stored.data, stored.arrays()):
        raise ValueError(f"its result {name} has a figure that is NaN or infinite ({shown(broken)})")
    if marked := next(_names_with_markup(stored.data), ""):
        raise ValueError(f"its result {name} has markup in the name {shown(marked)}")
    if wrong:
        raise ValueError(f"its result {name} has counts that contradict each other ({wrong})")
    listed = {f"{name}/result.json", *(f"{name}/{file.name}" for file in stored.array_files)}
    if extra := sorted(file for file in manifest.files if file.startswith(f"{name}/") and file not in listed):
        raise ValueError(f"its file {extra[0]} belongs to no result")
    if not result.complete:
        raise ValueError(f"its result {name} is unfinished")
    saved_at = min(packed.saved_at, time.time())
    os.utime(home / "result.json", (saved_at, saved_at))


def _names_with_markup(value: Any, *, is_name: bool = False) -> Iterator[str]:
    """Yield the names in a result that hold markup or control characters, names of fields among them."""
    if isinstance(value, dict):
        yield from (key for key in value if _MARKUP.search(key))
        for key, part in value.items():
            yield from _names_with_markup(part, is_name=is_name or key in _LABELS)
    elif isinstance(value, list):
        for part in value:
            yield from _names_with_markup(part, is_name=is_name)
    elif is_name and isinstance(value, str) and _MARKUP.search(value):
        yield value


def _wrong_counts(result: Any) -> Iterator[str]:
    """Yield the names of counts and lists whose lengths contradict each other, because pages loop over them."""
    yield from (name for name, value in _values(result) if isinstance(value, int) and abs(value) > _MAX_COUNT)
    facts = getattr(result, "model", None)
    if not isinstance(facts, ModelFacts):
        return
    n_layers = facts.n_layers
    if not n_layers == len(facts.layer_parameters) == getattr(result, "n_layers", n_layers) or not 1 <= n_layers <= _MAX_LAYERS:
        yield "n_layers"
    if len(facts.layers) not in (0, n_layers):
        yield "model.layers"
    removals = (value for _, value in _values(result) if isinstance(value, Block | LayerSet | PartSet))
    if any(layer >= n_layers for removal in removals for layer in removal.layers):
        yield "layers of a block"
    for name in ("mean", "stderr", "wins", "increase", "n_measured"):
        rows = getattr(result, name, [])
        if isinstance(rows, list) and any(len(row) != n_layers - number for number, row in enumerate(rows)):
            yield name
    points = getattr(result, "points", None)
    for name in ("questions", "text_losses", "writings"):
        values = getattr(result, name, [])
        if points is not None and values and len(values) != len(points):
            yield name


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value and all values within it, each with the name of its field."""
    yield name, value
    if is_dataclass(value):
        for field in fields(value):
            yield from _values(getattr(value, field.name), field.name)
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _values(part, name)


def _why(error: Exception, folder: Path) -> str:
    return one_line(str(error).replace(f"{folder}{os.sep}", ""))[:_LONGEST].rstrip(".: ")


def by_id(id: str) -> OpenedPack:
    """Return the opened pack of this id, or the only one whose id begins so.

    Raises:
        PackError: when there is none.
    """
    matching = [pack for pack in pack_list.opened() if id and pack.id.startswith(id)]
    if len(matching) != 1:
        listed = ", ".join(pack.id for pack in pack_list.opened()) or "none"
        raise PackError(f"{shown(id)} names no opened pack. Opened packs: {listed}.")
    return matching[0]


def remove(id: str) -> OpenedPack:
    """Remove an opened pack with its results; the file that it was opened from stays.

    Raises:
        PackError: as `by_id`.
        StorageError: when it cannot be removed.
    """
    pack = by_id(id)
    store.delete_folder(store.cache_dir() / pack.place)
    return pack
