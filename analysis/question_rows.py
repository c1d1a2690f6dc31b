"""The rows of a question file, JSONL, CSV or Parquet: numbered, by field name, each broken one with its reason."""

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import BenchmarkError
from analysis.specs import QUESTION_FILES

QUESTION_NAMES = ("question", "question_stem", "prompt", "query")
"""Fields that may hold the question, in lower case; the first one present is taken."""
ANSWER_NAMES = ("answer", "answerkey", "answer_key", "label", "gold", "target", "correct")
"""Fields that may hold the answer."""


_WIDEST = 28
"""Columns of a file without a header: a question, a choice for every letter of the alphabet, an answer."""


class BadRowError(Exception):
    """Why a row is no question; caught where rows are turned into questions."""


Fields = Mapping[str, Any] | BadRowError
"""A row by lower-case field name, or why it has no fields."""
Numbered = tuple[int, Fields]
"""A row's line in a text file (the first line is 1), its number from 1 in a Parquet file or JSON list, and the row."""


@dataclass(frozen=True)
class Table:
    """All rows of a file."""

    rows: list[Numbered]
    names: frozenset[str]
    """Lower-case column names; empty for JSON, where every row names its own fields."""


def identity(path: Path) -> str:
    """What the file holds, whatever its path.

    Raises:
        BenchmarkError: when it cannot be read.
    """
    return f"sha256:{hashlib.sha256(_content(path)).hexdigest()[:24]}"


def read(path: Path) -> Table:
    """Every row of the file that is not blank.

    Raises:
        BenchmarkError: when the file is missing, or nothing of it can be read as what its name says it is.
    """
    content, ending = _content(path), path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path.name, content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content:
        raise BenchmarkError(f"{path.name} is not UTF-8 text (it looks like UTF-16); save it as UTF-8 and try again.")
    # Bytes that are no UTF-8 survive as surrogates, so that only the rows that hold them are refused.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if ending in (".csv", ".tsv"):
        return _csv(text, "\t" if ending == ".tsv" else ",")
    if ending == ".json" and text.lstrip().startswith("["):
        return _json_list(path.name, text)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return Table([(number, _json_line(line)) for number, line in lines], frozenset())


def _content(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise BenchmarkError(
            f"The question file {str(path)!r} cannot be read ({error.strerror}); give a file that ends in "
            f"{', '.join(QUESTION_FILES)}."
        ) from error


def _parquet(name: str, content: bytes) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(content))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BenchmarkError(f"{name} is not a Parquet file that can be read; save it again and retry.") from error
    names = [str(column).lower() for column in table.column_names]
    rows: list[Numbered] = [
        (number, dict(zip(names, row.values(), strict=True))) for number, row in enumerate(table.to_pylist(), start=1)
    ]
    return Table(rows, frozenset(names))


def _json_list(name: str, text: str) -> Table:
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise BenchmarkError(f"{name} is not valid JSON ({error}); give one object a line, or a list of objects.") from error
    return Table([(number, _lowered(entry)) for number, entry in enumerate(entries, start=1)], frozenset())


def _json_line(line: str) -> Fields:
    try:
        return _lowered(json.loads(line))
    except ValueError as error:
        return BadRowError(f"not valid JSON ({error})")


def _lowered(entry: Any) -> Fields:
    if not isinstance(entry, dict):
        return BadRowError("not a JSON object with the fields question, choices and answer")
    return {str(name).strip().lower(): value for name, value in entry.items()}


def _csv(text: str, delimiter: str) -> Table:
    records = list(_csv_records(text, delimiter))
    whole = [(line, cells) for line, cells in records if not isinstance(cells, BadRowError)]
    if not whole:
        return Table([(line, cells) for line, cells in records if isinstance(cells, BadRowError)], frozenset())
    names = [cell.strip().lower() for cell in whole[0][1]]
    if set(names) & set(QUESTION_NAMES) and set(names) & set(ANSWER_NAMES):
        records.remove(whole[0])
    else:
        # No header: question, choices, answer. All rows are as wide; another width is a stray comma or a missing cell.
        width = Counter(len(cells) for _, cells in whole).most_common(1)[0][0]
        width = min(width, _WIDEST)
        names = ["question", *(chr(ord("a") + place) for place in range(width - 2)), "answer"]
    return Table([(line, _named(names, cells)) for line, cells in records], frozenset(names))


def _csv_records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | BadRowError]]:
    """Records with the line on which each begins; quoted cells may hold line breaks."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        begin = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            end = reader.line_num
            lines = f", so lines {begin} to {end} cannot be told apart" if end > begin else ""
            yield begin, BadRowError(f"a quote is opened and not closed as it should be ({error}){lines}")
            continue
        if any(cell.strip() for cell in cells):
            yield begin, cells


def _named(names: Sequence[str], cells: list[str] | BadRowError) -> Fields:
    if isinstance(cells, BadRowError):
        return cells
    if len(cells) != len(names):
        return BadRowError(f"{len(cells)} columns where {len(names)} are expected; a cell with a comma needs quotes")
    return dict(zip(names, cells, strict=True))
