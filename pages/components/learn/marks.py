"""Marks on the lesson's charts: predictions that a visitor drags or draws, and the ring of the
selected block.

A prediction is a draft until the visitor locks it in. Values come from the browser, so invalid ones
are ignored. The measurement is shown after the guess is locked or skipped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import selected
from analysis.core.blocks import Block, Removal
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.exports import handout
from analysis.results.compared import generations
from analysis.results.compared import scores_of_block as scores
from pages.components.learn.lesson import Lesson
from pages.components.shared import chart, selection, state, words

Places = Sequence[tuple[float, float]]
_ASSETS = Path(__file__).resolve().parents[2] / "assets" / "learn"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


_SAID = '<p class="said" aria-live="polite"></p>'
_block = st.components.v2.component(
    "layerscope_block",
    html=f'<div class="strip"><div class="block" role="slider" tabindex="0"></div></div>{_SAID}',
    js=_asset("block.js"),
    css=_asset("block.css"),
)
_curve = st.components.v2.component(
    "layerscope_curve",
    html=(
        '<div class="drawing"><svg role="group"></svg></div><p class="keys">Draw with the pointer'
        f" or a finger. Keys: left and right select a point, up and down move it.</p>{_SAID}"
    ),
    js=_asset("curve.js"),
    css=_asset("curve.css"),
)


def block(
    lesson: Lesson, question: str, n_layers: int, size: int, *, label: str, at: int = 0
) -> Block:
    """Draw the layers of a model with a block to drag, and return its current position.

    Args:
        lesson: the visitor's progress.
        question: name of the draft. Its value is the first layer of the block.
        n_layers: number of layers of the model.
        size: number of layers of the block.
        label: accessible name of the block.
        at: first layer of the block until it is dragged.
    """
    key = lesson.key(question)
    last = n_layers - size

    def take() -> None:
        start = _sent(key, "start")
        if _is_whole(start) and 0 <= start <= last:
            lesson.drafts[question] = start

    start = lesson.drafts.setdefault(question, min(at, last))
    lesson.hear[question] = take
    _block(
        key=key,
        data={"layers": n_layers, "size": size, "start": start, "label": label},
        on_start_change=take,
    )
    return Block(start, size)


@dataclass(frozen=True)
class Axes:
    """Axes of a drawing."""

    places: Sequence[str]
    """Labels of the points, from left to right."""
    one: str
    """Noun before the label of a point, such as "layer"."""
    axis: str
    """Title of the horizontal axis."""
    vertical: str
    """Title of the vertical axis."""
    low: float
    high: float
    step: float
    """Change of a value by one key press."""
    ticks: Sequence[float]
    percent: bool = False
    digits: int = 2
    unit: str = ""
    given: Sequence[float] = ()
    """Known values of the first points, which cannot be drawn."""
    levels: Mapping[str, float] | None = None
    """Horizontal reference lines by name."""
    bars: bool = False
    """Whether values are drawn as bars, not as a line."""

    def printed(self) -> handout.HandoutAxes:
        """Return the axes for the printed handout."""
        named = [
            (tick, f"{tick:.0%}" if self.percent else f"{tick:.{min(self.digits, 1)}f}")
            for tick in self.ticks
        ]
        return handout.HandoutAxes(
            self.places, self.axis, named, self.given, list((self.levels or {}).items()), self.bars
        )


@dataclass(frozen=True)
class Drawn:
    """A drawing: a value for each point, None if nothing was drawn there, and the marked point."""

    values: tuple[float | None, ...]
    mark: int | None = None

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was drawn."""
        return all(value is None for value in self.values)


def curve(
    lesson: Lesson,
    question: str,
    axes: Axes,
    *,
    label: str,
    height: int = 300,
    mark: str = "",
    none: str = "",
) -> Drawn:
    """Draw axes that a visitor can draw on, and return the current drawing.

    Args:
        lesson: the visitor's progress.
        question: name of the draft, a `Drawn` with the values after the known ones.
        axes: the axes.
        label: accessible name of the drawing.
        height: height in pixels.
        mark: label of the handle below the axis; empty for no handle.
        none: label of the handle if it is behind the last point.
    """
    key = lesson.key(question)
    n_given = len(axes.given)
    n_drawn = len(axes.places) - n_given

    def take() -> None:
        drawn = _read(_sent(key, "drawing"), n_given, n_drawn, axes, marks=bool(mark))
        if drawn is not None:
            lesson.drafts[question] = drawn

    draft: Drawn = lesson.drafts.setdefault(question, Drawn((None,) * n_drawn))
    data = {
        "label": label,
        "places": list(axes.places),
        "one": axes.one,
        "axis": axes.axis,
        "vertical": axes.vertical,
        "low": axes.low,
        "high": axes.high,
        "step": axes.step,
        "ticks": list(axes.ticks),
        "percent": axes.percent,
        "digits": axes.digits,
        "unit": axes.unit,
        "levels": [{"name": name, "value": value} for name, value in (axes.levels or {}).items()],
        "bars": axes.bars,
        "fixed": n_given,
        "values": [*axes.given, *draft.values],
        "height": height,
        "mark": {"label": mark, "none": none, "place": draft.mark} if mark else None,
    }
    lesson.hear[question] = take
    with st.container(key=f"drawing-{question}"):
        _curve(key=key, data=data, on_drawing_change=take)
    return draft


