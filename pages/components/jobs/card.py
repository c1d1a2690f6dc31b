"""Background job as a card with its progress and its buttons."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import streamlit as st

from analysis import service
from analysis.core import units
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec
from analysis.jobs.queue import job as jobs
from pages.components.shared import access, frame, start, words

_COLOURS = {
    jobs.DONE: "green",
    jobs.FAILED: "red",
    jobs.CANCELLED: "gray",
    jobs.INTERRUPTED: "orange",
    jobs.PAUSED: "blue",
}
_LONG_S = 120
_VERY_LONG_S = 600
GROWING = ("sweep", "damage")
"""Kinds of experiment whose partial results are displayed."""
_PLACES = {"Up": -1, "Down": 1, "To the front": service.jobs.FRONT, "To the end": service.jobs.END}


def active(job: jobs.Job, *, where: str = "strip") -> None:
    """Draw a job that runs or waits, with its bar and ways to stop it.

    Args:
        job: the job.
        where: part of the widgets' keys, since a job can be on a page and in the strip at once.
    """
    with st.container(border=True, gap="xsmall"):
        st.markdown(words.plain(job.label))
        _owner(job)
        if job.cancel_requested:
            st.caption(
                f"{'Pausing' if job.stop_as == jobs.PAUSED else 'Stopping'}. Finished parts are"
                " kept."
            )
            return
        if job.state == jobs.QUEUED:
            waiting = [other.id for other in service.jobs.active() if other.state == jobs.QUEUED]
            place = waiting.index(job.id) + 1 if job.id in waiting else 1
            where_in_queue = "Next in the queue" if place == 1 else f"Number {place} in the queue"
            st.caption(
                words.plain(f"{where_in_queue}. {job.message}" if job.message else where_in_queue)
            )
        else:
            st.progress(job.share or 0.0, text=words.plain(progress_text(job)))
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            _button(
                "Pause",
                "pause",
                job,
                where,
                help="Stops the job for now. Finished parts are kept. **Resume** continues it.",
            )
            _button("Cancel", "cancel", job, where, help="Finished parts are kept.")
            if job.state == jobs.QUEUED:
                key = f"{where}-move-{job.id}"
                st.menu_button(
                    "Move",
                    list(_PLACES),
                    key=key,
                    on_click=_move,
                    args=(job.id, key),
                    type="tertiary",
                    disabled=access.why_not_change(job) is not None,
                )


def progress_text(job: jobs.Job) -> str:
    """Return the stage, phase, progress and time left until the result, in the same words
    everywhere.
    """
    parts = [job.stage, job.phase or "starting"]
    if job.total:
        parts.append(job.how_far)
    if job.silent_s is not None:
        parts.append(f"no update for {words.duration(job.silent_s)}")
    elif job.left_s is not None:
        parts.append(f"about {units.span(job.left_s, job.left_s)} left")
    return " · ".join(part for part in parts if part)


def ended(job: jobs.Job, *, where: str = "strip") -> None:
    """Draw a finished, failed or paused job with its error message and buttons."""
    with st.container(gap=None):
        when = words.date(job.finished_at) if job.finished_at else ""
        st.markdown(
            f":{_COLOURS[job.state]}-badge[{words.plain(job.state)}] {words.plain(job.label)}"
        )
        st.caption(
            words.plain(job.error)
            if job.error
            else f"{when}, took {words.duration(job.elapsed_s or 0)}"
        )
        if job.work is not None and (done := job.work.in_words()):
            st.caption(words.plain(f"{done[0].upper()}{done[1:]}"))
        _owner(job)
        if job.state in (jobs.FAILED, jobs.INTERRUPTED):
            log(job, where)
        if job.state != jobs.DONE or where != "strip":
            with st.container(horizontal=True, gap="small", vertical_alignment="center"):
                if job.state in jobs.RESUMABLE:
                    resume_button(job, where=where)
                _removal_button(job, where=where)


def _owner(job: jobs.Job) -> None:
    """Draw the name of the user who started a job, if it is somebody else."""
    if access.is_of_somebody_else(job):
        st.caption(f"Started by {words.plain(access.owner_of(job))}")


def log(job: jobs.Job, where: str) -> None:
    """Draw the last lines of a job's log, which is read only while the expander is open."""
    folded = st.expander("Log", key=f"{where}-log-{job.id}", type="compact", on_change="rerun")
    if folded.open:
        with folded:
            tail = service.jobs.log_tail(job.id, 20) or "The log is empty."
            st.code(tail, language=None, height=220 if tail.count("\n") > 8 else "content")


def resume_button(job: jobs.Job, *, where: str, primary: bool = False) -> None:
    """Draw the button that resumes a job."""
    _button(
        "Resume",
        "resume",
        job,
        where,
        icon=":material/play_arrow:",
        kind="primary" if primary else "tertiary",
    )


