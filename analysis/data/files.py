"""Question files of the user's own: JSONL, CSV or Parquet, read row by row with an error for each row that cannot be asked.

The limits here are those of a file's content. Before them an upload meets Streamlit's `server.maxUploadSize` and the limit of
kept uploads (`pages.components.shared.access`). `read_sandboxed` adds limits of memory and time.
"""

import ast
import csv
import hashlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.core import input_files, sandbox, store
from analysis.core.errors import BenchmarkError
from analysis.data.spec import QUESTION_FILES
from analysis.data.tasks import LETTERS, Question, lettered

UPLOADS = "uploads"
"""Folder of uploads in the cache."""
_LONGEST_NAME = 60
QUESTION_NAMES = ("question", "question_stem", "prompt", "query")
"""Fields that may hold the question, in lower case; the first one present is taken."""
ANSWER_NAMES = ("answer", "answerkey", "answer_key", "label", "gold", "target", "correct")
"""Fields that may hold the answer."""


MOST_ROWS = 250_000
"""Of a file; a benchmark has some ten thousand."""
MOST_BYTES = 64 << 20
"""Maximum size of a file, and of its rows if they take more memory than on disk."""
_MOST_LINE = 1 << 20
"""Characters of a row; a longer one is no question, and values nested in it may take twenty times as much."""
_BATCH = 16
"""Rows of a Parquet file that are unpacked at once."""
_APART_BYTES, _APART_S = 2 << 30, 30.0
"""Memory, libraries included, and time for the file of a visitor."""
_WIDEST = 28
"""Columns of a file without a header: a question, a choice for every letter of the alphabet, an answer."""


class BadRowError(Exception):
    """Reason why a row is not a question; caught when rows are turned into questions."""


Fields = Mapping[str, Any] | BadRowError
"""A row by lower-case field name, or why it has no fields."""
Numbered = tuple[int, Fields]
"""Number and fields of a row. The number is its line in a text file (the first is 1), else its place from 1."""


@dataclass(frozen=True)
class RawTable:
    """All rows of a file."""

    rows: list[Numbered]
    names: frozenset[str]
    """Lower-case column names; empty for JSON, in which every row names its own fields."""


def title(path: str) -> str:
    """Return the name of a file, to show: the name under which a visitor brought it, else its own."""
    try:
        return name_file(Path(path)).read_text(encoding="utf-8") or Path(path).name
    except (OSError, ValueError):
        return Path(path).name


def name_file(path: Path) -> Path:
    """Where the visitor's name of an upload lies, which itself is stored under one made from its content."""
    return path.with_name(f"{path.name}.name")


def upload_path(content: bytes, suffix: str) -> Path:
    """Return the path of an upload in the cache, with a name made from its content."""
    return store.cache_dir() / UPLOADS / f"{hashlib.sha256(content).hexdigest()}{suffix}"


def keep_upload(path: Path, content: bytes, name: str) -> None:
    """Store an upload, and its printable name next to it.

    Raises:
        StorageError: if it cannot be stored.
    """
    store.write_atomic(path, content)
    shown = "".join(letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable())
    store.write_atomic(name_file(path), shown[-_LONGEST_NAME:].encode("utf-8", "replace"))


def identity(path: Path) -> str:
    """Return the identity of the file's content, under any path.

    Raises:
        BenchmarkError: when it cannot be read.
    """
    return f"sha256:{hashlib.sha256(_content(path)).hexdigest()[:24]}"


def _check_rows(name: str, n_rows: int) -> None:
    if n_rows > MOST_ROWS:
        raise BenchmarkError(f"{name} has {n_rows:,} rows, but at most {MOST_ROWS:,} can be read. Give a part of the file.")


def read_table(path: Path) -> RawTable:
    """Every row of the file that is not blank.

    Raises:
        BenchmarkError: when the file is missing, or nothing of it can be read in the format of its name.
    """
    content, ending = _content(path), path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path.name, content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content:
        raise BenchmarkError(f"{path.name} is not UTF-8 text (it looks like UTF-16). Save it as UTF-8 and try again.")
    # Bytes that are no UTF-8 survive as surrogates, so that only the rows that hold them are refused.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if ending in (".csv", ".tsv"):
        return _csv(path.name, text, "\t" if ending == ".tsv" else ",")
    if ending == ".json" and text.lstrip().startswith("["):
        return _json_list(path.name, text)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    _check_rows(path.name, len(lines))
    return RawTable([(number, _json_line(line)) for number, line in lines], frozenset())


def _content(path: Path) -> bytes:
    try:
        return input_files.read(path, MOST_BYTES)
    except OSError as error:
        raise BenchmarkError(
            f"The question file {str(path)!r} cannot be read ({error.strerror}). Give an existing file that ends "
            f"in {', '.join(QUESTION_FILES)}."
        ) from error


