"""The numbers behind the charts, as tables that can be downloaded."""

import streamlit as st

from analysis.blocks import Block
from analysis.results import DistanceResult, SweepResult
from pages.components import chart


def show(distances: DistanceResult, sweep: SweepResult | None, heals: list) -> None:
    """Draw a folded panel with one tab per chart."""
    with st.expander("Data behind the charts", icon=":material/table:"):
        names = ["Distances", "Chosen blocks"] + (["Accuracy and loss"] if sweep else []) + (["Healed"] if heals else [])
        tabs = dict(zip(names, st.tabs(names), strict=True))
        with tabs["Distances"]:
            chart.table(_distances(distances), key="t-map", alt="Distance of every block", file_name="distances")
        with tabs["Chosen blocks"]:
            chart.table(_best(distances), key="t-best", alt="Most similar block of each size", file_name="blocks")
        if sweep:
            with tabs["Accuracy and loss"]:
                chart.table(_points(sweep.points), key="t-sweep", alt="Accuracy and loss by n", file_name="curve")
        if heals:
            with tabs["Healed"]:
                chart.table(_points([heal.healed for heal in heals]), key="t-heal", alt="Healed models", file_name="healed")


def _distances(result: DistanceResult) -> list[dict]:
    return [
        {"n": n, "start": start, "block": Block(start, n).describe(), "distance": value, "stderr": result.stderr[n - 1][start]}
        for n, row in enumerate(result.mean, start=1)
        for start, value in enumerate(row)
    ]


def _best(result: DistanceResult) -> list[dict]:
    return [
        {
            "n": best.n,
            "start": best.start,
            "block": best.block.describe(),
            "distance": best.distance,
            "stderr": result.stderr[best.n - 1][best.start],
        }
        for best in result.best
    ]


def _points(points: list) -> list[dict]:
    names = ("n", "acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "n_samples", "loss", "loss_stderr", "n_texts")
    return [
        {"block": point.block.describe() if point.block else "none", **{name: getattr(point, name) for name in names}}
        for point in points
        if point is not None
    ]