def _sent(key: str, name: str) -> object:
    """Return the last value that the browser sent."""
    return (st.session_state.get(key) or {}).get(name)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _read(sent: object, n_given: int, n_drawn: int, axes: Axes, *, marks: bool) -> Drawn | None:
    values, mark = (
        (sent.get("values"), sent.get("mark")) if isinstance(sent, dict) else (None, None)
    )
    if not isinstance(values, list) or len(values) != n_given + n_drawn:
        return None
    drawn = values[n_given:]
    for value in drawn:
        is_number = (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
        if value is not None and not (is_number and axes.low <= value <= axes.high):
            return None
    is_mark = mark is None or (marks and _is_whole(mark) and 1 <= mark <= len(axes.places))
    return Drawn(tuple(drawn), mark) if is_mark else None


def buttons(
    lesson: Lesson, question: str, *, ready: bool = True, missing: words.Markdown = ""
) -> None:
    """Draw the buttons that lock a prediction in or skip it.

    Args:
        lesson: the visitor's progress.
        question: name of the draft.
        ready: whether a prediction can be locked in.
        missing: hint on the disabled button.
    """
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Lock in and reveal",
            key=f"learn-lock-{question}",
            type="primary",
            icon=":material/lock:",
            disabled=not ready,
            help=None if ready else missing,
            on_click=lesson.lock,
            args=(question,),
        )
        st.button(
            "Skip",
            key=f"learn-skip-{question}",
            type="tertiary",
            on_click=lesson.skip,
            args=(question,),
            help="Shows the measurement without a guess or a score.",
        )


def selected_removal() -> Removal | None:
    """Return the selected block; None if the model has no distance map or nothing is removed."""
    now = selection.now(state.current_model())
    return None if now is None else now.cut.removed


def selected_block(size: int) -> Block | None:
    """Return the selected block if it has `size` layers, else None."""
    block = selected_removal()
    return block if isinstance(block, Block) and block.size == size else None


def places_of_scores(sweep: SweepResult) -> dict[str, Places]:
    """Return the points of the selected block on charts of accuracy and loss under the condition of
    a curve, by quantity.
    """
    block = selected_removal()
    return (
        {}
        if block is None
        else {**selected.of_scores(scores.select(block, _scores_of_selection(), shown=sweep))}
    )


def places_of_generations(sweep: SweepResult) -> Places:
    """Return the points of the selected block on the chart of generated text under the condition of
    a curve.
    """
    points = generations.collect(
        sweep.spec.model, [sweep, *_scores_of_selection()], sweep.spec.generation
    )
    return selected.of_generations(points, selected_removal())


def _scores_of_selection() -> list[Any]:
    now = selection.now(state.current_model())
    return [] if now is None else [entry.result for entry in now.scores]


def ringed(figure: Figure, places: Places) -> Figure:
    """Return a copy of a chart with the ring of the selected block; the chart itself if the block
    has no value.

    Args:
        figure: the chart.
        places: points of the selected block.
    """
    return selected.marked(figure, places, dark=chart.is_dark()) if places else figure


def ring_caption(
    places_by_quantity: dict[str, Places], reason: Callable[[Removal], str] | None = None
) -> None:
    """Draw a caption with the selected block and the quantities that are not measured for it.

    Args:
        places_by_quantity: points of the selected block by quantity.
        reason: sentence for a block without a point (default: "Not measured").
    """
    removed = selected_removal()
    if removed is None:
        return
    unmeasured = [name for name, places in places_by_quantity.items() if not places]
    sentences = (
        [f"Ring: the selected block, {removed.brief()}."]
        if len(unmeasured) < len(places_by_quantity)
        else []
    )
    if unmeasured and reason is not None:
        sentences.append(reason(removed))
    elif unmeasured:
        sentences.append(f"{selected.UNMEASURED} ({', '.join(unmeasured)}): {removed.brief()}.")
    st.caption(words.plain(" ".join(sentences)))
