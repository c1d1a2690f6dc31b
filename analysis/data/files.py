"""Question files of the user in JSONL, CSV or Parquet, with an error for each invalid row.

The limits here apply to the content of a file. Uploads are also limited by Streamlit's
`server.maxUploadSize` and by the total size of uploads (`pages.components.shared.access`).
`read_sandboxed` adds limits of memory and time.
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
_MAX_NAME = 60
"""Maximum length of the name of an upload."""
QUESTION_NAMES = ("question", "question_stem", "prompt", "query")
"""Lower-case names of the question field; the first one present is used."""
ANSWER_NAMES = ("answer", "answerkey", "answer_key", "label", "gold", "target", "correct")
"""Lower-case names of the answer field."""


MOST_ROWS = 250_000
"""Maximum number of rows of a file."""
MOST_BYTES = 64 << 20
"""Maximum size of a file, and of its unpacked rows."""
_MAX_LINE = 1 << 20
"""Maximum characters of a row, whose parsed values may take twenty times as much memory."""
_BATCH = 16
"""Number of Parquet rows unpacked at once."""
_SANDBOX_BYTES = 2 << 30
_SANDBOX_S = 30.0
"""Limits of memory, including libraries, and of time for the file of a visitor."""
_MAX_COLUMNS = 28
"""Maximum columns of a file without header: a question, a choice per letter of the alphabet, an
answer."""


class BadRowError(Exception):
    """A row is invalid; the message is the reason."""


Fields = Mapping[str, Any] | BadRowError
"""Fields of a row by lower-case name, or the reason why it has none."""
Numbered = tuple[int, Fields]
"""Number and fields of a row. The number is the line in a text file or the position, from 1."""


@dataclass(frozen=True)
class RawTable:
    """Rows of a file."""

    rows: list[Numbered]
    names: frozenset[str]
    """Lower-case column names; empty for JSON."""


def title(path: str) -> str:
    """Return the display name of a file: the original name of an upload, or the file name."""
    try:
        return name_file(Path(path)).read_text(encoding="utf-8") or Path(path).name
    except (OSError, ValueError):
        return Path(path).name


def name_file(path: Path) -> Path:
    """Return the path of the file with the original name of an upload, whose own name is a hash."""
    return path.with_name(f"{path.name}.name")


def upload_path(content: bytes, suffix: str) -> Path:
    """Return the path of an upload in the cache, whose name is a hash of its content."""
    return store.cache_dir() / UPLOADS / f"{hashlib.sha256(content).hexdigest()}{suffix}"


def keep_upload(path: Path, content: bytes, name: str) -> None:
    """Store an upload, with the printable characters of its name in a second file.

    Raises:
        StorageError: if it cannot be stored.
    """
    store.write_atomic(path, content)
    printable = "".join(
        letter for letter in name.replace("\\", "/").rsplit("/", 1)[-1] if letter.isprintable()
    )
    store.write_atomic(name_file(path), printable[-_MAX_NAME:].encode("utf-8", "replace"))


def identity(path: Path) -> str:
    """Return the identity of the content of a file.

    Raises:
        BenchmarkError: if it cannot be read.
    """
    return f"sha256:{hashlib.sha256(_content(path)).hexdigest()[:24]}"


def _check_rows(name: str, n_rows: int) -> None:
    if n_rows > MOST_ROWS:
        raise BenchmarkError(
            f"{name} has {n_rows:,} rows, but at most {MOST_ROWS:,} can be read. Give a part of the"
            " file."
        )


def read_table(path: Path) -> RawTable:
    """Read all rows of a file that are not blank.

    Raises:
        BenchmarkError: if the file is missing or not in the format of its name.
    """
    content = _content(path)
    ending = path.suffix.lower()
    if ending == ".parquet":
        return _parquet(path.name, content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content:
        raise BenchmarkError(
            f"{path.name} is not UTF-8 text (it looks like UTF-16). Save it as UTF-8 and try again."
        )
    # Invalid bytes become surrogates, so that only their rows are invalid.
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if ending in (".csv", ".tsv"):
        return _csv(path.name, text, "\t" if ending == ".tsv" else ",")
    if ending == ".json" and text.lstrip().startswith("["):
        return _json_list(path.name, text)
    lines = [
        (number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
    ]
    _check_rows(path.name, len(lines))
    return RawTable([(number, _json_line(line)) for number, line in lines], frozenset())


def _content(path: Path) -> bytes:
    try:
        return input_files.read(path, MOST_BYTES)
    except OSError as error:
        raise BenchmarkError(
            f"The question file {str(path)!r} cannot be read ({error.strerror}). Give an existing"
            f" file that ends in {', '.join(QUESTION_FILES)}."
        ) from error


def _parquet(name: str, content: bytes) -> RawTable:
    import pyarrow
    import pyarrow.parquet

    try:
        # Threads cannot be started in a process with limited memory.
        file = pyarrow.parquet.ParquetFile(io.BytesIO(content), pre_buffer=False)
        names = [str(column).lower() for column in file.schema_arrow.names]
        if len(set(names)) < len(names):
            raise BenchmarkError(
                f"{name} has several columns with the same name. Rename them and try again."
            )
        _check_rows(name, file.metadata.num_rows)
        unpacked = 0
        rows = []
        for batch in file.iter_batches(_BATCH, use_threads=False):
            # The size in the file's metadata counts repeated values once.
            unpacked += batch.nbytes
            if unpacked > MOST_BYTES:
                raise BenchmarkError(
                    f"{name} unpacks to more than {MOST_BYTES >> 20} MB, which is the limit. Give a"
                    " part of the file."
                )
            rows += batch.to_pylist()
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BenchmarkError(
            f"{name} is not a readable Parquet file. Save it again and retry."
        ) from error
    numbered: list[Numbered] = [
        (number, dict(zip(names, row.values(), strict=True)))
        for number, row in enumerate(rows, start=1)
    ]
    return RawTable(numbered, frozenset(names))


def _json_list(name: str, text: str) -> RawTable:
    try:
        entries = input_files.parsed(text)
    except ValueError as error:
        raise BenchmarkError(
            f"{name} is not valid JSON ({error}). Give one object per line, or a list of objects."
        ) from error
    _check_rows(name, len(entries))
    return RawTable(
        [(number, _lowered(entry)) for number, entry in enumerate(entries, start=1)], frozenset()
    )


def _json_line(line: str) -> Fields:
    if len(line) > _MAX_LINE:
        return BadRowError(f"{len(line):,} characters long, at most {_MAX_LINE:,} are possible")
    try:
        return _lowered(input_files.parsed(line))
    except ValueError as error:
        return BadRowError(f"not valid JSON ({error})")


def _lowered(entry: Any) -> Fields:
    if not isinstance(entry, dict):
        return BadRowError("not a JSON object with the fields question, choices and answer")
    return {str(name).strip().lower(): value for name, value in entry.items()}


def _csv(name: str, text: str, delimiter: str) -> RawTable:
    records = list(itertools.islice(_csv_records(text, delimiter), MOST_ROWS + 2))  # with a header
    _check_rows(name, len(records) - 1)
    readable = [(line, cells) for line, cells in records if not isinstance(cells, BadRowError)]
    if not readable:
        return RawTable(
            [(line, cells) for line, cells in records if isinstance(cells, BadRowError)],
            frozenset(),
        )
    names = [cell.strip().lower() for cell in readable[0][1]]
    if set(names) & set(QUESTION_NAMES) and set(names) & set(ANSWER_NAMES):
        records.remove(readable[0])
    else:
        # Without header: question, choices, answer. Rows of another width have a stray comma or
        # lack a cell.
        width = Counter(len(cells) for _, cells in readable).most_common(1)[0][0]
        width = min(width, _MAX_COLUMNS)
        names = ["question", *(chr(ord("a") + index) for index in range(width - 2)), "answer"]
    return RawTable([(line, _named(names, cells)) for line, cells in records], frozenset(names))


def _csv_records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | BadRowError]]:
    """Yield the first line and the cells of each record; quoted cells may contain line breaks."""
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
        return BadRowError(
            f"{len(cells)} columns, {len(names)} are expected: a cell with a comma needs quotes"
        )
    return dict(zip(names, cells, strict=True))


_CHOICES_NAMES = ("choices", "options", "endings")
_ID_NAMES = ("id", "question_id")
_STRING_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_MIN_ANSWERS = 10
"""Minimum number of answers to conclude from missing zeros that they count from 1."""


@dataclass(frozen=True)
class RowError:
    """Invalid row."""

    row: int
    """Line in a JSONL or CSV file, or position in a Parquet file, from 1."""
    reason: str

    def in_words(self) -> str:
        """Return the row and the reason as a clause."""
        return f"row {self.row}: {self.reason}"


@dataclass(frozen=True)
class QuestionFile:
    """Content of a question file; each row is a question or an error."""

    questions: list[Question]
    errors: list[RowError]
    answers_as: str
    """Type of the answers: labels, letters, numbers from 0, numbers from 1, or text."""

    @property
    def n_rows(self) -> int:
        """Number of rows without blank lines."""
        return len(self.questions) + len(self.errors)


@dataclass(frozen=True)
class _Raw:
    """Parts of a row before its answer is interpreted."""

    row: int
    id: str
    question: str
    choices: list[str]
    labels: list[str]
    answer: Any
    group: str


def read(path: Path) -> QuestionFile:
    """Read all questions of a file.

    A row has a question, at least two choices and an answer. Choices are a list, columns A, B, C …,
    or option1, option2 …. The answer is a label, a letter, a number from 0 or from 1, or the text
    of the right choice; its type is determined for the whole column. Files in the layout of
    Hendrycks et al., with lettered columns or with the columns of the Hub, use prompts with
    lettered choices. All others use the choices as continuations of "Question: … Answer:". A column
    `subject` defines groups.

    Raises:
        BenchmarkError: if the file is missing or not in the format of its name.
    """
    table = read_table(path)
    letters = {"a", "b", "answer"} <= table.names or {
        "question",
        "subject",
        "choices",
        "answer",
    } <= table.names
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
    """Read the file of a visitor in a child process with limited memory and time.

    Raises:
        BenchmarkError: as for `read`, or if a limit is exceeded.
    """
    try:
        answer = sandbox.answer(
            "analysis.data.files:read_plain",
            str(path.absolute()),
            memory_bytes=_SANDBOX_BYTES,
            seconds=_SANDBOX_S,
        )
    except sandbox.OverLimitError as error:
        raise BenchmarkError(
            f"Reading {title(str(path))} takes more than {error}. Give a smaller file."
        ) from error
    return QuestionFile(
        [
            Question(**{**entry, "contexts": tuple(entry["contexts"])})
            for entry in answer["questions"]
        ],
        [RowError(**entry) for entry in answer["errors"]],
        answer["answers_as"],
    )


def read_plain(path: str) -> dict[str, Any]:
    """Return the result of `read` as JSON types."""
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
    if (
        answer is None or not str(answer).strip() or answer != answer
    ):  # missing numbers in Parquet are NaN
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
    id = _first(fields, _ID_NAMES)
    subject = fields.get("subject")
    name = f"row/{number}" if id is None or not str(id).strip() else str(id)
    return _Raw(
        number,
        name,
        str(question),
        choices,
        labels,
        answer,
        "" if subject is None else str(subject),
    )


def _check_encoding(text: str) -> None:
    for letter in text:
        if "\ud800" <= letter <= "\udfff":
            byte = f" (byte {ord(letter) - 0xDC00:#04x})" if "\udc80" <= letter <= "\udcff" else ""
            raise BadRowError(f"not UTF-8 text{byte}")


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _choices(fields: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the choices and their labels, if there are any."""
    choices = _first(fields, _CHOICES_NAMES)
    if isinstance(choices, str):
        choices = _parse_list(choices)
    if isinstance(choices, dict):
        texts = choices.get("text")
        labels = choices.get("label")
        if not isinstance(texts, list) or not isinstance(labels, list) or len(texts) != len(labels):
            raise BadRowError(
                "choices is an object without lists text and label of the same length"
            )
        return _texts(texts), [str(label).strip() for label in labels]
    if isinstance(choices, list):
        return _texts(choices), []
    if choices is not None:
        raise BadRowError("choices is not a list")
    for pattern in (
        "{letter}",
        "option_{letter}",
        "option{number}",
        "choice{number}",
        "answer{letter}",
    ):
        names = [
            pattern.format(letter=letter.lower(), number=number)
            for number, letter in enumerate(LETTERS, start=1)
        ]
        values = [fields.get(name) for name in names if name in fields]
        while values and (values[-1] is None or not str(values[-1]).strip()):
            values.pop()  # a row may have fewer choices than columns
        if values:
            return _texts(values), []
    raise BadRowError("no choices")


