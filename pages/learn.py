"""Learn: a lesson of a quarter of an hour on why layers can go, told with the figures of the current model."""

import streamlit as st

from pages.components.learn import lesson, stored, teach
from pages.components.learn.poll import panel
from pages.components.learn.steps import angle, big_models, check, cliff, distance_map, healing, layers, limits
from pages.components.shared import command, frame, glossary, state, theme

frame.require()

STEPS = (layers, angle, distance_map, cliff, big_models, healing, limits, check)


@st.fragment
def shown() -> None:
    """The outline and the current step; turning to another redraws nothing else."""
    with frame.errors_shown():
        current = lesson.current()
        step = STEPS[current.step]
        lesson.outline(current, step.TITLE)
        results = stored.of(current.model)
        panel.show(current, step.poll(results))
        step.show(current, results)
        if told := stored.specs(results):
            command.show(told)


with frame.errors_shown():
    lesson.current()  # before the header, which shows the faults of the address
    with frame.header("Learn", "Why does this work?"):
        glossary.show()
        teach.show(STEPS, stored.of(state.current_model()))
        st.button(
            "Start over", key="learn-start-over", type="tertiary", icon=":material/restart_alt:", on_click=lesson.start_over,
            help="Clears your guesses and answers.",
        )  # fmt: skip
        theme.presenter_switch()
    shown()
