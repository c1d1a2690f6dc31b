"""Slider, layer strip, maps and curves, all showing the same removed layers on one screen; the rest
one tab away.

One fragment holds all of it, so that a move of the slider or a click on a block redraws the
selection everywhere. Only the open tab is drawn. Parts with controls of their own are fragments
inside it: these redraw their part alone.
"""

from collections.abc import Sequence

import streamlit as st

from analysis import service
from analysis.core.table import Table
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.model_spec import ModelSpec
from pages.components.explore import (
    chart_selection,
    curves,
    layer_choice,
    map_view,
    readout,
    savings,
    scores,
    trade_off,
    verdict_line,
)
from pages.components.shared import chart, cuts, frame, selection, state, stored_results, words
from pages.components.shared.selection import Shown

MAP = "map"
QUESTIONS = "questions"
COST = "cost"
FRONT = "trade-off"
DATA = "data"
_TABS = {MAP: "Map", QUESTIONS: "Questions", COST: "Cost", FRONT: "Trade-off", DATA: "Data"}
"""Titles of the tabs, by their name in the address."""
_FIRST_VIEW = "first-look"
"""Key of the session for the first view, "" once it was changed: only then are there notes on the
picture."""
_SQUARE = "This square is the removed block: click any other"
_FORMER = ("generation", "damage")
"""Names of tabs that links of former versions have: the first tab shows what they showed."""


def show(map_key: str, sweep_key: str | None, model: ModelSpec, *, live: bool) -> None:
    """Draw the view; moving the slider redraws this and nothing else.

    Args:
        map_key, sweep_key: which results.
        model: the model of the page.
        live: whether a sweep or the damage is growing, so that the view must look again every two
            seconds.
    """
    st.fragment(_view, key=chart_selection.VIEW, run_every="2s" if live else None)(
        map_key, sweep_key, model
    )


def tab() -> str:
    """Return the open tab, one of `_TABS`."""
    name = state.option_of("tab", [*_TABS, *_FORMER], MAP)
    return MAP if name in _FORMER else name


def _view(map_key: str, sweep_key: str | None, model: ModelSpec) -> None:
    with frame.errors_shown():
        distances = stored_results.by_key("distances", map_key)
        sweep = stored_results.by_key("sweep", sweep_key)
        if distances is None:
            st.info("This map is no longer in the cache. Reload the page.")
            return
        view = selection.on_map(distances, sweep, model)
        with st.container(gap="xxsmall"):
            with st.container(
                key="verdict", gap="xxsmall"
            ):  # drawn in its place, so that nothing below it moves
                verdict_line.show(view)
            with st.container(gap="xxsmall", key="instrument"):
                _instrument(view)
            _tabs(view)


def _tabs(view: Shown) -> None:
    with state.showing("tab", _TABS[tab()]):
        places = st.tabs(list(_TABS.values()), key="tab", on_change=_opened)
    with places[list(_TABS).index(tab())], st.container(key=f"tab-{tab()}", gap="small"):
        _DRAWN[tab()](view)
        if tab() not in (
            MAP,
            FRONT,
        ):  # the map shows the conditions on hover, the trade-off below its chart
            selection.show_chip(selection.selected_conditions(view.selected))
            chart_selection.mark(
                {}, view.cut, view.strategy
            )  # for those who follow the slider while it is dragged


def _opened() -> None:
    for name, title in _TABS.items():
        if title == st.session_state["tab"]:  # a browser can send any other text
            state.choose_option("tab", "" if name == MAP else name)


def _instrument(view: Shown) -> None:
    """Draw the slider, the removed layers in words, the strip of layers, and what their removal
    costs.
    """
    left, right = st.columns([3, 7], vertical_alignment="center", gap="small")
    with left:
        cuts.slider(view.strategy.distances.n_layers)
    with (
        right,
        st.container(horizontal=True, vertical_alignment="center", gap="small", key="best-cut"),
    ):
        cuts.say(view.cut)
        st.space("stretch")
        cuts.back_button(view.cut, view.strategy)
        verdict_line.best_button(view)
        if not curves.missing_scores(
            view
        ):  # one next step at a time: an unmeasured block is scored first
            readout.measure_button(view)
            verdict_line.heal_button(view)
    is_first = _is_first_look(view)
    layer_choice.show_strip(view, is_first)
    readout.show(view, is_first)


