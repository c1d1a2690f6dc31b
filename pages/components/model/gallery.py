"""The gallery: real models whose results came with the program, opened with a click, with or without weights."""

import streamlit as st

from analysis.data.gallery import EXHIBITS, Exhibit
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared.runs import StoredModel
from pages.components.model import choice
from pages.components.shared import library, words


def show() -> None:
    """Draw a row for each model that results came with; nothing without any."""
    seen = {source: one for one in library.models_seen(is_committed=True) for source in one.sources}
    shown = [(exhibit, seen[exhibit.source]) for exhibit in EXHIBITS if exhibit.source in seen]
    if not shown:
        return
    st.header(
        "Gallery", anchor=False, help="Stored results of real models, part of the program and read-only. They open at once. "
        "`make gallery` measures them again from the weights.",
    )  # fmt: skip
    for place, (exhibit, one) in enumerate(shown):
        _row(exhibit, one, place)


def _row(exhibit: Exhibit, one: StoredModel, place: int) -> None:
    what = f"{words.plain(one.facts.family_in_words)}, {choice.size(one)}"
    of_whom = f"{exhibit.weights}, {exhibit.licence}, from {exhibit.page}"
    with choice.card(
        f"**{words.plain(exhibit.title)}** · {what} :gray-badge[precomputed]", f"{choice.counted(one)}. Weights: {of_whom}."
    ):
        if st.button(
            "Open", key=f"gallery-{place}", help="Opens Explore without loading the model.", on_click=choice.use,
            args=(ModelSpec(exhibit.source),),
        ):  # fmt: skip
            st.switch_page("pages/explore.py")
