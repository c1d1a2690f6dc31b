"""The selected block on every chart: one symbol in one colour, at the block's own measured value or nowhere.

A changed figure makes the browser replace the chart, which takes most of a third of a second for the charts of one view. The
marks are therefore no part of the figures. They are drawn over them, and follow the slider and the strip of layers while these
are dragged. A triangle on the axis stands at the slider's number of layers and crosses no curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.charts.look import SELECTED, palette
from analysis.core import blocks
from analysis.core.blocks import Removal
from pages.components.shared import cuts, state, theme
from pages.components.shared.cuts import Cut, Strategy

_marker = st.components.v2.component("layerscope_cut_marks", js=Path(__file__).with_suffix(".js").read_text())


@dataclass(frozen=True)
class Mark:
    """Places of blocks on one chart."""

    points: Mapping[str, Sequence[tuple[float, float]]] | None = None
    """Places of the measured values, by block in text form; None where the chart's own cells name their blocks."""
    guide: bool = False
    """Whether the horizontal axis is the number of removed layers."""


CELLS = Mark()
"""Marks of maps of blocks and their lines."""


def at_values(values: Mapping[Removal | None, Sequence[float]]) -> Mark:
    """The mark of a chart against removed layers.

    Args:
        values: by block, its measured values in the condition of the chart.
    """
    return Mark({_key(removed): [(_n(removed), value) for value in own] for removed, own in values.items()}, guide=True)


def at_places(places: Mapping[Removal | None, Sequence[tuple[float, float]]]) -> Mark:
    """The mark of a chart with other axes.

    Args:
        places: by block, where its measured values are.
    """
    return Mark({_key(removed): list(own) for removed, own in places.items()})


def _key(removed: Removal | None) -> str:
    return blocks.written(removed) if removed else ""


def _n(removed: Removal | None) -> int:
    return removed.size if removed else 0


def show(marks: Mapping[str, Mark], cut: Cut, strategy: Strategy) -> None:
    """Mark the selected block on charts, now and whenever they are drawn again; takes no space of its own.

    Args:
        marks: by key of the chart.
        cut: the selected block.
        strategy: whose blocks are selected while the slider is dragged.
    """
    dark, scale = theme.is_dark(), theme.LARGER if state.presenting() else 1.0
    colours = palette(dark)
    paper = "#13181d" if dark else "#ffffff"
    told: dict[str, Any] = {
        "marks": {key: {"points": mark.points, "guide": mark.guide} for key, mark in marks.items()},
        "look": {
            "line": colours.marker, "quiet": colours.unpruned, "paper": paper, "outer": "#ffffff", "inner": SELECTED,
            "scale": scale,
        },
        "slider": cuts.SLIDER,
        "n": cut.n,
        "cut": _key(cut.removed),
        "blocks": [(run.start, run.size) for run in cut.removed.blocks] if cut.removed else [],
        "path": path(strategy),
    }  # fmt: skip
    _marker(key="cut-marks", data=told)


def path(strategy: Strategy) -> dict[int, str]:
    """Return the strategy's own block in text form by number of layers; numbers whose block is not known are left out."""
    chosen = {n: strategy.cut(n).removed for n in range(1, strategy.distances.n_layers)}
    return {n: blocks.written(removed) for n, removed in chosen.items() if removed is not None}
