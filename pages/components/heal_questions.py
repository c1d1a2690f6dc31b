"""What the three models of a heal are asked, in the end and on the way."""

from dataclasses import replace

import streamlit as st

from analysis.data.spec import TASKS, BenchmarkSpec, GenerationSpec
from analysis.experiments.heal.spec import HealSpec
from pages.components.shared import words


def show(preset: HealSpec, asked: BenchmarkSpec, key: str) -> dict:
    """Draw the fields; returns `benchmark`, `check_questions` and `generation`."""
    left, right = st.columns(2)
    which = f"{key}-{asked.task}-{asked.limit}"
    own = asked.task if asked.is_file or asked.subset or asked.protocol != "harness" else ""
    options = [asked.task, *(task for task in TASKS if task != asked.task)] if own else list(TASKS)
    names = {**words.TASK_NAMES, own: words.questions(asked)} if own else words.TASK_NAMES
    task = left.selectbox("Questions from", options, options.index(asked.task), format_func=names.get, key=f"heal-task-{which}")
    limit = right.number_input("How many", 1, 100_000, asked.limit or 100, key=f"heal-limit-{which}")
    checked = left.number_input(
        "At each check", 0, 100_000, preset.check_questions, key=f"{key}-check", disabled=not preset.trains,
        help="How many of the questions are asked again at each check, to see accuracy grow; 0 for none.",
    )  # fmt: skip
    writes = right.checkbox(
        "Let it write", preset.generation is not None, key=f"{key}-writes",
        help="The unpruned, the pruned and the healed model continue eight texts and do 24 small sums.",
    )  # fmt: skip
    same = task == asked.task
    benchmark = replace(asked, identity="", limit=int(limit)) if same else BenchmarkSpec(task, int(limit), seed=asked.seed)
    generation = (preset.generation or GenerationSpec()) if writes else None
    return {"benchmark": benchmark, "check_questions": int(checked), "generation": generation}
