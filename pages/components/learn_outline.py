"""Where one is in the lesson: all steps, the current one, and the way back and on."""

import streamlit as st

from pages.components.lesson import STEPS, Lesson
from pages.components.shared import theme

_MINUTES = (1, 1, 2, 2, 1, 1, 1, 1)
"""How long each step takes a class, roughly."""


def show(lesson: Lesson, title: str) -> None:
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
