"""Shared style of charts: palettes, styles of strategies, axes, measures and reference levels."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure

from analysis.experiments.accuracy.points import Lines, Point
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.strategies import STRATEGIES
from analysis.results.score import score


@dataclass(frozen=True)
class Palette:
    """Colours by meaning."""

    unpruned: str
    pruned: str
    healed: str
    chance: str
    kept: str
    """A layer that remains."""
    marker: str
    """Marks over the data: paths, predictions and names."""
    grid: str


LIGHT = Palette(
    "#5f6974", "#1f6fb5", "#c8590a", "#8a939d", "#c9d1d8", "#1c2530", "rgba(90,105,120,0.16)"
)
DARK = Palette(
    "#a5b0bb", "#6bb1f2", "#ff9c4a", "#77828d", "#47525d", "#e4e8ec", "rgba(160,175,190,0.16)"
)

PATH = "#111417"
"""Colour of the path, which lies on yellow cells in both themes."""
SELECTED = "#d81b60"
"""Colour of the ring around the selected block, on every chart and in both themes."""


LEVEL_ENDS = (-1, 1_000_000)
"""Start and end of a horizontal line, beyond any number of layers or steps."""


def palette(dark: bool) -> Palette:
    """Return the colours for a dark or a light page."""
    return DARK if dark else LIGHT


@dataclass(frozen=True)
class Style:
    """Dash, symbol and shade of a strategy's curve, so that curves do not differ in colour
    alone.
    """

    dash: str
    symbol: str
    light: str
    """Shade on a light page; all are in the family of pruning."""
    dark: str

    def shade(self, *, dark: bool) -> str:
        """Return the shade for a dark or a light page."""
        return self.dark if dark else self.light


STRATEGY_STYLES = {
    "similarity": Style("solid", "circle", "#1f6fb5", "#6bb1f2"),
    "deepest": Style("6px,3px", "square", "#12406e", "#a9d2fa"),
    "reverse": Style("2px,2px", "triangle-up", "#4d86b8", "#4a8fd0"),
    "block-influence": Style("9px,3px,2px,3px", "triangle-down", "#0b7fa3", "#4fc3e0"),
    "loss-greedy": Style("12px,3px", "star", "#4a55b8", "#9aa5ff"),
    "random": Style("4px,4px", "x", "#5b7690", "#9bb4cc"),
    "manual": Style("3px,2px,8px,2px", "cross", "#6b4fb0", "#bca6ff"),
    "greedy": Style("7px,2px", "star-triangle-up", "#0f6b7c", "#5fd0d6"),
    "swaps": Style("14px,2px,2px,2px", "hexagram", "#2a4fd0", "#7f9bff"),
}
"""Fixed style of each strategy on every chart."""
_MORE_STYLES = (
    Style("1px,3px", "diamond", "#2f7fd0", "#86b8ff"),
    Style("8px,2px,2px,2px,2px,2px", "hexagon", "#7a4fa3", "#d0a8f5"),
    Style("5px,2px", "pentagon", "#2c6f86", "#78c8d8"),
    Style("10px,5px", "bowtie", "#3a4a9f", "#8aa0e8"),
)
"""Styles of all other strategies, in the order of registration."""


def style_of(strategy: str) -> Style:
    """Return the style of a strategy's curve."""
    if strategy in STRATEGY_STYLES:
        return STRATEGY_STYLES[strategy]
    further = [name for name in STRATEGIES if name not in STRATEGY_STYLES]
    index = further.index(strategy) if strategy in further else 0
    return _MORE_STYLES[index % len(_MORE_STYLES)]


def translucent(colour: str, opacity: float) -> str:
    """Return a hexadecimal colour with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


_LEGEND_ROW = 18
"""Height of a further row of the legend, pixels."""


def finish(
    figure: Figure,
    height: int,
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    margin: Mapping[str, int] | None = None,
    legend: Mapping[str, Any] | None = None,
    legend_columns: int = 0,
    **layout: Any,
) -> Figure:
    """Apply the shared layout: transparent background, tight margins, a legend above the plot.

    Args:
        figure: the chart.
        height: pixels.
        x, y: settings of the axes; a title is a text.
        margin, legend: values that differ from the usual ones.
        legend_columns: entries side by side in a legend of several rows; 0 for as many as fit. Rows
            make the chart higher and leave the plot as it is, since plotly would take them from the
            plot.
        layout: further settings.
    """
    more = 0
    widths = {}
    if legend_columns:
        more = max(0, -(-len(legend_names(figure)) // legend_columns) - 1) * _LEGEND_ROW
        widths = {"entrywidthmode": "fraction", "entrywidth": 1 / legend_columns}
    usual = {"l": 66, "r": 8, "t": 30, "b": 40, **(margin or {})}
    # Everything in one update, since plotly checks the whole layout at each. Fixed margins line up
    # charts that stand above each other.
    return figure.update_layout(
        height=height + more,
        margin=usual | {"t": usual["t"] + more},
        xaxis=_axis(x, 6),
        yaxis=_axis(y, 16),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        dragmode=False,
        # A page draws every chart twice, once more when its width is known; this says that the data
        # stayed the same.
        datarevision=1,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"size": 11},
            "tracegroupgap": 0,  # rows of groups are as close as others: a phone's legend has many
            **widths,
            **(legend or {}),
        },
        **layout,
    )


def legend_names(figure: Figure) -> list[str]:
    """Return the entries of a chart's legend."""
    return [trace.name for trace in figure.data if trace.showlegend is not False]


