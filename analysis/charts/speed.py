"""Chart of the measured speed against the number of removed layers."""

from collections.abc import Sequence

from plotly.graph_objs import Figure

from analysis.charts.look import bars, finish, palette
from analysis.experiments.speed.speed_spec import SpeedLine, SpeedPoint, SpeedResult, Timing

_TIMES = {"decode": "decode, ms per token", "prefill": "prefill, ms per prompt"}
"""Titles of the axis of times."""


def speed_chart(
    speed: SpeedResult, field: str, *, reach: int = 0, dark: bool = False, height: int = 250
) -> Figure:
    """Draw milliseconds against the number of removed layers: medians, the range of the repeats as
    bars, and the fitted line.

    Args:
        speed: the measurement; removed sublayers are not drawn.
        field: "decode" for a new token, "prefill" for the whole prompt.
        reach: minimum number of removed layers at the end of the axis.
        dark: whether the page is dark.
        height: pixels.
    """
    figure = Figure()
    colours = palette(dark)
    line: SpeedLine | None = getattr(speed, field)
    last = max([point.n for point in speed.of_layers] + [reach, 1])
    if line is not None:
        numbers = list(range(last + 1))
        seconds = [line.at(speed.n_layers - removed) for removed in numbers]
        figure.add_scatter(
            x=numbers,
            y=[1e3 * value for value in seconds],
            mode="lines",
            name="fitted line",
            line={"color": colours.pruned, "width": 1.4},
            text=[
                f"{speed.tokens_per_s(field, value):,.1f} tokens/s" if value > 0 else ""
                for value in seconds
            ],
            hovertemplate="n = %{x}, fitted line<br>%{y:.2f} ms<br>%{text}<extra></extra>",
        )
    for name, points, colour in (
        ("unpruned", [point for point in speed.of_layers if point.n == 0], colours.unpruned),
        ("pruned", [point for point in speed.of_layers if point.n], colours.pruned),
    ):
        if points:
            _add_points(figure, name, points, speed, field, colour)
    y = {"title": _TIMES[field], "rangemode": "tozero", "gridcolor": colours.grid}
    x = {
        "title": "removed layers n",
        "range": [-0.5, last + 0.5],
        "gridcolor": colours.grid,
        "dtick": 1 if last <= 10 else 5,
        "tickangle": 0,
    }
    return finish(figure, height, x=x, y=y)


def _add_points(
    figure: Figure,
    name: str,
    points: Sequence[SpeedPoint],
    speed: SpeedResult,
    field: str,
    colour: str,
) -> None:
    timings: list[Timing] = [getattr(point, field) for point in points]
    repeats = [timing.repeats_s or [timing.median_s] for timing in timings]
    ends = [
        (1e3 * low, 1e3 * high) for low, high in ((min(values), max(values)) for values in repeats)
    ]
    texts = [
        f"{point.block.brief() if point.block else 'unpruned model, n = 0'}<br>median"
        f" {1e3 * timing.median_s:.2f} ms, fastest to slowest {low:.2f} to"
        f" {high:.2f}<br>{speed.tokens_per_s(field, timing.median_s):,.1f} tokens/s,"
        f" {len(timing.repeats_s)} repeats"
        for point, timing, (low, high) in zip(points, timings, ends, strict=True)
    ]
    figure.add_scatter(
        x=[point.n for point in points],
        y=[1e3 * timing.median_s for timing in timings],
        error_y=bars([1e3 * timing.median_s for timing in timings], ends, width=3),
        mode="markers",
        name=name,
        marker={"color": colour, "size": 8, "symbol": "square" if name == "unpruned" else "circle"},
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )
