"""Step 4 of the lesson: guess where answers collapse, then see the curve."""

import streamlit as st

from analysis.charts import curves
from analysis.charts import lesson as learn_figures
from analysis.experiments.accuracy.spec import SweepResult
from analysis.reading import lesson as guesses
from analysis.reading.lesson import Cliff
from pages.components.learn import stored
from pages.components.learn.lesson import NO_CLIFF, Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import chart, theme, words

TITLE = "How many layers can go?"


def show(lesson: Lesson, shown: Shown) -> None:
    """The question, and once a guess is locked the curves."""
    sweep = shown.sweep
    if sweep is None:
        stored.missing("No accuracy has been measured for your blocks yet.", "pages/explore.py", "Run a sweep")
        return
    cliff = guesses.cliff(sweep)
    if cliff is None:
        stored.missing("Your model cannot be told from guessing on these questions, so there is no cliff to find; try "
                              "another question set.", "pages/explore.py", "Run another sweep")  # fmt: skip
        return
    is_locked = "cliff" in lesson.guesses
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            f"Take out the most similar block of n layers and ask {sweep.n_questions} questions "
            f"({words.plain(words.questions(sweep.spec.benchmark))}). Uncut, your model gets {cliff.unpruned:.0%} right. "
            f"**From which n on does accuracy stay below {cliff.midpoint:.0%}**, halfway down to chance?"
        )
        if is_locked:
            guess = lesson.guesses["cliff"]
            st.success(verdict(guess, cliff), icon=":material/visibility:")
            st.markdown(_apart(sweep, cliff))
        else:
            guess = _slider(lesson, cliff)
            st.button("Lock in my guess", key="learn-lock-cliff", type=theme.main_button(), icon=":material/lock:",
                      on_click=lesson.lock, args=("cliff",))  # fmt: skip
    with right:
        _curves(sweep, cliff, guess, revealed=is_locked)


def _slider(lesson: Lesson, cliff: Cliff) -> int | None:
    options: list[int | str] = [*range(1, cliff.last + 1), NO_CLIFF]
    picked = st.select_slider("The cliff begins at n", options, 1, persist_state="session", key=lesson.key("cliff"))
    return None if picked == NO_CLIFF else int(picked)


def _curves(sweep: SweepResult, cliff: Cliff, guess: int | None, *, revealed: bool) -> None:
    dark = theme.is_dark()
    seen = f"accuracy of {len(sweep.points)} cuts" if revealed else "only the levels; the curve is still hidden"
    chart.show(
        learn_figures.cliff(sweep, guess, revealed=revealed, last=cliff.last, dark=dark, height=215), key="learn-accuracy",
        alt=f"Accuracy against removed layers: {seen}.", file_name="accuracy",
    )  # fmt: skip
    if not revealed:
        st.caption("The curve appears when you lock in your guess.")
        return
    chart.show(
        curves.loss_curve(sweep, n=guess, dark=dark, height=172), key="learn-loss", file_name="loss",
        alt=f"Loss in nats per token against removed layers, {len(sweep.points)} cuts.",
    )  # fmt: skip
    chart.folded_table(
        sweep.table().only("n", "removed", "acc", "loss"), key="learn-t-curve", alt="Accuracy and loss by n", file_name="curve"
    )


def verdict(guess: int | None, cliff: Cliff) -> str:
    """How far off a guess is, in a sentence or two."""
    if cliff.n is None:
        found = f"Up to n = {cliff.last} there is no cliff."
        return f"{found} You are right." if guess is None else f"{found} You said n = {guess}."
    found = f"The cliff is at n = {cliff.n}."
    off = guesses.layers_off(guess, cliff.n)
    if off is None:
        return f"{found} You said that there is none."
    return f"{found} You are right." if off == 0 else f"{found} You said {guess}: {words.layers(off)} off."


def _apart(sweep: SweepResult, cliff: Cliff) -> str:
    """Why loss and accuracy part ways, on the last cut before the cliff."""
    before = [point for point in sweep.points if point.n < (cliff.n or cliff.last + 1) and point.n and point.acc is not None]
    whole = sweep.points[0]
    said = "**Two stories.** Loss asks how sure the model is of every word. Accuracy asks only which answer comes first."
    if not before or whole.loss is None or before[-1].loss is None:
        return said
    last = before[-1]
    return (
        f"{said} At n = {last.n} loss went from {whole.loss:.1f} to {last.loss:.1f}, accuracy from {whole.acc:.0%} to "
        f"{last.acc:.0%}: the order of answers outlives the certainty."
    )
