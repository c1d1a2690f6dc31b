"""What was asked about prompts: the one on its way, the one that was asked for last, or an earlier one."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from analysis import jobs
from analysis.core.errors import JobError
from analysis.models.spec import ModelSpec
from pages.components import prompt_box
from pages.components.jobs import card
from pages.components.shared import frame, library, state, words
from pages.components.shared.library import Found

_LIVE_S = 0.5
"""As often as a growing result is put on disk."""
Draw = Callable[[Any], None]


def show(kind: str, model: ModelSpec, *, grown: Draw, done: Draw, empty: str) -> None:
    """Draw the right one of them.

    Args:
        kind: `compare` or `microscope`.
        model: the model of the page.
        grown: draws a result that is still growing.
        done: draws a finished one.
        empty: what to say while nothing was asked yet.
    """
    running = next((job for job in jobs.active() if job.kind == kind and _is_of(job, model)), None)
    if running is not None:
        st.fragment(_live, run_every=_LIVE_S)(running.id, kind, grown)
        return
    found = library.find(kind, model)
    last = _unfinished(kind)
    if last is not None:
        say = st.error if last.state == jobs.FAILED else st.warning
        say(last.error or f"It was {last.state}.")
        card.resume_button(last, where=kind)
        partial = library.live(kind, last.result_key)
        if partial is not None:
            done(partial)
        return
    shown = state.shown_result(kind, [entry.key for entry in found])
    if shown is None:
        st.info(empty)
        return
    by_key = {entry.key: entry for entry in found}
    if len(found) > 1:
        state.pick_result(kind, "Shown", {key: _describe(entry) for key, entry in by_key.items()}, shown)
    if by_key[shown].precomputed:
        st.badge("precomputed", color="gray", help="An example that came with the program, not what is asked above.")
    done(by_key[shown].result)


def _is_of(job: jobs.Job, model: ModelSpec) -> bool:
    return getattr(job.spec, "model", model).source == model.source


def _unfinished(kind: str) -> jobs.Job | None:
    """What this visitor asked for last, where it failed or was stopped."""
    asked = st.session_state.get(f"{kind}-job")
    try:
        job = jobs.get(asked) if asked else None
    except JobError:
        return None
    return job if job and job.state not in (jobs.DONE, jobs.QUEUED, jobs.RUNNING) else None


def _live(job_id: str, kind: str, grown: Draw) -> None:
    with frame.errors_shown():
        job = next((job for job in jobs.active() if job.id == job_id), None)
        if job is None:
            st.rerun()
        waiting = [other.id for other in jobs.active() if other.state == jobs.QUEUED]
        card.active(job, place=waiting.index(job.id) + 1 if job.id in waiting else 0, where=kind)
        result = library.live(kind, job.result_key)
        if result is not None:
            grown(result)
        elif job.state == jobs.QUEUED:
            st.info("Waiting for its turn: one heavy job runs at a time. You can leave this page; it starts by itself.")
        else:
            st.info("Getting the model ready; what it finds appears here as it comes.")


def _describe(found: Found) -> str:
    spec = found.result.spec
    what = [prompt_box.opening(spec.prompt)]
    if spec.kind == "compare":
        what.append(f"{len(spec.variants)} models")
        what.append(f"temperature {spec.temperature:g}, seed {spec.seed}" if spec.temperature else "greedy")
    elif spec.block:
        what.append(f"without {spec.block.describe()}")
    return " · ".join([*what, words.date(found.saved_at)])
