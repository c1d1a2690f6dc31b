"""One chart, one table or one whole result with its downloads, light or dark as the visitor's
page.
"""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any, Literal

import pandas as pd
import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import data, kinds, look
from analysis.core import escapes
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Result
from analysis.core.table import Table
from pages.components.shared import frame, state, words

_FORMATS = {"png": "PNG", "svg": "SVG"}
_SHARP = {"png": 2, "svg": 1}
"""Pixels of an image per pixel of the page."""
PRESENTER_SCALE = 1.35
"""Scale of text and marks of charts in presenter mode; the style enlarges everything else."""


def is_dark() -> bool:
    """Return whether the visitor's page is dark."""
    return st.context.theme.type == "dark"


def show(
    figure: Figure,
    *,
    key: str,
    alt: str,
    file_name: str,
    toolbar: bool = True,
    on_select: Callable[[], None] | Literal["ignore"] = "ignore",
) -> None:
    """Draw a figure in the page's fonts, with its data as CSV next to it, and a camera for PNG or
    SVG in its toolbar.

    Args:
        figure: the chart.
        key: of the chart. The selection of a clickable one is in the session under it, and the keys
            of the widgets next to it begin with it.
        alt: description of the chart for people who do not see it.
        file_name: of downloads, without an ending.
        toolbar: False for a strip that has nothing to download.
        on_select: called when a point is clicked.
    """
    image = st.session_state.setdefault("image_format", "png")
    config = {
        "displaylogo": False,
        "displayModeBar": "hover" if toolbar else False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
        "toImageButtonOptions": {"format": image, "filename": file_name, "scale": _SHARP[image]},
    }
    if state.presenting():
        figure = look.enlarged(figure, PRESENTER_SCALE)

    def draw() -> None:
        # The height is set beforehand, so that nothing below jumps while a chart is being drawn.
        st.plotly_chart(
            figure.drawing() if isinstance(figure, look.Finished) else figure,
            key=key,
            alt=alt,
            config=config,
            width="stretch",
            height=figure.layout.height or "content",
            on_select=on_select,
            selection_mode="points",
        )

    if not toolbar:
        draw()
        return
    with st.container(horizontal=True, gap=None, wrap=False, vertical_alignment="top"):
        draw()
        menu = st.popover(
            ":material/download:",
            type="tertiary",
            help="Download this chart",
            key=f"{key}-download",
            on_change="rerun",
        )
        if menu.open:  # a slider move must not wait for closed menus
            with menu:
                _downloads(figure, key, file_name, image)


def _downloads(figure: Figure, key: str, file_name: str, image: str) -> None:
    download(
        "Data as CSV",
        lambda: csv(figure),
        f"{file_name}.csv",
        "text/csv",
        key=f"{key}-data",
        icon=":material/table:",
        width="stretch",
    )
    widget = f"{key}-image"

    def pick() -> None:
        st.session_state["image_format"] = st.session_state[widget]

    with state.showing(widget, image):
        st.segmented_control(
            "Image format",
            list(_FORMATS),
            format_func=_FORMATS.__getitem__,
            required=True,
            key=widget,
            on_change=pick,
            width="stretch",
            help="Format for all charts (default: PNG).",
        )
    st.caption(f"The camera button above the chart saves it as {_FORMATS[image]}.")


def csv(figure: Figure) -> bytes:
    """Return the data of a figure as CSV, with all digits."""
    return escapes.csv(pd.DataFrame(data.rows(figure)))


def table(
    rows: Table | list[dict],
    *,
    key: str,
    file_name: str,
    alt: str = "",
    formats: dict[str, str] | None = None,
    columns: dict[str, Any] | None = None,
) -> None:
    """Show rows, or the table of a result, and offer them as CSV with all their digits.

    Args:
        rows: the rows, or a result's table.
        key: first part of the widgets' keys.
        file_name: of the download, without an ending.
        alt: description of the table (default: the title of a result's table).
        formats: by column, the format of numbers.
        columns: by column, further settings, as in `st.dataframe`.
    """
    heads: dict[str, Any] = {}
    if isinstance(rows, Table):
        heads = {
            column.name: st.column_config.Column(help=words.plain(column.head))
            for column in rows.columns
            if column.head != column.name
        }
        alt = alt or rows.title
        rows = rows.records()
    cells = pd.DataFrame(rows)
    numbers = {
        name: st.column_config.NumberColumn(format=shape) for name, shape in (formats or {}).items()
    }
    st.dataframe(
        cells,
        key=key,
        hide_index=True,
        column_config={**heads, **numbers, **(columns or {})},
        alt=alt,
        height="auto" if len(rows) <= 10 else 320,
    )
    download(
        "Download CSV",
        lambda: escapes.csv(cells),
        f"{file_name}.csv",
        "text/csv",
        key=f"{key}-csv",
        type="tertiary",
    )


def download(
    label: words.Markdown,
    make: Callable[[], bytes | str],
    file_name: str,
    mime: str,
    *,
    key: str,
    icon: str = ":material/download:",
    **options: Any,
) -> None:
    """Draw a button for a file that is made when it is asked for, without a rerun of the page.

    Args:
        label: its text.
        make: returns the content.
        file_name: suggested name of the file.
        mime: media type of the file.
        key: of the button.
        icon: icon of the button.
        options: further options of `st.download_button`.
    """
    st.download_button(
        label, make, file_name, mime, key=key, icon=icon, on_click="ignore", **options
    )


def show_with_table(figure: Figure, *, key: str, alt: str, file_name: str) -> None:
    """Draw a figure, and the values that it draws in a table folded away below it."""
    show(figure, key=key, alt=alt, file_name=file_name)
    folded_table(data.rows(figure), key=f"t-{key}", alt=alt, file_name=file_name)


def folded_table(rows: Table | list[dict], *, key: str, alt: str, file_name: str) -> None:
    """Draw the table of a chart in a collapsed expander."""
    with st.expander("Numbers behind the chart", icon=":material/table:"):
        table(rows, key=key, alt=alt, file_name=file_name)


def show_result(result: Result, key: str) -> None:
    """Draw one result: by the panel of its kind, or else its charts and its tables.

    Args:
        result: the result.
        key: first part of the widgets' keys.
    """
    kind = EXPERIMENTS[result.kind]
    if kind.panel:
        resolve_name(kind.panel)(result)
        return
    for name in kinds.names(result.kind):
        figure = kinds.figure(result, name, dark=is_dark())
        alt = f"{kind.title}: {frame.command_line(result.spec)}"
        show(figure, key=f"{key}-{name}", alt=alt, file_name=f"{result.kind}-{name}")
    for name, rows in result.tables().items():
        st.markdown(f"**{words.plain(rows.title)}**")
        table(rows, key=f"{key}-t-{name}", file_name=f"{result.kind}-{name}")
        if rows.caption:
            st.caption(words.plain(rows.caption))
