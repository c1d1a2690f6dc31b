"""Bad input as data: the input, its making, and the expected sentence; `every()` has all of it.

An entry is one line of the command line with the files that it names. `tests/cli/test_corpus.py` asks each in this process, and
`make fuzz` changes them at random. Findings are kept in `found/` as files, which are asked again from then on.
"""

import base64
import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

FOUND = Path(__file__).parent / "found"
"""Findings of the fuzzer, one file for each."""
Make = Callable[[Path], None]
"""Writes the files of an entry into its own empty folder."""


@dataclass(frozen=True)
class Bad:
    """One bad input."""

    name: str
    words: tuple[str, ...]
    """The arguments; {here} stands for the entry's own folder, {model} for a whole tiny model beside it."""
    says: str
    """Text that the sentence of the answer must contain; {here} as in `words`."""
    make: Make | None = None

    @property
    def loads(self) -> bool:
        """Return whether the model libraries are needed before it is refused."""
        return any("{model}" in word for word in self.words) or self.make is not None


@dataclass(frozen=True)
class Answered:
    """Answer of the command line."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """Lines on standard error that are no report of progress."""
        reports = ("Loading ", "Asking the Hub ", "Converting ", "loading the model", "reading questions and texts")
        told = (line for line in self.err.splitlines() if line.strip() and not line.startswith(reports))
        return [line for line in told if not re.search(r": [\d,]+ of [\d,]+ \(\d+%\)$", line)]


def ask(words: tuple[str, ...], here: Path, model: Path | None) -> Answered:
    """Ask the command line in this process, with a cache folder of its own beside the entry's files."""
    from analysis.cli import main

    out, err = io.StringIO(), io.StringIO()
    said = [word.replace("{here}", str(here)).replace("{model}", str(model)) for word in words]
    with (
        mock.patch.dict(os.environ, {"LAYERSCOPE_CACHE": str(here / "cache"), "HF_HUB_OFFLINE": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main.main(said)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return Answered(code, out.getvalue(), err.getvalue())


def every() -> Iterator[Bad]:
    """All entries."""
    from tests.corpus import adapters, models, options, packs, questions, settings, stored, texts

    for room in (options, settings, models, texts, questions, adapters, stored, packs):
        yield from room.entries()


def files(contents: dict[str, bytes | str]) -> Make:
    """Return a function that writes these files, by their names."""

    def write(here: Path) -> None:
        for name, content in contents.items():
            place = here / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))

    return write


def keep(name: str, words: tuple[str, ...], contents: dict[str, bytes]) -> Path:
    """Keep a finding of the fuzzer."""
    FOUND.mkdir(exist_ok=True)
    coded = {name: base64.b64encode(content).decode() for name, content in contents.items()}
    file = FOUND / f"{name}.json"
    file.write_text(json.dumps({"words": words, "files": coded}, indent=1) + "\n")
    return file


def found() -> Iterator[Bad]:
    """Yield the findings of the fuzzer: any sentence will do, as long as it is one."""
    for file in sorted(FOUND.glob("*.json")):
        kept = json.loads(file.read_text())
        contents = {name: base64.b64decode(content) for name, content in kept["files"].items()}
        yield Bad(file.stem, tuple(kept["words"]), "", files(contents))
