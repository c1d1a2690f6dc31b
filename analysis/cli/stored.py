"""Stored results that answer a request, found without a model and without torch."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from analysis import service
from analysis.cli import requests
from analysis.core import store
from analysis.core.errors import CorruptResultError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Result, Spec
from analysis.experiments.heal.heal_result import HealResult
from analysis.exports import folders
from analysis.exports.spec import ExportResult
from analysis.models.source import resolving
from analysis.models.source.location import locate
from analysis.models.source.model_spec import AUTO, ModelSpec
from analysis.results.stored.result import FoundResult

MOST_COMPARED = 300
"""Maximum number of stored results that are compared with a request, the strongest first."""
PRECOMPUTED = "precomputed"
"""Origin of the committed results; packs have others."""
_REUSED = ("heal", "export", "compare")
"""Kinds whose stored results answer, although only their runners resolve a request."""


def answers(spec: Spec) -> Iterator[FoundResult]:
    """Yield the finished stored results that answer a request, the strongest evidence first, the committed ones included.

    A dtype or device that is `auto` matches any. All other settings must be equal.
    """
    wanted = requests.as_requested(spec).to_json()
    for entry in beside(spec, MOST_COMPARED):
        with contextlib.suppress(CorruptResultError):
            if entry.result.complete and _fits(wanted, requests.as_requested(entry.result.spec).to_json()):
                yield entry


def answering(spec: Spec) -> Result | None:
    """Return the strongest finished stored result that answers a request; None without one."""
    return next((entry.result for entry in answers(spec)), None)


def current(spec: Spec) -> FoundResult | None:
    """Return the stored result that answers a request, without torch: of this cache, or a committed one in any precision.

    Files behind the request are the same as when it was measured.
    """
    if not EXPERIMENTS[spec.kind].resolve and spec.kind not in _REUSED:
        return None
    for entry in answers(spec):
        is_committed, held = entry.origin == PRECOMPUTED, entry.result.spec.to_json()
        adapters = [name for part in (held, *held.get("variants", [])) if (name := part.get("adapter"))]
        if (entry.precomputed and not is_committed) or not all(map(_is_kept, adapters)) or not _is_whole(entry.result):
            continue
        asked = spec
        if is_committed and isinstance(model := getattr(spec, "model", None), ModelSpec):  # this machine's dtype takes torch
            identity = locate(model, weights=False).identity
            held_model = entry.result.spec.model
            asked = replace(
                asked, **{"model": replace(model, dtype=held_model.dtype, device=held_model.device, identity=identity)}
            )
        resolved = resolving.resolve(asked).to_json()
        parts = [(part, held[name]) for name, part in resolved.items() if isinstance(part, dict) and part.get("identity")]
        names = ("identity",) if is_committed else ("identity", "dtype", "device")
        if all(part[name] == other[name] for part, other in parts for name in names if name in part):
            return entry
    return None


def _is_kept(adapter: str) -> bool:
    """Return whether an adapter is one of this cache, by the name that results give it, and its files are there."""
    return adapter.startswith("adapters/") and (store.cache_dir() / adapter / "adapter_config.json").exists()


def _is_whole(result: Result) -> bool:
    """Return whether the files that a result names are there: the adapter of a healing run, the folder of an export."""
    if isinstance(result, HealResult):
        return result.adapter is not None and _is_kept(result.adapter)
    if isinstance(result, ExportResult):
        return result.spec.push is None and (folders.folder(result.spec.name) / "layerscope.json").exists()
    return True


def beside(spec: Spec, most: int = 5) -> list[FoundResult]:
    """Return the stored results of the kind and the model of a request, the strongest first.

    Args:
        spec: the request.
        most: number of results at most.
    """
    model = getattr(spec, "model", None)
    return service.find(spec.kind, model if isinstance(model, ModelSpec) else None, most=most)


def _fits(wanted: Any, held: Any, name: str = "") -> bool:
    if isinstance(wanted, dict) and isinstance(held, dict):
        return wanted.keys() == held.keys() and all(_fits(value, held[key], key) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(held, list):
        return len(wanted) == len(held) and all(map(_fits, wanted, held))
    is_open = (name in ("dtype", "device") and wanted == AUTO) or (name == "learning_rate" and wanted is None)
    return is_open or bool(wanted == held)