def _button(
    label: words.Markdown,
    action: str,
    job: jobs.Job,
    where: str,
    *,
    icon: str | None = None,
    help: words.Markdown | None = None,
    kind: Literal["primary", "tertiary"] = "tertiary",
) -> None:
    """Draw a button that changes a job. The page shows the new state on its next rerun."""
    key = f"{where}-{label.lower()}-{job.id}"
    refused = access.why_not_change(job)
    st.button(
        label,
        key=key,
        on_click=_act,
        args=(action, job.id),
        icon=icon,
        type=kind,
        help=words.plain(refused) if refused else help,
        disabled=refused is not None,
    )


def _move(job_id: str, key: str) -> None:
    _act("move", job_id, _PLACES[st.session_state[key]])


def _act(action: str, job_id: str, *given: Any, **options: Any) -> None:
    try:
        access.change(action, job_id, *given, **options)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))


def _removal_button(job: jobs.Job, *, where: str) -> None:
    """Draw the button that opens a popover with the job's disk use and the files that may be
    deleted.
    """
    # Sizes are computed only while the popover is open, because that reads the request of every
    # stored result.
    popover = st.popover(
        "Remove",
        key=f"{where}-remove-{job.id}",
        type="tertiary",
        on_change="rerun",
        disabled=access.why_not_change(job) is not None,
    )
    if popover.open:
        with popover, frame.errors_shown():
            _removal_choices(job, where)


def _removal_choices(job: jobs.Job, where: str) -> None:
    space = service.jobs.space(job.id)
    st.markdown(f"This job takes **{words.size(space.total_bytes)}** on disk.")
    st.button(
        f"Remove job ({words.size(space.own_bytes)})",
        key=f"{where}-forget-{job.id}",
        on_click=_act,
        args=("delete", job.id),
        width="stretch",
        help="Removes its request, progress and log.",
    )
    if space.needed_by:
        st.caption(
            f"Its saved files ({words.size(space.saved_bytes)}) stay:"
            f" {words.plain(space.needed_by)}."
        )
    elif space.saved_bytes:
        st.button(
            f"Remove job and saved files ({words.size(space.total_bytes)})",
            key=f"{where}-erase-{job.id}",
            on_click=_act,
            args=("delete", job.id),
            kwargs={"saved": True},
            width="stretch",
            help="Also deletes its checkpoints, its adapter and its result.",
        )
    else:
        st.caption("It has no other saved files.")


def refresh_interval(active: Sequence[jobs.Job]) -> str | None:
    """Return the refresh interval for some jobs; None without jobs. Long jobs refresh less often.

    The server's part of a refresh is small, but a browser redraws its whole page: a tenth of a
    second of CPU time.
    """
    if not active:
        return None
    left = [job.left_s or 0.0 for job in active if job.state == jobs.RUNNING]
    soonest = min(left, default=0.0)
    return "5s" if soonest > _VERY_LONG_S else "2s" if soonest > _LONG_S else "1s"


def in_place(job: jobs.Job, where: str) -> None:
    """Draw an active job, refreshed at its interval.

    Args:
        job: the job.
        where: part of the widgets' keys, since a job can be on a page and in the strip at once.
    """
    # The surrounding view refreshes itself while partial results are displayed, and Streamlit
    # cannot nest timed fragments.
    inside_timer = any(other.kind in GROWING for other in service.jobs.active())
    st.fragment(_refreshed, run_every=None if inside_timer else refresh_interval([job]))(
        job.id, where
    )


def last_of(kind: str, matches: Callable[[Any], bool]) -> jobs.Job | None:
    """Return the active job of a kind whose spec matches, else the one that ended last; None if
    there is none.

    Args:
        kind: a key of `EXPERIMENTS`.
        matches: returns whether a spec is the intended one.
    """
    return next(
        (job for job in service.jobs.list_jobs() if job.kind == kind and job.asks(matches)), None
    )


def start_button(
    spec: Spec,
    title: str,
    label: words.Markdown,
    *,
    key: str,
    icon: str,
    help: words.Markdown | None = None,
) -> None:
    """Draw the button that queues a request, the progress of its job, or the button with the reason
    why its last job failed.

    Args:
        spec: the request.
        title: title of the job.
        label, key, icon, help: arguments of `st.button`.
    """
    job = last_of(spec.kind, lambda other: other == spec)
    if job is not None and job.is_active:
        in_place(job, key)
        return
    failure(job)
    if start.button(label, key=key, icon=icon, help=help):
        start.start_and_show(spec, title)


def failure(job: jobs.Job | None, since: float = 0.0) -> None:
    """Draw the error message of a failed or interrupted job, unless a newer result is displayed.

    Args:
        job: the job, if there is one.
        since: time when the displayed result was stored, in seconds since the epoch.
    """
    if (
        job is not None
        and job.state in (jobs.FAILED, jobs.INTERRUPTED)
        and (job.finished_at or 0) > since
    ):
        st.error(
            words.message(
                job.error or "The job ended without a result. Open its log under All jobs."
            )
        )


def _refreshed(job_id: str, where: str) -> None:
    with frame.errors_shown():
        job = service.jobs.get(job_id)
        if not job.is_active:
            st.rerun()
        active(job, where=where)
