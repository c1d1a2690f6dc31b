"""Step 2 of the lesson: how similar two states are, on two arrows that the visitor turns."""

import streamlit as st

from analysis.charts import drawings
from analysis.exports.handout import HandoutTask
from analysis.results.words import lesson as plane
from pages.components.learn import marks
from pages.components.learn.ballot import PollQuestion
from pages.components.learn.lesson import Lesson, LessonResults, Step
from pages.components.shared import chart

TITLE = "How similar are two states?"
QUESTION = "angle"
"""Name of the prediction: the angle, in degrees, at which two states are `WANTED` apart."""
WANTED = 0.25


def _show(lesson: Lesson, results: LessonResults) -> None:
    """Two arrows to turn until they are as far apart as asked; then the protractor's numbers, the
    formula and an example.
    """
    is_open = not lesson.is_revealed(QUESTION)
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            "Picture the stream before and after some layers as two arrows. The **angular"
            " distance** is the angle between them on a scale from 0 (same direction) to 1"
            " (opposite directions)."
            + (
                f" **Turn the second arrow until they are {WANTED} apart.** Does its length matter?"
                if is_open
                else ""
            )
        )
        key = lesson.key("angle")
        angle = st.slider("Angle", 0, 180, 90, 5, format="%d°", key=key, persist_state="session")
        length = st.slider(
            "Length", 0.5, 2.0, 1.5, 0.1, key=lesson.key("length"), persist_state="session"
        )
        lesson.hear[QUESTION] = lambda: lesson.drafts.update({QUESTION: st.session_state[key]})
        if is_open:
            marks.buttons(lesson, QUESTION)
        else:
            st.success(verdict(lesson.guesses.get(QUESTION)), icon=":material/visibility:")
            st.latex(r"d(a,b)=\frac{1}{\pi}\,\arccos\frac{a\cdot b}{|a|\,|b|}")
            st.caption(example())
    with right:
        before = plane.arrow(0, 1)
        after = plane.arrow(angle, length)
        distance = plane.angular_distance(before, after)
        alt = f"{angle} degrees apart"
        if not is_open:
            st.markdown(
                f"**{angle}° / 180° = {distance:.2f}**: {said(distance)}. The length does not"
                " matter."
            )
            alt += f": angular distance {distance:.3f}, independent of their lengths"
        chart.show(
            drawings.arrows(before, after, scaled=not is_open, dark=chart.is_dark()),
            key="learn-arrows",
            file_name="angle",
            toolbar=False,
            alt=f"Two arrows {alt}.",
        )


def _tasks(results: LessonResults) -> list[HandoutTask]:
    question = _poll(results)[0]
    return [HandoutTask(TITLE, question.asked, None, question.options, verdict(None))]


def _poll(results: LessonResults) -> list[PollQuestion]:
    angles = (0, 15, 25, 45, 75, 90)
    options = tuple(f"{angle}°" for angle in angles)
    right = frozenset({angles.index(round(180 * WANTED))})
    return [
        PollQuestion(
            QUESTION, f"Two states are {WANTED} apart. What is their angle?", options, right
        )
    ]


def verdict(guess: int | None) -> str:
    """Return a sentence on the difference between a guessed angle and the answer."""
    answer = f"{WANTED} of 180° is {180 * WANTED:.0f}°. The length does not matter."
    if guess is None:
        return answer
    off = abs(guess - 180 * WANTED)
    return f"{answer} Your guess: {guess}°, a distance of {guess / 180:.2f}" + (
        f", {off:.0f}° off." if off else ". Right."
    )


def said(distance: float) -> str:
    """Return a distance in words."""
    if abs(distance - 0.5) < 1e-9:
        return "a right angle, nothing in common"
    if distance < 1e-9:
        return "the same direction"
    if distance > 1 - 1e-9:
        return "opposite directions"
    return "more similar than not" if distance < 0.5 else "more opposite than similar"


def example() -> str:
    """Return the worked example with its numbers."""
    a, b = plane.EXAMPLE
    cosine = plane.cosine(a, b)
    distance = plane.angular_distance(a, b)
    return (
        f"By hand: a = ({a[0]:.0f}, {a[1]:.0f}), b = ({b[0]:.0f}, {b[1]:.0f}). The cosine is 1/√2 ="
        f" {cosine:.3f}, the angle {180 * distance:.0f}°, the distance {distance:.2f}."
    )


STEP = Step(
    heading=TITLE,
    opening="Which of the two sliders changes the distance, and why should the other not?",
    misunderstanding=(
        "0.5 does not mean half similar: it is a right angle, and the two have nothing in common. "
        "A longer arrow is not farther away."
    ),
    show=_show,
    tasks=_tasks,
    poll=_poll,
)
