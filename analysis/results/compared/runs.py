"""Stored results of every kind as tidy rows: model, measurement, and one key figure with its error."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.errors import CorruptResultError
from analysis.core.index import ResultGroup
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.stored.result import FoundResult, KeyFigure, read
from analysis.results.stored.summaries import KINDS, facts, kinds, nearest_n


def saved(found: FoundResult) -> str:
    """When it was stored: year, month, day and minute, which sort as text; committed files only carry the checkout's."""
    return "precomputed" if found.precomputed else time.strftime("%Y-%m-%d %H:%M", time.localtime(found.saved_at))


def figure_at(found: FoundResult, fraction: float) -> KeyFigure:
    """The number to sort a stored result by, as `key_figure` has it."""
    known = found.summary
    if len(known.figures) > 1 and known.layers is not None:
        return known.figures[nearest_n(fraction, known.layers) - 1]
    return known.figures[0]


def row(found: FoundResult, fraction: float) -> dict[str, Any]:
    """A stored result as a row of the table, in its order of columns.

    Args:
        found: of one of `kinds()`.
        fraction: as in `key_figure`.
    """
    known, figure = found.summary, figure_at(found, fraction)
    return {
        "model": known.name,
        "layers": known.layers,
        "kind": kinds()[found.kind],
        "how": known.how,
        "measured on": known.on,
        "n": known.n,
        "figure": figure.name,
        "value": figure.value,
        "value_low": figure.low,
        "value_high": figure.high,
        "precision": known.precision,
        "seed": known.seed,
        "saved": saved(found) if known.complete else f"{saved(found)}, unfinished",
        "versions": known.versions,
        "weights": known.model.identity if known.model else "",
        "key": found.key,
    }


def labels(runs: Sequence[FoundResult]) -> list[str]:
    """Return the shortest unique names: of model, rule, material, precision, seed and date only the differing parts."""
    parts = [
        (said.name, said.how, said.on, said.precision, f"seed {said.seed}", saved(run), run.key[:6])
        for run, said in ((run, run.summary) for run in runs)
    ]
    used: list[int] = []
    for place in range(len(parts[0]) if parts else 0):
        said = [tuple(part[i] for i in used) for part in parts]
        # A part is used where it divides runs that are still called the same.
        if len({(*one, part[place]) for one, part in zip(said, parts, strict=True)}) > len(set(said)):
            used.append(place)
    return [" · ".join(part[i] for i in used or [0, 1]) for part in parts]


def first_picks(runs: Sequence[FoundResult], most: int = 3) -> list[str]:
    """Return the ids of the runs worth overlaying at first: of each model the strongest evidence.

    The first map of each model and, where there is only one model, its first map of other texts. Likewise curves by
    `similarity` on the same questions; beside them, one model's second curve is another strategy.

    Args:
        runs: those of the preferred models first.
        most: models of each.
    """
    picks: list[str] = []
    for kind in ("distances", "sweep"):
        found = [run for run in runs if run.kind == kind]
        models = {name: place for place, name in reversed(list(enumerate(run.summary.name for run in found)))}
        found.sort(key=lambda run: run.summary.weight, reverse=True)
        found.sort(key=lambda run: models[run.summary.name])
        found.sort(key=lambda run: (_is_quantized(run), kind == "sweep" and run.summary.strategy != "similarity"))
        if kind == "sweep" and found:
            found = [run for run in found if run.summary.questions == found[0].summary.questions]
        firsts = {run.summary.name: run.id for run in reversed(found)}.values()
        chosen = [run for run in found if run.id in firsts][:most]
        if len(chosen) == 1:
            first = chosen[0].summary
            chosen += [run for run in found if (run.summary.on, run.summary.how) != (first.on, first.how)][:1]
        picks += [run.id for run in chosen]
    return picks


def _is_quantized(run: FoundResult) -> bool:
    return run.summary.model is not None and run.summary.model.quantization != "none"


def shortened(names: Sequence[str]) -> list[str]:
    """Return names made by `labels`, after some were left out, without the parts that all remaining ones share."""
    parts = [name.split(" · ") for name in names]
    used = [place for place, said in enumerate(zip(*parts, strict=False)) if len(set(said)) > 1]
    return [" · ".join(part[place] for place in used) for part in parts] if used else list(names)


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
    """When the newest result was stored, seconds since the epoch; 0 where all are precomputed."""


def models_seen(groups: Sequence[ResultGroup]) -> list[StoredModel]:
    """Return the models behind results of any kind, distinct by their weights, not their paths; newest first.

    Args:
        groups: may also hold facts read of a model alone (`InspectResult`), which are not counted.
    """
    by_weights: dict[str, list[ResultGroup]] = {}
    for group in groups:
        by_weights.setdefault(group.identity or f"{group.source} {group.revision}", []).append(group)
    seen = []
    for same in by_weights.values():
        newest = sorted(same, key=lambda group: (group.newest.precomputed, -group.newest.mtime_ns))
        counts = {kind: sum(group.n for group in same if group.newest.kind == kind) for kind in KINDS}
        asked = _first_read([group for group in newest if not group.is_quantized] or newest)
        size = next((size for group in newest if (size := facts(_first_read([group])))), None)
        if asked is None or size is None:
            continue
        sources = list(dict.fromkeys(group.source for group in newest))
        times = [group.newest.saved_at for group in same if not group.newest.precomputed]
        known = {kind: count for kind, count in counts.items() if count}
        seen.append(StoredModel(size, asked.spec.model, known, sources, max(times, default=0.0)))
    return sorted(seen, key=lambda one: -one.saved_at)


def _first_read(groups: Sequence[ResultGroup]) -> Any:
    for group in groups:
        with contextlib.suppress(CorruptResultError):
            return read(group.newest)
    return None
