"""What all charts share: colours whose meaning never changes, and a frame that fits a light and a dark page.

Grey dashed is the unpruned model, blue a pruned one, orange a healed one, light dotted the level of guessing; distances
run from yellow (similar) to purple. Backgrounds are transparent and fonts are left to the page, so that one figure fits a
light and a dark theme; `dark` only picks the shade of each meaning that has enough contrast.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plotly.graph_objs import Figure


@dataclass(frozen=True)
class Palette:
    """One shade per meaning."""

    unpruned: str
    pruned: str
    healed: str
    chance: str
    kept: str
    """A layer that stays in the model."""
    marker: str
    """The line at the chosen n."""
    grid: str


LIGHT = Palette("#5f6974", "#1f6fb5", "#c8590a", "#8a939d", "#c9d1d8", "#1c2530", "rgba(90,105,120,0.16)")
DARK = Palette("#a5b0bb", "#6bb1f2", "#ff9c4a", "#77828d", "#47525d", "#e4e8ec", "rgba(160,175,190,0.16)")

PATH = "#111417"
"""The path lies on the yellow cells of the map in both themes, so it is dark in both."""


LEVEL_ENDS = (-1, 1_000_000)
"""Where a horizontal across a whole chart begins and ends, beyond any number of layers or steps."""


def palette(dark: bool) -> Palette:
    """The shades for a dark or a light page."""
    return DARK if dark else LIGHT


@dataclass(frozen=True)
class Style:
    """How a strategy's curve is told from the others, by three means at once so that none depends on colour alone."""

    dash: str
    symbol: str
    light: str
    """Shade on a light page; all are in the family of pruning."""
    dark: str

    def shade(self, *, dark: bool) -> str:
        """The shade for a dark or a light page."""
        return self.dark if dark else self.light


STRATEGY_STYLES = {
    "similarity": Style("solid", "circle", "#1f6fb5", "#6bb1f2"),
    "deepest": Style("6px,3px", "square", "#12406e", "#a9d2fa"),
    "reverse": Style("2px,2px", "triangle-up", "#4d86b8", "#4a8fd0"),
    "block-influence": Style("9px,3px,2px,3px", "triangle-down", "#0b7fa3", "#4fc3e0"),
    "loss-greedy": Style("12px,3px", "star", "#4a55b8", "#9aa5ff"),
    "random": Style("4px,4px", "x", "#5b7690", "#9bb4cc"),
    "manual": Style("3px,2px,8px,2px", "cross", "#6b4fb0", "#bca6ff"),
}
"""By the names of `specs.STRATEGIES`."""


def translucent(colour: str, opacity: float) -> str:
    """A hexadecimal colour with an opacity, for the fill of a band."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def finish(
    figure: Figure,
    height: int,
    *,
    x: Mapping[str, Any],
    y: Mapping[str, Any],
    margin: Mapping[str, int] | None = None,
    legend: Mapping[str, Any] | None = None,
    **layout: Any,
) -> Figure:
    """Give a chart what all share: no background of its own, tight margins, a legend above the plot.

    Args:
        figure: the chart.
        height: pixels.
        x, y: settings of the axes; a title is a text.
        margin, legend: what differs from the usual ones.
        layout: further settings.
    """
    # Everything in one update, since plotly checks the whole layout at each. Fixed margins line up charts that stand above
    # each other.
    return figure.update_layout(
        height=height,
        margin={"l": 66, "r": 8, "t": 30, "b": 40, **(margin or {})},
        xaxis=_axis(x, 6),
        yaxis=_axis(y, 16),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        dragmode=False,
        # A page draws every chart twice, once more when its width is known; this says that the data stayed the same.
        datarevision=1,
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"size": 11},
            **(legend or {}),
        },
        **layout,
    )


def unchecked(spec: dict[str, Any]) -> Figure:
    """A figure from the parts of another one that plotly has checked already: checking again takes longer than drawing."""
    return Figure(spec, _validate=False)


def _axis(settings: Mapping[str, Any], standoff: int) -> dict[str, Any]:
    title = {"text": settings.get("title", ""), "standoff": standoff}
    # Labels fit by design; without the last setting plotly measures each of them again after drawing.
    return {"zeroline": False, "automargin": False, **settings, "title": title, "ticklabeloverflow": "allow"}


_IN_PIXELS = {
    "size": ("font", "tickfont", "textfont", "marker", "pattern"),
    "width": ("line",),
    "thickness": ("colorbar", "error_x", "error_y"),
    "standoff": ("title",),
}
"""Settings that are lengths in pixels, by what they are a setting of: `width` of a bar is not."""
_ALWAYS_IN_PIXELS = ("arrowwidth", "xshift", "yshift")


def enlarged(figure: Figure, factor: float) -> Figure:
    """The same chart for readers farther away: lettering, margins, lines and marks grow, and what they show does not change.

    The plot itself keeps its height, since a projector is wide and not high; only the margins add to the whole.

    Args:
        figure: any chart of this program.
        factor: how much they grow; above 1 to enlarge.
    """
    drawn = figure.to_plotly_json()
    layout = {name: value for name, value in drawn["layout"].items() if name != "template"}
    grown = Figure(_grown({"data": drawn["data"], "layout": layout}, factor, ""))
    margin = {side: round(length * factor) for side, length in layout.get("margin", {}).items()}
    if "height" in layout:
        added = sum(margin.get(side, 0) - layout["margin"].get(side, 0) for side in ("t", "b")) if margin else 0
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
