"""From a request to a job in the queue."""

import streamlit as st

from analysis import jobs
from analysis.errors import LayerscopeError
from analysis.spec import Spec


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
    if start(spec, label) is not None:
        st.session_state["job-started"] = True
        st.rerun()
