"""One job in a few lines: what it is, how far it is, what can be done about it."""

import streamlit as st

from analysis import jobs
from analysis.errors import LayerscopeError
from pages.components import theme, words

_COLOURS = {jobs.DONE: "green", jobs.FAILED: "red", jobs.CANCELLED: "gray", jobs.INTERRUPTED: "orange"}


def active(job: jobs.Job, *, place: int, where: str = "strip") -> None:
    """A job that runs or waits, with its bar and a way to stop it.

    Args:
        job: the job.
        place: its place among those that wait, 1 for the next.
        where: part of the widgets' keys, since a job can be on a page and in the strip at once.
    """
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False, gap="small"):
            st.markdown(words.plain(job.label), width="stretch")
            if not job.cancel_requested:
                st.button(
                    "Cancel", key=f"{where}-cancel-{job.id}", on_click=_act, args=(jobs.cancel, job.id), type="tertiary",
                    help="What was finished is kept.",
                )  # fmt: skip
        if job.cancel_requested:
            st.caption("Stopping; what was finished is kept.")
        elif job.state == jobs.QUEUED:
            st.caption("Next in the queue" if place == 1 else f"Number {place} in the queue")
        else:
            st.progress(min(1.0, job.done / job.total) if job.total else 0.0, text=_progress_text(job))


def _progress_text(job: jobs.Job) -> str:
    parts = [job.phase or "starting"]
    if job.total:
        parts.append(f"{job.done}/{job.total}")
    if job.eta_s is not None:
        parts.append(f"{words.duration(job.eta_s)} left")
    return " · ".join(parts)


def ended(job: jobs.Job, *, where: str = "strip") -> None:
    """A job that ended: how, why, and a way to go on."""
    with st.container(gap=None):
        when = words.date(job.finished_at) if job.finished_at else ""
        st.markdown(f":{_COLOURS[job.state]}-badge[{job.state}] {words.plain(job.label)}")
        st.caption(job.error if job.error else f"{when}, took {words.duration(job.elapsed_s or 0)}")
        if job.state != jobs.DONE:
            with st.container(horizontal=True, gap="small"):
                resume_button(job, where=where)
                st.button(
                    "Remove", key=f"{where}-remove-{job.id}", on_click=_act, args=(jobs.delete, job.id), type="tertiary",
                    help="Forgets this job; results that it stored stay.",
                )  # fmt: skip


def resume_button(job: jobs.Job, *, where: str, primary: bool = False) -> None:
    """Put the job back into the queue: it goes on from what it saved."""
    st.button(
        "Resume", key=f"{where}-resume-{job.id}", on_click=_act, args=(jobs.resume, job.id), icon=":material/play_arrow:",
        type=theme.main_button() if primary else "tertiary",
    )  # fmt: skip


def _act(action, job_id: str) -> None:
    """Run a queue action from a button; the outcome shows on the redraw that follows."""
    try:
        action(job_id)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))
