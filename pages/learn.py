"""Learn: a lesson of ten minutes on why layers can go, told with the figures of the current model."""

import streamlit as st

from pages.components import (
    glossary,
    learn_angle,
    learn_big_models,
    learn_check,
    learn_cliff,
    learn_healing,
    learn_layers,
    learn_limits,
    learn_map,
    learn_outline,
    learn_results,
    lesson,
)
from pages.components.shared import command, frame, theme

frame.require()

STEPS = (learn_layers, learn_angle, learn_map, learn_cliff, learn_big_models, learn_healing, learn_limits, learn_check)


@st.fragment
def shown() -> None:
    """The outline and the current step; turning to another redraws nothing else."""
    with frame.errors_shown():
        current = lesson.current()
        step = STEPS[current.step]
        learn_outline.show(current, step.TITLE)
        results = learn_results.of(current.model)
        step.show(current, results)
        if told := learn_results.specs(results):
            command.show(told)


with frame.errors_shown():
    with frame.header("Learn", "Why does this work?"):
        glossary.show()
        st.button(
            "Start over", key="learn-start-over", type="tertiary", icon=":material/restart_alt:", on_click=lesson.start_over,
            help="Forgets your guesses and answers.",
        )  # fmt: skip
        theme.presenter_switch()
    shown()
