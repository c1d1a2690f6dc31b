"""Stored runs of all models: in a table and in common charts, with one run pinned as the reference.

The address contains the pinned run.
"""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from analysis import service
from analysis.core import escapes
from analysis.core.experiment import title
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import runs as run_table
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.compare import runs_overlay
from pages.components.shared import chart, frame, state, stored_results, words

MOST = 1000
"""Maximum number of rows of the table."""
_LOOKED_AT = 300
"""Maximum number of maps and curves that are searched for the ones to draw first."""
_PICKS = "run-picks"
_PLURALS = {
    "distances": "Maps",
    "sweep": "Curves",
    "heal": "Healing",
    "damage": "Loss increase",
    "evaluate": "Evaluations",
}
_COLUMNS = {
    "value_low": st.column_config.NumberColumn(
        "95 % from", format="%.4f", help="Of the key figure."
    ),
    "value_high": st.column_config.NumberColumn("to", format="%.4f"),
    "value": st.column_config.NumberColumn("value", format="%.4f"),
    "figure": st.column_config.TextColumn(
        "key figure",
        help="At a fifth of the layers. Distances in fractions of π, losses in nats/token.",
    ),
    "n": st.column_config.NumberColumn(
        "n", help="Number of questions, or of texts for a run without questions."
    ),
}


def show(model: ModelSpec) -> None:
    """Draw the view.

    Args:
        model: the model of the page; its runs come first.
    """
    with frame.errors_shown():
        if not any(service.names(list(summaries.kinds()))):
            st.info(
                "Nothing has been measured yet. Maps, curves and healing runs of all models appear"
                " here."
            )
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
            return
        reference = _reference()
        picked = _table(model)
        reference = _choose(picked, reference)
        if not picked and reference is None:
            st.info("Tick the runs in the table that you want to compare, of any model.")
            return
        runs_overlay.show(picked, reference)
        runs = [*picked, *([reference] if reference else [])]
        frame.commands([run.result.spec for run in runs])


def _listed(
    model: ModelSpec, kinds: Sequence[str] = (), **options: Any
) -> tuple[list[FoundResult], int]:
    """Return runs as `service.listed`, those of the current model first, and the number of
    matches.
    """
    return service.listed(
        stored_results.known(model), kinds or list(summaries.kinds()), **{"most": MOST} | options
    )


def _reference() -> FoundResult | None:
    """Return the pinned run, and warn if the run in the address is not stored here."""
    run = _by_id(state.pinned())
    kind, _, key = state.pinned().partition(":")
    if state.pinned() and run is None:
        st.warning(
            f"The reference in the address, {words.plain(summaries.kinds().get(kind, 'run'))}"
            f" {words.plain(key)}, is not stored here. Pick another one below, or compute it again."
        )
    return run


def _by_id(run_id: str) -> FoundResult | None:
    kind, _, key = run_id.partition(":")
    return stored_results.by_key(kind, key) if kind in summaries.kinds() else None


def _table(model: ModelSpec) -> list[FoundResult]:
    """Draw the table of runs and its downloads; returns the ticked runs in the order of their
    ticks.
    """
    runs, n_passed = _filtered(model)
    rows = [run_table.row(run) for run in runs]
    chosen = _ticked(model, runs, rows)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        n_runs = _listed(model, most=1)[1]
        summary = f"{n_passed:d} of {n_runs:d} runs, {len(chosen)} drawn."
        if len(runs) < n_passed:
            summary += (
                f" The table shows the first {len(runs)}. Narrow them by kind, model or words."
            )
        st.caption(summary, width="stretch")
        chart.download(
            "Table as CSV",
            lambda: escapes.csv(pd.DataFrame(rows)),
            "runs.csv",
            "text/csv",
            key="runs-csv",
            type="tertiary",
            disabled=not rows,
        )
        only = chosen[0] if len(chosen) == 1 else None
        name = f"{only.kind}-{only.key}.json" if only else "run.json"
        chart.download(
            "Ticked run as JSON",
            lambda: _json(chosen[0]),
            name,
            "application/json",
            key="runs-json",
            type="tertiary",
            icon=":material/data_object:",
            disabled=only is None,
            help="Full result with spec, versions and counts. Tick exactly one run.",
        )
    return chosen


