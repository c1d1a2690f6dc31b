"""Question files without a readable question."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.corpus import Bad, files

_ASK = ("evaluate", "{model}", "--dtype", "float32", "--device", "cpu", "--texts", "none", "--task")
_DEEP = "[" * 100_000
_GOOD = {"question": "Which?", "choices": ["a", "b"], "answer": 0}
_ROWS: dict[str, tuple[Any, str]] = {
    "no question": ({"choices": ["a", "b"], "answer": 0}, "row 1: no question"),
    "an empty question": (_GOOD | {"question": ""}, "row 1: no question"),
    "a blank question": (_GOOD | {"question": " \n"}, "row 1: no question"),
    "a question that is null": (_GOOD | {"question": None}, "row 1: no question"),
    "a question that is a list": (_GOOD | {"question": ["a"]}, "row 1: the question is not text"),
    "a question that is an object": (_GOOD | {"question": {"a": 1}}, "row 1: the question is not text"),
    "no choices": ({"question": "Which?", "answer": 0}, "row 1: no choices"),
    "choices that are null": (_GOOD | {"choices": None}, "row 1: no choices"),
    "choices that are empty": (_GOOD | {"choices": []}, "row 1: 0 choices, at least 2 are needed"),
    "one choice": (_GOOD | {"choices": ["a"]}, "row 1: 1 choices, at least 2 are needed"),
    "27 choices": (_GOOD | {"choices": [str(n) for n in range(27)]}, "row 1: 27 choices, at most 26 are possible"),
    "an empty choice": (_GOOD | {"choices": ["a", ""]}, "row 1: choice 1 is empty"),
    "a choice that is null": (_GOOD | {"choices": ["a", None]}, "row 1: choice 1 is not text"),
    "a choice that is a list": (_GOOD | {"choices": [["a"], "b"]}, "row 1: choice 0 is not text"),
    "a choice that is an object": (_GOOD | {"choices": ["a", {}]}, "row 1: choice 1 is not text"),
    "choices that are a number": (_GOOD | {"choices": 5}, "row 1: choices is not a list"),
    "choices that are true": (_GOOD | {"choices": True}, "row 1: choices is not a list"),
    "choices that are a text": (_GOOD | {"choices": "a, b"}, "row 1: choices is not a list"),
    "choices that are deep text": (_GOOD | {"choices": "[" * 5000}, "row 1: 0 choices, at least 2 are needed"),
    "choices that are code": (_GOOD | {"choices": "__import__('os').listdir()"}, "row 1: choices is not a list"),
    "choices that are braces": (_GOOD | {"choices": "(" * 300 + ")" * 300}, "row 1: choices is not a list"),
    "an object without lists": (_GOOD | {"choices": {"text": "a"}}, "row 1: choices is an object without lists text and label"),
    "an object of unequal lists": (
        _GOOD | {"choices": {"text": ["a", "b"], "label": ["A"]}},
        "row 1: choices is an object without",
    ),
    "no answer": ({"question": "Which?", "choices": ["a", "b"]}, "row 1: no answer"),
    "an answer that is null": (_GOOD | {"answer": None}, "row 1: no answer"),
    "an answer that is empty": (_GOOD | {"answer": ""}, "row 1: no answer"),
    "an answer that is NaN": (_GOOD | {"answer": float("nan")}, "row 1: no answer"),
    "an answer that is infinite": (_GOOD | {"answer": float("inf")}, "row 1: answer inf is not a letter A..B"),
    "an answer that is a list": (_GOOD | {"answer": [0]}, "row 1: the answer is neither text nor a number"),
    "an answer that is an object": (_GOOD | {"answer": {}}, "row 1: the answer is neither text nor a number"),
    "an answer that is true": (
        _GOOD | {"answer": True},
        "row 1: answer True is not a letter A..B, a number 0..1, or one of the choices",
    ),
    "an answer beyond": (_GOOD | {"answer": 2}, "row 1: answer 2 is not a letter A..B, a number 0..1, or one of the choices"),
    "an answer below": (_GOOD | {"answer": -1}, "row 1: answer -1 is not a letter A..B, a number 0..1, or one of the choices"),
    "an answer between": (
        _GOOD | {"answer": 0.5},
        "row 1: answer 0.5 is not a letter A..B, a number 0..1, or one of the choices",
    ),
    "a letter beyond": (
        _GOOD | {"answer": "C"},
        "row 1: answer 'C' is not a letter A..B, a number 0..1, or one of the choices",
    ),
    "an answer of 5000 digits": (_GOOD | {"answer": "9" * 5000}, "row 1: answer '999"),
    "half a pair": (_GOOD | {"question": "\ud800"}, "row 1: not UTF-8 text"),
    "a row that is null": (None, "row 1: not a JSON object with the fields question, choices and answer"),
    "a row that is a number": (5, "row 1: not a JSON object with the fields question, choices and answer"),
    "a row that is a list": ([], "row 1: not a JSON object with the fields question, choices and answer"),
    "a row that is a text": ("a", "row 1: not a JSON object with the fields question, choices and answer"),
}
"""Rows that are no questions."""
_LINES = {
    "no JSON": "Which?",
    "half": '{"question": "Wh',
    "deep": _DEEP,
    "deep inside": '{"question": ' + _DEEP,
    "5000 digits": '{"answer": ' + "9" * 5000 + "}",
    "single quotes": "{'question': 'a'}",
    "two on a line": "{} {}",
    "a comma behind": "{},",
    "a page": "<html></html>",
}
"""Lines that are no JSON."""
_CSVS = {
    "nothing": ("", "it has no rows"),
    "blank lines": ("\n\n \n", "it has no rows"),
    "a header alone": ("question,A,B,answer\n", "it has no rows"),
    "one column": ("a\nb\n", "columns, 2 are expected"),
    "an open quote": ('question,A,B,answer\n"Which?,a,b,A\n', "a quote is opened but not closed correctly"),
    "a quote in between": ('question,A,B,answer\n"Wh"ich?,a,b,A\n', "a quote is opened but not closed correctly"),
    "a column too many": (
        "question,A,B,answer\nWhich?,a,b,c,A\n",
        "5 columns, 4 are expected: a cell with a comma needs quotes",
    ),
    "a column too few": ("question,A,B,answer\nWhich?,a,A\n", "3 columns, 4 are expected: a cell with a comma needs quotes"),
    "an empty answer": ("question,A,B,answer\nWhich?,a,b,\n", "row 2: no answer"),
    "an empty question": ("question,A,B,answer\n,a,b,A\n", "row 2: no question"),
    "an empty choice": ("question,A,B,answer\nWhich?,,b,B\n", "row 2: choice 0 is empty"),
    "a letter beyond": ("question,A,B,answer\nWhich?,a,b,C\n", "row 2: answer 'C' is not a letter A..B"),
    "no choices": ("question,answer\nWhich?,A\n", "row 2: no choices"),
    "no UTF-8": (b"question,A,B,answer\nCaf\xe9?,a,b,A\n", "row 2: not UTF-8 text (byte 0xe9)"),
}
_NO_TEXT = {"UTF-16": "question,A".encode("utf-16"), "NUL": b"question\0", "a picture": b"\x89PNG\r\n\x1a\n\0\0"}
_NO_PARQUET = {
    "nothing": b"",
    "text": b"question,A,B,answer",
    "the magic alone": b"PAR1",
    "the magic twice": b"PAR1PAR1",
    "zeros": b"PAR1" + b"\0" * 100 + b"PAR1",
}


def _parquet(columns: dict[str, list[Any]] | None = None, cut: int | None = None, names: list[str] | None = None) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(columns or {"question": ["Which?"], "choices": [["a", "b"]], "answer": [0]})
    table = table if names is None else table.rename_columns(names)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()[:cut]


def _folder(here: Path) -> None:
    (here / "q.jsonl").mkdir()


def entries() -> Iterator[Bad]:
    """All of this file."""
    none = "No question can be read from q"
    for name, (row, says) in _ROWS.items():
        text = json.dumps(row)
        yield Bad(f"a question: {name}", (*_ASK, "{here}/q.jsonl"), f"{none}.jsonl: {says}", files({"q.jsonl": text}))
    for name in ("no question", "one choice", "an answer beyond", "a row that is null"):
        row, says = _ROWS[name]
        yield Bad(f"a list: {name}", (*_ASK, "{here}/q.json"), f"{none}.json: {says}", files({"q.json": json.dumps([row])}))
    for name, line in _LINES.items():
        yield Bad(
            f"question lines: {name}",
            (*_ASK, "{here}/q.jsonl"),
            f"{none}.jsonl: row 1: not valid JSON (",
            files({"q.jsonl": line}),
        )
    for name, text in {"half": "[{", "deep": _DEEP, "5000 digits": "[" + "9" * 5000 + "]", "behind it": "[] x"}.items():
        yield Bad(f"a list: {name}", (*_ASK, "{here}/q.json"), "q.json is not valid JSON (", files({"q.json": text}))
    for ending in (".jsonl", ".ndjson", ".json"):
        yield Bad(
            f"an empty {ending}", (*_ASK, f"{{here}}/q{ending}"), f"{none}{ending}: it has no rows.", files({f"q{ending}": ""})
        )
    yield Bad("an empty list", (*_ASK, "{here}/q.json"), f"{none}.json: it has no rows.", files({"q.json": "[]"}))
    for name, (text, says) in _CSVS.items():
        yield Bad(f"a CSV: {name}", (*_ASK, "{here}/q.csv"), says, files({"q.csv": text}))
        if isinstance(text, str) and "," in text and "stray" not in name and '"' not in text:
            yield Bad(f"a TSV: {name}", (*_ASK, "{here}/q.tsv"), says, files({"q.tsv": text.replace(",", "\t")}))
    for name, content in _NO_TEXT.items():
        for ending in (".csv", ".jsonl"):
            yield Bad(
                f"questions as {ending}: {name}",
                (*_ASK, f"{{here}}/q{ending}"),
                f"q{ending} is not UTF-8 text",
                files({f"q{ending}": content}),
            )
    bad = "q.parquet is not a readable Parquet file"
    for name, content in _NO_PARQUET.items():
        yield Bad(f"a Parquet file: {name}", (*_ASK, "{here}/q.parquet"), bad, files({"q.parquet": content}))
    yield Bad("a Parquet file: half", (*_ASK, "{here}/q.parquet"), bad, files({"q.parquet": _parquet(cut=200)}))
    for name, columns, says in (
        ("no rows", {"question": [], "choices": [], "answer": []}, "it has no rows."),
        ("no columns that are known", {"a": [1], "b": [2]}, "row 1: no question"),
        (
            "an answer that is missing",
            {"question": ["Which?"], "choices": [["a", "b"]], "answer": [float("nan")]},
            "row 1: no answer",
        ),
        ("bytes for a question", {"question": [b"\xff"], "choices": [["a", "b"]], "answer": [5]}, "row 1: "),
    ):
        yield Bad(f"a Parquet file: {name}", (*_ASK, "{here}/q.parquet"), says, files({"q.parquet": _parquet(columns)}))
    twice = _parquet({"question": ["Which?"], "b": [1], "answer": [0]}, names=["question", "Question", "answer"])
    yield Bad(
        "a Parquet file: a name twice",
        (*_ASK, "{here}/q.parquet"),
        "several columns with the same name",
        files({"q.parquet": twice}),
    )
    for name in (
        "/nosuch.csv",
        "nosuch.jsonl",
        "/nosuch/deeper.parquet",
        "~nobody-at-all/q.csv",
        "x" * 300 + ".csv",
        "/\udcff.csv",
    ):
        yield Bad(f"questions {name[:20]!r}", (*_ASK, name), "The question file ")
    yield Bad(
        "questions that are a folder", (*_ASK, "{here}/q.jsonl"), "cannot be read (it is a folder, not a regular file)", _folder
    )
    yield Bad("questions with NUL", (*_ASK, "a\0b.csv"), "cannot be read (no file can have such a name)")
    good = files({"q.jsonl": json.dumps(_GOOD)})
    yield Bad(
        "examples from a file",
        (*_ASK, "{here}/q.jsonl", "--shots", "1"),
        "comes without worked examples: shots must be 0, not 1.",
        good,
    )
    yield Bad("subjects of a file", (*_ASK, "{here}/q.jsonl", "--subset", "stem"), "has no subjects to choose from", good)
    yield Bad("the paper's way with a file", (*_ASK, "{here}/q.jsonl", "--protocol", "paper"), "The paper does not ask ", good)
    yield Bad("subjects of ARC", (*_ASK, "arc_easy", "--subset", "stem"), "has no subjects to choose from")
    yield Bad("an unknown subject", (*_ASK, "mmlu", "--subset", "nosuch"), "nosuch")
    yield Bad("too many examples", (*_ASK, "arc_easy", "--shots", "5"), "shots must be 0, not 5.")
    yield Bad("the paper's way with ARC", (*_ASK, "arc_easy", "--protocol", "paper"), "The paper does not ask ")
