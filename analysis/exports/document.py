"""A document of headings, sentences, tables, charts and code, and its Markdown."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jinja2 import Environment, StrictUndefined
from plotly.graph_objs import Figure

from analysis.core import escapes, table

_SPECIAL = re.compile(r"([\\`*_\]#<>|$~])")
"""A link needs its closing bracket: without it the opening one of "[11, 16)" can stay as it is."""


def text(content: str) -> str:
    """Return any text escaped for Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(content).split()))


def code(content: str) -> str:
    """Return a text as inline code, also if it contains backticks."""
    plain = " ".join(str(content).split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    return f"{ticks}{plain}{ticks}" if len(ticks) == 1 else f"{ticks} {plain} {ticks}"


def fenced(content: str, language: str = "") -> str:
    """Return a block of code, also for a text that contains backticks."""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", content)), default=0))
    return f"{ticks}{language}\n{content.rstrip()}\n{ticks}"


def templates() -> Environment:
    """Return the settings of every HTML template: values are escaped, and hidden characters in them
    are shown.
    """
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_cell,
    )


def _cell(value: Any) -> Any:
    return (
        escapes.visible(value) if type(value) is str else value
    )  # text that is HTML already has another type


@dataclass(frozen=True)
class TextTable:
    """A table of plain text."""

    columns: list[str]
    rows: list[list[str]]

    @classmethod
    def of(cls, source: table.Table) -> "TextTable":
        """Return the table of a result as text."""
        return cls(source.heads, source.cells)

    @classmethod
    def of_texts(cls, columns: list[str], rows: list[list[str]]) -> "TextTable":
        """Return a table of texts, with a dash for an empty one."""
        return cls(columns, [[cell or "–" for cell in row] for row in rows])

    def markdown(self) -> str:
        """Return the table with its cells escaped."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(
            f"| {' | '.join(cell if number == 1 else text(cell) for cell in line)} |"
            for number, line in enumerate(lines)
        )


@dataclass(frozen=True)
class Picture:
    """A chart that is drawn on first use, since Markdown has only its description."""

    draw: Callable[[bool], Figure]
    """Function that returns the chart, for a dark page if True."""
    alt: str
    """Description of the chart."""

    @cached_property
    def light(self) -> Figure:
        """Chart for a light page."""
        return self.draw(False)

    @cached_property
    def dark(self) -> Figure:
        """Chart for a dark page."""
        return self.draw(True)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of a drawing, in hundredths of its width, or a text at its lower left corner."""

    x: float
    y: float
    """Distance from the top."""
    width: float
    height: float
    """Height; of a text that of its letters."""
    tone: str
    """`layer`, `removed`, `accepted`, `ink` or `soft`."""
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """A picture of rectangles and texts that needs no script."""

    shapes: tuple[Rectangle, ...]
    height: float
    """Height in hundredths of the width."""
    alt: str

    @property
    def words(self) -> list[str]:
        """Words of its texts."""
        return [word for shape in self.shapes for word in shape.text.split()]


@dataclass(frozen=True)
class Section:
    """A heading with its paragraphs, tables and pictures."""

    title: str
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[TextTable] = ()
    commands: Sequence[str] = ()
    """Command lines that make these results again."""
    records: Sequence[tuple[str, str]] = ()
    """Name and JSON of each request behind the section, with versions and counts."""
    lists: Sequence[tuple[str, Sequence[str]]] = ()
    """Headings with their items."""
    is_page: bool = False
    """Whether the section is a printed page of its own, with its commands unfolded."""
    drawing: Drawing | None = None
    tone: str = ""
    """Colour of the heading: `go`, `more` or `stop`; "" for the usual one."""


@dataclass(frozen=True)
class Document:
    """A title, its subject in a few sentences, and sections."""

    title: str
    sentences: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the document without its charts, whose numbers are in tables."""
        parts = [f"# {text(self.title)}", *map(text, self.sentences)]
        for section in self.sections:
            parts += [f"## {text(section.title)}", *map(text, section.sentences)]
            parts += [table.markdown() for table in section.tables]
            for title, items in section.lists:
                parts += [f"### {text(title)}", "\n".join(f"- {text(item)}" for item in items)]
            parts += [fenced("\n".join(section.commands), "sh")] if section.commands else []
        records = [
            (name, content) for section in self.sections for name, content in section.records
        ]
        parts += ["## Requests and versions"] if records else []
        for name, content in records:
            parts += [f"### {text(name)}", fenced(content, "json")]
        return escapes.visible("\n\n".join(parts) + "\n")
