"""Where a visitor is in the lesson, and what was guessed and answered; it lives as long as the session."""

from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from analysis.models.spec import ModelSpec
from pages.components.shared import state, theme

STEPS = ("Layers", "Angle", "Map", "Cliff", "Big models", "Healing", "Limits", "Check")
"""Short names, in order."""
NO_CLIFF = "no cliff"
"""What can be guessed instead of a number of layers."""
_MINUTES = (1, 1, 2, 2, 1, 1, 1, 1)
"""How long each step takes a class, roughly."""


@dataclass
class Lesson:
    """One visitor's way through the lesson."""

    model: ModelSpec
    """The model it is about; another one begins a new lesson, since guesses are about this one."""
    step: int = 0
    guesses: dict[str, Any] = field(default_factory=dict)
    """Locked guesses: the start of the block under `block`, the cliff under `cliff` (None for no cliff)."""
    answers: dict[int, int] = field(default_factory=dict)
    """Locked answers to the questions at the end, by number."""
    round: int = 0
    """How often it was begun; part of the widgets' keys, so that a new round begins with untouched ones."""

    def go(self, step: int) -> None:
        """Turn to a step, as far as there is one."""
        self.step = max(0, min(step, len(STEPS) - 1))

    def lock(self, question: str) -> None:
        """Keep the guess that the widget named like the question holds; it cannot be changed any more.

        It is read here and not handed over by the button: one who moves the slider and clicks at once means the new place,
        and the button was drawn before.
        """
        guess = st.session_state[self.key(question)]
        self.guesses.setdefault(question, None if guess == NO_CLIFF else guess)

    def answer(self, number: int) -> None:
        """Keep the option that is picked for a question of the check; it cannot be changed any more."""
        self.answers.setdefault(number, st.session_state[self.key(f"check-{number}")])

    def key(self, name: str) -> str:
        """A widget's key in this round."""
        return f"learn-{name}-{self.round}"


def current() -> Lesson:
    """The lesson of this session about the current model."""
    lesson: Lesson | None = st.session_state.get("lesson")
    model = state.current_model()
    if lesson is None or lesson.model != model:
        lesson = Lesson(model, round=lesson.round + 1 if lesson else 0)
        st.session_state["lesson"] = lesson
    return lesson


def start_over() -> None:
    """Forget every guess and answer and go back to the first step."""
    st.session_state["lesson"] = Lesson(state.current_model(), round=current().round + 1)


def outline(lesson: Lesson, title: str) -> None:
    """Draw the outline, and below it the step's title between the ways back and on.

    Args:
        lesson: where one is.
        title: the question of the current step.
    """
    key = lesson.key("outline")
    st.session_state[key] = lesson.step
    st.segmented_control(
        "Steps of the lesson", range(len(STEPS)), format_func=lambda step: f"{step + 1} {STEPS[step]}", required=True, key=key,
        label_visibility="collapsed", width="stretch", on_change=lambda: lesson.go(st.session_state[key]),
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", width="stretch"):
            st.header(title, anchor=False, width="content")
            left = sum(_MINUTES[lesson.step :])
            st.caption(f"step {lesson.step + 1} of {len(STEPS)}, about {left} min to go", width="content")
        _turn("Back", lesson, -1, "secondary", icon=":material/chevron_left:", disabled=lesson.step == 0)
        _turn("Next", lesson, 1, theme.main_button(), icon=":material/chevron_right:", disabled=lesson.step == len(STEPS) - 1)


def _turn(label: str, lesson: Lesson, by: int, kind, **settings) -> None:
    st.button(
        label, key=f"learn-{label.lower()}", type=kind, on_click=lesson.go, args=(lesson.step + by,),
        icon_position="right" if by > 0 else "left", **settings,
    )  # fmt: skip
