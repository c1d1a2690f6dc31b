"""Which of several stored results is shown."""

import streamlit as st

from analysis.experiments.strategies import BLOCKS, DRAW, STRATEGIES, needs
from pages.components.shared import library, state, words
from pages.components.shared.library import Found


def menu(maps: list[Found], sweeps: list[Found], sweep: Found | None) -> tuple[Found, Found | None]:
    """Draw the menu that says which results are on screen and how blocks are chosen; returns these results.

    Args:
        maps: at least one.
        sweeps: curves of the current strategy.
        sweep: the one on screen, which names the dataset of all panels.
    """
    with st.popover("Results", key="results", help="Which map and which curve are shown, and how layers are chosen."):
        found = show("distances", "Distance map", maps, library.shown("distances", maps))
        sweep = show("sweep", "Dataset and curve", sweeps, sweep)
        with state.showing("strategy", state.strategy()):
            st.selectbox(
                "Blocks chosen by", list(STRATEGIES), key="strategy", help=words.strategies_help(),
                on_change=lambda: state.choose_strategy(st.session_state["strategy"]),
            )  # fmt: skip
    return found or maps[0], sweep


def show(kind: str, label: words.Markdown, found: list[Found], shown: Found | None) -> Found | None:
    """A menu of results of one kind.

    Args:
        kind: `distances` or `sweep`.
        label: name of the menu.
        found: the results to choose from.
        shown: the one on screen; None without any.
    """
    if shown is None:
        st.selectbox(label, [], placeholder="not measured yet", disabled=True, key=f"no_{kind}")
        return None
    state.pick_result(kind, label, {entry.key: describe(entry) for entry in found}, shown.key)
    return shown


def describe(found: Found) -> str:
    """A result in one line: texts or questions, precision, and when."""
    result = found.result
    when = "precomputed" if found.precomputed else words.date(found.saved_at)
    unfinished = "" if result.complete else " · unfinished"
    if result.kind == "distances":
        corpus = result.spec.corpus
        what = f"{words.texts(corpus)} {result.n_texts} × {corpus.seq_len}"
    else:
        what = f"{words.questions(result.spec.benchmark)} × {result.n_questions}"
        if result.spec.benchmark.shots:
            what += f", {result.spec.benchmark.shots}-shot"
        if needs(result.spec.strategy, DRAW):
            what += f", draw {result.spec.draw}"
        if needs(result.spec.strategy, BLOCKS):
            what += f", {len(result.spec.blocks)} cuts"
    return f"{what} · {result.precision_in_words} · {when}{unfinished}"
