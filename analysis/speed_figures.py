"""The Plotly figure of a speed measurement: seconds against removed layers, with the line through them."""

from collections.abc import Sequence

from plotly.graph_objs import Figure

from analysis.drawing import finish, palette
from analysis.results import SpeedResult
from analysis.timings import SpeedLine, SpeedPoint, Timing

WHAT = {"decode": "writing a token", "prefill": "reading the prompt"}
"""What was timed, by the name of its line in a `SpeedResult`."""


def speed_chart(speed: SpeedResult, field: str, *, n: int | None = None, dark: bool = False, height: int = 250) -> Figure:
    """Milliseconds against the number of removed layers: medians with quartiles, the fitted line, the marker.

    Args:
        speed: the measurement.
        field: "decode" for a new token, "prefill" for the whole prompt.
        n: where the marker stands.
        dark: whether the page is dark.
        height: pixels.
    """
    figure, colours = Figure(), palette(dark)
    line: SpeedLine | None = getattr(speed, field)
    last = max([point.n for point in speed.points] + [n or 0, 1])
    if line is not None:
        reach = list(range(last + 1))
        seconds = [line.at(speed.n_layers - removed) for removed in reach]
        figure.add_scatter(
            x=reach,
            y=[1e3 * value for value in seconds],
            mode="lines",
            name="line",
            line={"color": colours.pruned, "width": 1.4},
            text=[f"{speed.tokens_per_s(field, value):,.1f} tokens/s" if value > 0 else "" for value in seconds],
            hovertemplate="n = %{x}, on the line<br>%{y:.2f} ms<br>%{text}<extra></extra>",
        )
    for name, points, colour in (
        ("unpruned", [point for point in speed.points if point.n == 0], colours.unpruned),
        ("pruned", [point for point in speed.points if point.n], colours.pruned),
    ):
        if points:
            _add_points(figure, name, points, speed, field, colour)
    y = {"title": f"{WHAT[field]}, ms", "rangemode": "tozero", "gridcolor": colours.grid}
    x = {
        "title": "removed layers n",
        "range": [-0.5, last + 0.5],
        "gridcolor": colours.grid,
        "dtick": 1 if last <= 10 else 5,
        "tickangle": 0,
    }
    finish(figure, height, x=x, y=y)
    if n is not None:
        figure.add_vline(x=n, line={"color": colours.marker, "width": 1.2}, opacity=0.75)
    return figure


def _add_points(figure: Figure, name: str, points: Sequence[SpeedPoint], speed: SpeedResult, field: str, colour: str) -> None:
    timings: list[Timing] = [getattr(point, field) for point in points]
    texts = [
        f"{point.block.describe() if point.block else 'unpruned model, n = 0'}<br>"
        f"median {1e3 * timing.median_s:.2f} ms, quartiles {1e3 * timing.low_s:.2f} to {1e3 * timing.high_s:.2f}<br>"
        f"{speed.tokens_per_s(field, timing.median_s):,.1f} tokens/s, {len(timing.repeats_s)} repeats"
        for point, timing in zip(points, timings, strict=True)
    ]
    figure.add_scatter(
        x=[point.n for point in points],
        y=[1e3 * timing.median_s for timing in timings],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [1e3 * (timing.high_s - timing.median_s) for timing in timings],
            "arrayminus": [1e3 * (timing.median_s - timing.low_s) for timing in timings],
            "thickness": 1,
            "width": 3,
        },
        mode="markers",
        name=name,
        marker={"color": colour, "size": 8, "symbol": "square" if name == "unpruned" else "circle"},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )
