"""Rows of a dataset from the Hub as a file of one's own: texts or questions, with the chosen columns.

Of one file of the set, at a commit, only as much is fetched as its first rows take. The rows are kept under the names that
`corpora` and `files` read. The result is a file like any other, so that it is measured on, shown and reproduced like one.
"""

import contextlib
import csv
import gzip
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
"""Of files whose rows are read; all but Parquet may be packed by gzip."""
MOST_FETCHED_BYTES = 1 << 30
"""Of a file."""
_FRONT_BYTES = 8 << 20
"""Fetched at first of a file whose rows follow each other; four times as much each time that these are too few."""
_WHOLE_BYTES = 2 * _FRONT_BYTES
"""A file that is no larger comes whole, and is held against its checksum."""
_FOOTER_BYTES = 256 << 10
"""At the end of a Parquet file, where its table of contents is; most need less."""
_PARQUET = b"PAR1"
"""At the beginning and the end of each."""
MOST_ROWS = 100_000
USUAL_ROWS = 2_000
_MOST_BYTES = 64 << 20
"""Most bytes of the rows that are kept."""
_MOST_LINE = 1 << 20
_BATCH = 64
_APART_BYTES, _APART_S = 2 << 30, 60.0
"""Memory, libraries included, and time for reading a file."""
_MOST_TOLD = 256 << 20
"""Bytes of rows as JSON."""

TEXT = "text"
QUESTION, CHOICES, ANSWER = "question", "choices", "answer"
ROLES = {"texts": (TEXT,), "questions": (QUESTION, CHOICES, ANSWER)}
"""Uses of columns: the names that they are kept under."""
_USUAL = {
    TEXT: ("text", "content", "document", "article", "body", "passage"),
    QUESTION: QUESTION_NAMES,
    CHOICES: ("choices", "options", "endings"),
    ANSWER: ANSWER_NAMES,
}
Columns = Mapping[str, Sequence[str]]
"""Columns of the set by the names that they are kept under; choices may stand in several."""


@dataclass(frozen=True)
class HubDataset:
    """A dataset at a commit, and the files of it whose rows can be read."""

    repository: "hub.Repository"
    files: tuple["hub.File", ...]


def look(id: str, revision: str | None = None) -> HubDataset:
    """Ask the Hub for the files of a dataset; nothing of it is fetched.

    Raises:
        HubError: when the hub does not give it.
        CorpusError: when no file of it can be read.
    """
    repository = hub.resolve(id, revision, kind=hub.DATA_SET)
    files = [file for file in repository.files if _ending(file.path) in ENDINGS and not _is_about(file.path)]
    if not files:
        raise CorpusError(
            f"The dataset {id} has no file with readable rows ({', '.join(ENDINGS)}). It may need a loading "
            "script, which Layerscope never runs. Choose another dataset, or revision refs/convert/parquet."
        )
    return HubDataset(repository, tuple(files))


