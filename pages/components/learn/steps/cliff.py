"""Step 4 of the lesson: draw the curve one expects and mark where answers collapse, then see both
on the measurement.
"""

import math

import streamlit as st

from analysis.charts import curves
from analysis.charts import lesson as learn_figures
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.exports.handout import HandoutTask
from analysis.results.compared import cliff as cliffs
from analysis.results.compared.cliff import Cliff
from analysis.results.score import changes
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.words import lesson as guesses
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import NO_CLIFF, Lesson, LessonResults, Step, say_missing
from pages.components.learn.marks import Axes, Drawn
from pages.components.shared import chart, words

TITLE = "How many layers can go?"
QUESTION = "cliff"
"""Name of the prediction: accuracy for n = 1, 2, ... and the n of the cliff."""


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Draw the empty axes, or the curves once a guess is locked."""
    sweep = results.sweep
    if sweep is None:
        say_missing(
            "The accuracy of your pruned model has not been measured yet.",
            "pages/explore.py",
            "Run a sweep",
        )
        return
    cliff = cliffs.locate(sweep)
    if cliff is None:
        say_missing(
            "Your model's accuracy is not significantly above guessing on these questions, so there"
            " is no cliff to find. Try another dataset.",
            "pages/explore.py",
            "Run another sweep",
        )
        return
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            f"Remove the most similar block of n layers and ask {sweep.n_questions} questions"
            f" ({words.plain(words.questions(sweep.spec.benchmark))}). Your unpruned model answers"
            f" {cliff.unpruned:.0%} correctly. Guessing gets"
            f" {sweep.lines.chance if sweep.lines else 0:.0%}."
        )
    if (
        lesson.is_revealed(QUESTION) or not cliff.is_located
    ):  # without a cliff there is nothing to guess
        drawn = lesson.guesses.get(QUESTION)
        with left:
            st.success(
                "\n\n".join(words.plain(sentence) for sentence in verdict(sweep, cliff, drawn)),
                icon=":material/visibility:",
            )
            st.markdown(_apart(sweep, cliff))
        with right:
            _curves(sweep, cliff, drawn)
        return
    with right:
        draft = marks.curve(
            lesson,
            QUESTION,
            _axes(sweep, cliff),
            label="Accuracy for each number of removed layers",
            height=330,
            mark="The cliff begins",
            none=NO_CLIFF,
        )
        ready = not draft.is_empty or draft.mark is not None
        marks.buttons(
            lesson,
            QUESTION,
            ready=ready,
            missing="Draw a part of the curve or mark the cliff first.",
        )
    with left:
        st.markdown(
            "**Draw the accuracy you expect for each n.** Then move the triangle to the n from"
            f" which it **stays below {cliff.midpoint:.0%}**, halfway to guessing: the cliff."
        )


def _axes(sweep: SweepResult, cliff: Cliff) -> Axes:
    high = min(10, math.ceil(10 * cliff.unpruned + 1.5))
    return Axes(
        places=[str(n) for n in range(cliff.last + 1)],
        one="n =",
        axis="removed layers n",
        vertical="accuracy",
        low=0.0,
        high=high / 10,
        step=0.01,
        ticks=[tenth / 10 for tenth in range(0, high + 1, 1 if high <= 6 else 2)],
        percent=True,
        given=[cliff.unpruned],
        levels={"guessing": sweep.lines.chance if sweep.lines else 0.0, "halfway": cliff.midpoint},
    )


def expected(drawn: Drawn | None, cliff: Cliff) -> list[float | None]:
    """Return the drawn accuracy by n, beginning with the known accuracy of the unpruned model."""
    return [cliff.unpruned, *drawn.values] if drawn and not drawn.is_empty else []


def marked(drawn: Drawn | None, cliff: Cliff) -> tuple[bool, int | None]:
    """Return whether a cliff was marked, and its n; None for no cliff."""
    if drawn is None or drawn.mark is None:
        return False, None
    return True, drawn.mark if drawn.mark <= cliff.last else None


def _curves(sweep: SweepResult, cliff: Cliff, drawn: Drawn | None) -> None:
    dark = chart.is_dark()
    _, mark = marked(drawn, cliff)
    points = marks.places_of_scores(sweep)
    accuracies = learn_figures.answers(
        sweep, cliff, expected(drawn, cliff), mark, dark=dark, height=300
    )
    losses = learn_figures.with_guess(
        curves.loss_curve(sweep, dark=dark, height=172), mark, dark=dark
    )
    chart.show(
        marks.ringed(accuracies, points.get(ACCURACY, [])),
        key="learn-accuracy",
        alt=f"Accuracy against removed layers: {len(sweep.points)} measured models"
        + (" and your drawing." if drawn else "."),
        file_name="accuracy",
    )
    chart.show(
        marks.ringed(losses, points.get(LOSS, [])),
        key="learn-loss",
        file_name="loss",
        alt=f"Loss in nats/token against removed layers, {len(sweep.points)} measured models.",
    )
    marks.ring_caption(points)
    chart.folded_table(
        sweep.table().only("n", "removed", "acc", "loss"),
        key="learn-t-curve",
        alt="Accuracy and loss by n",
        file_name="curve",
    )


def _tasks(results: LessonResults) -> list[HandoutTask]:
    sweep = results.sweep
    cliff = cliffs.locate(sweep) if sweep else None
    if sweep is None or cliff is None:
        return []
    task = (
        f"You remove the most similar n layers and ask {sweep.n_questions} questions. Draw the"
        " accuracy you expect for each n. Mark the n from which it stays below halfway."
    )
    measured = ", ".join(
        f"n = {seen.place}: {seen.value:.0%} ({100 * seen.low:.0f}-{100 * seen.high:.0f})"
        for seen in guesses.accuracies(sweep)
    )
    answer = f"{found(cliff)} Measured: {measured}."
    return [HandoutTask(TITLE, task, _axes(sweep, cliff).printed(), (), answer)]


def _poll(results: LessonResults) -> list[PollQuestion]:
    cliff = cliffs.locate(results.sweep) if results.sweep else None
    if cliff is None or not cliff.is_located:
        return []
    question = f"From how many removed layers on does accuracy stay below {cliff.midpoint:.0%}?"
    possible: list[int | None] = [*range(1, cliff.last + 1), None]
    right = frozenset(index for index, n in enumerate(possible) if cliff.allows(n))
    return [
        PollQuestion(
            QUESTION, question, tuple("never" if n is None else str(n) for n in possible), right
        )
    ]


def verdict(sweep: SweepResult, cliff: Cliff, drawn: Drawn | None) -> list[str]:
    """Return the evidence for the cliff, and the distances of mark and drawing from it, in
    sentences.
    """
    sentences = [found(cliff)]
    has_mark, mark = marked(drawn, cliff)
    if has_mark:
        name = NO_CLIFF if mark is None else f"n = {mark}"
        sentences.append(
            f"Your guess is {name}: the measurement"
            f" {'allows that' if cliff.allows(mark) else 'rules that out'}."
        )
    judged = (
        guesses.judge_drawing([None, *drawn.values], guesses.accuracies(sweep)) if drawn else None
    )
    if drawn is not None and judged is not None:
        off = 100 * judged.mean_distance
        far = judged.farthest
        inside = f" (n = {guesses.spans(judged.inside)})" if judged.inside else ""
        value = next(point.acc or 0.0 for point in sweep.points if point.n == far)
        sentences.append(
            f"Your drawing is {off:.0f} points off on average. {len(judged.inside)} of"
            f" {len(judged.compared)} points lie inside the 95 % interval{inside}. Farthest at n ="
            f" {far}: you drew {drawn.values[far - 1]:.0%}, measured {value:.0%}."
        )
    return sentences


def found(cliff: Cliff) -> str:
    """Return a sentence on the cliff."""
    safe = cliff.earliest - 1
    start = (
        f" Up to n = {safe}, accuracy is significantly above the midpoint of unpruned and chance."
        if safe
        else ""
    )
    return cliff.sentence() + start


def _apart(sweep: SweepResult, cliff: Cliff) -> str:
    """Loss and accuracy of the last block whose accuracy is significantly above halfway, beside the
    unpruned model.
    """
    unpruned = sweep.points[0]
    safe = cliff.earliest - 1
    sentence = (
        "**Loss and accuracy differ.** Loss measures how surprised the model is by each token, in"
        " nats. Accuracy counts only which answer ranks first."
    )
    last = next((point for point in sweep.points if point.n == safe and safe), None)
    if last is None or last.loss is None or unpruned.loss is None:
        return sentence
    change = changes.against_unpruned(sweep, ACCURACY)[sweep.points.index(last)]
    is_open = change is not None and not change.is_significant
    return (
        f"{sentence} At n = {last.n} the loss is {last.loss:.1f} nats/token (unpruned"
        f" {unpruned.loss:.1f}), and the accuracy is {last.acc:.0%} (unpruned"
        f" {unpruned.acc:.0%}{', not significantly different' if is_open else ''})."
    )


STEP = Step(
    heading=TITLE,
    opening="The curve rises from one n to the next. Is that model better?",
    misunderstanding=(
        "Ups and downs within the interval are noise. With few questions the cliff is a range, not"
        " one number. Accuracy near chance is not half knowledge: it is none."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
