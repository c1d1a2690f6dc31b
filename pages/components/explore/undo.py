"""Undo of the last change of the removed layers on this page."""

from typing import NamedTuple

import streamlit as st

from analysis.core.blocks import Removal
from pages.components.shared import state, words

_KEPT = 30
_HISTORY = "cuts-before"


class _Choice(NamedTuple):
    """Controls that chose the layers on screen."""

    strategy: str
    n: int
    own: Removal | None

    def describe(self) -> str:
        return self.own.describe() if self.own else f"n = {self.n} by {words.plain(self.strategy)}"


def remember() -> None:
    """Note the present choice, if it differs from the last one, by any control."""
    now, history = _Choice(state.strategy(), state.chosen_n(), state.own_cut()), _history()
    if not history or history[-1] != now:
        history.append(now)
        del history[:-_KEPT]


def button() -> None:
    """Draw the undo button, where there is a former choice; its help names that choice."""
    history = _history()
    if len(history) > 1:
        st.button(
            "Undo", key="undo", icon=":material/undo:", type="tertiary", on_click=_back,
            help=f"Back to {history[-2].describe()}.",
        )  # fmt: skip


def _back() -> None:
    history = _history()
    history.pop()
    before = history[-1]
    state.choose_strategy(before.strategy)
    state.choose_n(before.n)
    if before.own is not None:
        state.choose_cut(before.own)


def _history() -> list[_Choice]:
    """Return the choices for the current model, oldest first, the one on screen last."""
    model, kept = st.session_state.get(_HISTORY, (None, []))
    if model != state.current_model():
        kept = []
        st.session_state[_HISTORY] = (state.current_model(), kept)
    return kept
