"""All jobs, old ones too: how each ended, its duration, and a button to remove it."""

import zlib
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from analysis import jobs
from analysis.core.experiment import TITLES
from pages.components.jobs import card
from pages.components.shared import access, frame, start, words

_MOST = 500


_OPEN, _CHOSEN = "all-jobs-open", "all-jobs-chosen"


def button() -> None:
    """Draw the button that opens the list."""
    if st.button("All jobs", key="all-jobs", type="tertiary"):
        st.session_state[_OPEN] = True
        st.rerun()


def show() -> None:
    """Draw the list if it is open; it stays so through redraws of the page, until the visitor closes it."""
    if st.session_state.get(_OPEN):
        st.dialog("All jobs", width="large", on_dismiss=_close)(_live)()


def _close() -> None:
    st.session_state[_OPEN] = False


def _live() -> None:
    """The list, which looks again every two seconds while anything is active."""
    st.fragment(_list, run_every="2s" if jobs.active() else None)()


def _list() -> None:
    with frame.errors_shown():
        start.show_places()
        listed = jobs.list_jobs(_MOST)
        if not listed:
            st.info("No jobs yet. This list shows the maps, sweeps and healing runs that you start.")
            return
        sizes = {job.id: jobs.size_bytes(job) for job in listed}
        _one(_chosen(listed, sizes))
        _clear([job for job in listed if not job.is_active and job.state != jobs.PAUSED and access.may_change(job)], sizes)


def _chosen(listed: list[jobs.Job], sizes: dict[str, int]) -> jobs.Job:
    """The table; the job whose row is picked, also when rows have moved since."""
    ids = [job.id for job in listed]
    place = ids.index(st.session_state[_CHOSEN]) if st.session_state.get(_CHOSEN) in ids else 0
    # A table remembers a row by its number: one of another order is another table, with the same job picked.
    key = f"all-jobs-{zlib.crc32(''.join(ids).encode())}"

    several = any(access.is_of_somebody_else(job) for job in listed)

    def owned(job: jobs.Job) -> dict:
        return {"started by": access.owner_of(job) if job.owner else ""} if several else {}

    def choose() -> None:
        rows = st.session_state[key].selection.rows
        st.session_state[_CHOSEN] = ids[rows[0]] if rows else None

    st.dataframe(
        pd.DataFrame([_row(job, sizes[job.id]) | owned(job) for job in listed]), key=key, hide_index=True, on_select=choose,
        selection_mode="single-row-required", selection_default={"selection": {"rows": [place]}},
        alt=f"{len(listed)} jobs with state, kind, age, duration and size", height=min(38 + 35 * len(listed), 360),
        column_config=_COLUMNS,
    )  # fmt: skip
    st.session_state[_CHOSEN] = ids[place]
    return listed[place]


def _one(job: jobs.Job) -> None:
    if job.is_active:
        card.active(job, place=card.place(job), where="all")
    else:
        card.ended(job, where="all")


_COLUMNS = {
    "submitted": st.column_config.DatetimeColumn(format="distance"),
    "on disk": st.column_config.NumberColumn(format="bytes"),
}


def _row(job: jobs.Job, n_bytes: int) -> dict:
    return {
        "job": job.label,
        "kind": TITLES.get(job.kind, job.kind),
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
            "Delete saved files too", key="clear-saved",
            help=f"Checkpoints, adapters and results, {total} in total. Files that another job or a shown result needs stay.",
        )  # fmt: skip
        st.button("Clear", key="clear-go", on_click=_clear_all, args=(saved,), width="stretch")


def _clear_all(saved: bool) -> None:
    with frame.errors_shown():
        access.clear(saved=saved)
