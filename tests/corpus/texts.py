"""Text files that cannot be read, are no text, or hold no documents."""

from collections.abc import Iterator
from pathlib import Path

from tests.corpus import Bad, files

_ASK = ("distances", "{model}", "--dtype", "float32", "--device", "cpu", "--samples", "2", "--seq-len", "16", "--texts")
_DEEP = "[" * 100_000
_LINE = 'is not a JSON object with a field "text"'
_JSONL = {
    "null": "null",
    "a number": "5",
    "a list": "[]",
    "a text": '"text"',
    "true": "true",
    "no field": "{}",
    "another field": '{"content": "a"}',
    "upper case": '{"TEXT": "a"}',
    "half": '{"text": "a',
    "no JSON": "text: a",
    "deep": _DEEP,
    "deep inside": '{"text": ' + _DEEP + "}",
    "5000 digits": '{"text": ' + "9" * 5000 + "}",
    "null inside": '{"text": null}',
    "a number inside": '{"text": 5}',
    "a list inside": '{"text": ["a"]}',
    "an object inside": '{"text": {}}',
    "NaN": "NaN",
    "two on a line": '{"text": "a"} {"text": "b"}',
    "a comma behind": '{"text": "a"},',
    "a list over lines": '[\n{"text": "a"}\n]',
    "single quotes": "{'text': 'a'}",
    "half a pair": '{"text": "\\ud800"}',
    "a comment": "// text",
    "an ended line": '{"text":\n"a"}',
    "a carriage return in it": '{"text": "a\rb"}',
}
"""Lines of JSON that hold no text."""
_BYTES = {
    "no UTF-8": b"caf\xe9 and more",
    "UTF-16": "some text".encode("utf-16"),
    "a picture": b"\x89PNG\r\n\x1a\n\0\0",
    "a zip": b"PK\3\4\xff\xfe",
    "half a letter": "é".encode()[:1],
    "a surrogate": b"\xed\xa0\x80",
    "Latin-1": "Grüße".encode("latin-1"),
    "gzip": b"\x1f\x8b\x08\0",
}
"""No UTF-8 text."""
_NONE = {"nothing": "", "blanks": "  \n\t\n ", "a mark": "\ufeff", "a mark and blanks": "\ufeff \n"}
_SHORT = {
    "a word": "a",
    "many short lines": "a\n" * 50,
    "short paragraphs": "a b\n\nc d\n\n",
    "short JSON": '{"text": "a"}\n{"text": "b"}',
}


def _folder(here: Path) -> None:
    (here / "t.txt").mkdir()


def _loop(here: Path) -> None:
    (here / "t.txt").symlink_to(here / "t.txt")


def entries() -> Iterator[Bad]:
    """All of this file."""
    for name, content in _JSONL.items():
        ending = (".jsonl", ".ndjson", ".json")[len(name) % 3]
        yield Bad(
            f"JSON lines: {name}",
            (*_ASK, f"{{here}}/t{ending}"),
            f"Line 1 of t{ending} {_LINE}",
            files({f"t{ending}": content}),
        )
    for name in ("null", "half", "deep"):
        content = '{"text": "a"}\n\n' + _JSONL[name]
        yield Bad(
            f"JSON lines: {name} in line 3",
            (*_ASK, "{here}/t.jsonl"),
            f"Line 3 of t.jsonl {_LINE}",
            files({"t.jsonl": content}),
        )
    for name, content in _BYTES.items():
        for ending in (".txt", ".jsonl"):
            yield Bad(
                f"a {ending}: {name}",
                (*_ASK, f"{{here}}/t{ending}"),
                f"t{ending} is not UTF-8 text (byte ",
                files({f"t{ending}": content}),
            )
    for name, content in {
        "NUL": b"\0" * 5000,
        "NUL in it": b"words " * 50 + b"\0",
        "UTF-16 without a mark": "words ".encode("utf-16-le"),
    }.items():
        place = content.index(b"\0")
        for ending in (".txt", ".jsonl"):
            says = f"t{ending} is not text (byte {place} is NUL)"
            yield Bad(f"a {ending}: {name}", (*_ASK, f"{{here}}/t{ending}"), says, files({f"t{ending}": content}))
    for name, content in _NONE.items():
        for ending in (".txt", ".jsonl"):
            yield Bad(
                f"a {ending}: {name}", (*_ASK, f"{{here}}/t{ending}"), f"t{ending} is empty", files({f"t{ending}": content})
            )
    for name, content in _SHORT.items():
        ending = ".jsonl" if "JSON" in name else ".txt"
        says = "is shorter than 16 tokens" if name != "JSON" else ""
        yield Bad(f"too short: {name}", (*_ASK, f"{{here}}/t{ending}"), says, files({f"t{ending}": content}))
    blank = '{"text": " "}\n{"text": ""}\n'
    yield Bad("JSON lines of blanks", (*_ASK, "{here}/t.jsonl"), "has no documents", files({"t.jsonl": blank}))
    one = "a b c d e f g h i j k l m n o p q r s t\n"
    split = (*_ASK, "{here}/t.txt", "--set", "corpus.split=validation")
    yield Bad("one document and a split", split, "has no documents in its validation part", files({"t.txt": one}))
    cannot = "The text file "
    for name in (
        "/nosuch.txt",
        "nosuch.jsonl",
        "/nosuch/deeper.txt",
        "{here}",
        "/",
        "",
        ".",
        "..",
        "~nobody-at-all/t.txt",
        "wikipedia",
        "C4",
        "c4 ",
    ):
        yield Bad(f"texts {name!r}", (*_ASK, name), cannot)
    yield Bad("texts of a name too long", (*_ASK, "x" * 300), cannot)
    yield Bad("texts of a path too long", (*_ASK, "/x" * 5000), cannot)
    yield Bad("texts with NUL", (*_ASK, "a\0b"), "cannot be read (no file can have such a name)")
    yield Bad("texts that are no UTF-8", (*_ASK, "/\udcff\udcfe.txt"), cannot)
    yield Bad(
        "texts that are a folder", (*_ASK, "{here}/t.txt"), "cannot be read (it is a folder, not a regular file)", _folder
    )
    yield Bad("texts that link to themselves", (*_ASK, "{here}/t.txt"), cannot, _loop)
    yield Bad("endless texts", (*_ASK, "c4-train"), "The text c4-train has no end, so it can be used for healing only")
    long = ("distances", "{model}", "--dtype", "float32", "--device", "cpu", "--texts", "{here}/t.txt", "--seq-len", "65")
    yield Bad("exceeds the context window", long, "seq-len 65 exceeds the context window of ", files({"t.txt": one}))
