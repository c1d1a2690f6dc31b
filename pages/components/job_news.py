"""What ended since a session looked last, said once in a corner of whatever page is open."""

import time

import streamlit as st

from analysis import jobs
from pages.components.shared import state

_ICONS = {jobs.DONE: ":material/check_circle:", jobs.PAUSED: ":material/pause_circle:"}


def show() -> None:
    """Say what there is to say; part of a run of the whole page."""
    for sentence, icon in st.session_state.pop("announcements", []):
        st.toast(sentence, icon=icon, duration="long")


def gather(listed: list[jobs.Job]) -> bool:
    """Whether a job ended since the last look; its result is then the one that pages show.

    A job that came and went between two looks counts too. At a session's first look nothing is news: after a reload, what
    ended before is in the strip.
    """
    since: float = st.session_state.setdefault("watching_since", time.time())
    watched: dict[str, str] = st.session_state.setdefault("watched", {})
    ended = [job for job in listed if not job.is_active and _is_news(job, watched.get(job.id), since)]
    watched.update({job.id: job.state for job in listed})
    announcements = st.session_state.setdefault("announcements", [])
    for job in ended:
        said = job.state if job.state == jobs.DONE else job.error or job.state
        announcements.append((f"{job.label}: {said.rstrip('.')}.", _ICONS.get(job.state, ":material/error:")))
        if job.state == jobs.DONE and job.result_key:
            state.show_result(job.kind, job.result_key)
    return bool(ended)


def _is_news(job: jobs.Job, seen_as: str | None, since: float) -> bool:
    if seen_as is None:
        return (job.finished_at or 0.0) > since
    return seen_as in (jobs.QUEUED, jobs.RUNNING)
