"""The measured numbers that curves are drawn of: how each is read from a point, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure

from analysis import uncertainty
from analysis.drawing import LEVEL_ENDS, Palette
from analysis.results import Lines, Point, SweepResult


@dataclass(frozen=True)
class Measure:
    """How a measured number of a `Point` is read and written."""

    field: str
    name: str
    axis: str
    tickformat: str
    digits: str
    """Format of hovers."""
    label: str
    """Format of texts beside points."""
    unit: str

    def value(self, point: Point | None) -> float | None:
        """The number itself, or None where it was not measured."""
        return getattr(point, self.field) if point else None

    def error(self, point: Point) -> float:
        """One standard error; 0 where none is known."""
        return getattr(point, f"{self.field}_stderr", None) or 0.0

    def interval(self, point: Point) -> tuple[float, float]:
        """What is shaded: the 95 % interval of an accuracy, one standard error to both sides of a loss."""
        value = self.value(point) or 0.0
        if self.field == "acc" and point.n_samples:
            return uncertainty.wilson_interval(round(value * point.n_samples), point.n_samples)
        return value - self.error(point), value + self.error(point)

    def hover(self, point: Point) -> str:
        """The cut in both index forms, and the number with how sure it is."""
        what = point.block.describe() if point.block else "unpruned model, n = 0"
        low, high = self.interval(point)
        if self.field == "acc":
            numbers = f"{self.value(point):{self.digits}}, 95 % interval {low:{self.digits}} to {high:{self.digits}}"
        else:
            numbers = f"{self.value(point):{self.digits}} ± {self.error(point):{self.digits}}"
        count = point.n_samples if self.field == "acc" else point.n_texts
        return f"{what}<br>{self.name} {numbers}<br>{count} {self.unit}"

    def error_bars(self, points: Sequence[Point], width: int = 2) -> dict[str, Any]:
        """Bars of one standard error."""
        return {"type": "data", "array": [self.error(point) for point in points], "thickness": 1, "width": width}

    def interval_bars(self, points: Sequence[Point]) -> dict[str, Any]:
        """Bars of `interval`."""
        sides = [(*self.interval(point), self.value(point) or 0.0) for point in points]
        return {
            "type": "data",
            "symmetric": False,
            "array": [high - value for _, high, value in sides],
            "arrayminus": [value - low for low, _, value in sides],
            "thickness": 1,
            "width": 2,
        }

    def points(self, sweep: SweepResult) -> list[Point]:
        """The points of a curve that have this number, by n."""
        return sorted((point for point in sweep.points if self.value(point) is not None), key=lambda point: point.n)


ACCURACY = Measure("acc", "accuracy", "accuracy", ".0%", ".1%", ".1%", "questions")
LOSS = Measure("loss", "loss", "loss, nats per token", "", ".3f", ".2f", "texts")
BITS = Measure("bits_per_byte", "loss", "loss, bits per byte", "", ".3f", ".2f", "texts")
"""The loss where vocabularies differ, so that tokens do; without an error of its own."""


def add_levels(figure: Figure, lines: Lines | None, colours: Palette) -> None:
    """Horizontals at chance and, where it is another, at always giving the most frequent answer."""
    if lines is None:
        return
    levels = [("chance", lines.chance, "dot")]
    if abs(lines.majority - lines.chance) > 1e-9:
        levels.append(("majority", lines.majority, "dashdot"))
    for name, level, dash in levels:
        add_level(figure, name, level, colours.chance, dash, ".1%")


def add_level(figure: Figure, name: str, level: float | None, colour: str, dash: str, digits: str) -> None:
    """A horizontal across the whole chart: a trace rather than a shape, so that it has a legend entry and a hover."""
    if level is None:
        return
    figure.add_scatter(
        x=LEVEL_ENDS,
        y=[level, level],
        mode="lines",
        name=name,
        line={"color": colour, "width": 1.5, "dash": dash},
        hovertemplate=f"{name} %{{y:{digits}}}<extra></extra>",
    )