def unchecked(spec: dict[str, Any]) -> Figure:
    """Return a figure from parts that plotly has validated already, without validating them
    again.
    """
    return Figure(spec, _validate=False)


class Finished(Figure):
    """A constant figure for a cache, serialized once instead of each time it is drawn."""

    def __init__(self, figure: Figure) -> None:
        super().__init__(figure.to_dict(), _validate=False)
        self._drawing = _Drawing(self.to_dict())

    def drawing(self) -> Figure:
        """Return the read-only figure that is sent to a browser."""
        return self._drawing


class _Drawing(Figure):
    """Figure whose JSON parts are always the same object."""

    def __init__(self, parts: dict[str, Any]) -> None:
        super().__init__()
        self._parts = parts

    def to_dict(self) -> dict[str, Any]:
        return self._parts


def _axis(settings: Mapping[str, Any], standoff: int) -> dict[str, Any]:
    title = {"text": settings.get("title", ""), "standoff": standoff}
    # Labels fit by design; without the last setting plotly measures each of them again after
    # drawing.
    return {
        "zeroline": False,
        "automargin": False,
        **settings,
        "title": title,
        "ticklabeloverflow": "allow",
    }


_IN_PIXELS = {
    "size": ("font", "tickfont", "textfont", "marker", "pattern"),
    "width": ("line",),
    "thickness": ("colorbar", "error_x", "error_y"),
    "standoff": ("title",),
}
"""Settings in pixels, by parent object: the `width` of a bar is not in pixels."""
_ALWAYS_IN_PIXELS = ("arrowwidth", "xshift", "yshift")


def enlarged(figure: Figure, factor: float) -> Figure:
    """Return a copy of a chart for a projector: text, margins, lines and markers grow, the data
    stay.

    The plot keeps its height; only the margins add to it.

    Args:
        figure: any chart of this program.
        factor: how much they grow; above 1 to enlarge.
    """
    spec = figure.to_plotly_json()
    layout = {name: value for name, value in spec["layout"].items() if name != "template"}
    grown = Figure(_grown({"data": spec["data"], "layout": layout}, factor, ""))
    margin = {side: round(length * factor) for side, length in layout.get("margin", {}).items()}
    if "height" in layout:
        added = (
            sum(margin.get(side, 0) - layout["margin"].get(side, 0) for side in ("t", "b"))
            if margin
            else 0
        )
        grown.update_layout(height=layout["height"] + added)
    return grown.update_layout(margin=margin)


def _grown(value: Any, factor: float, parent: str) -> Any:
    if isinstance(value, dict):
        return {name: _length(name, child, factor, parent) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_grown(child, factor, parent) for child in value]
    return value


def _length(name: str, value: Any, factor: float, parent: str) -> Any:
    is_length = name in _ALWAYS_IN_PIXELS or parent in _IN_PIXELS.get(name, ())
    if is_length and isinstance(value, int | float):
        return value * factor
    return _grown(value, factor, name)


def rows(names: Sequence[str]) -> dict[str, Any]:
    """Return settings of a vertical axis with a row for each name, the first on top, including
    empty rows.
    """
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(names)[::-1],
        "range": [-0.6, len(names) - 0.4],
    }


def known_ends(low: float | None, high: float | None) -> tuple[float, float] | None:
    """Return both ends of an interval; None if there is no interval."""
    return None if low is None or high is None else (low, high)


def bars(
    values: Sequence[float], ends: Sequence[tuple[float, float] | None], *, width: int = 2
) -> dict[str, Any]:
    """Return error bars of 95 % intervals.

    Args:
        values: the drawn numbers.
        ends: lower and upper end of each; None for no bar.
        width: of the caps, pixels.
    """
    sides = [(value, *(end or (value, value))) for value, end in zip(values, ends, strict=True)]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, _, high in sides],
        "arrayminus": [value - low for value, low, _ in sides],
        "thickness": 1,
        "width": width,
    }


