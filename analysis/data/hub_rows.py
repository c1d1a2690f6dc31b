"""Rows of a data set of the hub as a file of one's own: texts or questions, with the columns that are meant.

A file of the set is fetched whole, at a commit, and its first rows are kept under the names that `corpora` and `files` read.
What comes out is a file like any other, so that it is measured on, shown and reproduced like one.
"""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import hub
from analysis.core import apart, documents
from analysis.core.bounds import shown
from analysis.core.errors import CorpusError
from analysis.core.progress import OnProgress, ignore
from analysis.data.files import ANSWER_NAMES, QUESTION_NAMES

ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
"""Of files whose rows are read; all but Parquet may be packed by gzip."""
MOST_FILE_BYTES = 1 << 30
"""Of a file that is fetched."""
MOST_ROWS = 100_000
USUAL_ROWS = 2_000
_MOST_BYTES = 64 << 20
"""Of what is kept."""
_MOST_LINE = 1 << 20
_BATCH = 64
_APART_BYTES, _APART_S = 2 << 30, 30.0
"""Memory, libraries included, and time for a file that a visitor named."""

TEXT = "text"
QUESTION, CHOICES, ANSWER = "question", "choices", "answer"
ROLES = {"texts": (TEXT,), "questions": (QUESTION, CHOICES, ANSWER)}
"""What columns are needed for: the names that they are kept under."""
_USUAL = {
    TEXT: ("text", "content", "document", "article", "body", "passage"),
    QUESTION: QUESTION_NAMES,
    CHOICES: ("choices", "options", "endings"),
    ANSWER: ANSWER_NAMES,
}
Columns = Mapping[str, Sequence[str]]
"""Columns of the set by what they are kept as; choices may stand in several."""


@dataclass(frozen=True)
class DataSet:
    """A data set at a commit, and the files of it whose rows can be read."""

    repository: "hub.Repository"
    files: tuple["hub.File", ...]


def look(id: str, revision: str | None = None) -> DataSet:
    """Ask the hub what is in a data set; nothing of it is fetched.

    Raises:
        HubError: when the hub does not give it.
        CorpusError: when no file of it can be read.
    """
    found = hub.recall(hub.DATA_SET, id, revision) if hub.is_offline() or hub.is_commit(revision) else None
    if found is None:
        found = hub.look(id, revision, kind=hub.DATA_SET)
        hub.remember(found, revision)
    files = [file for file in found.files if _ending(file.path) in ENDINGS and not _is_about(file.path)]
    if not files:
        raise CorpusError(
            f"The data set {id} has no file whose rows can be read ({', '.join(ENDINGS)}); it may be made by a program of its "
            f"own, which is never run: choose another one, or revision refs/convert/parquet."
        )
    return DataSet(found, tuple(files))