def _parquet(name: str, content: bytes) -> RawTable:
    import pyarrow
    import pyarrow.parquet

    try:
        # No threads: in a process whose memory is bounded they cannot be started.
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content), pre_buffer=False)
        names = [str(column).lower() for column in file.schema_arrow.names]
        if len(set(names)) < len(names):
            raise BenchmarkError(f"{name} has several columns with the same name. Rename them and try again.")
        _check_rows(name, file.metadata.num_rows)
        unpacked, rows = 0, []
        for batch in file.iter_batches(_BATCH, use_threads=False):
            # The file's own size counts its pages: a text that many rows share is in them once.
            unpacked += batch.nbytes
            if unpacked > MOST_BYTES:
                raise BenchmarkError(
                    f"{name} unpacks to more than {MOST_BYTES >> 20} MB, which is the limit. Give a part of the file."
                )
            rows += batch.to_pylist()
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BenchmarkError(f"{name} is not a readable Parquet file. Save it again and retry.") from error
    numbered: list[Numbered] = [
        (number, dict(zip(names, row.values(), strict=True))) for number, row in enumerate(rows, start=1)
    ]
    return RawTable(numbered, frozenset(names))


def _json_list(name: str, text: str) -> RawTable:
    try:
        entries = input_files.parsed(text)
    except ValueError as error:
        raise BenchmarkError(f"{name} is not valid JSON ({error}). Give one object per line, or a list of objects.") from error
    _check_rows(name, len(entries))
    return RawTable([(number, _lowered(entry)) for number, entry in enumerate(entries, start=1)], frozenset())


def _json_line(line: str) -> Fields:
    if len(line) > _MOST_LINE:
        return BadRowError(f"{len(line):,} characters long, at most {_MOST_LINE:,} are possible")
    try:
        return _lowered(input_files.parsed(line))
    except ValueError as error:
        return BadRowError(f"not valid JSON ({error})")


def _lowered(entry: Any) -> Fields:
    if not isinstance(entry, dict):
        return BadRowError("not a JSON object with the fields question, choices and answer")
    return {str(name).strip().lower(): value for name, value in entry.items()}


def _csv(name: str, text: str, delimiter: str) -> RawTable:
    records = list(itertools.islice(_csv_records(text, delimiter), MOST_ROWS + 2))  # a header too
    _check_rows(name, len(records) - 1)
    readable = [(line, cells) for line, cells in records if not isinstance(cells, BadRowError)]
    if not readable:
        return RawTable([(line, cells) for line, cells in records if isinstance(cells, BadRowError)], frozenset())
    names = [cell.strip().lower() for cell in readable[0][1]]
    if set(names) & set(QUESTION_NAMES) and set(names) & set(ANSWER_NAMES):
        records.remove(readable[0])
    else:
        # No header: question, choices, answer. All rows are as wide; another width is a stray comma or a missing cell.
        width = Counter(len(cells) for _, cells in readable).most_common(1)[0][0]
        width = min(width, _WIDEST)
        names = ["question", *(chr(ord("a") + index) for index in range(width - 2)), "answer"]
    return RawTable([(line, _named(names, cells)) for line, cells in records], frozenset(names))


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
            lines = f", so lines {begin} to {end} cannot be separated" if end > begin else ""
            yield begin, BadRowError(f"a quote is opened but not closed correctly ({error}){lines}")
            continue
        if any(cell.strip() for cell in cells):
            yield begin, cells


def _named(names: Sequence[str], cells: list[str] | BadRowError) -> Fields:
    if isinstance(cells, BadRowError):
        return cells
    if len(cells) != len(names):
        return BadRowError(f"{len(cells)} columns, {len(names)} are expected: a cell with a comma needs quotes")
    return dict(zip(names, cells, strict=True))


_CHOICES_NAMES = ("choices", "options", "endings")
_ID_NAMES = ("id", "question_id")
_STRING_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_ENOUGH_TO_TELL_ONES = 10
"""Answers that must be there before a column without a single 0 is taken to count from 1."""


@dataclass(frozen=True)
class RowError:
    """A row that cannot be asked."""

    row: int
    """Its line in a JSONL or CSV file (the first line is 1), its number from 1 in a Parquet file."""
    reason: str

    def in_words(self) -> str:
        """One clause for people."""
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True)
class QuestionFile:
    """The content of a file: every row is either a question or an error."""

    questions: list[Question]
    errors: list[RowError]
    answers_as: str
    """How the answer column was read: labels, letters, numbers from 0, numbers from 1, or text."""

    @property
    def n_rows(self) -> int:
        """Rows in all, blank lines not counted."""
        return len(self.questions) + len(self.errors)


