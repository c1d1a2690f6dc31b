"""Handout of a class: questions with something to draw on, exercises, and a second sheet with the
measured answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.exports.document import templates
from analysis.results.words.exercises import Exercise

_TEMPLATE = Path(__file__).with_name("handout.html.jinja")


@dataclass(frozen=True)
class HandoutAxes:
    """Empty axes to draw a curve or bars on."""

    places: Sequence[str]
    """Names along the horizontal axis."""
    axis: str
    ticks: Sequence[tuple[float, str]]
    """Values of the vertical axis with their names, from low to high."""
    given: Sequence[float] = ()
    """Values of the first places, which are printed."""
    levels: Sequence[tuple[str, float]] = ()
    """Horizontals by name."""
    bars: bool = False


@dataclass(frozen=True)
class HandoutStrip:
    """The layers of a model, to mark a block on."""

    n_layers: int


@dataclass(frozen=True)
class HandoutTask:
    """One question of the lesson."""

    title: str
    asked: str
    sheet: HandoutAxes | HandoutStrip | None
    options: Sequence[str]
    """Answers to tick, where there is nothing to draw on."""
    answer: str
    """The measured answer; only on the second sheet."""
    note: str = ""
    """Background for a teacher; only on the second sheet."""


@dataclass(frozen=True)
class Handout:
    """Both sheets."""

    title: str
    about: Sequence[str]
    """Sentences on the model and the results."""
    tasks: Sequence[HandoutTask]
    exercises: Sequence[Exercise]
    missing: str = ""
    """Questions that could not be asked, in a sentence."""


def html(handout: Handout, *, solved: bool) -> str:
    """Return a file to print: black on white, nothing fetched from anywhere, every text escaped.

    Args:
        handout: the content.
        solved: whether this is the sheet with answers, solutions and notes.
    """
    environment = templates()
    environment.tests["strip"] = lambda sheet: isinstance(sheet, HandoutStrip)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        handout=handout, solved=solved
    )
