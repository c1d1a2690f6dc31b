"""Conversion of rows of a dataset from the Hub to a file with texts or questions.

Only the first rows of one file of the dataset at a commit are read. The selected columns are stored
under the names that `corpora` and `files` read, so that the result is used like any other file.
"""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from analysis import hub
from analysis.core import input_files, sandbox
from analysis.core.bounds import shown
from analysis.core.errors import CorpusError
from analysis.core.progress import OnProgress, ignore
from analysis.data.files import ANSWER_NAMES, QUESTION_NAMES

ENDINGS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
"""Supported file name endings; all but Parquet may be followed by `.gz`."""
_WHOLE_BYTES = 16 << 20
"""Maximum size of a file that is downloaded completely and verified by its checksum."""
_BLOCK_BYTES = 4 << 20
"""Block size of the requests for larger files."""
MOST_ROWS = 100_000
USUAL_ROWS = 2_000
_MAX_BYTES = 64 << 20
"""Maximum size of the stored rows."""
_MAX_LINE = 1 << 20
_BATCH = 64
_SANDBOX_BYTES = 2 << 30
_SANDBOX_S = 300.0
"""Limits of memory, including libraries, and of time for reading a file, including the download of
a large one."""
_MAX_JSON = 256 << 20
"""Maximum size of the rows as JSON."""

TEXT = "text"
QUESTION = "question"
CHOICES = "choices"
ANSWER = "answer"
ROLES = {"texts": (TEXT,), "questions": (QUESTION, CHOICES, ANSWER)}
"""Stored column names for texts and for questions."""
_USUAL = {
    TEXT: ("text", "content", "document", "article", "body", "passage"),
    QUESTION: QUESTION_NAMES,
    CHOICES: ("choices", "options", "endings"),
    ANSWER: ANSWER_NAMES,
}
Columns = Mapping[str, Sequence[str]]
"""Columns of the dataset by stored name; choices may be in several columns."""


@dataclass(frozen=True)
class HubDataset:
    """Dataset at a commit, with its readable files."""

    repository: hub.repository.Repository
    files: tuple[hub.repository.File, ...]


def look(id: str, revision: str | None = None) -> HubDataset:
    """Request the file list of a dataset from the Hub.

    Raises:
        HubError: if the request fails.
        CorpusError: if the dataset has no readable file.
    """
    repository = hub.cache.resolve(id, revision, kind=hub.repository.DATA_SET)
    files = [
        file
        for file in repository.files
        if _ending(file.path) in ENDINGS and not _is_about(file.path)
    ]
    if not files:
        raise CorpusError(
            f"The dataset {id} has no file with readable rows ({', '.join(ENDINGS)}). It may need a"
            " loading script, which Layerscope never runs. Choose another dataset, or revision"
            " refs/convert/parquet."
        )
    return HubDataset(repository, tuple(files))


def _ending(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix.lower()


def _is_about(path: str) -> bool:
    """Return whether a file contains documentation or metadata."""
    name = path.rsplit("/", 1)[-1].lower()
    return (
        name.startswith(("dataset_info", "state.", "readme", "license", "requirements"))
        or name == "data.txt"
    )


def first_rows(
    dataset: HubDataset, path: str, max_rows: int = USUAL_ROWS, *, on_progress: OnProgress = ignore
) -> list[dict[str, Any]]:
    """Read the first rows of a file of a dataset, in a child process with limited memory and time.

    A small file is downloaded and cached. Only the required blocks of a large file are downloaded,
    without caching.

    Args:
        dataset: dataset.
        path: path of the file.
        max_rows: maximum number of rows.
        on_progress: progress callback for the download of a small file.

    Returns:
        Rows by column.

    Raises:
        CorpusError: if there is no such file, its format is wrong, or a limit is exceeded.
        HubError, StorageError: as for `hub.download.fetch`.
    """
    file = next((file for file in dataset.files if file.path == path), None)
    if file is None:
        paths = ", ".join(file.path for file in dataset.files[:5])
        raise CorpusError(
            f"{dataset.repository.id} has no file {shown(path)} with readable rows. Choose one of"
            f" its files, such as {paths}."
        )
    repository = dataset.repository
    local = ""
    if file.size <= _WHOLE_BYTES:
        local = str(hub.download.fetch(repository, [file], on_progress) / path)
    arguments = (local, repository.id, repository.commit, path, str(max_rows), str(_BLOCK_BYTES))
    try:
        read_rows: list[dict[str, Any]] = sandbox.answer(
            f"{__name__}:rows_as_json", *arguments, memory_bytes=_SANDBOX_BYTES, seconds=_SANDBOX_S
        )
    except sandbox.OverLimitError as error:
        raise CorpusError(
            f"Reading {path} takes more than {error}. Take fewer rows, or another file."
        ) from error
    return read_rows


def rows_as_json(
    local: str, id: str, commit: str, path: str, max_rows: str, block_bytes: str
) -> Any:
    """Return the first rows of a local file, or of a file on the Hub if `local` is empty, as JSON
    types.
    """
    name = Path(path).name
    with (
        Path(local).open("rb") if local else hub.download.opened(id, commit, path, int(block_bytes))
    ) as stream:
        text = json.dumps(rows(stream, name, int(max_rows)), default=str)
    if len(text) > _MAX_JSON:
        raise CorpusError(
            f"The rows of {name} take {len(text) / 1e6:,.0f} MB, but at most {_MAX_JSON / 1e6:,.0f}"
            " MB are read. Take fewer rows."
        )
    return json.loads(text)


def rows(stream: BinaryIO, name: str, max_rows: int) -> list[dict[str, Any]]:
    """Return the first rows of a file by column.

    Args:
        stream: content of the file.
        name: name of the file with one of `ENDINGS`.
        max_rows: maximum number of rows.

    Raises:
        CorpusError: if the file is not in the format of its name.
    """
    import httpx

    try:
        if _ending(name) == ".parquet":
            return list(itertools.islice(_parquet(stream), max_rows))
        content: Any = gzip.GzipFile(fileobj=stream) if name.endswith(".gz") else stream
        text = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
        if _ending(name) in (".csv", ".tsv"):
            read = _separated(text, "\t" if _ending(name) == ".tsv" else ",")
        else:
            read = _lines(text) if _ending(name) == ".txt" else _json(text)
        return list(itertools.islice(read, max_rows))
    except httpx.HTTPError:  # errors of the Hub may be OSErrors
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        csv.Error,
    ) as error:  # pyarrow raises ValueErrors and OSErrors
        raise CorpusError(
            f"{name} cannot be read in the format of its name"
            f" ({str(error).splitlines()[0].rstrip('.')}). Choose another file."
        ) from error