def _plural(kind: str) -> words.Markdown:
    return words.plain(_PLURALS.get(kind) or (title(kind) if kind else "All"))


def _filtered(model: ModelSpec) -> tuple[list[FoundResult], int]:
    """Draw the filters and return the runs that pass them, and the number of all such runs."""
    stored = service.names(list(summaries.kinds()))
    kinds = [
        kind for kind in summaries.kinds() if any(kind == stored_kind for stored_kind, _ in stored)
    ]
    current = [run.summary.name for run in _listed(model, most=1)[0]]
    names = list(dict.fromkeys([*current, *(name for _, name in stored)]))
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    kind = row.segmented_control(
        "Kind",
        ["", *kinds],
        default="",
        required=True,
        format_func=_plural,
        key="runs-kind",
        persist_state="session",
    )
    models = row.multiselect(
        "Models", names, key="runs-models", placeholder="all models", persist_state="session"
    )
    text = row.text_input(
        "Search", key="runs-search", placeholder="wiki float32", persist_state="session", width=160
    )
    of_kind = [kind] if kind else []
    return _listed(model, of_kind, model_names=models, text=text)


def _ticked(
    model: ModelSpec, runs: list[FoundResult], rows: list[dict[str, Any]]
) -> list[FoundResult]:
    """Draw the rows and return the ticked runs, also those that the filters hide."""
    if _PICKS not in st.session_state:
        firsts = [
            run
            for kind in ("distances", "sweep")
            for run in _listed(model, [kind], most=_LOOKED_AT)[0]
        ]
        st.session_state[_PICKS] = run_table.first_picks(firsts)
    picks: list[str] = st.session_state[_PICKS]
    visible = {run.id: run for run in runs}

    def picked() -> list[FoundResult]:
        return [run for pick in picks if (run := visible.get(pick) or _by_id(pick)) is not None]

    if not rows:
        st.info("No run passes these filters. Clear the search, or choose **All** kinds.")
        return picked()
    picked_rows = [row for row, run in enumerate(visible) if run in picks]
    event = st.dataframe(
        pd.DataFrame(rows),
        key=state.generation("runs-table", list(visible)),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": picked_rows}},
        column_config=_COLUMNS,
        placeholder="–",
        height=min(38 + 35 * len(rows), 283),
        alt="Stored runs with their key figures",
    )
    chosen = [runs[row].id for row in event["selection"]["rows"] if row < len(runs)]
    picks[:] = [pick for pick in picks if pick in chosen or pick not in visible] + [
        run for run in chosen if run not in picks
    ]
    return picked()


def _json(run: FoundResult) -> bytes:
    return json.dumps(run.result.to_json(), indent=1).encode()


def _choose(picked: list[FoundResult], reference: FoundResult | None) -> FoundResult | None:
    """Draw the choice of the reference among the ticked runs and return it."""
    runs = [*([reference] if reference and reference not in picked else []), *picked]
    names = dict(zip([run.id for run in runs], run_table.labels(runs), strict=True))
    options = ["", *names]
    key = state.generation("runs-pin", [*options, state.pinned()])
    st.selectbox(
        "Reference",
        options,
        options.index(reference.id) if reference else 0,
        key=key,
        width=480,
        format_func=lambda run: (
            f"{summaries.kinds()[run.partition(':')[0]]} · {names[run]}" if run else "none"
        ),
        on_change=lambda: state.pin(st.session_state[key]),
        disabled=not runs,
        help="The reference is drawn dashed, and is part of the link to this page.",
    )
    return next((run for run in runs if run.id == state.pinned()), None)
