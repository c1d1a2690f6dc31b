"""Choice among several stored results."""

import streamlit as st

from analysis.experiments.strategies import BLOCKS, DRAW, STRATEGIES, needs
from analysis.models.source.model_spec import ModelSpec
from pages.components.shared import library, state, words
from pages.components.shared.library import Found


def menu(maps: list[Found], sweeps: list[Found], sweep: Found | None, model: ModelSpec) -> tuple[Found, Found | None]:
    """Draw the menu that selects the shown results and the strategy, and return these results.

    Args:
        maps: at least one.
        sweeps: curves of the current strategy.
        sweep: the one on screen, which names the dataset of all panels.
        model: the model of the page.
    """
    with st.popover("Results", key="results", help="Choose the map, the dataset and the strategy to show."):
        found = show("distances", "Distance map", maps, library.shown("distances", maps), model)
        sweep = show("sweep", "Dataset and curve", sweeps, sweep, model)
        with state.showing("strategy", state.strategy()):
            st.selectbox(
                "Blocks chosen by", list(STRATEGIES), key="strategy", help=words.strategies_help(),
                on_change=lambda: state.choose_strategy(st.session_state["strategy"]),
            )  # fmt: skip
    return found or maps[0], sweep


def show(kind: str, label: words.Markdown, found: list[Found], shown: Found | None, model: ModelSpec) -> Found | None:
    """A menu of results of one kind.

    Args:
        kind: `distances` or `sweep`.
        label: name of the menu.
        found: the strongest results to choose from.
        shown: the one on screen; None without any.
        model: the model that they are of; a filter is drawn where it has more results than are listed.
    """
    if shown is None:
        st.selectbox(label, [], placeholder="not measured yet", disabled=True, key=f"no_{kind}")
        return None
    if len(found) >= library.MOST:
        found = _filtered(kind, found, model)
    if shown.key not in {entry.key for entry in found}:
        found = [shown, *found]
    state.pick_result(kind, label, {entry.key: describe(entry) for entry in found}, shown.key)
    return shown


def _filtered(kind: str, found: list[Found], model: ModelSpec) -> list[Found]:
    """Draw a filter over all stored results of a kind, and return the strongest that pass."""
    own = (("strategy", state.strategy()),) if kind == "sweep" else ()
    n_stored = library.count(kind, model, having=own)
    if n_stored <= library.MOST:
        return found
    label, example = ("Filter maps", "C4 64 float32") if kind == "distances" else ("Filter curves", "ARC-Easy 100 float32")
    text = st.text_input(
        label,
        key=f"filter-{kind}",
        placeholder=example,
        help="Words that must all occur in a result: texts, n, dtype, seed.",
    )
    passed, n_passed = found, n_stored
    if text.strip():
        passed = library.find(kind, model, having=own, text=text)
        n_passed = library.count(kind, model, having=own, text=text)
    st.caption(f"Lists the strongest {min(len(passed), n_passed):,} of {n_passed:,} results.")
    return passed


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
            what += f", {len(result.spec.blocks)} blocks"
    return f"{what} · {result.precision_in_words} · {when}{unfinished}"
