"""Table of results for terminals, documents, pages and data frames."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

MISSING = "–"
"""Default text of a missing value."""
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Column:
    """Column of a table."""

    name: str
    title: str = ""
    """Heading (default: the name)."""
    unit: str = ""
    """Unit, appended to the title."""
    format: str = ""
    """Format specification of the numbers; "" for four significant digits, with integers
    unchanged."""
    scale: float = 1.0
    """Factor applied before formatting: 1000 to show seconds as milliseconds."""
    low: str = ""
    """Column with the lower end of the 95 % interval, which is shown in the same cell: 0.410 (0.320
    to 0.508)."""
    high: str = ""
    """Column with the upper end."""
    to: str = ""
    """Column with the upper end of a range that starts here, which is shown in the same cell: 0.320
    to 0.508."""
    parts: tuple[str, ...] = ()
    """Columns with related values, such as the standard error, that are in data frames only."""
    missing: str = MISSING
    """Text of a missing value."""

    @property
    def head(self) -> str:
        """Heading of the column, with its unit."""
        return ", ".join(part for part in (self.title or self.name, self.unit) if part)

    def text(self, row: Mapping[str, Any]) -> str:
        """Return the formatted cell of a row."""
        if row.get(self.name) is None:
            return self.missing
        value = self._format(row[self.name])
        if row.get(self.to) is not None:
            value += f" to {self._format(row[self.to])}"
        if row.get(self.low) is not None and row.get(self.high) is not None:
            value += f" ({self._format(row[self.low])} to {self._format(row[self.high])})"
        return value

    @property
    def beside(self) -> tuple[str, ...]:
        """Columns that are shown within this one, or in data frames only."""
        return *self.parts, self.low, self.high, self.to

    def _format(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        if self.scale != 1.0:
            value = value * self.scale
        return format(value, self.format or (".4g" if isinstance(value, float) else ""))


def interval_columns(
    name: str, title: str = "", unit: str = "", format: str = ".3f"
) -> tuple[Column, Column, Column]:
    """Return the columns of a number and of the ends of its 95 % interval, which are shown as
    one.
    """
    low = f"{name}_low"
    high = f"{name}_high"
    return Column(name, title, unit, format, low=low, high=high), Column(low), Column(high)


def interval_values(
    name: str, ends: tuple[float | None, float | None, float | None] | None
) -> dict[str, float | None]:
    """Return the values of `interval_columns` by column name; empty for None."""
    return (
        {} if ends is None else dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
    )


REMOVED = (Column("removed", parts=("start", "size")), Column("start"), Column("size"))
"""Columns of a removal: its description, its first layer and its number of layers."""


@dataclass(frozen=True)
class Table:
    """Rows of plain values with columns and a caption."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    """Values by column name; missing values are None or absent."""
    caption: str = ""
    """Data, sample sizes, precision and the meaning of the intervals."""

    def only(self, *names: str) -> "Table":
        """Select existing columns in the given order, with their intervals and parts."""
        by_name = {column.name: column for column in self.columns}
        chosen = [by_name[name] for name in names if name in by_name]
        for column in tuple(chosen):
            chosen += [by_name[name] for name in column.beside if name in by_name]
        return replace(self, columns=tuple(dict.fromkeys(chosen)))

    def titled(self, **titles: str) -> "Table":
        """Return the table with other headings, by column name."""
        columns = (
            replace(column, title=titles[column.name], unit="") if column.name in titles else column
            for column in self.columns
        )
        return replace(self, columns=tuple(columns))

    def records(self) -> list[dict[str, Any]]:
        """Return the plain values; every row has all columns."""
        names = [column.name for column in self.columns]
        return [_selected(row, names) for row in self.rows]

    @property
    def heads(self) -> list[str]:
        """Headings of the shown columns."""
        return [column.head for column in self._shown]

    @property
    def cells(self) -> list[list[str]]:
        """Formatted cells of the shown columns; a value and its interval are one cell."""
        columns = self._shown
        return [[column.text(row) for column in columns] for row in self.rows]

    def lines(self) -> list[str]:
        """Return the lines of the table for a terminal, with numbers right-aligned."""
        columns = [list(column) for column in zip(self.heads, *self.cells, strict=True)]
        for index, column in enumerate(self._shown):
            is_text = index > 0 and any(isinstance(row.get(column.name), str) for row in self.rows)
            width = max(map(len, columns[index]))
            justify = str.ljust if is_text else str.rjust
            columns[index] = [justify(cell, width) for cell in columns[index]]
        return [f"  {'  '.join(row)}".rstrip() for row in zip(*columns, strict=True)]

    def frame(self) -> "DataFrame":
        """Return the plain values as a data frame without empty columns."""
        from pandas import DataFrame

        names = [
            column.name
            for column in self.columns
            if any(row.get(column.name) is not None for row in self.rows)
        ]
        return DataFrame(self.records(), columns=names)

    @property
    def _shown(self) -> list[Column]:
        """Shown columns, without those that are part of another."""
        beside = set(itertools.chain.from_iterable(column.beside for column in self.columns))
        return [column for column in self.columns if column.name not in beside]


def of_values(title: str, rows: Sequence[Mapping[str, Any]], caption: str = "") -> Table:
    """Build a table from rows of values, with one column for each plain value of the first row."""
    candidates = rows[0] if rows else ()
    names = [name for name in candidates if all(isinstance(row.get(name), _PLAIN) for row in rows)]
    values = [_selected(row, names) for row in rows]
    return Table(title, tuple(map(Column, names)), values, caption)


def _selected(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of a row with these names, None if absent."""
    return {name: row.get(name) for name in names}
