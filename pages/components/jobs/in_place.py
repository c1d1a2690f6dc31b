"""A job's progress where its result will be: one line that looks again by itself."""

import streamlit as st

from analysis import jobs
from analysis.core.errors import LayerscopeError
from pages.components.jobs import card, strip
from pages.components.shared import access, frame, words


def show(job: jobs.Job, where: str) -> None:
    """Draw a job that runs or waits, with its bar and a way to stop it.

    Args:
        job: the job.
        where: part of the widgets' keys, since a job is in the strip too.
    """
    # Where results grow, the view around this looks again by itself, and timers inside one another do not go together.
    inside_timer = any(other.kind in strip.GROWING for other in jobs.active())
    st.fragment(_line, run_every=None if inside_timer else strip.every([job]))(job.id, where)


def last_of(kind: str, matches) -> jobs.Job | None:
    """The job of a kind whose spec matches: the one that runs or waits, else the one that ended last.

    Args:
        kind: a key of `SPECS`.
        matches: returns whether a spec is the intended one.
    """
    return next((job for job in jobs.list_jobs() if job.kind == kind and matches(job.spec)), None)


def failure(job: jobs.Job | None, since: float = 0.0) -> None:
    """Draw why a job ended without a result, unless there is a result that is newer.

    Args:
        job: the job, if there is one.
        since: when the shown result was stored, seconds since the epoch.
    """
    if job is not None and job.state in (jobs.FAILED, jobs.INTERRUPTED) and (job.finished_at or 0) > since:
        st.error(words.plain(job.error or "The job ended without a result. Open its log under All jobs."))


def _line(job_id: str, where: str) -> None:
    with frame.errors_shown():
        job = jobs.get(job_id)
        if not job.is_active:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            share = job.share if job.state == jobs.RUNNING else None
            st.progress(share or 0.0, text=words.plain(_said(job)), width="stretch")
            if not job.cancel_requested:
                refused = access.why_not_change(job)
                st.button(
                    "Cancel", key=f"{where}-cancel-{job.id}", on_click=_cancel, args=(job.id,), type="tertiary",
                    help=words.plain(refused) if refused else "Finished parts are kept.", disabled=refused is not None,
                )  # fmt: skip


def _said(job: jobs.Job) -> str:
    if job.cancel_requested:
        return "Stopping. Finished parts are kept"
    if job.state == jobs.QUEUED:
        return "Waiting in the queue"
    return card.progress_text(job)


def _cancel(job_id: str) -> None:
    try:
        access.change("cancel", job_id)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))
