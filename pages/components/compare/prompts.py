"""Prompts: where one is typed, the cut it is asked of, and what came of it.

A prompt stays in the session and never becomes part of an address.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from analysis import jobs
from analysis.core.blocks import Removal
from analysis.core.errors import JobError
from analysis.experiments.prompt.spec import LONGEST_PROMPT
from analysis.models.spec import ModelSpec
from pages.components.jobs import card
from pages.components.shared import frame, library, selection, state, words
from pages.components.shared.library import Found

_LIVE_S = 0.5
"""As often as a growing result is put on disk."""
Draw = Callable[[Any], None]
EXAMPLES = {
    "A fact": "The capital of France is",
    "A story": "Once upon a time there was a little girl who lived in a house at the edge of the forest. One morning",
    "A sum": "Question: What is 3 + 4?\nAnswer: 7\n\nQuestion: What is 6 + 5?\nAnswer:",
    "A list": "Here is what you need to bake a cake:\n1. flour\n2. sugar\n3.",
}
"""Prompts that different parts of a model answer."""
_KEY = "prompt-text"


def show(kind: str, model: ModelSpec, *, grown: Draw, done: Draw, empty: words.Markdown) -> None:
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
        if last.state == jobs.FAILED:
            st.error(words.plain(last.error or "It failed."))
        else:
            st.warning(words.plain(last.error or f"It was {last.state}."))
        card.resume_button(last, where=kind)
        partial = library.live(kind, last.result_key)
        if partial is not None:
            done(partial)
        return
    shown = library.shown(kind, found)
    if shown is None:
        st.info(empty)
        return
    if len(found) > 1:
        state.pick_result(kind, "Shown", {entry.key: _describe(entry) for entry in found}, shown.key)
    if shown.precomputed:
        st.badge("precomputed", color="gray", help="An example that came with the program, not what is asked above.")
    done(shown.result)


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
    what = [opening(spec.prompt)]
    if spec.kind == "compare":
        what.append(f"{len(spec.variants)} models")
        what.append(f"temperature {spec.temperature:g}, seed {spec.seed}" if spec.temperature else "greedy")
    elif spec.block:
        what.append(f"without {spec.block.describe()}")
    return " · ".join([*what, words.date(found.saved_at)])


def box() -> str:
    """Draw the box and return what is in it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown("**Prompt**", width="content")
        for name, prompt in EXAMPLES.items():
            hint = words.plain(f"Fills in: {prompt!r}")
            st.button(name, key=f"example-{name}", type="tertiary", on_click=_put, args=(prompt,), help=hint)
    # The key alone would be forgotten while another page is on screen.
    st.session_state.setdefault(_KEY, EXAMPLES["A fact"])
    return st.text_area(
        "Prompt", key=_KEY, max_chars=LONGEST_PROMPT, height=118, label_visibility="collapsed", persist_state="session",
        placeholder="The beginning of a text. The model goes on with it as it stands.",
    ) or ""  # fmt: skip


def _put(prompt: str) -> None:
    st.session_state[_KEY] = prompt


def opening(prompt: str, longest: int = 44) -> str:
    """The beginning of a prompt on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def cut_choice(model: ModelSpec, key: str) -> Removal | None:
    """The slider's n, the same as on Explore, and the layers that it removes; None where nothing is removed or known."""
    found = selection.now(model)
    if found is None:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption("This model has no distance map yet, so there is no cut to compare with.", width="content")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        return None
    most = found.distances.result.n_layers - 1
    with state.showing(f"{key}-n", min(state.chosen_n(), most)):
        st.slider("Layers removed, n", 0, most, key=f"{key}-n", on_change=lambda: state.choose_n(st.session_state[f"{key}-n"]))
    cut = found.cut
    st.caption(
        f"Without {cut.removed.describe()}, {'picked by hand' if cut.by_hand else f'by {words.plain(state.strategy())}'}."
        if cut.removed
        else cut.unknown or "Nothing removed."
    )
    return cut.removed
