"""Stored results of every kind as tidy rows: model, measurement, and one key figure with its
error.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.errors import CorruptResultError
from analysis.core.index import ResultGroup
from analysis.experiments.strategies import USUAL
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.stored.result import FoundResult, read
from analysis.results.stored.summaries import KINDS, facts, kinds


def saved(entry: FoundResult) -> str:
    """Return when a result was stored, in a form that sorts as text; of a read-only result its
    origin.
    """
    return entry.origin or time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.saved_at))


def row(entry: FoundResult) -> dict[str, Any]:
    """Return a stored result of one of `kinds()` as a row of the table, in its order of columns."""
    summary = entry.summary
    figure = entry.summary.figures[0]
    return {
        "model": summary.name,
        "layers": summary.layers,
        "kind": kinds()[entry.kind],
        "how": summary.how,
        "measured on": summary.on,
        "n": summary.n,
        "figure": figure.name,
        "value": figure.value,
        "value_low": figure.low,
        "value_high": figure.high,
        "precision": summary.precision,
        "seed": summary.seed,
        "saved": saved(entry) if summary.complete else f"{saved(entry)}, unfinished",
        "versions": summary.versions,
        "weights": summary.model.identity if summary.model else "",
        "key": entry.key,
    }


def labels(runs: Sequence[FoundResult]) -> list[str]:
    """Return the shortest unique labels, made of the parts that differ: model, rule, material,
    precision, seed and date.
    """
    parts = [
        (
            summary.name,
            summary.how,
            summary.on,
            summary.precision,
            f"seed {summary.seed}",
            saved(run),
            run.key[:6],
        )
        for run, summary in ((run, run.summary) for run in runs)
    ]
    used: list[int] = []
    for index in range(len(parts[0]) if parts else 0):
        labels_so_far = [tuple(part[i] for i in used) for part in parts]
        # A part is used if it distinguishes runs that still have the same label.
        if len(
            {(*label, part[index]) for label, part in zip(labels_so_far, parts, strict=True)}
        ) > len(set(labels_so_far)):
            used.append(index)
    return [" · ".join(part[i] for i in used or [0, 1]) for part in parts]


def first_picks(runs: Sequence[FoundResult], most: int = 3) -> list[str]:
    """Return the ids of the runs that are overlaid by default: the strongest map of each model, and
    its curve.

    Args:
        runs: those of the preferred models first.
        most: models of each.
    """
    picks: list[str] = []
    for kind in ("distances", "sweep"):
        candidates = [run for run in runs if run.kind == kind]
        candidates.sort(
            key=lambda run: (run.summary.strategy in ("", USUAL), run.summary.weight), reverse=True
        )
        firsts: dict[str, str] = {}
        for run in candidates:
            if run.summary.questions == candidates[0].summary.questions:
                firsts.setdefault(run.summary.name, run.id)
        names = dict.fromkeys(run.summary.name for run in runs)
        picks += [firsts[name] for name in names if name in firsts][:most]
    return picks


@dataclass(frozen=True)
class StoredModel:
    """A model that has stored results."""

    facts: ModelFacts
    model: ModelSpec
    """Its source and precision, as in the newest result of it."""
    counts: dict[str, int]
    """Results by kind, in the order of `KINDS`."""
    sources: list[str]
    """Paths of its weights, newest first."""
    saved_at: float
    """Time of the newest result in seconds since the epoch; 0 if all are precomputed."""


def models_seen(groups: Sequence[ResultGroup]) -> list[StoredModel]:
    """Return the models behind results of any kind, distinct by their weights, not their paths;
    newest first.

    Args:
        groups: may also hold facts read of a model alone (`InspectResult`), which are not counted.
    """
    by_weights: dict[str, list[ResultGroup]] = {}
    for group in groups:
        by_weights.setdefault(group.identity or f"{group.source} {group.revision}", []).append(
            group
        )
    models = []
    for same in by_weights.values():
        newest = sorted(same, key=lambda group: (group.newest.precomputed, -group.newest.mtime_ns))
        counts = {
            kind: sum(group.n for group in same if group.newest.kind == kind) for kind in KINDS
        }
        first_read = _first_read([group for group in newest if not group.is_quantized] or newest)
        size = next((size for group in newest if (size := facts(_first_read([group])))), None)
        if first_read is None or size is None:
            continue
        sources = list(dict.fromkeys(group.source for group in newest))
        times = [group.newest.saved_at for group in same if not group.newest.precomputed]
        by_kind = {kind: count for kind, count in counts.items() if count}
        models.append(
            StoredModel(size, first_read.spec.model, by_kind, sources, max(times, default=0.0))
        )
    return sorted(models, key=lambda model: -model.saved_at)


def _first_read(groups: Sequence[ResultGroup]) -> Any:
    for group in groups:
        with contextlib.suppress(CorruptResultError):
            return read(group.newest)
    return None
