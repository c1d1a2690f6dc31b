"""The subcommand `dataset`: rows of a dataset from the Hub as a file of texts or questions, for
`--texts` and `--task`.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.cli.bar import Bar
from analysis.cli.stdout import write
from analysis.core import output, units
from analysis.core.errors import SpecError
from analysis.data import hub_rows

_FIRST = 3
"""Number of rows to print."""
_MAX_CHARS = 100
"""Maximum length of a printed value."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand to a parser."""
    parser.add_argument(
        "id", metavar="DATASET", help="Dataset on the Hub, such as allenai/ai2_arc."
    )
    parser.add_argument("--revision", help="Branch, tag or commit (default: the default branch).")
    parser.add_argument(
        "--file",
        metavar="PATH",
        help="File of the dataset (default: list all files with their sizes).",
    )
    parser.add_argument(
        "--as",
        dest="kind",
        choices=tuple(hub_rows.ROLES),
        default="texts",
        help="Kind of file to write: texts or questions (default: texts).",
    )
    for role in (hub_rows.TEXT, hub_rows.QUESTION, hub_rows.CHOICES, hub_rows.ANSWER):
        or_several = ", or several columns joined by commas" if role == hub_rows.CHOICES else ""
        help_text = f"Column with the {role}{or_several} (default: the column with a usual name)."
        parser.add_argument(f"--{role}", metavar="COLUMN", help=help_text)
    default = hub_rows.USUAL_ROWS
    parser.add_argument(
        "--rows",
        metavar="N",
        type=int,
        default=default,
        help=f"Number of rows to read from the start (default: {default:,}).",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="JSONL file to write (default: none, show columns and first rows).",
    )


def run(options: argparse.Namespace) -> None:
    """List the files of a dataset, show the first rows of one, or write them.

    Raises:
        LayerscopeError: if the Hub refuses the dataset, or it lacks the requested rows.
    """
    if not 1 <= options.rows <= hub_rows.MOST_ROWS:
        raise SpecError(f"--rows must be 1..{hub_rows.MOST_ROWS}, not {options.rows}.")
    if options.out:
        output.check(options.out, "--out")
    dataset = hub_rows.look(options.id, options.revision)
    commit = dataset.repository.commit
    data = {"id": options.id, "commit": commit}
    if not options.file:
        files = [{"path": file.path, "size_bytes": file.size} for file in dataset.files]
        lines = [f"{units.size(file.size):>9}  {file.path}" for file in dataset.files]
        write(options, data | {"files": files}, [f"{options.id} at commit {commit}:", *lines])
        return
    with Bar() as bar:
        read = hub_rows.first_rows(dataset, options.file, options.rows, on_progress=bar)
    columns = hub_rows.names(read)
    roles = hub_rows.guessed(columns, options.kind) | _chosen_columns(options)
    data |= {
        "file": options.file,
        "columns": columns,
        "as": {role: list(names) for role, names in roles.items()},
    }
    if not options.out:
        write(
            options,
            data | {"rows": [_short(row) for row in read[:_FIRST]]},
            _preview(read, columns, roles),
        )
        return
    content = hub_rows.as_jsonl(read, options.kind, roles)
    output.write(options.out, content, "--out")
    flag = "--texts" if options.kind == "texts" else "--task"
    n_rows = content.count(b"\n")
    done = (
        f"{n_rows:,} rows of {options.id} at commit {commit} written to {options.out}. Use it with"
        f" {flag}."
    )
    write(options, data | {"out": options.out, "n_rows": n_rows}, [done])


def _chosen_columns(options: argparse.Namespace) -> dict[str, list[str]]:
    roles = hub_rows.ROLES[options.kind]
    names = {role: getattr(options, role) for role in roles}
    return {
        role: value.split(",") if role == hub_rows.CHOICES else [value]
        for role, value in names.items()
        if value
    }


def _short(row: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: str(value) if len(str(value)) <= _MAX_CHARS else f"{str(value)[:_MAX_CHARS]}…"
        for name, value in row.items()
    }


def _preview(
    read: Sequence[Mapping[str, Any]], columns: Sequence[str], roles: Mapping[str, Sequence[str]]
) -> list[str]:
    roles_text = (
        ", ".join(f"{role} = {' + '.join(names)}" for role, names in roles.items())
        or "no column has a usual name"
    )
    lines = [
        f"{len(read):,} rows with the columns {', '.join(columns)}. Chosen: {roles_text}. First"
        " rows:"
    ]
    lines += [f"  {name}: {value}" for row in read[:_FIRST] for name, value in _short(row).items()]
    return [*lines, "Nothing written. Add --out FILE to write the rows."]