def _is_first_look(view: Shown) -> bool:
    """Return whether the visitor has neither changed the view nor started a job; a class gets no
    notes.
    """
    current = (str(view.cut), tab())
    is_same = st.session_state.setdefault(_FIRST_VIEW, current) == current
    if not is_same or state.presenting() or service.jobs.list_jobs(1):
        st.session_state[_FIRST_VIEW] = ""
    return bool(st.session_state[_FIRST_VIEW])


def _map_and_curves(view: Shown) -> None:
    left, right = st.columns(2, gap="medium")
    with left, frame.errors_shown(), st.container(gap="xsmall"):
        map_view.show(view.distances, view.damage, view.strategy, view.cut)
    with right, frame.errors_shown(), st.container(gap="xsmall"):
        compared = curves.compared(view.sweep, view.model) if view.sweep else []
        curves.show(view.sweep, compared, view.heals, view.strategy, view.cut)
        curves.not_measured(view)
    marks = {chart_selection.name_now(map_view.CHART): chart_selection.CELLS}
    marks |= {
        chart_selection.name_now(name): mark
        for name, mark in chart_selection.of_curves(view).items()
    }
    chart_selection.mark(marks, view.cut, view.strategy, _SQUARE if _is_first_look(view) else "")


def _cost(view: Shown) -> None:
    curves.not_measured(view)
    with st.container(gap=None):
        for note in scores.notes(view):
            st.caption(words.plain(note))
    st.fragment(_saved)(view)


def _saved(view: Shown) -> None:
    with frame.errors_shown():
        savings.show_savings(view.distances.result, view.cut, view.strategy, view.model)


def _questions(view: Shown) -> None:
    with frame.errors_shown():
        scores.show_changed_answers(view)


def _front(view: Shown) -> None:
    st.fragment(_weighed)(view)


def _weighed(view: Shown) -> None:
    with frame.errors_shown():
        trade_off.show(view.model, view.strategy, view.cut, view.selected)
        curves.not_measured(view)


def _data(view: Shown) -> None:
    """Draw the tables of all tabs and the commands that reproduce them."""
    model = view.model
    sweep = view.sweep
    curves_shown = (
        [sweep, *curves.flat(curves.same_questions(sweep, model).values())] if sweep else []
    )
    speed = savings.find_speed(model)
    st.caption(words.provenance(view.distances.result, sweep.result if sweep else None))
    _tables(
        view.distances.result,
        [curve.result for curve in curves_shown],
        [heal.result for heal in view.heals],
        view.damage.result if view.damage else None,
        readout.tables(view),
    )
    once = [entry for entry in (view.damage, speed) if entry]
    everything = [
        view.distances,
        *curves_shown,
        *once,
        *view.heals,
        *stored_results.scores_of("evaluate", model),
    ]
    frame.commands([entry.result.spec for entry in everything])


_DRAWN = {MAP: _map_and_curves, QUESTIONS: _questions, COST: _cost, FRONT: _front, DATA: _data}


def _tables(
    distances: DistanceResult,
    sweeps: Sequence[SweepResult],
    heals: Sequence[HealResult],
    damage: DamageResult | None,
    texts: dict[str, list[dict]],
) -> None:
    """Draw the choice of a table, and the table.

    Args:
        distances: the map on screen.
        sweeps: the curve on screen, then those that may be compared with it.
        heals: healed models.
        damage: the damage on screen.
        texts: tables of generated text, by title.
    """
    tables: dict[str, Table | list[dict]] = {
        "Distances": distances.table("blocks"),
        "Chosen blocks": distances.table("best"),
    }
    if sweeps:
        scored = [(words.strategy(sweep.spec), point) for sweep in sweeps for point in sweep.points]
        tables["Accuracy and loss"] = points.table(
            [point for _, point in scored], strategy=[name for name, _ in scored]
        )
    if heals:
        tables["Healed"] = points.table(
            [heal.healed for heal in heals if heal.healed], "Healed models"
        )
    if damage:
        rows = damage.table("blocks").records()
        tables["Loss increase"] = [
            row | {"distance": distances.mean[row["n"] - 1][row["start"]]} for row in rows
        ]
        tables["Lowest increase"] = damage.beside(distances.best)
    tables |= texts
    if sweeps and sweeps[0].skipped_rows:
        tables["Skipped rows"] = [{"row": row} for row in sweeps[0].skipped_rows]
    name = st.selectbox("Table", list(tables), key="table", width=320)
    chart.table(tables[name], key=f"t-{name}", alt=name, file_name=name.lower().replace(" ", "-"))
