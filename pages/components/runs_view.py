"""Every stored run of every model: in one table, laid over each other, and as differences from a reference."""

import streamlit as st

from analysis.models.spec import ModelSpec
from analysis.reading import runs as run_table
from analysis.reading.runs import KINDS, Run
from pages.components import runs_overlay, runs_reference, runs_table
from pages.components.shared import command, frame, library, state, words


def show(model: ModelSpec) -> None:
    """Draw the view.

    Args:
        model: the model of the page; its runs come first.
    """
    with frame.errors_shown():
        runs = stored(model)
        if not runs:
            st.info("Nothing has been measured yet. A map or a curve of any model appears here as soon as it is computed.")
            st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
            return
        reference = _reference(runs)
        picked, fraction = runs_table.show(runs, reference)
        reference = runs_reference.choose(picked, reference)
        if not picked and reference is None:
            st.info("Tick the runs in the table that you want to see laid over each other; any number, of any model.")
            return
        runs_overlay.show(picked, reference)
        if reference is not None:
            runs_reference.differences(picked, reference, fraction)
        shown = [*picked, *([reference] if reference else [])]
        command.show([run.result.spec for run in shown])


def stored(model: ModelSpec) -> list[Run]:
    """All runs, those of the current model first, in each kind the newest first."""
    own = {entry.key for kind in KINDS for entry in library.find(kind, model, any_precision=True)}
    found = [
        Run(entry.key, entry.result, entry.precomputed, entry.saved_at, words.measured_on(entry.result))
        for kind in KINDS
        for entry in library.find(kind)
    ]
    return sorted(found, key=lambda run: run.key not in own)


def _reference(runs: list[Run]) -> Run | None:
    """The pinned run; one that is pinned in the address but not stored here is said to be missing."""
    pinned = state.pinned()
    found = next((run for run in runs if run.id == pinned), None)
    if pinned and found is None:
        kind, _, key = pinned.partition(":")
        st.warning(
            f"The reference named in the address, {run_table.KINDS.get(kind, 'run')} {key}, is not stored here; pick another "
            f"one below, or compute it again."
        )
    return found
