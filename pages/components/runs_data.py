"""The numbers behind the overlaid charts."""

from typing import Any

import streamlit as st

from analysis.charts.runs import Drawn
from analysis.reading import differences
from pages.components.shared import chart

_TITLES = {"distances": "Maps", "damage": "Damage", "sweep": "Curves", "heal": "Heals", "steps": "Heals by step"}


def show(drawn: dict[str, list[Drawn]]) -> None:
    """Draw a folded panel with one tab per kind."""
    tables = {kind: _rows(kind, runs) for kind, runs in drawn.items() if kind != "evaluate"}
    if "heal" in drawn:
        tables["steps"] = _steps(drawn["heal"])
    if not tables:
        return
    with st.expander("Data behind the charts", icon=":material/table:"):
        for tab, (kind, rows) in zip(st.tabs([_TITLES[kind] for kind in tables]), tables.items(), strict=True):
            with tab:
                title = _TITLES[kind]
                chart.table(rows, key=f"t-runs-{kind}", alt=f"{title} of the drawn runs", file_name=f"runs-{kind}")


def _rows(kind: str, drawn: list[Drawn]) -> list[dict[str, Any]]:
    if kind == "heal":
        return [_heal(one) for one in drawn]
    return [row for one in drawn for row in (_points(one) if kind == "sweep" else _best(one))]


def _best(one: Drawn) -> list[dict[str, Any]]:
    result = one.result
    name = "distance" if result.kind == "distances" else "increase"
    return [
        {
            "run": one.name, "n": best.n, "start": best.start, "n/L": best.n / result.n_layers,
            "start/L": best.start / result.n_layers, name: getattr(best, name),
            "stderr": result.stderr[best.n - 1][best.start],
        }
        for best in result.best
    ]  # fmt: skip


def _points(one: Drawn) -> list[dict[str, Any]]:
    lines = one.result.lines
    return [
        {
            "run": one.name, "n": point.n, "n/L": point.n / one.result.n_layers,
            "block": point.block.describe() if point.block else "none", "acc": point.acc, "acc_stderr": point.acc_stderr,
            "chance": lines.chance if lines else None, "n_samples": point.n_samples, "loss": point.loss,
            "loss_stderr": point.loss_stderr, "bits_per_byte": point.bits_per_byte, "n_texts": point.n_texts,
        }
        for point in one.result.points
    ]  # fmt: skip


def _heal(one: Drawn) -> dict[str, Any]:
    result = one.result
    losses = {
        f"loss {name}": point.loss if point else None
        for name, point in (("unpruned", result.unpruned), ("pruned", result.pruned), ("healed", result.healed))
    }
    recovered = {f"{name} recovered": differences.recovered(result, name) for name in ("loss", "acc")}
    return {"run": one.name, "block": result.spec.block.describe(), "steps": result.total_steps, **losses, **recovered}


def _steps(drawn: list[Drawn]) -> list[dict[str, Any]]:
    return [
        {"run": one.name, "step": check.step, "loss": check.loss, "loss_stderr": check.loss_stderr}
        for one in drawn
        for check in one.result.validations
    ]
