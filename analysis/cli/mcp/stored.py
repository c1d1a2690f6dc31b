"""Stored results as answers of tools: found for a request, and put into JSON with intervals and conditions."""

import argparse
import contextlib
from collections.abc import Collection
from typing import Any

from analysis import service
from analysis.cli import requests
from analysis.cli.answers import PRINTERS, Printer
from analysis.core.errors import CorruptResultError, SpecError
from analysis.core.record import Result, Spec
from analysis.models.source.model_spec import AUTO, ModelSpec
from analysis.results.stored.result import FoundResult

MOST_COMPARED = 300
"""So many stored results are compared with a request, the strongest first."""
MOST_ROWS = 100
"""A table with more rows is left out of an answer: its numbers are in the other fields."""
ALWAYS = ("spec", "versions", "complete", "wall_s", "n_tokens")
"""Fields that every answer has, so that no number stands without its condition."""


def answering(spec: Spec) -> Result | None:
    """Return the finished stored result that answers a request, the committed ones included; None without one.

    A dtype or device that is `auto` matches any: the strongest evidence comes first. All other settings must be equal.
    """
    wanted = requests.as_requested(spec).to_json()
    for entry in beside(spec, MOST_COMPARED):
        with contextlib.suppress(CorruptResultError):
            result: Result = entry.result
            if result.complete and _fits(wanted, requests.as_requested(result.spec).to_json()):
                return result
    return None


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
    return bool(wanted == held) or (name in ("dtype", "device") and wanted == AUTO)


def data(result: Any, fields: Collection[str] = (), *, per_question: bool = False) -> dict[str, Any]:
    """Return the JSON that the command prints of a result, with its tables and the sentence on its measurement.

    Args:
        result: of any kind.
        fields: the fields to return besides `ALWAYS`; none for all.
        per_question: add the scores of every question.

    Raises:
        SpecError: when there is no such field.
    """
    chosen = selected(
        PRINTERS.get(result.kind, Printer()).data(result, argparse.Namespace(per_question=per_question)), fields, ALWAYS
    )
    tables = {name: table for name, table in result.tables().items() if len(table.rows) <= MOST_ROWS}
    rows = {name: [_without_gaps(row) for row in table.records()] for name, table in tables.items()}
    return chosen | {"measured_on": result.measured_on(), "tables": rows}


def selected(content: dict[str, Any], fields: Collection[str], always: Collection[str]) -> dict[str, Any]:
    """Return some fields of an answer.

    Args:
        content: the answer.
        fields: the fields to return besides `always`; none for all.
        always: fields that are always returned.

    Raises:
        SpecError: when there is no such field.
    """
    unknown = sorted(set(fields) - content.keys())
    if unknown:
        raise SpecError(f"The answer has no field {unknown[0][:60]!r}. It has {', '.join(content)}.")
    return {name: value for name, value in content.items() if not fields or name in (*always, *fields)}


def _without_gaps(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def listed(entry: FoundResult) -> dict[str, Any]:
    """Return the line of a stored result in a list: its key, its condition and its key figures with 95 % intervals."""
    summary = entry.summary
    model = summary.model
    return {
        "kind": entry.kind,
        "key": entry.key,
        "model": model.source if model else summary.name,
        "revision": model.revision if model else None,
        "how": summary.how,
        "measured_on": summary.on,
        "n": summary.n,
        "seed": summary.seed,
        "dtype": model.dtype if model else None,
        "quantization": model.quantization if model else None,
        "precision": summary.precision,
        "versions": summary.versions,
        "complete": summary.complete,
        "committed": entry.precomputed,
        "saved_at": entry.saved_at,
        "figures": [
            {"name": figure.name, "value": figure.value, "low": figure.low, "high": figure.high}
            for figure in summary.figures
            if figure.value is not None
        ],
    }
