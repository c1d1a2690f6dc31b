"""The numbers behind the charts, as tables that can be downloaded."""

from collections.abc import Sequence

import streamlit as st

from analysis.charts.look import ACCURACY
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.maps.spec import DamageResult, DistanceResult
from pages.components.explore import damage_view
from pages.components.shared import chart, words


def show(
    distances: DistanceResult, sweeps: Sequence[SweepResult], heals: Sequence[HealResult], damage: DamageResult | None
) -> None:
    """Draw a folded panel with one tab per chart.

    Args:
        distances: the map on screen.
        sweeps: the curve on screen, then those that may be compared with it.
        heals: healed models.
        damage: the damage on screen.
    """
    with st.expander("Data behind the charts", icon=":material/table:"):
        left_out = sweeps[0].skipped_rows if sweeps else []
        names = ["Distances", "Chosen blocks"] + (["Accuracy and loss"] if sweeps else []) + (["Healed"] if heals else [])
        names += (["Damage", "Least damage"] if damage else []) + (["Rows left out"] if left_out else [])
        tabs = dict(zip(names, st.tabs(names), strict=True))
        with tabs["Distances"]:
            chart.table(_distances(distances), key="t-map", alt="Distance of every block", file_name="distances")
        with tabs["Chosen blocks"]:
            chart.table(_best(distances), key="t-best", alt="Most similar block of each size", file_name="blocks")
        if sweeps:
            with tabs["Accuracy and loss"]:
                rows = [{"strategy": words.strategy(s.spec), **row} for s in sweeps for row in _points(s.points)]
                chart.table(rows, key="t-sweep", alt="Accuracy and loss by strategy and n", file_name="curve")
        if heals:
            with tabs["Healed"]:
                chart.table(_points([heal.healed for heal in heals]), key="t-heal", alt="Healed models", file_name="healed")
        if damage:
            with tabs["Damage"]:
                rows = damage_view.rows(damage, distances)
                chart.table(rows, key="t-damage", alt="Distance and damage of every block", file_name="damage")
            with tabs["Least damage"]:
                rows = damage_view.best_rows(damage, distances.best)
                chart.table(rows, key="t-least", alt="Least damaging and most similar blocks", file_name="least-damage")
        if left_out:
            with tabs["Rows left out"]:
                rows = [{"row": row} for row in left_out]
                chart.table(rows, key="t-rows", alt="Rows of the file that could not be asked", file_name="rows-left-out")


def _distances(result: DistanceResult) -> list[dict]:
    return [
        {
            "n": n,
            "start": start,
            "block": Block(start, n).describe(),
            "distance": value,
            "stderr": result.stderr[n - 1][start],
            **({"wins": result.wins[n - 1][start]} if result.wins else {}),
            **{metric: rows[n - 1][start] for metric, rows in result.others.items()},
        }
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


_ALWAYS = ("n", "acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "n_samples", "loss", "loss_stderr", "n_texts")
_WHERE_MEASURED = (
    "acc_macro", "perplexity", "bits_per_byte", "loss_per_ln_v", "repetition_rate", "distinct_rate", "generated_tokens",
    "sum_acc", "sum_acc_stderr",
)  # fmt: skip


def _points(points: Sequence[Point | None]) -> list[dict]:
    known = [point for point in points if point is not None]
    names = _ALWAYS + tuple(name for name in _WHERE_MEASURED if any(getattr(point, name) is not None for point in known))
    return [
        {
            "block": point.block.describe() if point.block else "none",
            **{name: getattr(point, name) for name in names},
            **_interval(point),
        }
        for point in known
    ]


def _interval(point: Point) -> dict:
    """The 95 % interval that is shaded on the chart."""
    if point.acc is None or not point.n_samples:
        return {"acc_low": None, "acc_high": None}
    low, high = ACCURACY.interval(point)
    return {"acc_low": low, "acc_high": high}
