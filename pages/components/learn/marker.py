"""The block that is selected on the other pages, on the lesson's charts: the same ring, at its own value or not at all."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import selected
from analysis.core.blocks import Block, Removal
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import generations
from analysis.results.compared import selection as scores
from pages.components.shared import chart, selection, state, words

Places = Sequence[tuple[float, float]]


def removed() -> Removal | None:
    """The selected block; None while the model has no distance map, or nothing is removed."""
    now = selection.now(state.current_model())
    return None if now is None else now.cut.removed


def block(size: int) -> Block | None:
    """The selected block if it has this number of layers."""
    own = removed()
    return own if isinstance(own, Block) and own.size == size else None


def of_scores(sweep: SweepResult) -> dict[str, Places]:
    """By quantity, the places of the selected block on a chart of accuracy or loss, under the condition of a curve."""
    own = removed()
    return {} if own is None else {**selected.of_scores(scores.select(own, _results(), shown=sweep))}


def of_generations(sweep: SweepResult) -> Places:
    """The places of the selected block on the chart of generated text, under the condition of a curve."""
    found = generations.collect(sweep.spec.model, [sweep, *_results()], sweep.spec.generation)
    return selected.of_generations(found, removed())


def _results() -> list[Any]:
    now = selection.now(state.current_model())
    return [] if now is None else [entry.result for entry in now.evidence.scores]


def on(figure: Figure, places: Places, note: str = selected.UNMEASURED) -> Figure:
    """A chart with the ring of the selected block, or with a note that it has no value there.

    Args:
        figure: the chart, which stays as it is.
        places: of the selected block.
        note: the text on the chart without a place.
    """
    return figure if removed() is None else selected.marked(figure, places, note=note, dark=chart.is_dark())


def caption(found: dict[str, Places], reason: Callable[[Removal], str] | None = None) -> None:
    """Name the selected block below the charts, and the quantities that are not measured for it.

    Args:
        found: by quantity, its places.
        reason: the sentence on a block without a place; None for the usual one.
    """
    own = removed()
    if own is None:
        return
    missing = [name for name, places in found.items() if not places]
    said = [f"Ring: the selected block, {own.brief()}."] if len(missing) < len(found) else []
    if missing and reason is not None:
        said.append(reason(own))
    elif missing:
        said.append(f"{selected.UNMEASURED} ({', '.join(missing)}): {own.brief()}.")
    st.caption(words.plain(" ".join(said)))
