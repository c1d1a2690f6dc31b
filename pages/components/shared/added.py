"""Results of kinds without a page of their own: a description, tables, a chart, and a button that requests a result."""

import streamlit as st

from analysis.charts import kinds
from analysis.core.experiment import EXPERIMENTS, Experiment, additions
from analysis.core.options import imported
from analysis.core.record import Result
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored.result import FoundResult
from pages.components.shared import chart, frame, start, state, stored_results, words

HOMES = {"methods": "Compare, Methods"}
"""Kinds whose results have a view of their own, by the place of it; they are not repeated here."""


def kinds_here() -> dict[str, Experiment]:
    """The additional kinds without a view of their own."""
    return {kind: one for kind, one in additions().items() if kind not in HOMES}


def panels(model: ModelSpec) -> list[FoundResult]:
    """Draw a closed panel for each of these kinds; returns the results that they show."""
    drawn = []
    for kind in kinds_here().values():
        with frame.errors_shown():
            found = _panel(kind, model)
            drawn += [found] if found else []
    return drawn


def shown(kind: str, model: ModelSpec) -> FoundResult | None:
    """The result of one of these kinds that its panel shows."""
    return stored_results.shown(kind, _of(kind, model))


def _of(kind: str, model: ModelSpec) -> list[FoundResult]:
    has_model = "model" in additions()[kind].spec.__dataclass_fields__
    return stored_results.find(kind, model if has_model else None)


def _panel(kind: Experiment, model: ModelSpec) -> FoundResult | None:
    found = _of(kind.kind, model)
    now = shown(kind.kind, model)
    folded = st.expander(f"{words.plain(kind.title)} ({len(found)} stored)", key=f"added-{kind.kind}", on_change="rerun")
    if not folded.open:
        return now
    with folded:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(words.plain(kind.help) if kind.help else "", width="stretch")
            _start(kind, model)
        if now is None:
            st.info(f"{words.plain(state.name(model))} has no stored result of this kind.")
            return None
        if len(found) > 1:
            state.pick_result(kind.kind, "Shown", {entry.key: _name(entry) for entry in found}, now.key)
        result(now.result, kind.kind)
    return now


def _name(found: FoundResult) -> str:
    when = "precomputed" if found.precomputed else words.date(found.saved_at)
    return f"{frame.command_line(found.result.spec).partition(' -m analysis ')[2]} · {when}"


def _start(kind: Experiment, model: ModelSpec) -> None:
    """Draw the button that asks for one with the usual settings, where every field has one."""
    spec = kind.usual(model)
    if spec is not None and start.button("Compute", key=f"start-{kind.kind}", icon=":material/play_arrow:"):
        start.start_and_show(spec, f"{kind.title} of {state.name(model)}")


def result(found: Result, key: str) -> None:
    """Draw one result: by the panel of its kind, or else its charts and its tables.

    Args:
        found: the result.
        key: first part of the widgets' keys.
    """
    kind = EXPERIMENTS[found.kind]
    if kind.panel:
        imported(kind.panel)(found)
        return
    for name in kinds.names(found.kind):
        figure, alt = kinds.figure(found, name, dark=chart.is_dark()), f"{kind.title}: {frame.command_line(found.spec)}"
        chart.show(figure, key=f"{key}-{name}", alt=alt, file_name=f"{found.kind}-{name}")
    for name, table in found.tables().items():
        st.markdown(f"**{words.plain(table.title)}**")
        chart.table(table, key=f"{key}-t-{name}", file_name=f"{found.kind}-{name}")
        if table.caption:
            st.caption(words.plain(table.caption))
