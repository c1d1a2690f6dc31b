"""The numbers of a figure as tidy rows, one per drawn point, under the names and units of its
axes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from plotly.graph_objs import Figure

from analysis.charts import maps
from analysis.charts.curves import STEPS
from analysis.charts.look import LEVEL_ENDS
from analysis.charts.selected import OUTLINE

_TAG = re.compile(r"<[^>]*>")


def rows(figure: Figure) -> list[dict[str, Any]]:
    """Return the values that a chart draws, trace by trace.

    Returns:
        Rows with the key `curve` (the trace's name) and the axes' titles, which have the units. If
        a band or error bars are drawn, `low` and `high` are added. `label` is the hover text. Keys
        without any value are omitted.
    """
    names = (_title(figure.layout.xaxis, "x"), _title(figure.layout.yaxis, "y"))
    cells = next((trace for trace in figure.data if trace.name == maps.CELLS), None)
    hover_texts = (
        {}
        if cells is None
        else dict(zip(zip(cells.x, cells.y, strict=True), maps.hover_texts(cells), strict=True))
    )
    traces = [
        trace for trace in figure.data if trace is not cells and trace.name not in (STEPS, OUTLINE)
    ]
    drawn_rows = [row for trace in traces for row in _trace(trace, *names, hover_texts)]
    keys = list(
        dict.fromkeys(key for row in drawn_rows for key, value in row.items() if value is not None)
    )
    order = ["curve", *names]
    keys = [key for key in order if key in keys] + [key for key in keys if key not in order]
    return [{key: row.get(key) for key in keys} for row in drawn_rows]


def _title(axis: Any, otherwise: str) -> str:
    return (axis.title.text if axis.title else None) or otherwise


def _trace(
    trace: Any, x: str, y: str, hover_texts: Mapping[tuple[Any, Any], str]
) -> Iterator[dict[str, Any]]:
    name = trace.name or trace.type
    if trace.type == "heatmap":
        value = trace.colorbar.title.text or "value"
        for row, row_label in enumerate(trace.y):
            for column, start in enumerate(trace.x):
                if trace.z[row][column] is not None:
                    label = _plain(
                        hover_texts.get((start, row_label))
                        if trace.text is None
                        else trace.text[row][column]
                    )
                    yield {
                        "curve": name,
                        x: start,
                        y: row_label,
                        value: trace.z[row][column],
                        "label": label,
                    }
    elif getattr(trace, "fill", None) == "toself":
        half = len(trace.x) // 2
        for index in range(half):
            yield {
                "curve": name,
                x: trace.x[index],
                "low": trace.y[-1 - index],
                "high": trace.y[index],
            }
    elif _list(trace.x) == list(LEVEL_ENDS):
        yield {"curve": name, y: trace.y[0]}
    else:
        yield from _points(trace, name, x, y)


def _points(trace: Any, name: str, x: str, y: str) -> Iterator[dict[str, Any]]:
    bars = getattr(trace, "error_y", None)
    above = bars.array if bars is not None else None
    below = bars.arrayminus if bars is not None and bars.arrayminus is not None else above
    labels = trace.text if isinstance(trace.text, list | tuple) else None
    # Points of one position are shifted apart; the position itself is in their custom data.
    places = _places(trace.customdata) or trace.x
    for index, (position, value) in enumerate(zip(_list(places), _list(trace.y), strict=False)):
        row = {"curve": name, x: position, y: value}
        if above is not None and below is not None:
            row |= {"low": value - below[index], "high": value + above[index]}
        if labels is not None:
            row["label"] = _plain(labels[index])
        yield row


def _places(data: Any) -> list[float]:
    """Return the second item of the custom data of points if it is a number: the position before
    the shift.
    """
    return [
        item[1]
        for item in _list(data)
        if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], int | float)
    ]


def _plain(label: Any) -> str | None:
    """Return a hover text in one line."""
    return _TAG.sub("", str(label).replace("<br>", "; ")) if label else None


def _list(values: Any) -> list[Any]:
    return [] if values is None else list(values)