def _parquet(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(stream, pre_buffer=False).iter_batches(
        _BATCH, use_threads=False
    ):
        yield from batch.to_pylist()


def _lines(text: io.TextIOBase) -> Iterator[dict[str, Any]]:
    while line := text.readline(_MAX_LINE):
        if line.strip():
            yield {TEXT: line.rstrip("\r\n")}


def _short_lines(stream: io.TextIOBase) -> Iterator[str]:
    while line := stream.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            raise ValueError(f"one line is longer than {_MAX_LINE:,} characters")
        yield line


def _separated(text: io.TextIOBase, delimiter: str) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(_short_lines(text), delimiter=delimiter):
        yield {str(name): value for name, value in row.items() if name is not None}


def _json(text: io.TextIOBase) -> Iterator[dict[str, Any]]:
    first = text.read(1)
    rest: Iterator[Any]
    if first == "[":
        rest = iter(input_files.parsed(first + text.read(_MAX_BYTES)))
    else:
        lines = itertools.chain(
            [first + text.readline(_MAX_LINE)], iter(lambda: text.readline(_MAX_LINE), "")
        )
        rest = (input_files.parsed(line) for line in lines if line.strip())
    for row in rest:
        if not isinstance(row, dict):
            raise ValueError("one row is not an object with columns")
        yield row


def names(read: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of rows in order."""
    return list(dict.fromkeys(itertools.chain.from_iterable(read)))


def guess(columns: Sequence[str], role: str) -> str | None:
    """Return the probable column of a role by its name; None if there is none."""
    by_lower_name = {name.lower(): name for name in reversed(columns)}
    return next((by_lower_name[name] for name in _USUAL[role] if name in by_lower_name), None)


def guessed(columns: Sequence[str], kind: str) -> dict[str, list[str]]:
    """Return the probable columns of all roles of a kind."""
    guesses = {role: guess(columns, role) for role in ROLES[kind]}
    return {role: [name] for role, name in guesses.items() if name is not None}


def as_jsonl(read: Sequence[Mapping[str, Any]], kind: str, columns: Columns) -> bytes:
    """Return rows as the content of a JSONL file.

    Args:
        read: rows.
        kind: key of `ROLES`.
        columns: columns of the dataset for each role of the kind.

    Raises:
        CorpusError: if a column is missing, or no row has the required values.
    """
    columns_read = names(read)
    for role in ROLES[kind]:
        if not columns.get(role):
            raise CorpusError(
                f"No column is chosen as the {role}. Choose one of {', '.join(columns_read)}."
            )
        if unknown := [name for name in columns[role] if name not in columns_read]:
            raise CorpusError(
                f"The rows have no column {shown(unknown[0])}. Choose one of"
                f" {', '.join(columns_read)}."
            )
    lines = [encoded for row in read if (encoded := _line(row, kind, columns)) is not None]
    if not lines:
        chosen = itertools.chain.from_iterable(columns[role] for role in ROLES[kind])
        raise CorpusError(
            f"No row has a usable {' or '.join(ROLES[kind])} in {', '.join(chosen)}. Choose other"
            " columns."
        )
    content = "".join(f"{line}\n" for line in lines).encode()
    if len(content) > _MAX_BYTES:
        raise CorpusError(
            f"These rows take {len(content) / 1e6:.0f} MB, but at most {_MAX_BYTES / 1e6:.0f} MB"
            " are stored. Take fewer rows."
        )
    return content


def _line(row: Mapping[str, Any], kind: str, columns: Columns) -> str | None:
    if kind == "texts":
        text = row.get(columns[TEXT][0])
        return json.dumps({TEXT: text}) if isinstance(text, str) and text.strip() else None
    choice_columns = columns[CHOICES]
    choices = (
        row.get(choice_columns[0])
        if len(choice_columns) == 1
        else [row.get(name) for name in choice_columns]
    )
    question = {
        QUESTION: row.get(columns[QUESTION][0]),
        CHOICES: choices,
        ANSWER: row.get(columns[ANSWER][0]),
    }
    return None if question[QUESTION] is None else json.dumps(question, default=str)
