"""Step 1 of the lesson: the work of a layer, and how far the visitor expects each to turn the
stream.
"""

import json
import math
from pathlib import Path

import streamlit as st

from analysis.charts import drawings
from analysis.charts import lesson as learn_figures
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.exports.handout import HandoutTask
from analysis.results.compared import remarks
from analysis.results.words import lesson as guesses
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step, say_missing
from pages.components.learn.marks import Axes, Drawn
from pages.components.shared import chart, state, words

TITLE = "How does a layer work?"
QUESTION = "turns"
"""Name of the prediction: the turn of each layer."""
_STREAM = Path(__file__).resolve().parents[3] / "assets" / "learn" / "stream.json"
"""Measured turns and tokens with and without each block, written by `benchmarks/stream.py`."""


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the residual stream, then the question how far each layer turns it, and the answer."""
    facts = results.facts
    distances = results.distances
    left, right = st.columns([4, 7], gap="large")
    with left:
        width = (
            f"{facts.hidden_size} in {words.plain(state.name(lesson.model))}"
            if facts
            else "hundreds of them"
        )
        st.markdown(
            f"A model keeps a list of numbers for each token (a word or part of one): {width}. Each"
            " layer reads the list and **adds** to it: $x_{l+1} = x_l + f_l(x_l)$. This"
            " *residual stream* ends in the next token."
        )
    with right:
        _stream(lesson)
        if distances is None:
            say_missing(
                "The distance map shows how far each layer turns the stream.",
                "pages/explore.py",
                "Compute a map",
            )
            return
    if lesson.is_revealed(QUESTION):
        drawn = lesson.guesses.get(QUESTION)
        with left:
            st.success(verdict(distances, drawn), icon=":material/visibility:")
        with right:
            _turns(distances, drawn)
        return
    with right:
        draft = marks.curve(
            lesson,
            QUESTION,
            _axes(distances),
            label="How far each layer turns the stream",
            height=250,
        )
        marks.buttons(
            lesson, QUESTION, ready=not draft.is_empty, missing="Draw at least one bar first."
        )
    with left:
        st.markdown(
            "**Draw how far each layer of your model turns the stream**, as a share of 180°. Is it"
            " the same for all layers, or more for early ones? You may not need a layer that hardly"
            " turns it."
        )


def _stream(lesson: Lesson) -> None:
    """Draw the stream of the starter on one prompt, which a dragged block cuts."""
    measured = json.loads(_STREAM.read_text(encoding="utf-8"))
    size = measured["size"]
    st.markdown(
        f"**{measured['model']}** reads “{measured['prompt']}”. Drag the block: "
        f"without its {size} layers, which token comes next?"
    )
    selected = state.own_cut(measured["n_layers"]) if lesson.model.source == "starter" else None
    first = min(selected.layers, default=0) if selected else 0
    removed = marks.block(
        lesson, "stream", measured["n_layers"], size, label="Removed block", at=first
    )
    unpruned, *pruned = (drawings.Walk(**walk) for walk in measured["streams"])
    chart.show(
        drawings.stream(unpruned, pruned[removed.start], dark=chart.is_dark()),
        key="learn-stream",
        file_name="residual-stream",
        toolbar=False,
        alt=(
            f"An arrow for each layer. Next token unpruned: {unpruned.token}. Without"
            f" {removed.brief()}: {pruned[removed.start].token}."
        ),
    )
    st.caption(
        "One arrow per layer, tilted by the angle by which it turns the stream. At the end: the"
        " next token."
    )


def _axes(distances: DistanceResult) -> Axes:
    # The axis tells no more than that nothing lies beyond it.
    tenths = max(6, math.ceil(10 * max(distances.mean[0])))
    return Axes(
        places=[str(layer) for layer in range(distances.n_layers)],
        one="layer",
        axis="layer (0-based)",
        vertical="turn, share of 180°",
        low=0.0,
        high=tenths / 10,
        step=0.02,
        ticks=[tenth / 10 for tenth in range(0, tenths + 1, 2)],
        digits=2,
        bars=True,
    )


def _tasks(results: LessonResults) -> list[HandoutTask]:
    if results.distances is None:
        return []
    row = guesses.blocks_of(results.distances)
    task = "Draw how far each layer turns the residual stream, as a share of 180 degrees."
    measured = ", ".join(f"{each.place}: {each.value:.2f}" for each in row)
    return [
        HandoutTask(
            TITLE,
            task,
            _axes(results.distances).printed(),
            (),
            f"{verdict(results.distances, None)} By layer: {measured}.",
        )
    ]


def _poll(results: LessonResults) -> list[PollQuestion]:
    distances = results.distances
    if distances is None:
        return []
    row = guesses.blocks_of(distances)
    least = min(row, key=lambda each: (each.value, -each.place)).place
    right = {least, *remarks.of_map(distances, distances.spec.metric)[0]}
    options = tuple(f"layer {each.place}" for each in row)
    return [
        PollQuestion(QUESTION, "Which layer turns the stream least?", options, frozenset(right))
    ]


def verdict(distances: DistanceResult, drawn: Drawn | None) -> str:
    """Return sentences on the layer that turns the stream least and on the error of the drawing."""
    row = distances.mean[0]
    least = min(range(len(row)), key=lambda layer: (row[layer], -layer))
    rivals = remarks.of_map(distances, distances.spec.metric)[0]
    answer = f"Layer {least} turns it least, {row[least]:.3f}"
    if rivals:
        noun = "layer" if len(rivals) == 1 else "layers"
        answer += (
            f", statistically tied with {noun} {guesses.spans(rivals)} ({distances.n_texts} texts)"
        )
    judged = guesses.judge_drawing(drawn.values, guesses.blocks_of(distances)) if drawn else None
    if drawn is None or judged is None:
        return f"{answer}."
    far = judged.farthest
    expected = drawn.values[judged.farthest]
    inside = f"{len(judged.inside)} of {len(judged.compared)} bars end inside the 95 % interval"
    return (
        f"{answer}. Your drawing is {judged.mean_distance:.2f} off on average. {inside}. "
        f"Farthest off is layer {far}: you drew {expected:.2f}, measured {row[far]:.2f}."
    )


def _turns(distances: DistanceResult, drawn: Drawn | None) -> None:
    values = drawn.values if drawn else ()
    chart.show_with_table(
        learn_figures.turns(distances, values, dark=chart.is_dark()),
        key="learn-turns",
        file_name="turn-by-layer",
        alt=f"Bars: the measured turn of each of {distances.n_layers} layers"
        + (", over them your drawing." if drawn else "."),
    )


STEP = Step(
    heading=TITLE,
    opening="Suppose that one layer added nothing. Which input would the next layer get?",
    misunderstanding=(
        "Layers do not pass on a new text or a new list: each adds to the existing one. "
        "A layer with a small turn is not useless."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
