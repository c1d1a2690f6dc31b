"""Step 5 of the lesson: drag a block to where a large model can be cut, then see published choices
beside the user's own.
"""

import html

import streamlit as st

from analysis.charts import published
from analysis.core.blocks import Block
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.exports.handout import HandoutStrip, HandoutTask
from analysis.results.compared import cliff as cliffs
from analysis.results.words import lesson as guesses
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step, say_missing
from pages.components.shared import chart, words

TITLE = "Where can you prune big models?"
QUESTION = "big"
"""Name of the prediction: the start of the block in the largest published model."""
BIG = guesses.PATHS[2]
SIZE = BIG.n_layers // 4


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the question, then published choices and cliffs on relative depth next to those of the
    current model.
    """
    # Plotly shows a part of HTML, so a model's name must not be any.
    distances = results.distances
    name = html.escape(results.name)
    left, right = st.columns([4, 7], gap="large")
    if not lesson.is_revealed(QUESTION):
        with left:
            st.markdown(
                f"{BIG.name} has {BIG.n_layers} layers. The paper removed the most similar {SIZE},"
                " a quarter of them. **Drag the block to where you expect them**: at the same"
                " share of depth as in your small model, or elsewhere?"
            )
        with right:
            marks.block(
                lesson,
                QUESTION,
                BIG.n_layers,
                SIZE,
                label=f"Most similar {SIZE} layers of {BIG.name}",
            )
            marks.buttons(lesson, QUESTION)
        return
    start = lesson.guesses.get(QUESTION)
    with left:
        st.success(verdict(start), icon=":material/visibility:")
        st.markdown(
            "Each line shows where the most similar block of each size begins, as a share of"
            " depth. In big models the block ends just before the last layer. If it has more than"
            f" about half of the layers, it begins near the front. {_own(distances)}"
        )
        st.caption(
            f"Block choices: from code that looks like the authors', {_LINK}. Cliffs: from the"
            " paper's text, measured on MMLU. Yours is measured on your own questions."
        )
    with right:
        where, how_many = st.tabs(["Where blocks begin", "Where answers collapse"])
        with where:
            _paths(
                distances,
                name,
                None if start is None else (start / BIG.n_layers, SIZE / BIG.n_layers),
            )
        with how_many:
            _cliffs(results, name)


def _tasks(results: LessonResults) -> list[HandoutTask]:
    task = (
        f"{BIG.name} has {BIG.n_layers} layers. Mark the {SIZE} consecutive layers that change its"
        " stream least."
    )
    return [HandoutTask(TITLE, task, HandoutStrip(BIG.n_layers), (), verdict(None))]


def _poll(results: LessonResults) -> list[PollQuestion]:
    fifths = range(0, 80, 20)
    question = (
        f"You remove the most similar {SIZE} of the {BIG.n_layers} layers of {BIG.name}. Where does"
        " that block begin?"
    )
    right = BIG.starts[SIZE - 1] * 100 // BIG.n_layers // 20
    return [
        PollQuestion(
            QUESTION,
            question,
            tuple(f"{low} to {low + 20} % of depth" for low in fifths),
            frozenset({right}),
        )
    ]


def verdict(start: int | None) -> str:
    """Return sentences on the published block and the distance of the guess."""
    block = BIG.blocks()[SIZE - 1]
    answer = f"{BIG.name}: {block.brief()}."
    if start is None:
        return answer
    off = abs(start - block.start)
    return (
        f"{answer} Your guess begins at layer {start}: {words.layers(off)} off."
        if off
        else f"{answer} Your guess is right."
    )


def _paths(distances: DistanceResult | None, name: str, guess: tuple[float, float] | None) -> None:
    best, n_layers = (distances.best, distances.n_layers) if distances else ([], 0)
    own = marks.selected_removal()
    places = (
        [(own.start / n_layers, own.size / n_layers)] if isinstance(own, Block) and n_layers else []
    )
    figure = published.depth_paths(best, n_layers, name, guess=guess, dark=chart.is_dark())
    chart.show_with_table(
        marks.ringed(figure, places),
        key="learn-paths",
        file_name="by-depth",
        alt=(
            "Start of the most similar block against layers removed, both as shares of depth, for"
            " four published models."
        ),
    )
    marks.ring_caption(
        {"block": places},
        lambda removed: f"The selected layers, {removed.brief()}, do not form one block.",
    )
    if distances is None:
        say_missing("Your own line needs a distance map.", "pages/explore.py", "Compute a map")


def _cliffs(results: LessonResults, name: str) -> None:
    cliff = cliffs.locate(results.sweep) if results.sweep else None
    own = None
    if cliff and results.sweep and cliff.latest is not None:
        own = (cliff.earliest / results.sweep.n_layers, cliff.latest / results.sweep.n_layers)
    chart.show_with_table(
        published.cliffs(own, name, dark=chart.is_dark()),
        key="learn-cliffs",
        file_name="cliffs",
        alt=(
            "Share of layers at which answers collapse: Qwen 20 %, Phi-2 25 %, Mistral 35 %,"
            " Llama-2 40 to 55 %."
        ),
    )
    if cliff is None:
        say_missing("Your own cliff has not been measured yet.", "pages/explore.py", "Run a sweep")
    elif own is None and results.sweep:
        st.caption(f"Your model has no bar. {words.plain(cliff.sentence())}")


_LINK = f"[{guesses.PAPER}](https://arxiv.org/abs/{guesses.PAPER.removeprefix('arXiv:')})"


def _own(distances: DistanceResult | None) -> str:
    """Return a sentence that compares the blocks of the current model with those of the largest
    published model.
    """
    if distances is None:
        return ""
    most = max(1, distances.n_layers // 4)
    starts = [best.start / distances.n_layers for best in distances.best if best.n <= most]
    big = guesses.PATHS[2]
    theirs = [start / big.n_layers for start in big.starts[: big.n_layers // 4]]
    return (
        f"Blocks of up to a quarter of the layers begin at {sum(starts) / len(starts):.0%} of depth"
        f" in your model and at {sum(theirs) / len(theirs):.0%} in {big.name}."
    )


STEP = Step(
    heading=TITLE,
    opening="Why could a larger model have more layers to spare near its end?",
    misunderstanding=(
        "A share of depth is not a number of layers. A result for one family need not hold for"
        " another: compare the cliffs."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