@dataclass(frozen=True)
class _Raw:
    """The parts of a row, before the answer is understood."""

    row: int
    id: str
    question: str
    choices: list[str]
    labels: list[str]
    answer: Any
    group: str


def read(path: Path) -> QuestionFile:
    """All questions of a file.

    A row needs a question, choices and an answer. It has two choices or more: a list, columns A, B, C …, or option1, option2 ….
    The answer is a label of the choices, a letter, a number from 0, or the text of the right choice. The column as a whole
    decides how answers are meant, so that choices which are numbers or letters themselves are no riddle. Files in the
    layout of Hendrycks et al. are asked with lettered choices. Their columns are lettered, with or without a header, or they
    have the Hub's header, a list and a number. All others are asked with the choices as continuations of
    "Question: … Answer:". A subject column groups questions.

    Raises:
        BenchmarkError: when the file is missing, of another kind, or not readable at all.
    """
    table = read_table(path)
    letters = {"a", "b", "answer"} <= table.names or {"question", "subject", "choices", "answer"} <= table.names
    raws: list[_Raw] = []
    errors: list[RowError] = []
    for number, fields in table.rows:
        try:
            raws.append(_parts(number, fields))
        except BadRowError as bad:
            errors.append(RowError(number, str(bad)))
    kind = _kind_of_answers(raws)
    questions: list[Question] = []
    for raw in raws:
        try:
            questions.append(_question(raw, _gold(raw, kind), letters=letters))
        except BadRowError as bad:
            errors.append(RowError(raw.row, str(bad)))
    return QuestionFile(questions, sorted(errors, key=lambda error: error.row), kind)


def read_sandboxed(path: Path) -> QuestionFile:
    """Read a file that a visitor brought as `read` does, in a process of its own with bounds of memory and time.

    Raises:
        BenchmarkError: as `read`, and when the file takes more than its bounds.
    """
    try:
        answer = sandbox.answer(
            "analysis.data.files:read_plain", str(path.absolute()), memory_bytes=_APART_BYTES, seconds=_APART_S
        )
    except sandbox.OverLimitError as error:
        raise BenchmarkError(f"Reading {title(str(path))} takes more than {error}. Give a smaller file.") from error
    return QuestionFile(
        [Question(**{**entry, "contexts": tuple(entry["contexts"])}) for entry in answer["questions"]],
        [RowError(**entry) for entry in answer["errors"]],
        answer["answers_as"],
    )


def read_plain(path: str) -> dict[str, Any]:
    """Return the result of `read`, as JSON has it."""
    return asdict(read(Path(path)))


def _parts(number: int, fields: Fields) -> _Raw:
    if isinstance(fields, BadRowError):
        raise fields
    question = _first(fields, QUESTION_NAMES)
    if question is None or not str(question).strip():
        raise BadRowError("no question")
    if isinstance(question, list | dict):
        raise BadRowError("the question is not text")
    choices, labels = _choices(fields)
    answer = _first(fields, ANSWER_NAMES)
    if answer is None or not str(answer).strip() or answer != answer:  # a missing number in Parquet is not equal to itself
        raise BadRowError("no answer")
    if isinstance(answer, list | dict):
        raise BadRowError("the answer is neither text nor a number")
    if len(choices) < 2:
        raise BadRowError(f"{len(choices)} choices, at least 2 are needed")
    if len(choices) > len(LETTERS):
        raise BadRowError(f"{len(choices)} choices, at most {len(LETTERS)} are possible")
    for index, choice in enumerate(choices):
        if not choice.strip():
            raise BadRowError(f"choice {index} is empty")
    for text in (str(question), *choices, str(answer)):
        _check_encoding(text)
    id, subject = _first(fields, _ID_NAMES), fields.get("subject")
    name = f"row/{number}" if id is None or not str(id).strip() else str(id)
    return _Raw(number, name, str(question), choices, labels, answer, "" if subject is None else str(subject))


