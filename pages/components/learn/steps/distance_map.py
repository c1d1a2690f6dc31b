"""Step 3 of the lesson: drag a block to where one expects the stream to change least, then see the
map.
"""

import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.charts import maps
from analysis.core.blocks import Block
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.exports.handout import HandoutStrip, HandoutTask
from analysis.results.words import lesson as guesses
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step, say_missing
from pages.components.shared import chart, words

TITLE = "Which layers hardly change it?"
QUESTION = "block"
"""Name of the prediction: the start of the block."""


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the question, and the answer once a guess is locked."""
    distances = results.distances
    size = results.size
    if distances is None:
        say_missing(
            "Your model has no distance map yet, so there is nothing to guess.",
            "pages/explore.py",
            "Compute a map",
        )
        return
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            f"A **block** is a run of consecutive layers. For each block of {words.layers(size)},"
            " measure the angular distance between its input and its output, at the last token of"
            f" {distances.n_texts} texts. **Drag the block to where you expect the stream to change"
            " least.**"
        )
    if not lesson.is_revealed(QUESTION):
        with right:
            marks.block(
                lesson,
                QUESTION,
                distances.n_layers,
                size,
                label="Block that changes the stream least",
            )
            marks.buttons(lesson, QUESTION)
        return
    guess = guessed(lesson, size)
    judged = guesses.judge_block(distances, guess or Block(0, size))
    with left:
        st.success(verdict(judged, guess), icon=":material/visibility:")
    with right:
        _after(distances, guess, judged.best)


def guessed(lesson: Lesson, size: int) -> Block | None:
    """Return the guessed block; None if there is none."""
    start = lesson.guesses.get(QUESTION)
    return None if start is None else Block(start, size)


def _after(distances: DistanceResult, guess: Block | None, best: Block) -> None:
    row, full_map = st.tabs([f"Blocks of {words.layers(best.size)}", "The whole map"])
    with row:
        block = marks.selected_block(best.size)
        places = [(block.start, distances.mean[best.size - 1][block.start])] if block else []
        figure = learn_figures.blocks_of_one_size(distances, guess, best, dark=chart.is_dark())
        chart.show_with_table(
            marks.ringed(figure, places),
            key="learn-row",
            file_name="blocks",
            alt=(
                f"Bars: distance of every block of {best.size} layers. The most similar is"
                f" {best.brief()}."
            ),
        )
        marks.ring_caption(
            {"distance": places},
            lambda block: f"The selected block, {block.brief()}, is on the whole map.",
        )
    with full_map:
        chart.show(
            maps.distance_map(distances, selected=marks.selected_removal(), height=330),
            key="learn-map",
            file_name="distance-map",
            alt=(
                "Heat map of the distance of every block of every size. The line marks the most"
                " similar block of each size."
            ),
        )
        st.caption(
            "Each row is one size. Yellow is similar. The line marks the most similar block of each"
            " size."
        )
        if (removed := marks.selected_removal()) is not None:
            marks.ring_caption({"distance": [(run.start, run.size) for run in removed.blocks]})


def _tasks(results: LessonResults) -> list[HandoutTask]:
    distances = results.distances
    size = results.size
    if distances is None:
        return []
    task = f"Mark the {words.layers(size)} in a row that you expect to change the stream least."
    return [
        HandoutTask(
            TITLE,
            task,
            HandoutStrip(distances.n_layers),
            (),
            verdict(guesses.judge_block(distances, Block(0, size)), None),
        )
    ]


def _poll(results: LessonResults) -> list[PollQuestion]:
    distances = results.distances
    size = results.size
    if distances is None:
        return []
    blocks = [Block(start, size) for start in range(distances.n_layers - size + 1)]
    judged = [guesses.judge_block(distances, block) for block in blocks]
    right = frozenset(each.guess.start for each in judged if each.rank == 1 or each.is_tied)
    return [
        PollQuestion(
            QUESTION,
            f"Which {words.layers(size)} in a row change the stream least?",
            _names(blocks),
            right,
        )
    ]


def _names(blocks: list[Block]) -> tuple[str, ...]:
    return tuple(
        f"{block.start}-{block.stop - 1}" if block.size > 1 else str(block.start)
        for block in blocks
    )


def verdict(judged: guesses.JudgedBlock, guess: Block | None) -> str:
    """Return sentences on the most similar block, its uncertainty and the distance of the guess."""
    answer = f"Most similar: {judged.best.brief()}, distance {judged.best_distance:.3f}."
    if guess is None:
        tied = f" Statistically tied with the blocks that begin at {guesses.spans(judged.tied)}."
        return answer + tied if judged.tied else answer
    if judged.rank == 1:
        return f"{answer} Your guess is right: the best of {judged.n_blocks}."
    off = words.layers(abs(guess.start - judged.best.start))
    sentence = (
        f"{answer} Your guess, {judged.guess.brief()}, has {judged.guess_distance:.3f}: number"
        f" {judged.rank} of {judged.n_blocks}, {off} off."
    )
    return f"{sentence} The two are statistically tied." if judged.is_tied else sentence


STEP = Step(
    heading=TITLE,
    opening="Why might the first and the last layers differ from the middle ones?",
    misunderstanding=(
        "Adjacent blocks are often statistically tied: several answers are right. The map shows"
        " similarity, not harmlessness."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
