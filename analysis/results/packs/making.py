"""Make a pack: stored results of a model as one zip file, without weights, adapters and hidden
states.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from analysis import __version__
from analysis.core import serving, store, units, zips
from analysis.core.bounds import shown
from analysis.core.errors import CorruptResultError, NotFiniteError, PackError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.index_table import PACKS
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.search.search_spec import SearchResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.packs import opening
from analysis.results.stored import pack_list
from analysis.results.stored.pack_list import FILE, Manifest, PackedModel, PackedResult
from analysis.results.stored.result import FoundResult

_LEAN = ("distances", "search")
"""Kinds that are packed without arrays, such as hidden states: no page needs these."""


@dataclass(frozen=True)
class Pack:
    """A new pack, with what to check before sharing it."""

    content: bytes
    """The zip file."""
    manifest: Manifest
    left_out: tuple[str, ...]
    """Omitted results, each with its reason."""
    paths: tuple[str, ...]
    """Paths of this machine that its results name."""


def make(
    model: ModelSpec, *, kinds: Sequence[str] = (), keys: Sequence[str] = (), title: str = ""
) -> Pack:
    """Pack stored results of a model; results of opened packs are left out.

    Args:
        model: the model, by the weights under its name or path now.
        kinds: of the results; none for all but exports.
        keys: fingerprints of results; none for all of these kinds.
        title: name of the pack; "" for the name of the model.

    Raises:
        SpecError: for an unknown kind or fingerprint.
        PackError: without a result, with a title that has markup, or if the pack exceeds the
            maximum size.
    """
    if unknown := sorted(set(kinds) - set(EXPERIMENTS)):
        raise SpecError(
            f"{shown(unknown[0])} is no kind of result. Choose from {', '.join(EXPERIMENTS)}."
        )
    wanted = kinds or [
        kind for kind in EXPERIMENTS if keys or kind != "export"
    ]  # exports are folders of this machine
    entries = [entry for kind in wanted for entry in library.find(kind, model)]
    entries = [entry for entry in entries if not entry.source.place.startswith(f"{PACKS}/")]
    if absent := sorted(set(keys) - {entry.key for entry in entries}):
        raise SpecError(
            f"{model.source} has no stored result {shown(absent[0])}. Compare, Runs lists the keys."
        )
    chosen = [entry for entry in entries if not keys or entry.key in keys]
    pack_title = title or pack_list.title_of(
        next((entry.summary.name for entry in chosen), model.source)
    )
    if why := pack_list.why_no_title(pack_title):
        raise PackError(f"The pack cannot be made: {why}. Name it with --title.")
    files, results, left_out, paths = _files(chosen)
    if not results:
        why = f" ({left_out[0]})" if left_out else ""
        raise PackError(
            f"{model.source} has no finished result to pack{why}. Measure it first, such as with"
            " `distances`."
        )
    models = tuple(
        {
            (each.source, each.revision, each.identity): each
            for each in map(_model, reversed(chosen))
        }.values()
    )
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    made_with = f"layerscope {__version__}"
    manifest = Manifest(
        pack_list.FORMAT, pack_list.VERSION, pack_title, made_with, models, tuple(results), digests
    )
    manifest_json = json.dumps(asdict(manifest), indent=1).encode()
    content = zips.made(files | {FILE: manifest_json})
    if len(content) > opening.PACK_BYTES:
        raise PackError(
            f"The pack has {units.size(len(content))}, and at most {units.size(opening.PACK_BYTES)}"
            " are allowed. Choose fewer results with --kinds."
        )
    return Pack(content, manifest, tuple(left_out), tuple(sorted(paths)))


def _files(
    entries: Sequence[FoundResult],
) -> tuple[dict[str, bytes], list[PackedResult], list[str], set[str]]:
    """Return the files of results by name, the packed results, the omitted ones with reasons, and
    the paths in them.
    """
    files = dict[str, bytes]()
    packed = list[PackedResult]()
    left_out = list[str]()
    paths = set[str]()
    with tempfile.TemporaryDirectory(prefix="layerscope-pack-") as scratch:
        for entry in entries:
            if not entry.summary.complete:
                left_out.append(f"{entry.id} is unfinished")
                continue
            try:
                result = _read(entry)
                if result.spec.fingerprint() != entry.key:
                    left_out.append(f"{entry.id} was measured by another version")
                    continue
                result.save(Path(scratch))
            except (CorruptResultError, NotFiniteError) as error:
                left_out.append(f"{entry.id} cannot be read: {error}")
                continue
            folder = Path(scratch, entry.kind, entry.key)
            files |= {
                file.relative_to(scratch).as_posix(): file.read_bytes()
                for file in sorted(folder.iterdir())
            }
            packed.append(PackedResult(entry.kind, entry.key, max(0.0, entry.saved_at)))
            paths.update(
                path for path in serving.named_files(result.spec) if path.startswith(("/", "~"))
            )
    return files, packed, left_out, paths


def _read(entry: FoundResult) -> Any:
    """Return a result as it is packed: without large arrays and without paths of adapters."""
    stored = store.read(
        entry.source.folder, precomputed=entry.precomputed, arrays=entry.kind not in _LEAN
    )
    result = EXPERIMENTS[entry.kind].result.read(stored)
    if isinstance(result, DistanceResult):
        return replace(result, states=None, text_distances=None)
    if isinstance(result, SearchResult):
        return replace(result, sets=None, values=None)
    return replace(result, adapter=None) if isinstance(result, HealResult) else result


def _model(entry: FoundResult) -> PackedModel:
    model = entry.summary.model
    named = (model.source, model.revision or "", model.identity) if model else ("", "", "")
    return PackedModel(entry.summary.name[:400], *(text[:400] for text in named))
