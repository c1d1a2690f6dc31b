"""The table of stored runs: filters, ticks that say what is drawn, and downloads."""

import json
from typing import Any

import pandas as pd
import streamlit as st

from analysis.reading import runs as run_table
from analysis.reading.runs import KINDS, Run
from pages.components import runs_reference
from pages.components.shared import state

_PICKS = "run-picks"
_FRACTIONS = [step / 20 for step in range(1, 16)]
_USUAL_FRACTION = 0.2
_PLURALS = {"distances": "Maps", "sweep": "Curves", "heal": "Heals", "damage": "Damage", "evaluate": "Evaluations"}
_COLUMNS = {
    "error": st.column_config.NumberColumn("± error", format="%.4f", help="One standard error of the key figure."),
    "value": st.column_config.NumberColumn("value", format="%.4f"),
    "figure": st.column_config.TextColumn("key figure", help="Distances in fractions of π, losses in nats per token."),
    "n": st.column_config.NumberColumn("n", help="Questions scored or, where none were asked, texts."),
    "difference": st.column_config.NumberColumn("Δ", format="%+.4f", help="The run minus the reference."),
    "low": st.column_config.NumberColumn("95 % from", format="%+.4f"),
    "high": st.column_config.NumberColumn("to", format="%+.4f"),
    "basis": st.column_config.TextColumn("compared", width="medium"),
}


def show(runs: list[Run], reference: Run | None) -> tuple[list[Run], float]:
    """Draw the table.

    Args:
        runs: all of them.
        reference: the pinned one; differences from it are columns.

    Returns:
        The ticked runs in the order of their ticks, and the share of the layers that key figures are read at.
    """
    shown, fraction = _filtered(runs)
    rows = [_row(run, fraction, reference) for run in shown]
    chosen = _ticked(runs, shown, rows)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.caption(
            f"{len(shown)} of {len(runs)} runs, {len(chosen)} drawn. A click on a column's head sorts by it.", width="stretch"
        )
        csv = pd.DataFrame(rows).to_csv(index=False).encode()
        st.download_button(
            "CSV of the table", csv, "runs.csv", "text/csv", key="runs-csv", on_click="ignore", type="tertiary",
            icon=":material/download:", disabled=not rows,
        )  # fmt: skip
        only = chosen[0] if len(chosen) == 1 else None
        name = f"{only.result.kind}-{only.key}.json" if only else "run.json"
        st.download_button(
            "JSON of the ticked run", _json(only) if only else b"", name, "application/json", key="runs-json",
            on_click="ignore", type="tertiary", icon=":material/data_object:", disabled=only is None,
            help="Its whole result with spec, versions and counts; tick exactly one run.",
        )  # fmt: skip
    return chosen, fraction


def _filtered(runs: list[Run]) -> tuple[list[Run], float]:
    kinds = [kind for kind in KINDS if any(run.result.kind == kind for run in runs)]
    names = list(dict.fromkeys(run.model.name for run in runs))
    place = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    kind = place.segmented_control(
        "Kind", ["", *kinds], default="", required=True, format_func=lambda kind: _PLURALS.get(kind, "All"), key="runs-kind",
        persist_state="session",
    )  # fmt: skip
    models = place.multiselect("Models", names, key="runs-models", placeholder="all models", persist_state="session")
    words = place.text_input("Search", key="runs-search", placeholder="wiki float32", persist_state="session", width=160)
    fraction = place.select_slider(
        "Figures at n/L", _FRACTIONS, _USUAL_FRACTION, format_func=lambda share: f"{share:.0%}", key="runs-fraction",
        persist_state="session", width=170,
        help="The share of the layers removed that maps, damage and curves are read at. Heals and evaluations have their own.",
    )  # fmt: skip
    return run_table.matching(runs, models=models, kinds=[kind] if kind else [], text=words), float(fraction)


def _row(run: Run, fraction: float, reference: Run | None) -> dict[str, Any]:
    row = run_table.row(run, fraction)
    if reference is None:
        return row
    place = list(row).index("precision")
    beside = runs_reference.columns(run, reference, fraction)
    return dict([*list(row.items())[:place], *beside.items(), *list(row.items())[place:]])


def _ticked(runs: list[Run], shown: list[Run], rows: list[dict[str, Any]]) -> list[Run]:
    """Draw the rows; ticks of runs that the filters hide are kept."""
    by_id = {run.id: run for run in runs}
    picks: list[str] = st.session_state.setdefault(_PICKS, run_table.first_picks(runs))
    visible = [run.id for run in shown]
    if not rows:
        st.info("No run passes these filters. Clear the search, or choose **All** kinds.")
        return [by_id[pick] for pick in picks if pick in by_id]
    ticked = {"selection": {"rows": [index for index, run in enumerate(visible) if run in picks]}}
    event = st.dataframe(
        pd.DataFrame(rows), key=state.generation("runs-table", visible), hide_index=True, on_select="rerun",
        selection_mode="multi-row", selection_default=ticked, column_config=_COLUMNS, placeholder="–",
        height=min(38 + 35 * len(rows), 283), alt="Stored runs with their key figures",
    )  # fmt: skip
    chosen = [visible[index] for index in event["selection"]["rows"] if index < len(visible)]
    picks[:] = [pick for pick in picks if pick in chosen or pick not in visible] + [run for run in chosen if run not in picks]
    return [by_id[pick] for pick in picks if pick in by_id]


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs={Run: lambda run: (run.id, run.saved_at)})
def _json(run: Run) -> bytes:
    return json.dumps(run.result.to_json(), indent=1).encode()
