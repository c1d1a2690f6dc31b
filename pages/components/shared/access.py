"""What a visitor may do: every start, stop, removal and upload of a page passes here, whatever a browser sends.

Buttons that would be refused are disabled with the same sentence; that is a courtesy, the refusal is here.
"""

import threading
from typing import Any

import streamlit as st

from analysis import jobs
from analysis.core import serving, store
from analysis.core.errors import AccessError
from analysis.core.record import Spec
from analysis.core.serving import Serving
from analysis.data import gallery
from analysis.jobs.space import size_bytes
from pages.components.shared import door
from pages.components.shared.keys import Visitor

READ_ONLY = "Nothing is started here: this dashboard is read only, and what is stored can be looked at and played with."
CHANGES = ("pause", "cancel", "resume", "move", "delete")
"""What is done with a job."""

_RESULTS = ("results", "adapters", "checkpoints", "exports")
_GIGABYTE = 1e9
_counting = threading.Lock()
"""Held from counting to submitting: two clicks at once are not one job too many."""


def visitor() -> Visitor | None:
    """Who is there; None for somebody at the machine itself, who needed no login."""
    told = st.context.headers.get(door.HEADER.decode())
    return door.read(told) if told else None


def owner() -> str | None:
    """What the jobs of whoever is there are theirs by; None for somebody at the machine itself."""
    there = visitor()
    return None if there is None else there.name


def rules() -> Serving:
    """What holds for whoever is there."""
    return serving.read(shared=visitor() is not None)


def is_operator() -> bool:
    """Whether all jobs and settings are theirs: so it is for an operator, and for somebody at the machine itself."""
    there = visitor()
    return there is None or there.is_operator


def why_not_start() -> str | None:
    """Why nothing can be started now, in one sentence; None where it can."""
    return READ_ONLY if rules().read_only and not _is_unlimited(visitor()) else None


def check_start() -> None:
    """Refuse whatever would compute or store something where the dashboard is read only.

    Raises:
        AccessError: when it is.
    """
    if (sentence := why_not_start()) is not None:
        raise AccessError(sentence)


def check_operator(what: str) -> None:
    """Refuse what concerns everybody.

    Args:
        what: what only operators may do, for example "delete exports".

    Raises:
        AccessError: when it is a guest, or the dashboard is read only.
    """
    check_start()
    if not is_operator():
        raise AccessError(f"Only an operator of this dashboard may {what}.")


def check_file(value: str) -> None:
    """Refuse the name of a file that this visitor may not name.

    Raises:
        AccessError: when it is outside of what the operator has listed.
    """
    if gallery.exhibit(value) is None:  # whose name is one of our own
        rules().check_file(value)


def submit(spec: Spec, label: str | None, backend: str, shards: int = 1) -> jobs.Job:
    """Put a request of this visitor into the queue.

    Raises:
        AccessError: when it may not be started; the sentence says why.
        JobError, StorageError: as `jobs.submit`.
    """
    check_start()
    held, there = rules(), visitor()
    held.check_files(spec)
    hours = None if _is_unlimited(there) else held.job_hours
    with _counting:
        _check_room(held, there)
        limit_s = None if hours is None else hours * 3600
        return jobs.submit(spec, label, backend, owner=owner(), limit_s=limit_s, shards=shards)


def _is_unlimited(there: Visitor | None) -> bool:
    return there is not None and there.is_operator


def _check_room(held: Serving, there: Visitor | None) -> None:
    """Refuse one more job where this visitor has too many, or where results take too much of the disk."""
    if held.jobs_per_user is not None and not _is_unlimited(there):
        own = sum(job.owner == owner() for job in jobs.active())
        if own >= held.jobs_per_user:
            raise AccessError(
                f"You have {own} jobs that wait or run, and {held.jobs_per_user} is the most for one person here: wait until "
                f"one has ended, or cancel one."
            )
    if held.results_gb is not None:
        taken = size_bytes(store.cache_dir() / name for name in _RESULTS) / _GIGABYTE
        if taken >= held.results_gb:
            raise AccessError(
                f"Results, adapters and exports take {taken:.1f} GB, and {held.results_gb:g} GB is the most here: remove jobs "
                f"with what they saved, or ask whoever runs this dashboard."
            )


def check_upload(n_bytes: int) -> None:
    """Refuse an upload that would be one too many.

    Raises:
        AccessError: when it would be, or nothing can be done with it because the dashboard is read only.
    """
    check_start()
    most = rules().uploads_gb
    if most is None:
        return
    taken = (size_bytes([store.cache_dir() / "uploads"]) + n_bytes) / _GIGABYTE
    if taken > most:
        raise AccessError(
            f"With this file all uploads would take {taken:.2f} GB, and {most:g} GB is the most here: ask whoever runs this "
            f"dashboard to remove old ones."
        )


def may_change(job: jobs.Job) -> bool:
    """Whether this visitor may stop, move, resume or remove a job: its owner may, and an operator."""
    return why_not_start() is None and (is_operator() or job.owner == owner())


def why_not_change(job: jobs.Job) -> str | None:
    """Why this visitor may not stop, move, resume or remove a job, in one sentence; None where they may."""
    if may_change(job):
        return None
    return why_not_start() or f"Only {job.owner or 'an operator'}{' or an operator' if job.owner else ''} may do that."


def change(action: str, job_id: str, *given: Any, **options: Any) -> Any:
    """Stop, move, resume or remove a job, for those who may.

    Args:
        action: one of `CHANGES`, a function of `jobs`.
        job_id: the job.
        given, options: what else the function takes.

    Raises:
        AccessError: when the job is somebody else's, the dashboard is read only, or a resumed job would be one too many.
        JobError: as the function.
    """
    if action not in CHANGES:
        raise AccessError(f"A job cannot be changed by {action[:40]!r}; there is {', '.join(CHANGES)}.")
    if (sentence := why_not_change(jobs.get(job_id))) is not None:
        raise AccessError(sentence)
    with _counting:
        if action == "resume":
            _check_room(rules(), visitor())
        return getattr(jobs, action)(job_id, *given, **options)


def clear(*, saved: bool) -> int:
    """Forget the jobs that have ended: an operator all of them, anybody else their own; returns how many there were.

    Raises:
        AccessError: when the dashboard is read only.
    """
    check_start()
    return jobs.clear(saved=saved, owner=None if is_operator() else owner())
