"""Accuracy and loss against the number of removed layers, with the curves of other strategies on
the same questions.

The layers on screen can be scored alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import streamlit as st
from plotly.graph_objs import Figure

from analysis import service
from analysis.charts import curves as figures
from analysis.charts.look import ACCURACY, LOSS, Finished
from analysis.core.blocks import Removal
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepResult
from analysis.experiments.strategies import DRAW, STRATEGIES, needs
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import comparable
from analysis.results.score import score
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.jobs import card
from pages.components.shared import chart, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Shown, versions

CHARTS = (score.ACCURACY, score.LOSS)
"""Keys of the charts, for `chart_selection.name_now`."""


def show(
    sweep: FoundResult | None,
    others: Sequence[FoundResult],
    heals: Sequence[FoundResult],
    strategy: ChosenStrategy,
    cut: Cut,
) -> None:
    """Draw both charts, one above the other; the selected block is marked on them by `cut_marks`.

    Args:
        sweep: the curve; None while there is none.
        others: curves of other strategies; each is drawn if it was measured in the same condition.
        heals: healed models, strongest first; drawn in the same way if they heal the selected block
            or one of the curves. Of the others of this block, one is named below the chart.
        strategy: how blocks are chosen; a click on the strategy's own choice is no choice by hand.
        cut: the removed layers; the axes reach out to them.
    """
    if sweep is None:
        st.info(
            "No accuracy or loss is measured for these blocks yet. Click **Run a sweep** to measure"
            " them."
        )
        return
    dark = chart.is_dark()
    points = len(sweep.result.points)
    others_said = f", next to {len(others)} other curves" if others else ""
    sizes = state.sizes(strategy.distances.n_layers)
    alone = stored_results.scores_of("evaluate", sweep.result.spec.model, sweep)
    drawn_heals = _of_blocks(heals, [sweep, *others], cut)
    for quantity, name, height in (
        (score.ACCURACY, "Accuracy", 178),
        (score.LOSS, "Loss in nats per token", 166),
    ):
        other_curves = _comparable(sweep, others, quantity)
        other_heals = _comparable(sweep, drawn_heals, quantity)
        drawn = versions([sweep, *other_curves, *other_heals, *alone])
        reach = cut.n if cut.n > _last(sweep, *other_curves) else 0
        ends = (sizes[0], sizes[-1]) if sizes else None
        chart_selection.chart_of_blocks(
            _figure(
                quantity, drawn, reach, ends, dark, height, sweep, other_curves, other_heals, alone
            ),
            key=quantity,
            alt=f"{name} against removed layers, {points} points{others_said}.",
            file_name=quantity,
            n_layers=strategy.distances.n_layers,
            chosen=lambda n: strategy.cut(n).removed,
        )
    parts = comparable.incomparable(
        sweep.result, [heal.result for heal in heals if heal.result.is_of(cut.removed)]
    )
    if parts:
        more = f" {len(parts) - 1} more under **Data**." if len(parts) > 1 else ""
        st.caption(words.plain(parts[0]) + more)


def _comparable(
    sweep: FoundResult, group: Sequence[FoundResult], quantity: str
) -> list[FoundResult]:
    """Return the results of a group whose scores may be drawn next to those of a curve."""
    return [each for each in group if comparable.is_comparable(sweep.result, each.result, quantity)]


def _last(*drawn: FoundResult) -> int:
    """Return the largest n of the axis without the selection."""
    return max(
        max([*(point.n for point in one.result.points), one.result.spec.max_n or 1])
        for one in drawn
    )


@st.cache_resource(max_entries=48, show_spinner=False)
def _figure(
    quantity: str,
    versions: str,
    reach: int,
    ends: tuple[int, int] | None,
    dark: bool,
    height: int,
    _sweep: FoundResult,
    _others: Sequence[FoundResult],
    _heals: Sequence[FoundResult],
    _alone: Sequence[FoundResult],
) -> Figure:
    """Return the chart without the selected block, from a cache, since building it takes far longer
    than adding a ring.

    Args:
        quantity: accuracy or loss.
        versions: of all results on it.
        reach: number of removed layers that the axis reaches out to.
        ends: the first and the last number of removed layers on it; None for all.
        dark, height: as in `figures.accuracy_curve`.
    """
    draw, measure = (
        (figures.accuracy_curve, ACCURACY)
        if quantity == score.ACCURACY
        else (figures.loss_curve, LOSS)
    )
    others, heals = ([entry.result for entry in found] for found in (_others, _heals))
    plain = draw(_sweep.result, heals, others=others, dark=dark, height=height)
    figure = figures.with_singles(
        figures.reaching(plain, reach), _single_cuts(_sweep, _alone), measure, dark=dark
    )
    figure.update_layout(
        xaxis_fixedrange=True, yaxis_fixedrange=True
    )  # dragging selects a range of n, not the view
    return Finished(figures.within(figure, range(ends[0], ends[1] + 1)) if ends else figure)


def _of_blocks(
    heals: Sequence[FoundResult], curves: Sequence[FoundResult], cut: Cut
) -> list[FoundResult]:
    """Return the healing runs of the selected block and of blocks that a curve on the chart has."""
    blocks = {cut.removed, *(point.block for curve in curves for point in curve.result.points)}
    return [
        heal
        for heal in heals
        if any(block is not None and heal.result.is_of(block) for block in blocks)
    ]


def same_questions(curve: FoundResult, model: ModelSpec) -> dict[str, list[FoundResult]]:
    """Return by strategy the curves of the same model, precision and questions as the shown one,
    which is left out.

    Of a strategy the strongest curve is taken. Among equally strong ones, it is the one that shares
    the shown curve's map. A strategy of random draws has one for each draw.
    """
    spec = curve.result.spec
    groups: dict[tuple[str, int], FoundResult] = {}
    for entry in stored_results.curves_alike(curve, model):
        strategy = entry.summary.strategy
        draw = 0
        if needs(strategy, DRAW):
            draw = entry.result.spec.draw
        if (strategy, draw) != (spec.strategy, spec.draw) and (
            strategy != spec.strategy or needs(strategy, DRAW)
        ):
            groups[strategy, draw] = entry
    by_strategy: dict[str, list[FoundResult]] = {}
    order = list(STRATEGIES)
    for strategy, draw in sorted(groups, key=lambda key: (order.index(key[0]), key[1])):
        by_strategy.setdefault(strategy, []).append(groups[strategy, draw])
    return by_strategy


def menu(curve: FoundResult, model: ModelSpec, n_layers: int) -> None:
    """Draw the choice of the strategies beside this one, and the range of n."""
    _choice(same_questions(curve, model))
    _range_slider(n_layers)


_RANGE = "sizes-handles"
_COMPARED = "compared"
"""Key of the session for the names of strategies."""


def _range_slider(n_layers: int) -> None:
    def choose() -> None:
        first, last = st.session_state[_RANGE]
        if first < last:  # else the handles spring back: there is no curve of one number
            state.choose_sizes(
                None if (first, last) == (0, n_layers - 1) else range(first, last + 1)
            )

    kept = state.sizes(n_layers) or range(n_layers)
    with state.showing(_RANGE, (kept[0], kept[-1])):
        st.slider("Removed layers shown, n", 0, n_layers - 1, key=_RANGE, on_change=choose)


def _choice(others: dict[str, list[FoundResult]]) -> None:
    """Draw the choice of curves to compare with, at first none."""
    if not others:
        st.caption(
            "To compare strategies, run a sweep with another strategy on the same questions."
        )
        return
    compared: set[str] = st.session_state.setdefault(_COMPARED, set())
    options = list(others)
    picked = st.pills(
        "Compare on the same questions",
        options,
        selection_mode="multi",
        default=[name for name in options if name in compared],
        key=f"compare-{'-'.join(options)}",
        format_func=lambda name: words.plain(
            name if len(others[name]) < 2 else f"{name} × {len(others[name])}"
        ),
    )
    compared.difference_update(options)
    compared.update(picked)


def compared(curve: FoundResult, model: ModelSpec) -> list[FoundResult]:
    """Return the curves of the strategies that were chosen to be drawn beside the shown one."""
    names = st.session_state.get(_COMPARED)
    return (
        flat(entries for name, entries in same_questions(curve, model).items() if name in names)
        if names
        else []
    )


def flat(groups: Iterable[list[FoundResult]]) -> list[FoundResult]:
    """Return all groups in one list."""
    return [entry for group in groups for entry in group]


def not_measured(view: Shown) -> None:
    """Draw a grey panel with the button that measures the selected block, if a score is missing
    under the condition.
    """
    removed = view.cut.removed
    missing = missing_scores(view)
    if removed is None or not missing:
        return
    with st.container(
        horizontal=True,
        vertical_alignment="center",
        border=True,
        gap="small",
        key="not-measured-scores",
    ):
        what = "" if len(missing) == 2 or view.sweep is None else f" ({missing[0]})"
        st.markdown(f"**Not measured**{what}: {words.plain(removed.brief())}", width="content")
        _measure_button(view, removed)


def missing_scores(view: Shown) -> list[str]:
    """Return the quantities of the selected block that are not measured under the selected
    condition.
    """
    quantities = {name: view.selected.measured(name) for name in (score.ACCURACY, score.LOSS)}
    return [
        name
        for name, each in quantities.items()
        if each.score is None and (each.condition or view.sweep is None)
    ]


def _measure_button(view: Shown, removed: Removal) -> None:
    """Draw the button that measures the selected block, unless a growing curve will, its progress,
    or why it failed.
    """
    curve = _curve(view.sweep, view.model)
    if curve is None:
        spec = EvaluateSpec(view.asked, removed)
        questions = "100 questions and held-out text"
    elif not curve.complete and any(job.kind == "sweep" for job in service.jobs.active()):
        return
    else:
        request = curve.spec.request
        spec = EvaluateSpec(
            request.model, removed, benchmark=request.benchmark, loss_corpus=request.loss_corpus
        )
        questions = f"the curve's {curve.n_questions} questions and text"
    why = f"Measures accuracy and loss without exactly these layers on {questions}."
    title = f"Score without {removed.brief()}"
    card.start_button(
        spec, title, "Measure scores", key="score-cut", icon=":material/target:", help=why
    )


def _single_cuts(shown: FoundResult, alone: Sequence[FoundResult]) -> Sequence[Point]:
    """Return the scores of single blocks in the condition of a curve, each with its comparable
    quantities only.
    """
    curve = shown.result
    points = []
    for result in (entry.result for entry in alone):
        if result.point.n:
            kept = (
                result.point
                if comparable.is_comparable(curve, result, score.ACCURACY)
                else replace(result.point, acc=None)
            )
            points.append(
                kept
                if comparable.is_comparable(curve, result, score.LOSS)
                else replace(kept, loss=None)
            )
    return points


def _curve(sweep: FoundResult | None, model: ModelSpec) -> SweepResult | None:
    """Return the curve that a request is modelled on: the one on screen, else the strongest of
    another strategy.
    """
    if sweep is not None:
        return sweep.result
    return next((entry.result for entry in stored_results.find("sweep", model, most=1)), None)
