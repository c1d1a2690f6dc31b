"""For the one who teaches: a poll of the class, the sheets to print, and notes on every step."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import streamlit as st

from analysis.exports import handout
from analysis.exports.handout import Handout, HandoutTask
from analysis.results.words import exercises
from pages.components.learn import lesson, stored
from pages.components.learn.notes import Note
from pages.components.learn.poll import panel
from pages.components.learn.stored import Shown
from pages.components.shared import words


class Step(Protocol):
    """A step of the lesson that can be taught."""

    TITLE: str
    NOTE: Note

    def tasks(self, shown: Shown) -> list[HandoutTask]:
        """Return the questions on paper; none where their result is missing."""


def show(steps: Sequence[Step], shown: Shown) -> None:
    """Draw a button that opens the menu for teachers.

    Args:
        steps: of the lesson, in order.
        shown: the results of the lesson.
    """
    menu = st.popover(
        "Teach", icon=":material/co_present:", type="tertiary", key="learn-teach", on_change="rerun", width=100
    )  # fmt: skip
    if not menu.open:  # no step waits for sheets that nobody prints
        return
    with menu:
        panel.offer()
        sheet = of(steps, shown)
        with st.container(horizontal=True, gap="small"):
            for label, solved, name in (("Handout", False, "handout"), ("Solutions and notes", True, "solutions")):
                st.download_button(
                    label, partial(handout.html, sheet, solved=solved), f"layerscope-{name}.html", "text/html",
                    key=f"learn-{name}", on_click="ignore", icon=":material/print:",
                )  # fmt: skip
        st.caption("Open a sheet in a browser to print it or save it as PDF. Its numbers are the results of this model.")
        st.markdown("\n\n".join(_said(number, step) for number, step in enumerate(steps)))


def _said(number: int, step: Step) -> str:
    title = f"**{number + 1}. {step.TITLE}** {lesson.MINUTES[number]} min"
    return f"{title}  \n*Ask:* {step.NOTE.ask}  \n*Common misunderstanding:* {step.NOTE.beware}"


def of(steps: Sequence[Step], shown: Shown) -> Handout:
    """Return the sheets that can be made from the measurements."""
    found = [(step, step.tasks(shown)) for step in steps]
    tasks = [replace(task, note="" if number else _note(step)) for step, asked in found for number, task in enumerate(asked)]
    made = exercises.of(stored.for_exercises(shown))
    left_out = [step.TITLE for step, asked in found if not asked]
    missing = [f"Left out, because their results are missing: {' '.join(left_out)}"] if left_out else []
    missing += filter(None, [stored.too_few(made)])
    return Handout("How many layers does a model need?", _about(shown), tasks, made, " ".join(missing))


def _note(step: Step) -> str:
    return f"Ask: {step.NOTE.ask} Common misunderstanding: {step.NOTE.beware}"


def _about(shown: Shown) -> list[str]:
    """On which results, in sentences."""
    said = [f"All numbers were measured on {shown.name}." if shown.facts else "This model has no results yet."]
    if shown.facts:
        said.append(
            "The removed blocks are the most similar ones of their size. The selection on other pages does not change them."
        )
    if shown.distances is not None:
        corpus = words.texts(shown.distances.spec.corpus)
        said.append(
            f"Distances: {shown.distances.n_texts} texts of {corpus}, last token, {shown.distances.precision_in_words}."
        )
    if shown.sweep is not None:
        asked = f"{shown.sweep.n_questions} questions ({words.questions(shown.sweep.spec.benchmark)})"
        said.append(f"Accuracy: {asked}, {shown.sweep.precision_in_words}. Intervals are 95 %.")
    return said
