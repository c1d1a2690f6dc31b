"""Bad input as data: a command line, its files, and the expected sentence. `rows` has one row for each kind of fault."""

import contextlib
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

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


@dataclass(frozen=True)
class Answered:
    """Answer of the command line."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """Lines on standard error that are no report of progress."""
        reports = (
            "Loading ",
            "Asking the Hub ",
            "Converting ",
            "loading the model",
            "reading questions and texts",
            "Takes about ",
            "Takes up to ",
            "How long this takes ",
        )
        told = (
            line for line in self.err.splitlines() if line.strip() and not line.startswith(reports)
        )
        return [line for line in told if not re.search(r": \d+/\d+$", line)]


def ask(words: tuple[str, ...], here: Path, model: Path | None) -> Answered:
    """Ask the command line in this process, with a cache folder of its own beside the entry's files."""
    from analysis.cli import main

    out, err = io.StringIO(), io.StringIO()
    said = [word.replace("{here}", str(here)).replace("{model}", str(model)) for word in words]
    with (
        mock.patch.dict(
            os.environ, {"LAYERSCOPE_CACHE": str(here / "cache"), "HF_HUB_OFFLINE": "1"}
        ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main.main(said)
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return Answered(code, out.getvalue(), err.getvalue())


def files(contents: dict[str, bytes | str]) -> Make:
    """Return a function that writes these files, by their names."""

    def write(here: Path) -> None:
        for name, content in contents.items():
            place = here / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(
                content
                if isinstance(content, bytes)
                else content.encode("utf-8", "surrogateescape")
            )

    return write
