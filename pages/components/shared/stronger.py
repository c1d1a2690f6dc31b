"""A result that was picked by hand says so where a stronger one answers the same, and there is a way to that one."""

from collections.abc import Sequence

import streamlit as st

from analysis.results.stored import evidence
from pages.components.shared import library, state, words
from pages.components.shared.library import Found


def note(kind: str, shown: Found, found: Sequence[Found]) -> None:
    """Draw the sentence and the button; nothing where the shown result is the strongest.

    Args:
        kind: of the results.
        shown: the one on screen.
        found: all of them, strongest first.
    """
    best = library.stronger(shown, found)
    if best is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        more = words.plain(evidence.advantage(best.result, shown.result))
        st.caption(f"You selected this. The result {more} has stronger evidence.", width="content")
        st.button(
            "Show stronger", key=f"stronger-{kind}-{shown.key}", type="tertiary", icon=":material/undo:",
            on_click=state.ask_for, args=(kind, best.key),
        )  # fmt: skip
