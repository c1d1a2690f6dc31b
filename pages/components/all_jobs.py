"""Every job there is, old ones too: how it ended, what it took, and a way to be rid of it."""

from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from analysis import jobs
from pages.components import guard, job_card, words

_MOST = 500
_OPEN = "all-jobs-open"


def button() -> None:
    """Draw the button that opens the list."""
    if st.button("All jobs", key="all-jobs", type="tertiary"):
        st.session_state[_OPEN] = True
        st.rerun()


def show() -> None:
    """Draw the list if it is open; it stays so through redraws of the page, until the visitor closes it."""
    if st.session_state.get(_OPEN):
        st.dialog("All jobs", width="large", on_dismiss=_close)(_list)()


def _close() -> None:
    st.session_state[_OPEN] = False


def _list() -> None:
    with guard.errors_shown():
        listed = jobs.list_jobs(_MOST)
        if not listed:
            st.info("No jobs yet. Maps, curves and heals that you start are listed here.")
            return
        sizes = {job.id: jobs.size_bytes(job) for job in listed}
        chosen = st.dataframe(
            pd.DataFrame([_row(job, sizes[job.id]) for job in listed]), key="all-jobs-table", hide_index=True,
            on_select="rerun", selection_mode="single-row-required", selection_default={"selection": {"rows": [0]}},
            alt=f"{len(listed)} jobs with state, kind, age, duration and size",
            height=min(38 + 35 * len(listed), 360), column_config=_COLUMNS,
        )  # fmt: skip
        waiting = [job.id for job in listed if job.state == jobs.QUEUED]
        for place in chosen.selection.rows[:1]:
            if place < len(listed):
                job = listed[place]
                if job.is_active:
                    job_card.active(job, place=waiting.index(job.id) + 1 if job.id in waiting else 0, where="all")
                else:
                    job_card.ended(job, where="all")
        _clear([job for job in listed if not job.is_active and job.state != jobs.PAUSED], sizes)


_COLUMNS = {
    "submitted": st.column_config.DatetimeColumn(format="distance"),
    "took": st.column_config.NumberColumn(format="duration"),
    "on disk": st.column_config.NumberColumn(format="bytes"),
}


def _row(job: jobs.Job, n_bytes: int) -> dict:
    return {
        "job": job.label,
        "kind": jobs.TITLES.get(job.kind, job.kind),
        "state": job.state,
        "submitted": datetime.fromtimestamp(job.created_at, UTC),
        "took": job.elapsed_s,
        "on disk": n_bytes,
    }


def _clear(ended: list[jobs.Job], sizes: dict[str, int]) -> None:
    """Forget all that have ended."""
    if not ended:
        return
    with st.popover("Clear ended jobs", key="clear-jobs", icon=":material/delete_sweep:"):
        count = "the one job" if len(ended) == 1 else f"all {len(ended)} jobs"
        total = words.size(sum(sizes[job.id] for job in ended))
        st.markdown(f"Forget {count} that have ended? Paused ones stay.")
        saved = st.checkbox(
            "Also what they saved", key="clear-saved",
            help=f"With checkpoints, adapters and results they take {total}; what another job or a shown result needs stays.",
        )  # fmt: skip
        st.button("Clear", key="clear-go", on_click=_clear_all, args=(saved,), width="stretch")


def _clear_all(saved: bool) -> None:
    with guard.errors_shown():
        jobs.clear(saved=saved)
