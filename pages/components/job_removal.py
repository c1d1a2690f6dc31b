"""Forget a job, or forget it with all that it saved."""

import streamlit as st

from analysis import jobs
from analysis.core.errors import LayerscopeError
from pages.components.shared import frame, words


def button(job: jobs.Job, *, where: str) -> None:
    """Draw the button; it opens to what the job takes on the disk and what of that may go."""
    # Sizes are worked out only while it is open: that reads the request of every stored result.
    popover = st.popover("Remove", key=f"{where}-remove-{job.id}", type="tertiary", on_change="rerun")
    if popover.open:
        with popover, frame.errors_shown():
            _ask(job, where)


def _ask(job: jobs.Job, where: str) -> None:
    space = jobs.space(job.id)
    st.markdown(f"It takes **{words.size(space.total_bytes)}** on the disk.")
    st.button(
        f"Forget the job ({words.size(space.own_bytes)})", key=f"{where}-forget-{job.id}", on_click=_remove,
        args=(job.id, False), width="stretch", help="Removes its request, progress and log.",
    )  # fmt: skip
    if space.needed_by:
        st.caption(f"What it saved ({words.size(space.saved_bytes)}) stays: {words.plain(space.needed_by)}.")
    elif space.saved_bytes:
        st.button(
            f"Forget it and what it saved ({words.size(space.total_bytes)})", key=f"{where}-erase-{job.id}", on_click=_remove,
            args=(job.id, True), width="stretch", help="Also deletes its checkpoints, its adapter and its result.",
        )  # fmt: skip
    else:
        st.caption("It saved nothing else.")


def _remove(job_id: str, saved: bool) -> None:
    try:
        jobs.delete(job_id, saved=saved)
    except LayerscopeError as error:
        st.session_state.setdefault("announcements", []).append((str(error), ":material/error:"))
