"""Open a pack: a sandboxed process checks all its files, and its folder is stored completely or not
at all.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from analysis.core import escapes, extensions, input_files, sandbox, store, zips
from analysis.core.blocks import Block, LayerSet, PartSet
from analysis.core.bounds import shown
from analysis.core.errors import PackError, one_line
from analysis.core.experiment import EXPERIMENTS
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.sizes import ModelFacts
from analysis.results.stored import pack_list, summaries
from analysis.results.stored.pack_list import FILE, OpenedPack, PackedResult

PACK_BYTES = 100 << 20
UNPACKED_BYTES = 500 << 20
FILE_BYTES = 64 << 20
"""Maximum size of the zip file, of its files together, and of one of them."""
OPENED = 32
"""Maximum number of opened packs, all of whose folders the index reads."""
_MEMORY_BYTES = 2 << 30
_SECONDS = 60.0
"""Limits of the process that checks a pack."""
_DIGITS = 20
_LONGEST = 200
_MAX_LAYERS = 10_000
_LABELS = frozenset(
    [
        *(
            "name",
            "model_name",
            "family",
            "source",
            "revision",
            "identity",
            "dtype",
            "device",
            "quantization",
            "format",
        ),
        *(
            "task",
            "split",
            "protocol",
            "metric",
            "objective",
            "strategy",
            "strategies",
            "recipe",
            "recipes",
            "method",
        ),
        *("packing", "versions"),
    ]
)
"""Fields that charts and tables show as names. Prompts, questions and generated texts may contain
markup."""
_MARKUP = re.compile(r"[<>\x00-\x1f\x7f]")


def open_file(path: Path, name: str = "") -> OpenedPack:
    """Open a pack next to the results of this cache; an opened one stays as it is.

    Args:
        path: of the zip file.
        name: of the file, to show (default: that of the path).

    Raises:
        PackError: if it is none, or is refused; nothing is stored then.
        StorageError: if it cannot be stored.
    """
    title = shown(name or path.name)
    try:
        id = hashlib.sha256(input_files.read(path, PACK_BYTES)).hexdigest()[:_DIGITS]
    except OSError as error:
        where = shown(name) if name else escapes.visible(str(path))
        raise PackError(
            f"{where} cannot be opened: {error.strerror or error}. Name a result pack."
        ) from error
    packs = pack_list.opened()
    place = f"{pack_list.PACKS}/{id}"
    if all(pack.id != id for pack in packs):
        if len(packs) >= OPENED:
            raise PackError(
                f"{title} was not opened: {len(packs)} packs are open, and no more can be. Remove"
                " one first."
            )
        words = (f"{__name__}:unpack", str(path.expanduser().absolute()))
        limits: Any = {"memory_bytes": _MEMORY_BYTES, "seconds": _SECONDS}
        try:
            store.write_folder(
                store.cache_dir() / place,
                lambda draft: sandbox.answer(*words, str(draft), title, **limits),
            )
        except sandbox.OverLimitError as error:
            raise PackError(
                f"{title} was not opened: checking it takes more than {error}. Make a smaller pack."
            ) from error
    return pack_list.of_place(place)


def unpack(path: str, folder: str, title: str) -> None:
    """Check a pack and unpack it into an empty folder.

    Args:
        path: of the zip file.
        folder: to fill.
        title: of the file, for errors.

    Raises:
        PackError: if anything in it is not as in a pack made by this program.
    """
    extensions.load()
    limits = {
        "most_files": pack_list.MAX_FILES,
        "most_bytes": UNPACKED_BYTES,
        "file_bytes": FILE_BYTES,
    }
    target = Path(folder)
    try:
        with zips.opened(
            Path(path), lambda name: name == FILE or bool(pack_list.NAMES.fullmatch(name)), **limits
        ) as entries:
            if FILE not in entries:
                raise ValueError(f"it has no {FILE}")
            manifest_json = entries[FILE]()
            manifest = pack_list.manifest(manifest_json)
            if unmatched := sorted((set(entries) - {FILE}) ^ set(manifest.files)):
                why = f"not listed in {FILE}" if unmatched[0] in entries else "missing"
                raise ValueError(f"its file {shown(unmatched[0])} is {why}")
            for name, digest in manifest.files.items():
                content = entries[name]()
                if hashlib.sha256(content).hexdigest() != digest:
                    raise ValueError(f"its file {name} does not match its checksum")
                _write(target / name, content)
        files = {file for result in manifest.results for file in _checked(target, result)}
        if extra := sorted(set(manifest.files) - files):
            raise ValueError(f"its file {shown(extra[0])} belongs to no result")
        _write(target / FILE, manifest_json)
    except (OSError, ValueError, RecursionError) as error:
        raise PackError(
            f"{title} is no result pack that can be opened: {error}. Nothing was opened."
        ) from error


def _write(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read, like all files of the cache."""
    for folder in (path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _checked(folder: Path, packed: PackedResult) -> Iterator[str]:
    """Yield the files of a result after checking that this program could have written it."""
    name = f"{packed.kind}/{packed.key}"
    if packed.kind not in EXPERIMENTS:
        raise ValueError(
            f"it has results of the kind {shown(packed.kind)}, which this Layerscope does not know"
        )
    kind = EXPERIMENTS[packed.kind].result
    try:
        stored = store.read(folder / name, precomputed=True, arrays=True)
        if broken := kind.broken_figure(stored.data, stored.arrays()):
            raise ValueError(f"it has a figure that is NaN or infinite: {shown(broken)}")
        result = kind.read(stored)
        faults = list(_faults(result))
        if not faults:
            summaries.described(packed.kind, stored)
    except Exception as error:  # a crafted result may break any rule that a computed one keeps
        why = one_line(str(error).replace(f"{folder}{os.sep}", ""))[:_LONGEST].rstrip(".: ")
        raise ValueError(
            f"its result {name} does not fit this version of Layerscope"
            f" ({why or type(error).__name__})"
        ) from error
    if faults:
        raise ValueError(f"its result {name} has {faults[0]}")
    if result.spec.fingerprint() != packed.key:
        raise ValueError(
            f"its result {name} is not stored under the fingerprint of its request,"
            f" {result.spec.fingerprint()}: it was changed, or measured by another version of"
            " Layerscope"
        )
    if not result.complete:
        raise ValueError(f"its result {name} is unfinished")
    saved_at = min(packed.saved_at, time.time())
    os.utime(folder / name / "result.json", (saved_at, saved_at))
    yield f"{name}/result.json"
    yield from (f"{name}/{file}" for file in stored.files)


def _faults(result: Any) -> Iterator[str]:
    """Yield labels with markup, and counts and lists that contradict each other, since pages loop
    over them.
    """
    facts = getattr(result, "model", None)
    n_layers = facts.n_layers if isinstance(facts, ModelFacts) else None
    contradiction = "counts that contradict each other"
    for name, value in _values(result):
        if isinstance(value, str) and name in _LABELS and _MARKUP.search(value):
            yield f"markup in the name {shown(value)}"
        elif (
            n_layers
            and isinstance(value, Block | LayerSet | PartSet)
            and any(layer >= n_layers for layer in value.layers)
        ):
            yield f"{contradiction} (layers of a block)"
    if not isinstance(facts, ModelFacts):
        return
    n_layers = facts.n_layers
    lengths = {
        n_layers,
        len(facts.layer_parameters),
        getattr(result, "n_layers", n_layers),
        len(facts.layers) or n_layers,
    }
    if len(lengths) > 1 or not 1 <= n_layers <= _MAX_LAYERS:
        yield f"{contradiction} (n_layers)"
        return
    for name in ("mean", "stderr", "wins", "increase", "n_measured"):
        rows = getattr(result, name, [])
        if isinstance(rows, list) and any(
            len(row) != n_layers - number for number, row in enumerate(rows)
        ):
            yield f"{contradiction} ({name})"
    if isinstance(result, DistanceResult | DamageResult):
        measured: Any = (
            result.increase if isinstance(result, DamageResult) else result.mean[: n_layers - 1]
        )
        sizes = [n for n, row in enumerate(measured, 1) if any(cell is not None for cell in row)]
        if [best.n for best in result.best] != sizes or any(
            best.start + best.n > n_layers for best in result.best
        ):
            yield f"{contradiction} (best)"
    points = getattr(result, "points", None)
    for name in ("questions", "text_losses", "writings"):
        values = getattr(result, name, [])
        if points is not None and values and len(values) != len(points):
            yield f"{contradiction} ({name})"


def _values(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value and all nested values, each with the name of its field; the keys of a
    dictionary are names.
    """
    yield name, value
    if is_dataclass(value):
        for field in fields(value):
            yield from _values(getattr(value, field.name), field.name)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield "name", key
            yield from _values(part, key if key in _LABELS else name)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _values(part, name)


def by_id(id: str) -> OpenedPack:
    """Return the opened pack with an id, or the only one whose id has this prefix.

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
