"""Slider, layer strip, numbers, maps and curves, all showing the same cut.

One fragment holds all of it, so that a move of the slider or a click on a block redraws the cut everywhere. Parts with
controls of their own are fragments inside it: these redraw their part alone, and what is below the window waits for a look.
"""

import streamlit as st

from analysis.models.spec import ModelSpec
from pages.components.explore import (
    cost_panel,
    curves,
    cut_marks,
    cut_numbers,
    damage_view,
    drawn,
    map_view,
    pick,
    when_seen,
    writing,
)
from pages.components.shared import chart, cuts, frame, library, start, state, theme
from pages.components.shared.cuts import Cut
from pages.components.shared.library import Found


def show(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...], model: ModelSpec, *, live: bool) -> None:
    """Draw the view; moving the slider redraws this and nothing else.

    Args:
        map_key, sweep_key, heal_keys: which results.
        model: the model of the page.
        live: whether a sweep or the damage is growing, so that the view must look again every two seconds.
    """
    when_seen.forget("below")
    st.fragment(_view, key=pick.VIEW, run_every="2s" if live else None)(map_key, sweep_key, heal_keys, model)


def _view(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...], model: ModelSpec) -> None:
    with frame.errors_shown():
        found, sweep = library.by_key("distances", map_key), library.by_key("sweep", sweep_key)
        if found is None:
            st.info("This map is no longer in the cache; reload the page.")
            return
        heals = [heal for key in heal_keys if (heal := library.by_key("heal", key))]
        damage = cuts.damage_shown(found, model)
        scores = sweep.result if sweep else None
        strategy = cuts.Strategy(state.strategy(), found.result, scores, damage.result if damage else None)
        with st.container(gap="xsmall"):
            cut = _cut(strategy, sweep, model)
            cut_numbers.show(found.result, scores, cut)
        left, right = st.columns(2, gap="medium")
        with left:
            st.fragment(_map)(found, damage, strategy, cut)
        with right:
            st.fragment(_curves)(sweep, heals, model, cut.n)
        with st.container(gap=None):
            for note in cut_numbers.notes(scores, cut):
                st.caption(note)
            blocks, line = cut_marks.of_blocks(cut.removed), cut_marks.Mark(cut.n)
            marks = {pick.name_now(map_view.CHART): blocks, "accuracy": line, "loss": line}
            cut_marks.show(marks, slider=cuts.SLIDER, n=cut.n, path=strategy.path())
        st.fragment(_below)(found, sweep, damage, strategy, cut, model)


def _cut(strategy: cuts.Strategy, sweep: Found | None, model: ModelSpec) -> Cut:
    """The slider, the cut in words, and the layers that go."""
    n_layers = strategy.distances.n_layers
    left, right = st.columns([3, 6], vertical_alignment="center", gap="medium")
    with left:
        n = cuts.slider(n_layers)
    with right:
        cut = cuts.now(n, strategy)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center", width="content", gap="small"):
                cuts.say(cut, strategy)
                cuts.block_menu(strategy)
            start.instant_heal_button(sweep, cut, model)
        cut = curves.score_cut(sweep, cut, model)
    what = cut.removed.describe() if cut.removed else "nothing"
    strip = drawn.strip(n_layers, tuple(cut.removed.layers) if cut.removed else (), dark=theme.is_dark())
    chart.show(strip, key="strip", alt=f"Layers of the model; removed: {what}.", file_name="layers", toolbar=False)
    return cut


def _map(found: Found, damage: Found | None, strategy: cuts.Strategy, cut: Cut) -> None:
    with frame.errors_shown(), st.container(gap="xsmall"):
        map_view.show(found, damage, strategy, cut)


def _curves(sweep: Found | None, heals: list[Found], model: ModelSpec, n: int) -> None:
    with frame.errors_shown(), st.container(gap="xsmall"):
        compared: list[Found] = []
        if sweep is not None:
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
                others = curves.same_questions(sweep, model)
                if others:
                    compared = curves.choice(others)
                else:
                    st.markdown("**Accuracy and loss**", width="content", help=_ALONE)
                curves.refine_button(sweep, compared)
        curves.show(sweep, compared, heals, n)


def _below(
    found: Found, sweep: Found | None, damage: Found | None, strategy: cuts.Strategy, cut: Cut, model: ModelSpec
) -> None:
    with frame.errors_shown():
        cut = when_seen.latest("below", cut)
        cost_panel.show(found.result, cut, model)
        writing.show(sweep, cut.n)
        damage_view.show(found, damage, model, cut, strategy.block)


_ALONE = "Run a sweep with other strategies on the same questions to see them on this chart."
