"""From a request to a job in the queue."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import streamlit as st

from analysis import jobs
from analysis.core.errors import LayerscopeError
from analysis.core.record import Spec

SpecT = TypeVar("SpecT", bound=Spec)


def start(spec: Spec, label: str) -> jobs.Job | None:
    """Queue a request and see to it that a worker is there; what goes wrong is shown and gives None."""
    try:
        job = jobs.submit(spec, label)
        jobs.ensure_worker()
    except LayerscopeError as error:
        st.error(str(error))
        return None
    st.session_state.setdefault("watched", {})[job.id] = job.state
    return job


def start_and_show(spec: Spec, label: str) -> None:
    """Queue a request and redraw the page, so that the job strip shows it."""
    start_all([(spec, label)])


def start_all(requests: Sequence[tuple[Spec, str]]) -> None:
    """Queue requests, each with its label, up to the first that fails, and redraw the page."""
    if all(start(spec, label) is not None for spec, label in requests):
        st.session_state["job-started"] = True
        st.rerun()


def unresolved(spec: SpecT) -> SpecT:
    """The request without what was filled in about the files of the machine that answered it, to be asked again here."""
    changes = {}
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "identity":
            changes["identity"] = ""
        elif isinstance(value, Spec):
            changes[field.name] = unresolved(value)
    return replace(spec, **changes) if changes else spec
