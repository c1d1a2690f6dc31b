"""Running, waiting and recent jobs, in the sidebar of every page; a notice in a corner reports each
ended job once.

All jobs, old ones too, are listed in a dialog: how each ended, its duration, and a button to remove
it.
"""

import time
import zlib
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from analysis import service
from analysis.core import experiment
from analysis.jobs.queue import job as jobs
from pages.components.jobs import card
from pages.components.shared import access, frame, start, state, stored_results, words
from pages.web import visitors

_RECENT_S = 24 * 3600
_MAX_ENDED = 4
_MAX_WAITING = 3
_ICONS = {jobs.DONE: ":material/check_circle:", jobs.PAUSED: ":material/pause_circle:"}


def show() -> None:
    """Draw the strip: active jobs refresh by themselves, and rerun the page when one ends, which
    redraws the rest.
    """
    _say_news()
    active = service.jobs.active()
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.markdown("**Jobs**", width="content")
        _all_jobs_button()
    st.fragment(_running, run_every=card.refresh_interval(active))(bool(active))
    st.fragment(_rest)({job.id for job in active})
    _all_jobs()


def _running(ticking: bool) -> None:
    """Draw active jobs, and nothing else: every open window draws them at each refresh."""
    with frame.errors_shown():
        service.refresh()
        listed = service.jobs.list_jobs()
        active = [job for job in listed if job.is_active]
        if _gather(listed) or _follow(active) or bool(active) != ticking:
            st.rerun()
        _active(active)


def _rest(drawn: set[str]) -> None:
    """Draw ended jobs, and the settings of all jobs."""
    with frame.errors_shown():
        listed = service.jobs.list_jobs()
        active = {job.id for job in listed if job.is_active}
        if active - drawn:  # one was resumed from here, and stands above from now on
            st.rerun()
        ended = [job for job in listed if not job.is_active and _is_recent(job)]
        for job in ended[:_MAX_ENDED]:
            card.ended(job)
        if not active and not ended:
            st.caption(
                "No jobs. Maps, sweeps and healing runs appear here. They continue when you leave."
            )
        start.choose_place()
        _auto_resume()
        if (there := access.visitor()) is not None:
            _say_who(there)
            if visitors.providers() and st.button("Log out", key="log-out", type="tertiary"):
                st.logout()


def _say_who(there: visitors.Visitor) -> None:
    if there.label:
        role = ", an operator" if there.role == visitors.OPERATOR else ""
        st.caption(f"You are {words.plain(there.label)}{role}.")
    else:
        st.caption(f"Read-only{'. You are the host' if there.role == visitors.HOST else ''}.")


def _active(active: list[jobs.Job]) -> None:
    running = [job for job in active if job.state == jobs.RUNNING]
    waiting = [job for job in active if job.state == jobs.QUEUED]
    for job in [*running, *waiting[:_MAX_WAITING]]:
        card.active(job)
    if len(waiting) > _MAX_WAITING:
        st.caption(f"{len(waiting) - _MAX_WAITING} more in the queue: see **All jobs**.")


def _is_recent(job: jobs.Job) -> bool:
    return job.state == jobs.PAUSED or time.time() - (job.finished_at or 0) < _RECENT_S


def _auto_resume() -> None:
    """Draw the switch for automatic resumption of jobs whose worker was killed; one setting for all
    sessions.
    """
    with state.showing("auto-resume", service.jobs.auto_resume()):
        st.toggle(
            "Resume interrupted jobs",
            key="auto-resume",
            on_change=_switch,
            disabled=not access.is_operator() or access.why_not_start() is not None,
            help=(
                "A job resumes automatically, before other jobs, when its process was killed or the"
                " machine restarted. After two attempts without progress it waits for you."
            ),
        )


def _switch() -> None:
    with frame.errors_shown():
        access.check_operator("change how interrupted jobs resume")
        service.jobs.set_auto_resume(st.session_state["auto-resume"])


def _follow(active: list[jobs.Job]) -> bool:
    """Return whether a running curve or loss-increase map has its first numbers: from then on pages
    show it growing.
    """
    followed: set[str] = st.session_state.setdefault("followed", set())
    for job in active:
        if (
            job.kind in card.GROWING
            and job.id not in followed
            and stored_results.by_key(job.kind, job.result_key)
        ):
            followed.add(job.id)
            state.ask_for(job.kind, job.result_key or "")
            return True
    return False


def _say_news() -> None:
    """Show the pending announcements; part of a run of the whole page."""
    for sentence, icon in st.session_state.pop("announcements", []):
        st.toast(words.plain(sentence), icon=icon, duration="long")


