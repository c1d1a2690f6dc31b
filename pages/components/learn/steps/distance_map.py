"""Step 3 of the lesson: guess the block that changes the stream least, then see the map."""

import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.charts import maps
from analysis.core.blocks import Block
from analysis.experiments.maps.spec import DistanceResult
from analysis.reading import lesson as guesses
from pages.components.learn import stored
from pages.components.learn.lesson import Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import chart, theme, words

TITLE = "Which layers hardly change it?"


def show(lesson: Lesson, shown: Shown) -> None:
    """The question, and once a guess is locked the answer."""
    distances, size = shown.distances, shown.size
    if distances is None:
        stored.missing("Your model has no distance map yet, so there is nothing to guess.", "pages/explore.py",
                              "Compute a map")  # fmt: skip
        return
    left, right = st.columns([4, 7], gap="large")
    locked = lesson.guesses.get("block")
    with left:
        st.markdown(
            f"For every block of {size} layers, measure the distance between what enters and what leaves it, at the last token "
            f"of {distances.n_texts} texts. **Which block of {size} layers changes the stream least?**"
        )
        if locked is None:
            start = st.slider(
                "Your block begins at layer", 0, distances.n_layers - size, 0, key=lesson.key("block"), persist_state="session"
            )
            guess = Block(start, size)
            st.caption(guess.describe())
            st.button("Lock in my guess", key="learn-lock-block", type=theme.main_button(), icon=":material/lock:",
                      on_click=lesson.lock, args=("block",))  # fmt: skip
        else:
            guess = Block(min(locked, distances.n_layers - size), size)
            judged = guesses.judge_block(distances.mean, guess)
            st.success(_verdict(judged), icon=":material/visibility:")
    with right:
        if locked is None:
            _before(distances, guess)
        else:
            _after(distances, guess, judged.best)


def _before(distances: DistanceResult, guess: Block) -> None:
    strip = maps.layer_strip(distances.n_layers, guess, dark=theme.is_dark())
    chart.show(
        strip, key="learn-strip", alt=f"Layers of the model; guessed: {guess.describe()}.", file_name="guess", toolbar=False
    )
    st.caption("Hatched: your guess. The map appears when you lock it in.")


def _after(distances: DistanceResult, guess: Block, best: Block) -> None:
    row, whole = st.tabs([f"Blocks of {best.size} layers", "The whole map"])
    with row:
        chart.show(
            learn_figures.blocks_of_one_size(distances, guess, best, dark=theme.is_dark()), key="learn-row", file_name="blocks",
            alt=f"Bars: distance of every block of {best.size} layers; the most similar is {best.describe()}.",
        )  # fmt: skip
        rows = [
            {"block": Block(start, best.size).describe(), "distance": distance, "stderr": error}
            for start, (distance, error) in enumerate(
                zip(distances.mean[best.size - 1], distances.stderr[best.size - 1], strict=True)
            )
        ]
        chart.folded_table(rows, key="learn-t-row", alt=f"Distance of every block of {best.size} layers", file_name="blocks")
    with whole:
        chart.show(
            maps.distance_map(distances, selected=best, height=330), key="learn-map", file_name="distance-map",
            alt="Heat map of the distance of every block of every size; the line is the most similar block of each size.",
        )  # fmt: skip
        st.caption("Each row is one size, yellow is alike, the line is the most similar block of each size.")


def _verdict(judged: guesses.JudgedBlock) -> str:
    found = f"Most similar: {judged.best.describe()}, distance {judged.best_distance:.3f}."
    if judged.rank == 1:
        return f"{found} Your guess is right: the best of {judged.n_blocks}."
    off = words.layers(judged.layers_off)
    return (
        f"{found} Yours, {judged.guess.describe()}, has {judged.guess_distance:.3f}: number {judged.rank} of "
        f"{judged.n_blocks}, {off} off."
    )