def _check_encoding(text: str) -> None:
    for letter in text:
        if "\ud800" <= letter <= "\udfff":
            byte = f" (byte {ord(letter) - 0xDC00:#04x})" if "\udc80" <= letter <= "\udcff" else ""
            raise BadRowError(f"not UTF-8 text{byte}")


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _choices(fields: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The choices and their labels, if the row gives them."""
    choices = _first(fields, _CHOICES_NAMES)
    if isinstance(choices, str):
        choices = _parse_list(choices)
    if isinstance(choices, dict):
        texts, labels = choices.get("text"), choices.get("label")
        if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
            raise BadRowError("choices is an object without lists text and label of the same length")
        return _texts(texts), [str(label).strip() for label in labels]
    if isinstance(choices, list):
        return _texts(choices), []
    if choices is not None:
        raise BadRowError("choices is not a list")
    for pattern in ("{letter}", "option_{letter}", "option{number}", "choice{number}", "answer{letter}"):
        names = [pattern.format(letter=letter.lower(), number=number) for number, letter in enumerate(LETTERS, start=1)]
        values = [fields.get(name) for name in names if name in fields]
        while values and (values[-1] is None or not str(values[-1]).strip()):
            values.pop()  # rows with fewer choices than columns
        if values:
            return _texts(values), []
    raise BadRowError("no choices")


def _texts(values: Sequence[Any]) -> list[str]:
    for index, value in enumerate(values):
        if value is None or isinstance(value, list | dict):
            raise BadRowError(f"choice {index} is not text")
    return [str(value) for value in values]


def _parse_list(text: str) -> Any:
    """A list or labelled list that was written into one cell, as JSON, as Python, or as numpy prints it (no commas)."""
    try:
        return input_files.parsed(text)
    except ValueError:
        pass
    inside = text.strip()
    literals = _STRING_LITERAL.findall(inside)
    # Python would join strings with only a space between them into one, so they are taken one by one.
    if inside.startswith("[") and not _STRING_LITERAL.sub("", inside).strip("[], \n\t"):
        return [ast.literal_eval(literal) for literal in literals]
    try:
        return ast.literal_eval(inside)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:  # the last two of a list in a list in a list
        raise BadRowError("choices is not a list") from error


def _number(answer: Any) -> int | None:
    """A whole number, or None; Parquet and pandas store integers as floats if a column has missing values."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int) or (isinstance(answer, float) and answer.is_integer()):
        return int(answer)
    return int(answer) if isinstance(answer, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", answer) else None


def _by_label(raw: _Raw) -> int | None:
    answer = str(raw.answer).strip()
    return raw.labels.index(answer) if answer in raw.labels else None


def _by_letter(raw: _Raw) -> int | None:
    answer = str(raw.answer).strip().upper()
    allowed = LETTERS[: len(raw.choices)]
    return allowed.index(answer) if len(answer) == 1 and answer in allowed else None


def _by_number(raw: _Raw) -> int | None:
    number = _number(raw.answer)
    return number if number is not None and 0 <= number < len(raw.choices) else None


def _by_number_from_one(raw: _Raw) -> int | None:
    number = _number(raw.answer)
    return number - 1 if number is not None and 1 <= number <= len(raw.choices) else None


def _by_text(raw: _Raw) -> int | None:
    choices, answer = [choice.strip() for choice in raw.choices], str(raw.answer).strip()
    return choices.index(answer) if answer in choices else None


_READERS: dict[str, Callable[[_Raw], int | None]] = {
    "labels": _by_label,
    "letters": _by_letter,
    "numbers from 0": _by_number,
    "text": _by_text,
}


def _kind_of_answers(raws: Sequence[_Raw]) -> str:
    """The reading that makes sense of most rows; of equals the first in `_READERS`."""
    numbers = [(_number(raw.answer), len(raw.choices)) for raw in raws if not raw.labels]
    whole_numbers = [(number, size) for number, size in numbers if number is not None]
    fits = Counter(kind for raw in raws for kind, reader in _READERS.items() if reader(raw) is not None)
    kind = max(_READERS, key=lambda name: fits[name]) if raws else "letters"
    from_one = all(1 <= number <= size for number, size in whole_numbers) and any(
        number == size for number, size in whole_numbers
    )
    if kind == "numbers from 0" and len(whole_numbers) >= _ENOUGH_TO_TELL_ONES and from_one:
        return "numbers from 1"
    return kind


def _gold(raw: _Raw, kind: str) -> int:
    """The right choice: as the column is meant, or in the one way that makes sense of this row."""
    meant = _by_number_from_one(raw) if kind == "numbers from 1" else _READERS[kind](raw)
    if meant is not None:
        return meant
    readings = {reader(raw) for name, reader in _READERS.items() if not (kind == "numbers from 1" and name == "numbers from 0")}
    readings.discard(None)
    if len(readings) == 1:
        return int(readings.pop() or 0)
    n = len(raw.choices)
    if readings:
        raise BadRowError(f"answer {raw.answer!r} could mean different choices")
    raise BadRowError(
        f"answer {raw.answer!r} is not a letter {LETTERS[0]}..{LETTERS[n - 1]}, a number 0..{n - 1}, or one of the choices"
    )


def _question(raw: _Raw, gold: int, *, letters: bool) -> Question:
    context, choices = f"Question: {raw.question}\nAnswer:", raw.choices
    if letters:
        context, choices = lettered(raw.question, raw.choices), list(LETTERS[: len(raw.choices)])
    return Question(raw.id, context, [f" {choice}" for choice in choices], gold, raw.group)
