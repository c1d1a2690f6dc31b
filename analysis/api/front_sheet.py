"""The front of precisions and prunings in Python: its answers as values, its table as a data frame,
its chart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.cli.main import command_line
from analysis.core.errors import SpecError
from analysis.results import verdict
from analysis.results.compared.front import SIZE, SPEED
from analysis.results.score.score import ACCURACY
from analysis.results.words.front_table import FrontAnswer
from analysis.results.words.goals import Answer

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objs import Figure


@dataclass(frozen=True)
class FrontSheet:
    """All measured variants of a model, with answers to goals. A notebook shows it as Markdown."""

    content: FrontAnswer
    """Comparison, answers and missing measurements."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Return one answer for each goal, with the chosen candidate and the best of each other
        kind.
        """
        return self.content.answers

    @property
    def missing(self) -> dict[str, str]:
        """Return the command of each missing measurement, by its subject."""
        return {
            measurement.what: command_line(measurement.spec) for measurement in self.content.missing
        }

    def table(self) -> "DataFrame":
        """Return every variant with its size, speed and scores, the smallest first."""
        from pandas import DataFrame

        return DataFrame(self.content.rows())

    def figure(self, quantity: str = ACCURACY, by: str = SIZE, *, dark: bool = False) -> "Figure":
        """Return the chart that the page Explore draws.

        Args:
            quantity: accuracy, loss or bits per byte.
            by: size or speed.
            dark: for a dark background.

        Raises:
            SpecError: if no model has this quantity or a speed, or for an unknown `by`.
        """
        from analysis.charts import front as figures

        compared = self.content.comparison.front(quantity)
        if compared is None:
            raise SpecError(
                f"No {quantity} of this model is stored. Measure it:"
                f" {next(iter(self.missing.values()), '')}."
            )
        if by not in (SIZE, SPEED):
            raise SpecError(f"`by` must be {SIZE!r} or {SPEED!r}, not {by!r}.")
        if by == SPEED and not any(candidate.times for candidate in compared.candidates):
            raise SpecError(
                "No speed of this model is stored. Measure it: `python -m analysis speed`."
            )
        return figures.trade_off(compared, by, dark=dark)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the JSON of `front`."""
        return self.content.to_json(command_line)

    def _repr_markdown_(self) -> str:
        return "\n\n".join(
            [
                *(f"- {answer.said}" for answer in self.answers),
                self.content.measured_on,
                verdict.RULE,
            ]
        )

    def __repr__(self) -> str:
        return "\n".join([*(answer.said for answer in self.answers), self.content.measured_on])
