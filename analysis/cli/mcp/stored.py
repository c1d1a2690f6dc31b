"""Results as answers of tools: JSON with intervals and conditions."""

import argparse
from collections.abc import Collection
from typing import Any

from analysis.cli.answers import PRINTERS, Printer
from analysis.core.errors import SpecError
from analysis.results.stored.result import FoundResult

MOST_ROWS = 100
"""A table with more rows is left out of an answer: its numbers are in the other fields."""
ALWAYS = ("spec", "versions", "complete", "wall_s", "n_tokens")
"""Fields that every answer has, so that no number stands without its condition."""


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
    rows = {
        name: [{key: value for key, value in row.items() if value is not None} for row in table.records()]
        for name, table in tables.items()
    }
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


def listed(entry: FoundResult) -> dict[str, Any]:
    """Return the line of a stored result in a list: its key, its condition and its key figures with 95 % intervals."""
    summary = entry.summary
    model = summary.model
    return {
        "kind": entry.kind,
        "key": entry.key,
        "model": model.source if model else summary.name,
        **{name: getattr(model, name, None) for name in ("revision", "dtype", "quantization")},
        **{name: getattr(summary, name) for name in ("how", "n", "seed", "precision", "versions", "complete")},
        "measured_on": summary.on,
        "committed": entry.precomputed,
        "saved_at": entry.saved_at,
        "figures": [figure._asdict() for figure in summary.figures if figure.value is not None],
    }
