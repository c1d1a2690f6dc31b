"""Learn: a lesson of a quarter of an hour on why layers can go, told with the figures of the
current model.
"""

import streamlit as st

from pages.components.learn import lesson, steps, teach
from pages.components.shared import frame, state

frame.require()


@st.fragment
def current_step() -> None:
    """Draw the outline and the current step as a fragment."""
    with frame.errors_shown():
        current = lesson.current()
        step = steps.IN_ORDER[current.step]
        lesson.outline(current, step.heading)
        results = lesson.results_of(current.model)
        teach.show_poll(current, step.poll(results))
        step.show(current, results)
        if specs := lesson.specs_of(results):
            frame.commands(specs)


with frame.errors_shown():
    lesson.current()  # before the header, which shows the faults of the address
    with frame.header("Learn", "Why does this work?"):
        frame.glossary_button()
        teach.show(steps.IN_ORDER, lesson.results_of(state.current_model()))
        st.button(
            "Start over",
            key="learn-start-over",
            type="tertiary",
            icon=":material/restart_alt:",
            on_click=lesson.start_over,
            help="Clears your guesses and answers.",
        )
        frame.presenter_switch()
    current_step()
