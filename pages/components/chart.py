"""One chart with its toolbar, or one table with its download."""

from collections.abc import Callable
from typing import Literal

import pandas as pd
import streamlit as st
from plotly.graph_objs import Figure

from analysis import drawing
from pages.components import presenter, state


def show(
    figure: Figure,
    *,
    key: str,
    alt: str,
    file_name: str,
    toolbar: bool = True,
    on_select: Callable[[], None] | Literal["ignore"] = "ignore",
) -> None:
    """Draw a figure in the page's fonts, with an image download in its toolbar.

    Args:
        figure: the chart.
        key: name of the element; the selection of a chart that can be clicked is in the session under it.
        alt: what a screen reader says.
        file_name: of the image, without ending.
        toolbar: whether there is one.
        on_select: called when a point is clicked.
    """
    config = {
        "displaylogo": False,
        "displayModeBar": "hover" if toolbar else False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
        "toImageButtonOptions": {"format": "svg", "filename": file_name},
    }
    if state.presenting():
        figure = drawing.enlarged(figure, presenter.LARGER)
    # The height is said beforehand, so that nothing below jumps while a chart is being drawn.
    st.plotly_chart(
        figure, key=key, alt=alt, config=config, width="stretch", height=figure.layout.height or "content",
        on_select=on_select, selection_mode="points",
    )  # fmt: skip


def table(rows: list[dict], *, key: str, alt: str, file_name: str, formats: dict[str, str] | None = None) -> None:
    """Show rows as a table and offer them as CSV, with all their digits."""
    frame = pd.DataFrame(rows)
    columns = {name: st.column_config.NumberColumn(format=shape) for name, shape in (formats or {}).items()}
    st.dataframe(frame, key=key, hide_index=True, column_config=columns, alt=alt, height=min(38 + 35 * len(rows), 320))
    st.download_button(
        "Download CSV",
        frame.to_csv(index=False).encode(),
        f"{file_name}.csv",
        "text/csv",
        key=f"{key}-csv",
        on_click="ignore",
        icon=":material/download:",
        type="tertiary",
    )


def folded_table(rows: list[dict], *, key: str, alt: str, file_name: str) -> None:
    """The numbers behind one chart, folded away below it."""
    with st.expander("Numbers behind the chart", icon=":material/table:"):
        table(rows, key=key, alt=alt, file_name=file_name)
