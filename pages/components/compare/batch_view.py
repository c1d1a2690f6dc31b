"""Parts that the views of grids and of tables of methods share: running jobs, reasons of failures, names of stored results."""

from collections.abc import Mapping, Sequence

import streamlit as st

from analysis import jobs
from analysis.experiments.batch.grid_cells import GridCell
from analysis.experiments.batch.methods_spec import MethodCell
from analysis.experiments.strategies import BLOCKS, STRATEGIES, needs
from analysis.results.stored.result import FoundResult
from pages.components.jobs import card
from pages.components.shared import words

_TOLD_FAILURES = 5


def show_jobs(kind: str, found: Sequence[FoundResult]) -> bool:
    """Draw the jobs of a kind that run, and why the last one failed where no result is newer; return whether one runs.

    Args:
        kind: of the jobs.
        found: stored results of the kind.
    """
    running = [job for job in jobs.active() if job.kind == kind]
    for job in running:
        card.in_place(job, kind)
        if doing := job.values.get("doing"):
            st.caption(words.plain(str(doing)))
    card.failure(card.last_of(kind, lambda spec: True), max((entry.saved_at for entry in found), default=0.0))
    return bool(running)


def show_failures(cells: Sequence[GridCell | MethodCell], lead: str = "") -> None:
    """Draw the reasons why cells could not be measured, each once with the first of its cells."""
    for why in list(dict.fromkeys(cell.error for cell in cells))[:_TOLD_FAILURES]:
        names = [cell.name for cell in cells if cell.error == why]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        st.caption(words.plain(f"{lead}{names[0]}{more}: {why}"))


def name(entry: FoundResult, what: str, *, complete: bool) -> str:
    """Return the name of a stored result in a menu: its size, when it was saved, and whether it is unfinished."""
    when = "precomputed" if entry.precomputed else words.date(entry.saved_at)
    return words.seen(f"{what} · {when}{'' if complete else ', unfinished'}")


def choose_strategies(label: words.Markdown, chosen: Sequence[str], key: str) -> tuple[str, ...]:
    """Draw the field of the strategies that choose layers by themselves."""
    choosing = [strategy for strategy in STRATEGIES if not needs(strategy, BLOCKS)]
    return tuple(st.multiselect(label, choosing, list(chosen), key=key, help=words.strategies_help()))


def choose_quantity(label: words.Markdown, titles: Mapping[str, words.Markdown], shown: Sequence[str], kind: str) -> str:
    """Draw the switch between the quantities of the charts."""
    return st.segmented_control(
        label,
        shown,
        default=shown[0],
        required=True,
        format_func=titles.get,
        key=f"{kind}-quantity",
        persist_state="session",
    )
