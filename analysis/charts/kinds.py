"""Charts of each kind of result, by name: a kind registers its own with `register`."""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts import curves, heals, maps, methods, prompts, speed
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS, Registry
from analysis.core.record import Result

Draw = Callable[[Any, bool], Figure]
"""Function of a result and of whether the background is dark that returns a chart."""


@dataclass(frozen=True)
class Chart:
    """One chart of a kind of result."""

    kind: str
    name: str
    draw: Draw


CHARTS: Registry[Chart] = Registry("chart", key=lambda chart: f"{chart.kind} {chart.name}")
"""Charts of all kinds; the first one of a kind is its default."""


def draws(kind: str, name: str) -> Callable[[Draw], Draw]:
    """Register a function as a chart of a kind of result; the first one is its default."""

    def keep(draw: Draw) -> Draw:
        CHARTS.add(Chart(kind, name, draw))
        return draw

    return keep


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the charts of a kind, the default first."""
    return tuple(_charts(kind))


def _charts(kind: str) -> dict[str, Draw]:
    """Return the charts registered here, or the chart that the kind itself names."""
    registered = {chart.name: chart.draw for chart in CHARTS.values() if chart.kind == kind}
    experiment = EXPERIMENTS.get(kind)
    if registered or experiment is None or not experiment.figure:
        return registered
    return {"figure": lambda result, dark: resolve_name(experiment.figure)(result, dark=dark)}


def figure(result: Result, name: str = "", *, dark: bool = False) -> Figure:
    """Return a chart of a result.

    Args:
        result: of any kind.
        name: one of `names`; the first one if it is empty.
        dark: whether the background is dark.

    Raises:
        SpecError: when the kind has no chart, or none of this name.
    """
    charts = _charts(result.kind)
    if not charts:
        raise SpecError(
            f"A result of the kind {result.kind!r} has no chart. Its table has the numbers."
        )
    if name and name not in charts:
        raise SpecError(
            f"A result of the kind {result.kind!r} has no chart {name!r}. Choose one of"
            f" {', '.join(charts)}."
        )
    return charts[name or next(iter(charts))](result, dark)


draws("distances", "map")(lambda result, dark: maps.distance_map(result))
draws("distances", "lines")(lambda result, dark: maps.distance_lines(result, dark=dark))
draws("damage", "map")(lambda result, dark: maps.damage_map(result))
draws("damage", "lines")(lambda result, dark: maps.damage_lines(result, dark=dark))
draws("sweep", "accuracy")(lambda result, dark: curves.accuracy_curve(result, dark=dark))
draws("sweep", "loss")(lambda result, dark: curves.loss_curve(result, dark=dark))
draws("sweep", "writing")(lambda result, dark: curves.writing_curve(result, dark=dark))
draws("heal", "loss")(lambda result, dark: heals.heal_comparison(result, "loss", dark=dark))
draws("heal", "accuracy")(lambda result, dark: heals.heal_comparison(result, "acc", dark=dark))
draws("heal", "training")(lambda result, dark: heals.training_curve(result, dark=dark))
draws("speed", "decode")(lambda result, dark: speed.speed_chart(result, "decode", dark=dark))
draws("speed", "prefill")(lambda result, dark: speed.speed_chart(result, "prefill", dark=dark))
draws("compare", "surprise")(lambda result, dark: prompts.surprise_curve(result, dark=dark))
draws("microscope", "distances")(lambda result, dark: prompts.token_map(result, dark=dark))
draws("microscope", "guesses")(
    lambda result, dark: prompts.lens(result, len(result.pieces) - 1, dark=dark)
)
draws("methods", "nats")(lambda result, dark: methods.figure(result, methods.NATS, dark=dark))
draws("methods", "accuracy")(
    lambda result, dark: methods.figure(result, methods.ACCURACY, dark=dark)
)