def _gather(listed: list[jobs.Job]) -> bool:
    """Return whether a job ended since the last refresh; pages then show the strongest answer to
    its request.

    A job that began and ended between two refreshes counts too. At a session's first refresh
    nothing is news: after a reload, jobs that ended before are in the strip.
    """
    since: float = st.session_state.setdefault("watching_since", time.time())
    watched: dict[str, str] = st.session_state.setdefault("watched", {})
    ended = [
        job for job in listed if not job.is_active and _is_news(job, watched.get(job.id), since)
    ]
    watched.update({job.id: job.state for job in listed})
    announcements = st.session_state.setdefault("announcements", [])
    for job in ended:
        outcome = job.state if job.state == jobs.DONE else job.error or job.state
        if job.state == jobs.DONE and job.result_key:
            state.ask_for(job.kind, job.result_key)
        announcements.append(
            (f"{job.label}: {outcome.rstrip('.')}.", _ICONS.get(job.state, ":material/error:"))
        )
    return bool(ended)


def _is_news(job: jobs.Job, seen_as: str | None, since: float) -> bool:
    if seen_as is None:
        return (job.finished_at or 0.0) > since
    return seen_as in (jobs.QUEUED, jobs.RUNNING)


_MAX_LISTED = 500


_OPEN = "all-jobs-open"
_CHOSEN = "all-jobs-chosen"


def _all_jobs_button() -> None:
    """Draw the button that opens the list."""
    if st.button("All jobs", key="all-jobs", type="tertiary"):
        st.session_state[_OPEN] = True
        st.rerun()


def _all_jobs() -> None:
    """Draw the list if it is open; it stays so through redraws of the page, until the visitor
    closes it.
    """
    if st.session_state.get(_OPEN):
        st.dialog("All jobs", width="large", on_dismiss=_close)(_live)()


def _close() -> None:
    st.session_state[_OPEN] = False


def _live() -> None:
    """Draw the list, which refreshes every two seconds while jobs are active."""
    st.fragment(_list, run_every="2s" if service.jobs.active() else None)()


def _list() -> None:
    with frame.errors_shown():
        listed = service.jobs.list_jobs(_MAX_LISTED)
        if not listed:
            st.info(
                "No jobs yet. This list shows the maps, sweeps and healing runs that you start."
            )
            return
        sizes = {job.id: service.jobs.size_bytes(job) for job in listed}
        _one(_chosen(listed, sizes))
        _clear(
            [
                job
                for job in listed
                if not job.is_active
                and job.state != jobs.PAUSED
                and access.why_not_change(job) is None
            ],
            sizes,
        )


def _chosen(listed: list[jobs.Job], sizes: dict[str, int]) -> jobs.Job:
    """Draw the table and return the job of the selected row, also if rows have moved."""
    ids = [job.id for job in listed]
    index = ids.index(st.session_state[_CHOSEN]) if st.session_state.get(_CHOSEN) in ids else 0
    # A table remembers a row by its number: one of another order is another table, with the same
    # job picked.
    key = f"all-jobs-{zlib.crc32(''.join(ids).encode())}"

    has_owners = any(access.is_of_somebody_else(job) for job in listed)

    def owned(job: jobs.Job) -> dict:
        return {"started by": access.owner_of(job) if job.owner else ""} if has_owners else {}

    def choose() -> None:
        rows = st.session_state[key].selection.rows
        st.session_state[_CHOSEN] = ids[rows[0]] if rows else None

    st.dataframe(
        pd.DataFrame([_row(job, sizes[job.id]) | owned(job) for job in listed]),
        key=key,
        hide_index=True,
        on_select=choose,
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [index]}},
        alt=f"{len(listed)} jobs with state, kind, age, duration and size",
        height=min(38 + 35 * len(listed), 360),
        column_config=_COLUMNS,
    )
    st.session_state[_CHOSEN] = ids[index]
    return listed[index]


def _one(job: jobs.Job) -> None:
    if job.is_active:
        card.active(job, where="all")
    else:
        card.ended(job, where="all")


_COLUMNS = {
    "submitted": st.column_config.DatetimeColumn(format="distance"),
    "on disk": st.column_config.NumberColumn(format="bytes"),
}


def _row(job: jobs.Job, n_bytes: int) -> dict:
    return {
        "job": job.label,
        "kind": experiment.title(job.kind),
        "state": job.state,
        "submitted": datetime.fromtimestamp(job.created_at, UTC),
        "took": "" if job.elapsed_s is None else words.duration(job.elapsed_s),
        "on disk": n_bytes,
    }


def _clear(ended: list[jobs.Job], sizes: dict[str, int]) -> None:
    """Forget all that have ended."""
    if not ended:
        return
    with st.popover("Clear ended jobs", key="clear-jobs", icon=":material/delete_sweep:"):
        count = "the ended job" if len(ended) == 1 else f"all {len(ended)} ended jobs"
        total = words.size(sum(sizes[job.id] for job in ended))
        st.markdown(f"Remove {count}? Paused jobs stay.")
        saved = st.checkbox(
            "Delete saved files too",
            key="clear-saved",
            help=(
                f"Checkpoints, adapters and results, {total} in total. Files that another job or a"
                " shown result needs stay."
            ),
        )
        st.button("Clear", key="clear-go", on_click=_clear_all, args=(saved,), width="stretch")


def _clear_all(saved: bool) -> None:
    with frame.errors_shown():
        access.clear(saved=saved)
