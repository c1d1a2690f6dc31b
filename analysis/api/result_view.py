"""Value that a measurement returns: the stored result with its charts and tables."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from analysis.core.record import Result

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objs import Figure

ResultT = TypeVar("ResultT", bound=Result, covariant=True)


@dataclass(frozen=True, repr=False)
class ResultView(Generic[ResultT]):
    """A stored result with its charts and tables. `result` has all numbers, the request and the
    versions of the libraries.
    """

    result: ResultT
    """The stored result."""

    def figure(self, name: str = "", *, dark: bool = False) -> "Figure":
        """Return a chart of the result, as the pages draw it.

        Args:
            name: one of `figures` (default: the first).
            dark: draw for a dark background.

        Raises:
            SpecError: if there is no chart of that name.
        """
        from analysis.charts import kinds

        return kinds.figure(self.result, name, dark=dark)

    @property
    def figures(self) -> tuple[str, ...]:
        """Return the names of the charts."""
        from analysis.charts import kinds

        return kinds.names(self.result.kind)

    def table(self, name: str = "") -> "DataFrame":
        """Return the main numbers as a data frame: one row for each point of a curve, block of a
        map or token of a text.

        Args:
            name: one of `tables` (default: the first).

        Raises:
            SpecError: if there is no table of that name.
        """
        return self.result.table(name).frame()

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the names of the tables."""
        return tuple(self.result.tables())

    def __repr__(self) -> str:
        facts = getattr(self.result, "model", None)
        name = getattr(facts, "name", None) or getattr(self.result, "model_name", "")
        title = f"{self.result.kind} of {name}" if name else self.result.kind
        if not self.result.complete:
            title += ", incomplete"
        measured_on = self.result.measured_on().rstrip(".")
        return f"<{title}: {measured_on}>" if measured_on else f"<{title}>"

    def _repr_html_(self) -> str:
        """Return the first table under the text of `repr`, for notebooks."""
        table = self.table().to_html(index=False, max_rows=20)
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{table}"
