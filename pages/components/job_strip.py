"""What runs, waits and has just ended, in the sidebar of every page."""

import time

import streamlit as st

from analysis import jobs
from pages.components import guard, job_card, library, state

_RECENT_S = 24 * 3600
_SHOWN = 4
GROWING = ("sweep", "damage")
"""Kinds whose unfinished results are worth looking at."""


def show() -> None:
    """Draw the strip; it refreshes itself every second while anything is active."""
    for sentence, icon in st.session_state.pop("announcements", []):
        st.toast(sentence, icon=icon, duration="long")
    ticking = bool(jobs.active())
    st.fragment(_strip, run_every="1s" if ticking else None)(ticking)


def _strip(ticking: bool) -> None:
    with guard.errors_shown():
        jobs.reap()
        listed = jobs.list_jobs()
        active = [job for job in listed if job.is_active]
        if _announce_ended(listed) or _follow(active) or bool(active) != ticking:
            st.rerun()
        if active and not jobs.worker_alive():
            jobs.ensure_worker()
        st.markdown("**Jobs**")
        waiting = 0
        for job in active:
            waiting += job.state == jobs.QUEUED
            job_card.active(job, place=waiting)
        ended = [job for job in listed if not job.is_active and time.time() - (job.finished_at or 0) < _RECENT_S]
        for job in ended[:_SHOWN]:
            job_card.ended(job)
        if not active and not ended:
            st.caption("Nothing runs. Maps, curves and heals that you start appear here, and go on when you leave.")


def _follow(active: list[jobs.Job]) -> bool:
    """Whether a running curve or damage map has its first numbers: from then on pages show it growing."""
    followed: set[str] = st.session_state.setdefault("followed", set())
    for job in active:
        if job.kind in GROWING and job.id not in followed and library.by_key(job.kind, job.result_key):
            followed.add(job.id)
            state.show_result(job.kind, job.result_key or "")
            return True
    return False


def _announce_ended(listed: list[jobs.Job]) -> bool:
    """Whether a job ended since the last look; its result is then the one that pages show."""
    watched: dict[str, str] = st.session_state.setdefault("watched", {})
    ended = [job for job in listed if not job.is_active and watched.get(job.id) in (jobs.QUEUED, jobs.RUNNING)]
    watched.update({job.id: job.state for job in listed})
    announcements = st.session_state.setdefault("announcements", [])
    for job in ended:
        icon = ":material/check_circle:" if job.state == jobs.DONE else ":material/error:"
        announcements.append((f"{job.label}: {job.state}." if job.state == jobs.DONE else f"{job.label}: {job.error}", icon))
        if job.state == jobs.DONE and job.result_key:
            state.show_result(job.kind, job.result_key)
    return bool(ended)
