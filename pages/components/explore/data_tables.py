"""The numbers behind the charts, as tables that can be downloaded."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis.core.table import Table
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from pages.components.explore import damage_view
from pages.components.shared import chart, state, words


def show(
    distances: DistanceResult, sweeps: Sequence[SweepResult], heals: Sequence[HealResult], damage: DamageResult | None
) -> None:
    """Draw one tab per table, each with the numbers of removed layers in the range on screen.

    Args:
        distances: the map on screen.
        sweeps: the curve on screen, then those that may be compared with it.
        heals: healed models.
        damage: the damage on screen.
    """
    left_out, sizes = sweeps[0].skipped_rows if sweeps else [], state.sizes(distances.n_layers)
    names = ["Distances", "Chosen blocks"] + (["Accuracy and loss"] if sweeps else []) + (["Healed"] if heals else [])
    names += (["Loss increase", "Lowest increase"] if damage else []) + (["Skipped rows"] if left_out else [])
    tabs = dict(zip(names, st.tabs(names), strict=True))
    with tabs["Distances"]:
        chart.table(_kept(distances.table("blocks"), sizes), key="t-map", file_name="distances")
    with tabs["Chosen blocks"]:
        chart.table(_kept(distances.table("best"), sizes), key="t-best", file_name="blocks")
    if sweeps:
        with tabs["Accuracy and loss"]:
            scored = [(words.strategy(sweep.spec), point) for sweep in sweeps for point in sweep.points]
            table = points.table([point for _, point in scored], strategy=[name for name, _ in scored])
            chart.table(_kept(table, sizes), key="t-sweep", alt="Accuracy and loss by strategy and n", file_name="curve")
    if heals:
        with tabs["Healed"]:
            table = points.table([heal.healed for heal in heals if heal.healed], "Healed models")
            chart.table(_kept(table, sizes), key="t-heal", file_name="healed")
    if damage:
        with tabs["Loss increase"]:
            rows = [row for row in damage_view.rows(damage, distances) if sizes is None or row["n"] in sizes]
            chart.table(rows, key="t-damage", alt="Distance and loss increase of each block", file_name="damage")
        with tabs["Lowest increase"]:
            chart.table(_kept(damage.beside(distances.best), sizes), key="t-least", file_name="least-damage")
    if left_out:
        with tabs["Skipped rows"]:
            rows = [{"row": row} for row in left_out]
            chart.table(rows, key="t-rows", alt="Rows of the file that could not be used", file_name="rows-left-out")


def _kept(table: Table, sizes: range | None) -> Table:
    return table if sizes is None else replace(table, rows=[row for row in table.rows if row["n"] in sizes])
