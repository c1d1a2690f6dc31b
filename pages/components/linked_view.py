"""Slider, layer strip, numbers, maps and curves, all showing the same cut."""

import streamlit as st

from analysis import map_figures
from analysis.results import SweepResult
from analysis.specs import ModelSpec
from pages.components import (
    chart,
    cost_panel,
    curves,
    cut_numbers,
    cuts,
    damage_view,
    guard,
    instant,
    library,
    map_view,
    overlay,
    refine,
    score_cut,
    state,
    theme,
    writing,
)
from pages.components.cuts import Cut
from pages.components.library import Found


def show(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...], model: ModelSpec, *, live: bool) -> None:
    """Draw the view; moving the slider redraws this and nothing else.

    Args:
        map_key, sweep_key, heal_keys: which results.
        model: the model of the page.
        live: whether a sweep or the damage is growing, so that the view must look again every two seconds.
    """
    st.fragment(_view, run_every="2s" if live else None)(map_key, sweep_key, heal_keys, model)


def _view(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...], model: ModelSpec) -> None:
    with guard.errors_shown():
        found, sweep = library.by_key("distances", map_key), library.by_key("sweep", sweep_key)
        if found is None:
            st.info("This map is no longer in the cache; reload the page.")
            return
        heals = [heal.result for key in heal_keys if (heal := library.by_key("heal", key))]
        damage = damage_view.find(found, model)
        distances, strategy = found.result, state.strategy()
        scores, measured = sweep.result if sweep else None, damage.result if damage else None
        with st.container(gap="xsmall"):
            left, right = st.columns([4, 5], vertical_alignment="center", gap="medium")
            with left:
                n = _slider(distances.n_layers)
            with right:
                cut = cuts.at(n, strategy, distances, scores, measured, _which(scores, n))
                with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                    st.markdown(_said(cut), width="content")
                    instant.button(sweep, cut, model)
                cut = score_cut.show(sweep, cut, model)
            strip = map_figures.layer_strip(distances.n_layers, cut.removed, dark=theme.is_dark())
            what = cut.removed.describe() if cut.removed else "nothing"
            chart.show(strip, key="strip", alt=f"Layers of the model; removed: {what}.", file_name="layers", toolbar=False)
            cut_numbers.show(distances, scores, cut)
        left, right = st.columns(2, gap="medium")
        with left, st.container(gap="xsmall"):
            map_view.show(distances, cuts.path(strategy, distances, scores, measured), cut)
        with right, st.container(gap="xsmall"):
            _curves(sweep, heals, model, n)
        with st.container(gap=None):
            for note in cut_numbers.notes(scores, cut):
                st.caption(note)
        cost_panel.show(distances, cut, model)
        writing.show(scores, n)
        damage_view.show(found, damage, model, cut)


def _curves(sweep: Found | None, heals: list, model: ModelSpec, n: int) -> None:
    compared: list[Found] = []
    if sweep is not None:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            others = overlay.same_questions(sweep, model)
            if others:
                compared = overlay.choice(others)
            else:
                st.markdown("**Accuracy and loss**", width="content", help=_ALONE)
            refine.button(sweep, compared)
    curves.show(sweep.result if sweep else None, [entry.result for entry in compared], heals, n)


_ALONE = "Run a sweep with other strategies on the same questions to see them on this chart."


def _which(sweep: SweepResult | None, n: int) -> int:
    """Which of several manual cuts of one size is meant."""
    same = cuts.of_size(sweep, n)
    if len(same) < 2:
        return 0
    names = [point.block.describe() if point.block else "" for point in same]
    return int(
        st.selectbox("Cut", range(len(same)), format_func=names.__getitem__, key=f"which-{n}", label_visibility="collapsed")
    )


def _said(cut: Cut) -> str:
    """The cut in one line."""
    if cut.removed:
        return f"**{cut.removed.describe()}** removed"
    return cut.missing or "**Nothing removed**: the unpruned model"


def _slider(n_layers: int) -> int:
    st.session_state["n"] = min(state.chosen_n(), n_layers - 1)
    n = st.slider("Layers removed, n", 0, n_layers - 1, key="n", on_change=lambda: state.choose_n(st.session_state["n"]))
    return n