def _texts(values: Sequence[Any]) -> list[str]:
    for index, value in enumerate(values):
        if value is None or isinstance(value, list | dict):
            raise BadRowError(f"choice {index} is not text")
    return [str(value) for value in values]


def _parse_list(text: str) -> Any:
    """Parse a list in a cell in the notation of JSON, Python or numpy (without commas)."""
    try:
        return input_files.parsed(text)
    except ValueError:
        pass
    inside = text.strip()
    literals = _STRING_LITERAL.findall(inside)
    # Python would concatenate adjacent strings, so they are parsed one by one.
    if inside.startswith("[") and not _STRING_LITERAL.sub("", inside).strip("[], \n\t"):
        return [ast.literal_eval(literal) for literal in literals]
    try:
        return ast.literal_eval(inside)
    except (
        ValueError,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two for deep nesting
        raise BadRowError("choices is not a list") from error


def _number(answer: Any) -> int | None:
    """Return an integer answer, also if it is stored as a float or text; None for others."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int) or (isinstance(answer, float) and answer.is_integer()):
        return int(answer)
    return (
        int(answer)
        if isinstance(answer, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", answer)
        else None
    )


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
    choices = [choice.strip() for choice in raw.choices]
    answer = str(raw.answer).strip()
    return choices.index(answer) if answer in choices else None


_READERS: dict[str, Callable[[_Raw], int | None]] = {
    "labels": _by_label,
    "letters": _by_letter,
    "numbers from 0": _by_number,
    "text": _by_text,
}


def _kind_of_answers(raws: Sequence[_Raw]) -> str:
    """Return the type of answers that fits most rows, the first in `_READERS` if several do."""
    numbers = [(_number(raw.answer), len(raw.choices)) for raw in raws if not raw.labels]
    integers = [(number, size) for number, size in numbers if number is not None]

    def n_fitting(kind: str) -> int:
        return sum(_READERS[kind](raw) is not None for raw in raws)

    kind = max(_READERS, key=n_fitting) if raws else "letters"
    from_one = all(1 <= number <= size for number, size in integers) and any(
        number == size for number, size in integers
    )
    if kind == "numbers from 0" and len(integers) >= _MIN_ANSWERS and from_one:
        return "numbers from 1"
    return kind


def _gold(raw: _Raw, kind: str) -> int:
    """Return the index of the right choice by the type of the column, or by the only type that fits
    this row.
    """
    gold = _by_number_from_one(raw) if kind == "numbers from 1" else _READERS[kind](raw)
    if gold is not None:
        return gold
    readings = {
        reader(raw)
        for name, reader in _READERS.items()
        if not (kind == "numbers from 1" and name == "numbers from 0")
    }
    readings.discard(None)
    if len(readings) == 1:
        return int(readings.pop() or 0)
    n = len(raw.choices)
    if readings:
        raise BadRowError(f"answer {raw.answer!r} could mean different choices")
    raise BadRowError(
        f"answer {raw.answer!r} is not a letter {LETTERS[0]}..{LETTERS[n - 1]}, a number"
        f" 0..{n - 1}, or one of the choices"
    )


def _question(raw: _Raw, gold: int, *, letters: bool) -> Question:
    context = f"Question: {raw.question}\nAnswer:"
    choices = raw.choices
    if letters:
        context = lettered(raw.question, raw.choices)
        choices = list(LETTERS[: len(raw.choices)])
    return Question(raw.id, context, [f" {choice}" for choice in choices], gold, raw.group)
