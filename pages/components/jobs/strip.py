"""Running, waiting and recent jobs, in the sidebar of every page; a notice in a corner reports each ended job once."""

import time
from collections.abc import Sequence

import streamlit as st

from analysis import jobs
from analysis.jobs.queue import settings
from analysis.results.stored import evidence
from pages.components.jobs import all_jobs, card, tab_title
from pages.components.shared import (
    access,
    frame,
    library,
    start,
    state,
    words,
)
from pages.web import visitors

_RECENT_S = 24 * 3600
_LONG_S, _VERY_LONG_S = 120, 600
_SHOWN = 4
_SHOWN_WAITING = 3
GROWING = ("sweep", "damage", "grid")
"""Kinds whose unfinished results are worth looking at."""
_ICONS = {jobs.DONE: ":material/check_circle:", jobs.PAUSED: ":material/pause_circle:"}


def show() -> None:
    """Draw the strip: active jobs refresh by themselves, and rerun the page when one ends, which redraws the rest."""
    _say_news()
    active = jobs.active()
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown("**Jobs**", width="content")
        all_jobs.button()
    st.fragment(_running, run_every=every(active))(bool(active))
    st.fragment(_rest)({job.id for job in active})
    all_jobs.show()


def every(active: Sequence[jobs.Job]) -> str | None:
    """Return the refresh interval of parts that show these jobs; None without jobs. Long jobs refresh less often.

    The server's part of a refresh is small, but a browser redraws its whole page: a tenth of a second of CPU time.
    """
    if not active:
        return None
    left = [job.left_s or job.eta_s or 0.0 for job in active if job.state == jobs.RUNNING]
    soonest = min(left, default=0.0)
    return "5s" if soonest > _VERY_LONG_S else "2s" if soonest > _LONG_S else "1s"


def _running(ticking: bool) -> None:
    """Draw active jobs, and nothing else: every open window draws them at each refresh."""
    with frame.errors_shown():
        jobs.reap()
        listed = jobs.list_jobs()
        active = [job for job in listed if job.is_active]
        if _gather(listed) or _follow(active) or bool(active) != ticking:
            st.rerun()
        if active:
            jobs.start()
        _active(active)


def _rest(drawn: set[str]) -> None:
    """Draw ended jobs, and the settings of all jobs."""
    with frame.errors_shown():
        listed = jobs.list_jobs()
        active = {job.id for job in listed if job.is_active}
        if active - drawn:  # one was resumed from here, and stands above from now on
            st.rerun()
        ended = [job for job in listed if not job.is_active and _is_recent(job)]
        for job in ended[:_SHOWN]:
            card.ended(job)
        if not active and not ended:
            st.caption("No jobs. Maps, sweeps and healing runs appear here. They continue when you leave.")
        start.choose_place()
        _auto_resume()
        if (there := access.visitor()) is not None:
            _say_who(there)
            if visitors.providers() and st.button("Log out", key="log-out", type="tertiary"):
                st.logout()


def _say_who(there: visitors.Visitor) -> None:
    if there.label:
        st.caption(f"You are {words.plain(there.label)}{', an operator' if there.role == visitors.OPERATOR else ''}.")
    else:
        st.caption(f"Read-only{'. You are the host' if there.role == visitors.HOST else ''}.")


def _active(active: list[jobs.Job]) -> None:
    running = [job for job in active if job.state == jobs.RUNNING]
    waiting = [job for job in active if job.state == jobs.QUEUED]
    for job in running:
        card.active(job, place=0)
    for place, job in enumerate(waiting[:_SHOWN_WAITING], start=1):
        card.active(job, place=place)
    if len(waiting) > _SHOWN_WAITING:
        st.caption(f"{len(waiting) - _SHOWN_WAITING} more in the queue: see **All jobs**.")


def _is_recent(job: jobs.Job) -> bool:
    return job.state == jobs.PAUSED or time.time() - (job.finished_at or 0) < _RECENT_S


def _auto_resume() -> None:
    """Draw the switch for automatic resumption of jobs whose worker was killed; one setting for all sessions."""
    with state.showing("auto-resume", settings.load().auto_resume):
        st.toggle(
            "Resume interrupted jobs", key="auto-resume", on_change=_switch,
            disabled=not access.is_operator() or access.why_not_start() is not None,
            help="A job resumes automatically, before other jobs, when its process was killed or the machine restarted. "
            "After two attempts without progress it waits for you.",
        )  # fmt: skip


def _switch() -> None:
    with frame.errors_shown():
        access.check_operator("change how interrupted jobs resume")
        settings.change(auto_resume=st.session_state["auto-resume"])


def _follow(active: list[jobs.Job]) -> bool:
    """Return whether a running curve or loss-increase map has its first numbers: from then on pages show it growing.

    False where a finished result answers the same request: that has more numbers until this job is done.
    """
    followed: set[str] = st.session_state.setdefault("followed", set())
    for job in active:
        if job.kind in GROWING and job.id not in followed and library.by_key(job.kind, job.result_key):
            followed.add(job.id)
            return library.arrived(job.kind, job.result_key or "") is None
    return False


def _say_news() -> None:
    """Show the pending announcements; part of a run of the whole page."""
    said = st.session_state.pop("announcements", [])
    for sentence, icon in said:
        st.toast(words.plain(sentence), icon=icon, duration="long")
    st.session_state["ended"] = st.session_state.get("ended", 0) + len(said)
    tab_title.show(st.session_state["ended"])


def _gather(listed: list[jobs.Job]) -> bool:
    """Return whether a job ended since the last refresh; pages then show its result, unless they show a stronger one.

    A job that began and ended between two refreshes counts too. At a session's first refresh nothing is news: after a reload,
    jobs that ended before are in the strip.
    """
    since: float = st.session_state.setdefault("watching_since", time.time())
    watched: dict[str, str] = st.session_state.setdefault("watched", {})
    ended = [job for job in listed if not job.is_active and _is_news(job, watched.get(job.id), since)]
    watched.update({job.id: job.state for job in listed})
    announcements = st.session_state.setdefault("announcements", [])
    for job in ended:
        said = job.state if job.state == jobs.DONE else job.error or job.state
        stays = _stays(job) if job.state == jobs.DONE and job.result_key else ""
        announcements.append((f"{job.label}: {said.rstrip('.')}.{stays}", _ICONS.get(job.state, ":material/error:")))
    return bool(ended)


def _stays(job: jobs.Job) -> str:
    """Show a job's result; where it is weaker than the shown one, that stays, and the returned sentence says so."""
    new, before = library.by_key(job.kind, job.result_key), library.arrived(job.kind, job.result_key or "")
    if new is None or before is None:
        return ""
    return f" It is in the list. The result {evidence.advantage(before.result, new.result)} stays on screen."


def _is_news(job: jobs.Job, seen_as: str | None, since: float) -> bool:
    if seen_as is None:
        return (job.finished_at or 0.0) > since
    return seen_as in (jobs.QUEUED, jobs.RUNNING)
