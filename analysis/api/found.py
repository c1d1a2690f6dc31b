"""Value that a call returns: the stored result, with its chart and its table."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from analysis.core.record import Result

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objs import Figure

ResultT = TypeVar("ResultT", bound=Result, covariant=True)


@dataclass(frozen=True, repr=False)
class Found(Generic[ResultT]):
    """A result, already stored in the cache: asking for the same again answers at once."""

    result: ResultT
    """Every number, with its spec, versions and counts."""

    def figure(self, name: str = "", *, dark: bool = False) -> "Figure":
        """The chart that the pages draw of it.

        Args:
            name: which one, where there are several; the first of `figures` unless another is named.
            dark: for a dark background.

        Raises:
            SpecError: when there is no chart of that name.
        """
        from analysis.charts import kinds

        return kinds.figure(self.result, name, dark=dark)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names that `figure` takes, the one it draws unasked first."""
        from analysis.charts import kinds

        return kinds.names(self.result.kind)

    def table(self, name: str = "") -> "DataFrame":
        """Its main numbers as rows: a point of a curve, a block of a map, a token of a text.

        Args:
            name: which of `tables`, where there are several.

        Raises:
            SpecError: when there is no table of that name.
        """
        return self.result.table(name).frame()

    @property
    def tables(self) -> tuple[str, ...]:
        """The names that `table` takes, the one it gives unasked first."""
        return tuple(self.result.tables())

    def __repr__(self) -> str:
        facts = getattr(self.result, "model", None)
        name = getattr(facts, "name", None) or getattr(self.result, "model_name", "")
        return f"<{self.result.kind}{' of ' * bool(name)}{name}{'' if self.result.complete else ', incomplete'}>"
