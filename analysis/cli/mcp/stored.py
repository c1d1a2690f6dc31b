"""JSON of results for tools, with intervals and conditions."""

import argparse
from collections.abc import Collection
from typing import Any

from analysis.cli.answers import PRINTERS, Printer
from analysis.core.errors import SpecError
from analysis.results.stored.result import FoundResult

MOST_ROWS = 100
"""Maximum number of rows of a table in an answer; the numbers of longer tables are in other
fields."""
ALWAYS = ("spec", "versions", "complete", "wall_s", "n_tokens")
"""Fields of every answer: the conditions of its numbers."""


def data(
    result: Any, fields: Collection[str] = (), *, per_question: bool = False
) -> dict[str, Any]:
    """Return the JSON of a result as the command prints it, with its tables and a description of
    its data.

    Args:
        result: result of any kind.
        fields: names of fields to return besides `ALWAYS` (default: all).
        per_question: whether to add the scores of every question.

    Raises:
        SpecError: if there is no such field.
    """
    chosen = selected(
        PRINTERS.get(result.kind, Printer()).data(
            result, argparse.Namespace(per_question=per_question)
        ),
        fields,
        ALWAYS,
    )
    tables = {
        name: table for name, table in result.tables().items() if len(table.rows) <= MOST_ROWS
    }
    rows = {
        name: [
            {key: value for key, value in row.items() if value is not None}
            for row in table.records()
        ]
        for name, table in tables.items()
    }
    return chosen | {"measured_on": result.measured_on(), "tables": rows}


def selected(
    content: dict[str, Any], fields: Collection[str], always: Collection[str]
) -> dict[str, Any]:
    """Return the selected fields of an answer.

    Args:
        content: the answer.
        fields: names of fields to return besides `always`; all if empty.
        always: names of fields that are always returned.

    Raises:
        SpecError: if there is no such field.
    """
    unknown = sorted(set(fields) - content.keys())
    if unknown:
        raise SpecError(
            f"The answer has no field {unknown[0][:60]!r}. It has {', '.join(content)}."
        )
    return {
        name: value for name, value in content.items() if not fields or name in (*always, *fields)
    }


def listed(entry: FoundResult) -> dict[str, Any]:
    """Return key, condition and key figures with 95 % intervals of a stored result."""
    summary = entry.summary
    model = summary.model
    return {
        "kind": entry.kind,
        "key": entry.key,
        "model": model.source if model else summary.name,
        **{name: getattr(model, name, None) for name in ("revision", "dtype", "quantization")},
        **{
            name: getattr(summary, name)
            for name in ("how", "n", "seed", "precision", "versions", "complete")
        },
        "measured_on": summary.on,
        "committed": entry.precomputed,
        "saved_at": entry.saved_at,
        "figures": [figure._asdict() for figure in summary.figures if figure.value is not None],
    }