def _ending(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix.lower()


def _is_about(path: str) -> bool:
    """Return whether a file is about the set and not of it."""
    name = path.rsplit("/", 1)[-1].lower()
    return name.startswith(("dataset_info", "state.", "readme", "license", "requirements")) or name == "data.txt"


def first_rows(
    dataset: HubDataset, path: str, max_rows: int = USUAL_ROWS, *, on_progress: OnProgress = ignore
) -> list[dict[str, Any]]:
    """Fetch as much of one file of the set as its first rows take, and read these.

    A large Parquet file comes as far as the row groups reach that hold them. Of other formats a beginning comes, which grows
    until it holds enough. Files are read in a process of its own, with bounds of memory and time.

    Args:
        dataset: the set.
        path: of the file.
        max_rows: rows, or fewer where the file has no more.
        on_progress: told of the bytes that come.

    Returns:
        The rows by column.

    Raises:
        CorpusError: when there is none of this name, it is of another format, or its first rows take too much.
        HubError, StorageError: as `hub.fetch`.
    """
    file = next((file for file in dataset.files if file.path == path), None)
    if file is None:
        some = ", ".join(file.path for file in dataset.files[:5])
        raise CorpusError(
            f"{dataset.repository.id} has no file {shown(path)} with readable rows. Choose one of its files, such as {some}."
        )
    reader = _FirstRows(dataset.repository, file, max_rows, on_progress)
    if file.size <= _WHOLE_BYTES:
        return reader.of_whole()
    return reader.of_groups() if _ending(path) == ".parquet" else reader.of_front()


@dataclass(frozen=True)
class _FirstRows:
    """The first rows of one file on the Hub."""

    repository: "hub.Repository"
    file: "hub.File"
    most: int
    on_progress: OnProgress

    def of_whole(self) -> list[dict[str, Any]]:
        self._check(self.file.size)
        return self._rows(hub.fetch(self.repository, [self.file], self.on_progress) / self.file.path, self.most)

    def of_front(self) -> list[dict[str, Any]]:
        """Read a beginning that grows until it holds enough rows."""
        n_bytes = _FRONT_BYTES
        with tempfile.TemporaryDirectory() as folder:
            front = Path(folder) / Path(self.file.path).name
            while n_bytes < self.file.size:
                self._check(n_bytes)
                with front.open("ab") as target:
                    hub.fetch_range(self.repository, self.file, target.tell(), n_bytes, target, self.on_progress)
                rows = self._rows(front, self.most + 1, begun=True)
                if len(rows) > self.most:  # the last one may have been cut off
                    return rows[: self.most]
                n_bytes *= 4
        return self.of_whole()

    def of_groups(self) -> list[dict[str, Any]]:
        """Read a Parquet file with holes in the parts that are not needed: its end, and the front that the first rows take."""
        with tempfile.TemporaryDirectory() as folder:
            sparse = Path(folder) / Path(self.file.path).name
            with sparse.open("wb") as target:
                target.write(_PARQUET)
                self._put_end(target, _FOOTER_BYTES)
            n_bytes = int(self._ask(parquet_bytes, sparse, self.most))
            self._check(n_bytes)
            with sparse.open("r+b") as target:
                hub.fetch_range(self.repository, self.file, 0, n_bytes, target, self.on_progress)
            return self._rows(sparse, self.most)

    def _put_end(self, target: BinaryIO, n_bytes: int) -> None:
        """Write the last bytes, at least the whole table of contents of the file, where they belong."""
        begin, content = max(0, self.file.size - n_bytes), io.BytesIO()
        hub.fetch_range(self.repository, self.file, begin, self.file.size, content)
        end = content.getvalue()
        target.seek(begin)
        target.write(end)
        needed = int.from_bytes(end[-8:-4], "little") + 8
        if end[-4:] != _PARQUET or needed > min(self.file.size, _MOST_BYTES):
            raise CorpusError(
                f"{self.file.path} cannot be read in the format of its name (its end is not that of a Parquet file). "
                "Choose another file."
            )
        if needed > len(end):
            self._put_end(target, needed)

    def _check(self, n_bytes: int) -> None:
        if n_bytes > MOST_FETCHED_BYTES:
            raise CorpusError(
                f"The first {self.most:,} rows of {self.file.path} take {n_bytes / 1e9:.1f} GB, but at most "
                f"{MOST_FETCHED_BYTES / 1e9:.1f} GB of a file are fetched. Take fewer rows, or a smaller file of the "
                "dataset."
            )

    def _rows(self, file: Path, most: int, *, begun: bool = False) -> list[dict[str, Any]]:
        read_rows: list[dict[str, Any]] = self._ask(rows, file, most, begun)
        return read_rows

    def _ask(self, read: Callable[..., Any], file: Path, *arguments: int) -> Any:
        command = (read.__name__, str(file), *(str(int(value)) for value in arguments))
        try:
            return sandbox.answer(f"{__name__}:call_as_json", *command, memory_bytes=_APART_BYTES, seconds=_APART_S)
        except sandbox.OverLimitError as error:
            raise CorpusError(f"Reading {file.name} takes more than {error}. Take fewer rows, or another file.") from error


def call_as_json(read: str, file: str, *arguments: str) -> Any:
    """Return the result of `rows` or `parquet_bytes`, called by name, as JSON has it."""
    functions: dict[str, Callable[..., Any]] = {"rows": rows, "parquet_bytes": parquet_bytes}
    text = json.dumps(functions[read](Path(file), *map(int, arguments)), default=str)
    if len(text) > _MOST_TOLD:
        raise CorpusError(
            f"The rows of {Path(file).name} take {len(text) / 1e6:,.0f} MB, but at most {_MOST_TOLD / 1e6:,.0f} "
            "MB are read. Take fewer rows."
        )
    return json.loads(text)


def rows(file: Path, most: int = USUAL_ROWS, begun: int = False) -> list[dict[str, Any]]:
    """The first rows of a file by column.

    Args:
        file: of any of `ENDINGS`.
        most: rows.
        begun: whether this is only its beginning, so that the readable part ends somewhere; the last row may be a part of one.

    Raises:
        CorpusError: when the file is of another format than its name says.
    """
    read = {".csv": _separated, ".tsv": _separated, ".txt": _lines}.get(_ending(file.name), _json)
    read_rows: list[dict[str, Any]] = []
    with _as_it_says(file, but=bool(begun)):
        for row in itertools.islice(_parquet(file, most) if _ending(file.name) == ".parquet" else read(file), most):
            read_rows.append(row)
    return read_rows


@contextlib.contextmanager
def _as_it_says(file: Path, *, but: bool = False) -> Iterator[None]:
    """Turn errors of reading a file into a sentence, or into the end of the rows where it is only a beginning (`but`)."""
    try:
        yield
    except (OSError, EOFError, ValueError, TypeError, csv.Error) as error:  # those of pyarrow are ValueErrors and OSErrors
        if not but:
            raise CorpusError(
                f"{file.name} cannot be read in the format of its name ({str(error).splitlines()[0].rstrip('.')}). "
                "Choose another file."
            ) from error


def _groups(parquet: Any, most: int) -> list[int]:
    """The row groups, from the first on, that hold so many rows."""
    before = itertools.accumulate((parquet.row_group(n).num_rows for n in range(parquet.num_row_groups)), initial=0)
    return [number for number, n_before in zip(range(parquet.num_row_groups), before, strict=False) if n_before < most]


def parquet_bytes(file: Path, most: int) -> int:
    """Return how far the first rows reach into a Parquet file, in bytes; its end is enough to tell.

    Raises:
        CorpusError: when it is none.
    """
    import pyarrow.parquet

    with _as_it_says(file):
        metadata = pyarrow.parquet.read_metadata(file)
        ends = [len(_PARQUET)]
        for group in (metadata.row_group(number) for number in _groups(metadata, most)):
            for column in (group.column(number) for number in range(group.num_columns)):
                begins = [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else [])]
                ends.append(min(begins) + column.total_compressed_size)
        if not 0 < max(ends) <= file.stat().st_size:
            raise ValueError("its row groups point outside of the file")
        return max(ends)


