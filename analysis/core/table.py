"""A table of numbers that is written once and shown anywhere: a terminal, a document, a page, a data frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = "–"
"""Text in place of a missing value, unless a column says otherwise."""
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Column:
    """One column: programs call it by its name, people read its title and its values in its format."""

    name: str
    title: str = ""
    """Its head for people; empty for the name."""
    unit: str = ""
    """Stands behind the title."""
    format: str = ""
    """Format specification of its numbers; empty for four digits, and whole numbers as they are."""
    scale: float = 1.0
    """Factor of a number before people read it: 1000 for milliseconds of a column in seconds."""
    low: str = ""
    """The columns of the ends of its 95 % interval: people read all three as one, 0.410 (0.320 to 0.508)."""
    high: str = ""
    parts: tuple[str, ...] = ()
    """Columns that hold its parts for programs, such as its standard error."""
    missing: str = MISSING
    """Text in place of a missing value."""

    @property
    def head(self) -> str:
        """Return the heading of the column for people."""
        return ", ".join(part for part in (self.title or self.name, self.unit) if part)

    def text(self, row: Mapping[str, Any]) -> str:
        """Its cell of a row, for people."""
        if row.get(self.name) is None:
            return self.missing
        value = self._one(row[self.name])
        if row.get(self.low) is not None and row.get(self.high) is not None:
            value += f" ({self._one(row[self.low])} to {self._one(row[self.high])})"
        return value

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns that are written together with it, or stand for programs beside it."""
        return self.low, self.high, *self.parts

    def _one(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        if self.scale != 1.0:
            value = value * self.scale
        return format(value, self.format or (".4g" if isinstance(value, float) else ""))


def interval_columns(name: str, title: str = "", unit: str = "", format: str = ".3f") -> tuple[Column, Column, Column]:
    """Return the columns of a number and of the ends of its 95 % interval, which people read as one."""
    low, high = f"{name}_low", f"{name}_high"
    return Column(name, title, unit, format, low=low, high=high), Column(low), Column(high)


def interval_values(name: str, ends: tuple[float | None, float | None, float | None] | None) -> dict[str, float | None]:
    """Return a number and the ends of its 95 % interval by `interval_columns`; empty for None."""
    return {} if ends is None else dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


REMOVED = (Column("removed", parts=("start", "size")), Column("start"), Column("size"))
"""Columns of a removal: in words, and for programs its first layer and its number of layers."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns, with the conditions of their measurement."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    """Each by the names of the columns; a value that is missing is None, or left out."""
    caption: str = ""
    """Data, their amount, the precision, and the meaning of intervals."""

    def only(self, *names: str) -> "Table":
        """Return some of the columns, in this order, with those that they are written together with; omit missing ones."""
        by_name = {column.name: column for column in self.columns}
        chosen = [by_name[name] for name in names if name in by_name]
        beside = [by_name[name] for column in chosen for name in column.beside if name in by_name]
        return replace(self, columns=tuple(dict.fromkeys([*chosen, *beside])))

    def titled(self, **titles: str) -> "Table":
        """Return the table with other headings, by the names of the columns."""
        columns = (
            replace(column, title=titles[column.name], unit="") if column.name in titles else column for column in self.columns
        )
        return replace(self, columns=tuple(columns))

    def records(self) -> list[dict[str, Any]]:
        """The plain values, every row with every column."""
        return [{column.name: row.get(column.name) for column in self.columns} for row in self.rows]

    @property
    def heads(self) -> list[str]:
        """Return the headings of the columns that people read."""
        return [column.head for column in self._read]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as people read them: a value with its interval is one cell."""
        return [[column.text(row) for column in self._read] for row in self.rows]

    def lines(self) -> list[str]:
        """The table for a terminal: numbers to the right, texts behind the first column to the left."""
        columns = [list(column) for column in zip(self.heads, *self.cells, strict=True)]
        for index, column in enumerate(self._read):
            is_text = index > 0 and any(isinstance(row.get(column.name), str) for row in self.rows)
            width, justify = max(map(len, columns[index])), str.ljust if is_text else str.rjust
            columns[index] = [justify(cell, width) for cell in columns[index]]
        return [f"  {'  '.join(row)}".rstrip() for row in zip(*columns, strict=True)]

    def frame(self) -> "DataFrame":
        """The plain values as a data frame; columns without any value are left out."""
        from pandas import DataFrame

        names = [column.name for column in self.columns if any(row.get(column.name) is not None for row in self.rows)]
        return DataFrame(self.records(), columns=names)

    @property
    def _read(self) -> list[Column]:
        """The columns that people read by themselves: not those that are written beside another."""
        beside = {name for column in self.columns for name in column.beside}
        return [column for column in self.columns if column.name not in beside]


def of_values(title: str, rows: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
    """Return the plain values of rows, a column for each name of the first one."""
    names = [name for name in (rows[0] if rows else ()) if all(isinstance(row.get(name), _PLAIN) for row in rows)]
    return Table(title, tuple(map(Column, names)), [{name: row.get(name) for name in names} for row in rows], caption)
