"""One heal, whatever state it is in."""

import streamlit as st

from analysis import jobs
from pages.components import heal_live, heal_outcome, heal_runs
from pages.components.heal_runs import Run
from pages.components.jobs import card
from pages.components.shared import state


def show() -> None:
    """Draw the picker of runs and the picked one."""
    runs = {run.id: run for run in heal_runs.of(state.current_model())}
    shown = state.shown_result("heal", [*runs, *(run.found.key for run in runs.values() if run.found)])
    if shown is None:
        st.info("No heal of this model yet. Choose a recipe on the left and click **Start healing**: you can watch it here.")
        return
    if shown not in runs:
        shown = next(run.id for run in runs.values() if run.found and run.found.key == shown)
    state.pick_result("heal", "Run", {key: run.describe() for key, run in runs.items()}, shown)
    _one(runs[shown])


def _one(run: Run) -> None:
    if run.job and run.job.is_active:
        heal_live.show(run)
        return
    if run.job and run.job.state != jobs.DONE:
        _unfinished(run, run.job)
    if run.state == "precomputed":
        st.badge("precomputed", color="gray", help="Made by this program before you opened it.")
    if run.result is None:
        if run.job and run.job.state == jobs.DONE:
            st.info("The result of this run is no longer in the cache; start it again to see it.")
        return
    heal_outcome.show(run.result, heal_runs.control_of(run))


def _unfinished(run: Run, job: jobs.Job) -> None:
    """A run that failed, was stopped or was cut off: why, and how to go on."""
    say = st.error if job.state == jobs.FAILED else st.warning
    say(job.error or f"This run was {job.state}.")
    card.resume_button(job, where="heal", primary=True)
    if job.state in (jobs.FAILED, jobs.INTERRUPTED):
        with st.expander("Last lines of the log", icon=":material/notes:"):
            st.code(jobs.log_tail(run.id, 30) or "The log is empty.", language=None)
