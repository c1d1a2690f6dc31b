"""A heal on its way: how far, how fast, and the two losses."""

import streamlit as st

from analysis import jobs
from analysis.charts import heals
from analysis.experiments.heal.spec import HealResult
from pages.components import heal_runs
from pages.components.jobs import card
from pages.components.shared import chart, frame, state, theme, words


def show(run: heal_runs.Run) -> None:
    """Draw a running or waiting heal; it looks again every second, from what is on disk."""
    st.fragment(_live, run_every="1s")(run.id)


def _live(run_id: str) -> None:
    with frame.errors_shown():
        run = heal_runs.get(state.current_model(), run_id)
        if run is None or run.job is None or not run.job.is_active:
            st.rerun()
        waiting = [job.id for job in jobs.active() if job.state == jobs.QUEUED]
        card.active(run.job, place=waiting.index(run.id) + 1 if run.id in waiting else 0, where="heal")
        numbers(run.job.values, run.result, run.result.total_steps if run.result else run.spec.steps)
        if run.result and (run.result.steps or run.result.validations):
            curve(run.result)
        elif run.job.state == jobs.QUEUED:
            st.info("Waiting for its turn: one heavy job runs at a time. You can leave this page; it starts by itself.")
        else:
            st.info("Loading and measuring the model before the first step; the curve appears here.")


def numbers(values: dict, result: HealResult | None, steps: int) -> None:
    """The latest measured numbers, in one row."""
    last = result.steps[-1] if result and result.steps else None
    step = values.get("step") or (last.step if last else 0)

    def latest(name: str) -> float | None:
        return values.get(name) if values.get(name) is not None else (getattr(last, name) if last else None)

    loss, rate, speed, memory = latest("loss"), latest("learning_rate"), latest("tokens_per_s"), latest("memory_bytes")
    check = result.validations[-1] if result and result.validations else None
    shown = {
        "Step": _step(step, steps, result),
        "Training loss": words.nats(loss),
        "Held-out loss": words.nats(check.loss, check.loss_stderr) if check else "–",
        "Loss repaired": words.repaired(result, check.loss if check else None),
        "Accuracy": words.percent(check.acc, check.acc_stderr) if check else "–",
        "Learning rate": "–" if rate is None else f"{rate:.1e}",
        "Speed": f"{speed:,.0f} tokens/s" if speed else "–",
        "Peak memory": words.size(memory) if memory else "–",
    }
    with st.container(gap="xsmall"):
        cells = [*st.columns(4), *st.columns(4)]
        for cell, (label, value) in zip(cells, shown.items(), strict=True):
            cell.metric(label, value)


def _step(step: int, steps: int, result: HealResult | None) -> str:
    if steps:
        return f"{step} of {steps}"
    return "being worked out" if result is None or result.spec.minutes is not None else "none: instant"


def curve(result: HealResult) -> None:
    """Training and held-out loss by step, and accuracy where it was asked on the way."""
    alt = f"Loss by optimizer step, {len(result.steps)} of {result.total_steps} steps."
    chart.show(heals.training_curve(result, dark=theme.is_dark()), key="training", alt=alt, file_name="healing-loss")
    asked = [check for check in result.validations if check.acc is not None]
    if asked:
        figure = heals.accuracy_on_the_way(result, dark=theme.is_dark())
        alt = f"Accuracy on {asked[-1].n_questions} questions at {len(asked)} checks."
        chart.show(figure, key="training-acc", alt=alt, file_name="healing-accuracy")
