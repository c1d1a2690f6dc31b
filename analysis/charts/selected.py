"""The selected block on charts without a script: a ring at its own measured value, or a note that
it has none.

Explore draws the same ring over its charts in the browser, so that it follows the slider.
"""

from collections.abc import Iterable, Iterator
from math import log10
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts.look import LEVEL_ENDS, SELECTED, palette, unchecked
from analysis.core.blocks import Removal
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.results.compared.generations import Generations
from analysis.results.compared.scores_of_block import Selected
from analysis.results.score.score import ACCURACY, LOSS

UNMEASURED = "Not measured for this selection"
NAME = "selected"
"""Name of the ring's trace and of the note."""
OUTLINE = "outline of the selected"
"""Name of the white ring around it, which has no numbers of its own."""
RATES = ("repetition_rate", "distinct_rate", "sum_acc")
"""Fields of a point on the chart of generated text."""
_CORNERS = ((1, 1), (1, 0), (0, 1), (0, 0))
"""Corners of the plot, right or left and top or bottom, the preferred one first."""
_NOTE_WIDTH = 0.45
_NOTE_HEIGHT = 0.16
"""Part of the plot that a note takes in a narrow window."""


def marked(
    figure: Figure,
    places: Iterable[tuple[float, float]],
    *,
    note: str = UNMEASURED,
    dark: bool = False,
) -> Figure:
    """Return a new figure with a ring at each value of the selected block, or with a note if it has
    none.

    Args:
        figure: a chart, which stays as it is.
        places: x and y of each measured value of the block; a logarithmic axis takes the values
            themselves.
        note: the text in the corner with the fewest points if there is no place.
        dark: whether the page is dark.
    """
    spots = list(places)
    return rings(figure, spots) if spots else _noted(figure, note, dark)


def of_scores(selected: Selected) -> dict[str, list[tuple[float, float]]]:
    """Return by quantity the position of the selected block on a chart of accuracy or loss against
    removed layers.

    Args:
        selected: the scores of the block under the condition of the chart; empty places for a score
            that is not measured.
    """
    removed = selected.removed
    if removed is None:
        return {}
    measured = {quantity: selected.measured(quantity).score for quantity in (ACCURACY, LOSS)}
    return {
        quantity: [] if score is None else [(removed.size, score.value)]
        for quantity, score in measured.items()
    }


def of_generations(generations: Generations, removed: Removal | None) -> list[tuple[float, float]]:
    """Return the places of a block on the charts of generated text: repetition, distinct tokens and
    right answers.
    """
    generation = generations.of(removed) if removed is not None else None
    if generation is None or removed is None:
        return []
    rates = (getattr(generation.point, name) for name in RATES)
    return [(removed.size, rate) for rate in rates if rate is not None]


def of_speed(speed: SpeedResult, field: str, removed: Removal | None) -> list[tuple[float, float]]:
    """Return the place of a separately timed block on a chart of milliseconds.

    Args:
        speed: the measurement.
        field: "decode" or "prefill".
        removed: the block.
    """
    timed = (point for point in speed.of_layers if removed is not None and point.block == removed)
    return [(point.n, 1e3 * getattr(point, field).median_s) for point in timed]


def rings(figure: Figure, places: Iterable[tuple[float, float]]) -> Figure:
    """Return a new figure with rings; the given one stays as it is and may be shared.

    Args:
        figure: the chart.
        places: x and y of each ring. A white ring surrounds the one in `SELECTED`, so that it is
            visible on any cell of a map.
    """
    spots = list(places)
    spec = figure.to_dict()
    if not spots:
        return unchecked(spec)
    xs = [x for x, _ in spots]
    ys = [y for _, y in spots]
    for name, size, colour in ((OUTLINE, 17, "#ffffff"), (NAME, 11, SELECTED)):
        spec["data"].append(
            {
                "type": "scatter",
                "x": xs,
                "y": ys,
                "mode": "markers",
                "name": name,
                "marker": {
                    "symbol": "circle-open",
                    "size": size,
                    "color": colour,
                    "line": {"width": 3, "color": colour},
                },
                "hoverinfo": "skip",
                "showlegend": False,
                "cliponaxis": False,
            }
        )
    _reach(spec, "xaxis", xs, 0.5)
    _reach(spec, "yaxis", ys, 0.0)
    return unchecked(spec)


def _reach(spec: dict[str, Any], name: str, values: list[Any], margin: float) -> None:
    """Extend a linear axis with a fixed range to all rings and a margin; other axes do so by
    themselves.
    """
    axis = spec["layout"].get(name, {})
    if (
        not axis.get("range")
        or axis.get("type") == "log"
        or not all(isinstance(value, int | float) for value in values)
    ):
        return
    first, last = axis["range"]
    if max(values) > last:
        axis["range"] = [first, max(values) + (margin or 0.05 * (last - first))]
    elif min(values) < first:
        axis["range"] = [min(values) - (margin or 0.05 * (last - first)), last]


def _noted(figure: Figure, note: str, dark: bool) -> Figure:
    spec = figure.to_dict()
    right, top = _emptiest(spec)
    spec["layout"]["annotations"] = [
        *spec["layout"].get("annotations", ()),
        {
            "text": note,
            "name": NAME,
            "showarrow": False,
            "xref": "x domain",
            "yref": "y domain",
            "x": right,
            "y": top,
            "xanchor": "right" if right else "left",
            "yanchor": "top" if top else "bottom",
            "font": {"size": 11, "color": palette(dark).unpruned},
            "bgcolor": "rgba(19,24,29,0.85)" if dark else "rgba(255,255,255,0.85)",
        },
    ]
    return unchecked(spec)


def _emptiest(spec: dict[str, Any]) -> tuple[int, int]:
    """Return the corner in which a note covers no label at the upper edge and the fewest points."""
    points = list(_points(spec))
    if not points:
        return _CORNERS[0]
    is_top_taken = any(
        (label.get("yref"), label.get("y")) == ("paper", 1)
        for label in spec["layout"].get("annotations", ())
    )
    xs, ys = zip(*points, strict=True)
    if spec["layout"].get("yaxis", {}).get("autorange") == "reversed":
        ys = tuple(-y for y in ys)
    across = _shares(xs)
    up = _shares(ys)

    def covered(corner: tuple[int, int]) -> int:
        return sum(
            abs(x - corner[0]) < _NOTE_WIDTH and abs(y - corner[1]) < _NOTE_HEIGHT
            for x, y in zip(across, up, strict=True)
        )

    return min(_CORNERS, key=lambda corner: (is_top_taken and corner[1], covered(corner)))


def _shares(values: tuple[float, ...]) -> list[float]:
    low = min(values)
    span = (max(values) - min(values)) or 1.0
    return [(value - low) / span for value in values]


def _points(spec: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield the points of all curves in the scale of the axes, without horizontal levels."""
    logs = [spec["layout"].get(axis, {}).get("type") == "log" for axis in ("xaxis", "yaxis")]
    for trace in spec["data"]:
        x = trace.get("x")
        y = trace.get("y")
        if trace["type"] == "heatmap" or x is None or y is None or tuple(x) == LEVEL_ENDS:
            continue
        for position in zip(x, y, strict=False):
            numbers = [value for value in position if isinstance(value, int | float)]
            if len(numbers) == 2 and all(
                value > 0 or not is_log for value, is_log in zip(numbers, logs, strict=True)
            ):
                px, py = (
                    log10(value) if is_log else value
                    for value, is_log in zip(numbers, logs, strict=True)
                )
                yield px, py