def _parquet(file: Path, most: int) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
    for batch in table.iter_batches(_BATCH, row_groups=_groups(table.metadata, most), use_threads=False):
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


def _short_lines(stream: io.TextIOBase) -> Iterator[str]:
    while line := stream.readline(_MOST_LINE):
        if len(line) == _MOST_LINE:
            raise ValueError(f"one line is longer than {_MOST_LINE:,} characters")
        yield line


def _separated(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as stream:
        for row in csv.DictReader(_short_lines(stream), delimiter="\t" if _ending(file.name) == ".tsv" else ","):
            yield {str(name): value for name, value in row.items() if name is not None}


def _json(file: Path) -> Iterator[dict[str, Any]]:
    with _opened(file) as stream:
        first = stream.read(1)
        rest: Iterator[Any]
        if first == "[":
            rest = iter(input_files.parsed(first + stream.read(_MOST_BYTES)))
        else:
            lines = itertools.chain([first + stream.readline(_MOST_LINE)], iter(lambda: stream.readline(_MOST_LINE), ""))
            rest = (input_files.parsed(line) for line in lines if line.strip())
        for row in rest:
            if not isinstance(row, dict):
                raise ValueError("one row is not an object with columns")
            yield row


def names(read: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of some rows, in their order."""
    return list(dict.fromkeys(name for row in read for name in row))


def guess(columns: Sequence[str], role: str) -> str | None:
    """Which column is likely to be meant; None where none is called so."""
    by_lower_name = {name.lower(): name for name in reversed(columns)}
    return next((by_lower_name[name] for name in _USUAL[role] if name in by_lower_name), None)


def guessed(columns: Sequence[str], kind: str) -> dict[str, list[str]]:
    """Return the columns for all roles of a kind, as far as their names tell."""
    guesses = {role: guess(columns, role) for role in ROLES[kind]}
    return {role: [name] for role, name in guesses.items() if name is not None}


def as_jsonl(read: Sequence[Mapping[str, Any]], kind: str, columns: Columns) -> bytes:
    """Rows as the lines of a JSONL file of one's own.

    Args:
        read: the rows.
        kind: a key of `ROLES`.
        columns: of the set, for every role of the kind.

    Raises:
        CorpusError: when a column is missing or holds no value that is needed.
    """
    columns_read = names(read)
    for role in ROLES[kind]:
        if not columns.get(role):
            raise CorpusError(f"No column is chosen as the {role}. Choose one of {', '.join(columns_read)}.")
        if unknown := [name for name in columns[role] if name not in columns_read]:
            raise CorpusError(f"The rows have no column {shown(unknown[0])}. Choose one of {', '.join(columns_read)}.")
    lines = [encoded for row in read if (encoded := _line(row, kind, columns)) is not None]
    if not lines:
        raise CorpusError(
            f"No row has a usable {' or '.join(ROLES[kind])} in "
            f"{', '.join(name for role in ROLES[kind] for name in columns[role])}. Choose other columns."
        )
    content = "".join(f"{line}\n" for line in lines).encode()
    if len(content) > _MOST_BYTES:
        raise CorpusError(
            f"These rows take {len(content) / 1e6:.0f} MB, but at most {_MOST_BYTES / 1e6:.0f} MB are stored. Take fewer rows."
        )
    return content


def _line(row: Mapping[str, Any], kind: str, columns: Columns) -> str | None:
    if kind == "texts":
        text = row.get(columns[TEXT][0])
        return json.dumps({TEXT: text}) if isinstance(text, str) and text.strip() else None
    choice_columns = columns[CHOICES]
    choices = row.get(choice_columns[0]) if len(choice_columns) == 1 else [row.get(name) for name in choice_columns]
    question = {QUESTION: row.get(columns[QUESTION][0]), CHOICES: choices, ANSWER: row.get(columns[ANSWER][0])}
    return None if question[QUESTION] is None else json.dumps(question, default=str)
