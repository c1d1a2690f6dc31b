"""The menu Details: what is on screen, a block in writing, and the forms that measure more."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored.result import FoundResult
from pages.components.explore import compute, curves, layer_choice, map_view, result_choice
from pages.components.shared import cuts, selection, stored_results, words

_MENU = "details"


def menu(
    header: DeltaGenerator, model: ModelSpec, maps: list[FoundResult], sweeps: list[FoundResult]
) -> selection.Shown:
    """Draw the menu and the origin of the results; return the selection on screen.

    Args:
        header: the space beside the title.
        model: the model of the page.
        maps: the strongest distance maps, at least one.
        sweeps: the strongest curves of the current strategy.
    """
    if st.session_state.pop("job-started", False):
        st.session_state[_MENU] = False
    distances = stored_results.shown("distances", maps) or maps[0]
    view = selection.on_map(distances, selection.curve(model), model)
    n_layers = distances.result.n_layers
    with header:
        stored_results.show_origin(
            [distances], "Computed in advance by this program. You can compute your own."
        )
        popover = st.popover("Details", key=_MENU, on_change="rerun")
        with popover, st.container(width=520):
            result_choice.menu(maps, distances, sweeps, view.sweep)
            if popover.open:
                selection.show_chip(selection.selected_conditions(view.selected))
                if others := selection.other_datasets(model):
                    st.caption(f"Also measured on {words.plain(', '.join(others))}.")
            map_view.controls(distances, view.damage)
            if view.sweep is not None:
                curves.menu(view.sweep, model, n_layers)
            cuts.field(n_layers, view.strategy)
            layer_choice.sheet_button()
            st.page_link(
                "pages/learn.py", label="How a layer changes a token", icon=":material/school:"
            )
            compute.forms(distances, view.sweep)
    return view
