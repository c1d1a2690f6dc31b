"""Ask for an accuracy and loss curve."""

from dataclasses import replace

import streamlit as st

from analysis.results import DistanceResult
from analysis.specs import STRATEGIES, TASKS, BenchmarkSpec, DistanceSpec, ModelSpec, SweepSpec
from pages.components import guard, start, state, theme, words


def show(model: ModelSpec, shown: DistanceResult, key: str) -> None:
    """Draw the form; submitting it queues a job that selects its blocks from a map like the one on screen.

    Args:
        model: the model to ask.
        shown: the map on screen. One that was made elsewhere or in another precision is computed again first.
        key: first part of the widgets' keys.
    """
    most = shown.n_layers - 1
    with guard.errors_shown(), st.form(f"{key}-form", border=False):
        left, right = st.columns(2)
        task = left.selectbox("Questions from", TASKS, format_func=words.TASK_NAMES.get, key=f"{key}-task")
        limit = right.number_input(
            "How many", 1, 100_000, 100, key=f"{key}-limit", help="100 questions tell differences above about ten points apart."
        )
        max_n = left.number_input("Up to n removed layers", 0, most, shown.n_layers // 2, key=f"{key}-max")
        strategy = right.selectbox("Blocks chosen by", STRATEGIES, STRATEGIES.index(state.strategy()), key=f"{key}-how")
        seed = left.number_input("Seed", 0, 2**31, 0, key=f"{key}-seed", help="Picks the same questions every time.")
        if st.form_submit_button("Run sweep", type=theme.main_button(), key=f"{key}-go"):
            spec = SweepSpec(
                model=model,
                benchmark=BenchmarkSpec(task=task, limit=int(limit), seed=int(seed)),
                distances=DistanceSpec(model=model, corpus=replace(shown.spec.corpus, identity="")),
                strategy=strategy,
                max_n=int(max_n),
            )
            state.choose_strategy(strategy)
            start.start_and_show(spec, f"Curve, {words.TASK_NAMES[task]} {limit}, n ≤ {max_n}, {strategy}")