def _ending(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix.lower()


def _is_about(path: str) -> bool:
    """Whether a file is about the set and not of it."""
    name = path.rsplit("/", 1)[-1].lower()
    return name.startswith(("dataset_info", "state.", "readme", "license", "requirements")) or name == "data.txt"


def fetch(found: DataSet, path: str, on_progress: OnProgress = ignore) -> Path:
    """Bring one file of the set here.

    Raises:
        CorpusError: when there is none of this name, or it is too large.
        HubError, StorageError: as `hub.fetch`.
    """
    file = next((file for file in found.files if file.path == path), None)
    if file is None:
        some = ", ".join(file.path for file in found.files[:5])
        raise CorpusError(f"{found.repository.id} has no file {shown(path)} whose rows can be read; it has {some}.")
    if file.size > MOST_FILE_BYTES:
        raise CorpusError(
            f"{path} has {file.size / 1e9:.1f} GB, and a file of at most {MOST_FILE_BYTES / 1e9:.1f} GB is fetched for its "
            f"rows; choose a smaller one of the set."
        )
    return hub.fetch(found.repository, [file], on_progress) / path


def rows(file: Path, most: int = USUAL_ROWS) -> list[dict[str, Any]]:
    """The first rows of a file by column.

    Raises:
        CorpusError: when it is not what its name says.
    """
    read = {".parquet": _parquet, ".csv": _separated, ".tsv": _separated, ".txt": _lines}.get(_ending(file.name), _json)
    try:
        return list(itertools.islice(read(file), most))
    except (OSError, EOFError, ValueError, TypeError, csv.Error) as error:  # those of pyarrow are ValueErrors and OSErrors
        raise CorpusError(f"{file.name} cannot be read as its name says: {str(error).splitlines()[0]}.") from error


def rows_apart(file: Path, most: int) -> list[dict[str, Any]]:
    """The same of a file that a visitor named, in a process of its own with bounds of memory and time.

    Raises:
        CorpusError: as `rows`, and when it takes more than its bounds.
    """
    try:
        found: list[dict[str, Any]] = apart.answer(
            "analysis.data.hub_rows:rows_plain", str(file), str(most), memory_bytes=_APART_BYTES, seconds=_APART_S
        )
        return found
    except apart.OverLimitError as error:
        raise CorpusError(f"Reading {file.name} takes more than {error}; take fewer rows, or another file.") from error


def rows_plain(file: str, most: str) -> Any:
    """What `rows` finds, as JSON has it."""
    return json.loads(json.dumps(rows(Path(file), int(most)), default=str))


def _parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(file, pre_buffer=False).iter_batches(_BATCH, use_threads=False):
        yield from batch.to_pylist()


def _opened(file: Path) -> io.TextIOBase:
    if file.name.endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as stream:
        while line := stream.readline(_MOST_LINE):
            if line.strip():
                yield {TEXT: line.rstrip("\r\n")}


def _separated(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as stream:
        for row in csv.DictReader(stream, delimiter="\t" if _ending(file.name) == ".tsv" else ","):
            yield {str(name): value for name, value in row.items() if name is not None}


def _json(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as stream:
        first = stream.read(1)
        rest: Iterator[Any]
        if first == "[":
            rest = iter(documents.parsed(first + stream.read(_MOST_BYTES)))
        else:
            lines = itertools.chain([first + stream.readline(_MOST_LINE)], iter(lambda: stream.readline(_MOST_LINE), ""))
            rest = (documents.parsed(line) for line in lines if line.strip())
        for row in rest:
            if not isinstance(row, dict):
                raise ValueError("a row of it is no object with columns")
            yield row


def names(read: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of some rows, in their order."""
    return list(dict.fromkeys(name for row in read for name in row))


def guess(columns: Sequence[str], role: str) -> str | None:
    """Which column is likely to be meant; None where none is called so."""
    known = {name.lower(): name for name in reversed(columns)}
    return next((known[name] for name in _USUAL[role] if name in known), None)


def guessed(columns: Sequence[str], kind: str) -> dict[str, list[str]]:
    """The same of all that a kind needs, as far as it can be told."""
    found = {role: guess(columns, role) for role in ROLES[kind]}
    return {role: [name] for role, name in found.items() if name is not None}


def kept(read: Sequence[Mapping[str, Any]], kind: str, columns: Columns) -> bytes:
    """Rows as the lines of a JSONL file of one's own.

    Args:
        read: the rows.
        kind: a key of `ROLES`.
        columns: of the set, for every role of the kind.

    Raises:
        CorpusError: when a column is missing or holds nothing of what is needed.
    """
    there = names(read)
    for role in ROLES[kind]:
        if not columns.get(role):
            raise CorpusError(f"Which column is the {role}? The rows have {', '.join(there)}; name one of them.")
        if unknown := [name for name in columns[role] if name not in there]:
            raise CorpusError(f"The rows have no column {shown(unknown[0])}; they have {', '.join(there)}.")
    lines = [made for row in read if (made := _line(row, kind, columns)) is not None]
    if not lines:
        raise CorpusError(
            f"No row has anything in {', '.join(name for role in ROLES[kind] for name in columns[role])} that can be used as "
            f"{' or '.join(ROLES[kind])}; choose other columns."
        )
    content = "".join(f"{line}\n" for line in lines).encode()
    if len(content) > _MOST_BYTES:
        raise CorpusError(
            f"These rows take {len(content) / 1e6:.0f} MB, and {_MOST_BYTES / 1e6:.0f} MB is the most; take fewer."
        )
    return content


def _line(row: Mapping[str, Any], kind: str, columns: Columns) -> str | None:
    if kind == "texts":
        text = row.get(columns[TEXT][0])
        return json.dumps({TEXT: text}) if isinstance(text, str) and text.strip() else None
    several = columns[CHOICES]
    choices = row.get(several[0]) if len(several) == 1 else [row.get(name) for name in several]
    question = {QUESTION: row.get(columns[QUESTION][0]), CHOICES: choices, ANSWER: row.get(columns[ANSWER][0])}
    return None if question[QUESTION] is None else json.dumps(question, default=str)
