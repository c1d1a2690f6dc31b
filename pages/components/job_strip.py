"""What runs, waits and has just ended, in the sidebar of every page."""

import time

import streamlit as st

from analysis import jobs
from analysis.core import settings
from pages.components import all_jobs, job_card, job_news
from pages.components.shared import frame, library, state

_RECENT_S = 24 * 3600
_SHOWN = 4
_SHOWN_WAITING = 3
GROWING = ("sweep", "damage")
"""Kinds whose unfinished results are worth looking at."""


def show() -> None:
    """Draw the strip; it refreshes itself every second while anything is active."""
    job_news.show()
    ticking = bool(jobs.active())
    st.fragment(_strip, run_every="1s" if ticking else None)(ticking)
    all_jobs.show()


def _strip(ticking: bool) -> None:
    with frame.errors_shown():
        jobs.reap()
        listed = jobs.list_jobs()
        active = [job for job in listed if job.is_active]
        if job_news.gather(listed) or _follow(active) or bool(active) != ticking:
            st.rerun()
        if active and not jobs.worker_alive():
            jobs.ensure_worker()
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown("**Jobs**", width="content")
            all_jobs.button()
        _active(active)
        ended = [job for job in listed if not job.is_active and _is_recent(job)]
        for job in ended[:_SHOWN]:
            job_card.ended(job)
        if not active and not ended:
            st.caption("Nothing runs. Maps, curves and heals that you start appear here, and go on when you leave.")
        _auto_resume()


def _active(active: list[jobs.Job]) -> None:
    running = [job for job in active if job.state == jobs.RUNNING]
    waiting = [job for job in active if job.state == jobs.QUEUED]
    for job in running:
        job_card.active(job, place=0)
    for place, job in enumerate(waiting[:_SHOWN_WAITING], start=1):
        job_card.active(job, place=place)
    if len(waiting) > _SHOWN_WAITING:
        st.caption(f"{len(waiting) - _SHOWN_WAITING} more in the queue: see **All jobs**.")


def _is_recent(job: jobs.Job) -> bool:
    return job.state == jobs.PAUSED or time.time() - (job.finished_at or 0) < _RECENT_S


def _auto_resume() -> None:
    """Whether jobs whose worker was killed go on by themselves; one setting for all sessions."""
    st.session_state["auto-resume"] = settings.load().auto_resume
    st.toggle(
        "Resume interrupted jobs", key="auto-resume", on_change=_switch,
        help="A job that was interrupted, because its process was killed or the machine restarted, goes on by itself before "
        "others; after two attempts without any progress it waits for you.",
    )  # fmt: skip


def _switch() -> None:
    with frame.errors_shown():
        settings.change(auto_resume=st.session_state["auto-resume"])


def _follow(active: list[jobs.Job]) -> bool:
    """Whether a running curve or damage map has its first numbers: from then on pages show it growing."""
    followed: set[str] = st.session_state.setdefault("followed", set())
    for job in active:
        if job.kind in GROWING and job.id not in followed and library.by_key(job.kind, job.result_key):
            followed.add(job.id)
            state.show_result(job.kind, job.result_key or "")
            return True
    return False
