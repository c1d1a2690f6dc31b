"""Step 2 of the lesson: how alike two states are, on two arrows."""

import streamlit as st

from analysis.charts import lesson as learn_figures
from analysis.reading import lesson as plane
from pages.components.learn.lesson import Lesson
from pages.components.learn.stored import Shown
from pages.components.shared import chart, theme

TITLE = "How alike are two states?"


def show(lesson: Lesson, shown: Shown) -> None:
    """The protractor, its two sliders, the formula and an example to check by hand."""
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.markdown(
            "Picture the stream before and after some layers as two arrows. Their angle says how far it turned. Divided by "
            "180° it is the **angular distance**. Move both sliders: which of them changes it?"
        )
        angle = st.slider("Angle", 0, 180, 60, 5, format="%d°", key=lesson.key("angle"), persist_state="session")
        length = st.slider("Length", 0.5, 2.0, 1.5, 0.1, key=lesson.key("length"), persist_state="session")
        st.latex(r"d(a,b)=\frac{1}{\pi}\,\arccos\frac{a\cdot b}{|a|\,|b|}")
        st.caption(example())
    with right:
        before, after = plane.arrow(0, 1), plane.arrow(angle, length)
        distance = plane.angular_distance(before, after)
        st.markdown(f"**{angle}° / 180° = {distance:.2f}**: {said(distance)}. The length does not matter.")
        chart.show(
            learn_figures.arrows(before, after, dark=theme.is_dark()), key="learn-arrows", file_name="angle", toolbar=False,
            alt=f"Two arrows {angle} degrees apart: angular distance {distance:.3f}, whatever their lengths.",
        )  # fmt: skip


def said(distance: float) -> str:
    """A distance in words."""
    if abs(distance - 0.5) < 1e-9:
        return "a right angle, nothing in common"
    if distance < 1e-9:
        return "the same direction"
    if distance > 1 - 1e-9:
        return "opposite directions"
    return "more alike than not" if distance < 0.5 else "more against than alike"


def example() -> str:
    """The worked example, with its numbers worked out."""
    a, b = plane.EXAMPLE
    cosine, distance = plane.cosine(a, b), plane.angular_distance(a, b)
    return (
        f"By hand: a = ({a[0]:.0f}, {a[1]:.0f}), b = ({b[0]:.0f}, {b[1]:.0f}). The cosine is 1/√2 = {cosine:.3f}, the angle "
        f"{180 * distance:.0f}°, the distance {distance:.2f}."
    )