def bar_ends(trace: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield the position of every point of a trace, and both ends of its error bar if it has
    one.
    """
    sides = trace.get("error_y", {})
    for index, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        if x is not None and y is not None:
            yield x, y
            if sides:
                yield x, y - sides["arrayminus"][index]
                yield x, y + sides["array"][index]


def colour_bar(title: str, **settings: Any) -> dict[str, Any]:
    """Return a horizontal colour bar at the top right, which does not widen the margins."""
    return {
        "orientation": "h",
        "x": 1.0,
        "xanchor": "right",
        "y": 1.0,
        "yanchor": "top",
        "len": 0.5,
        "thickness": 10,
        "outlinewidth": 0,
        "nticks": 5,
        "title": {"text": title, "side": "top", "font": {"size": 12}},
        **settings,
    }


def wrapped(text: str, width: int = 58) -> str:
    """Return a sentence of a hover text in several lines."""
    return "<br>".join(textwrap.wrap(text, width))


def with_interval(value: float, ends: tuple[float, float] | None, digits: str) -> str:
    """Return a number for a hover text: "2.500, 95 % interval 2.027 to 2.973"."""
    return f"{value:{digits}}" + (
        f", 95 % interval {ends[0]:{digits}} to {ends[1]:{digits}}" if ends else ""
    )


@dataclass(frozen=True)
class Measure:
    """Access and format of one measured number of a `Point`."""

    field: str
    name: str
    axis: str
    tickformat: str
    digits: str
    """Format of hovers."""
    label: str
    """Format of texts beside points."""
    unit: str
    quantity: str
    """Quantity whose difference from the unpruned model is shown, as in `Score.quantity`."""

    def value(self, point: Point | None) -> float | None:
        """Return the number; None if it was not measured."""
        return getattr(point, self.field) if point else None

    def interval(self, point: Point) -> tuple[float, float] | None:
        """Return the 95 % interval: Wilson's of an accuracy, Student's of a loss; None if unknown,
        as of few texts.
        """
        value = self.value(point)
        if self.field == "acc" or value is None or not point.loss or point.loss_interval is None:
            return point.interval if self.field == "acc" else None
        low, high = point.loss_interval
        return (
            low * value / point.loss,
            high * value / point.loss,
        )  # bits per byte are the loss in another unit

    def hover(self, point: Point) -> str:
        """Return the removed layers, and the number with its interval."""
        removed = point.block.brief() if point.block else "unpruned model, n = 0"
        count = point.n_samples if self.field == "acc" else point.n_texts
        number = with_interval(self.value(point) or 0.0, self.interval(point), self.digits)
        return f"{removed}<br>{self.name} {number}<br>{count} {self.unit}"

    def bars(self, points: Sequence[Point], *, width: int = 2) -> dict[str, Any]:
        """Return error bars of `interval`."""
        return bars(
            [self.value(point) or 0.0 for point in points],
            [self.interval(point) for point in points],
            width=width,
        )

    def points(self, sweep: SweepResult) -> list[Point]:
        """Return the points of a curve that have this number, by n."""
        return sorted(
            (point for point in sweep.points if self.value(point) is not None),
            key=lambda point: point.n,
        )


ACCURACY = Measure("acc", "accuracy", "accuracy", ".0%", ".1%", ".1%", "questions", score.ACCURACY)
LOSS = Measure("loss", "loss", "loss, nats per token", "", ".3f", ".2f", "texts", score.LOSS)
BITS = Measure(
    "bits_per_byte", "loss", "loss, bits per byte", "", ".3f", ".2f", "texts", score.LOSS
)
"""Loss for models with different vocabularies; within one model its difference corresponds to one
in nats per token."""


def add_levels(figure: Figure, lines: Lines | None, colours: Palette) -> None:
    """Add horizontal lines at chance and, if it differs, at the majority baseline."""
    if lines is None:
        return
    levels = [("chance", lines.chance, "dot")]
    if abs(lines.majority - lines.chance) > 1e-9:
        levels.append(("majority", lines.majority, "dashdot"))
    for name, level, dash in levels:
        add_level(figure, name, level, colours.chance, dash, ".1%")


def add_level(
    figure: Figure, name: str, level: float | None, colour: str, dash: str, digits: str
) -> None:
    """Add a horizontal line across the chart as a trace, which has a legend entry and a hover
    text.
    """
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
