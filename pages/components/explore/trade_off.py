"""The trade-off: accuracy or loss against size or speed over everything measured of the model, and the answer to a goal."""

from collections.abc import Sequence

import streamlit as st

from analysis import service
from analysis.charts import front as figures
from analysis.core import blocks
from analysis.models.source.model_spec import ModelSpec
from analysis.results import verdict
from analysis.results.compared import front, unmeasured
from analysis.results.compared.front import SIZE, SPEED, Comparison, Front
from analysis.results.compared.material_filter import SameMaterial
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored.reading import ACCURACY, BITS, LOSS, SCORED, Condition
from analysis.results.verdict import BYTES, NATS, POINTS, Goal
from analysis.results.words import goals
from analysis.results.words.front_table import measured_on
from analysis.results.words.goals import Answer
from pages.components.explore import chart_selection
from pages.components.shared import chart, cuts, selection, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

_QUANTITIES: dict[str, words.Markdown] = {ACCURACY: "Accuracy", LOSS: "Loss"}
_AXES: dict[str, words.Markdown] = {SIZE: "Size", SPEED: "Speed"}
_GOALS: dict[str, words.Markdown] = {
    POINTS: "Max. accuracy drop, points",
    BYTES: "Max. size, MB",
    verdict.SPEED: "Min. speedup, times",
    NATS: "Max. loss rise, nats/token",
}
_LIMITS = {POINTS: (0.5, 100.0, 3.0, 0.5), verdict.SPEED: (1.0, 100.0, 1.3, 0.05), NATS: (0.01, 20.0, 0.5, 0.05)}
"""Least, most, default and step of each goal; those of the size follow from the model."""
_MEGABYTE = 1e6


def show(model: ModelSpec, strategy: ChosenStrategy, cut: Cut, selected: Selected) -> None:
    """Draw the form, the chart, the answer to the goal, and the measurements that it rests on.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen; a click on the strategy's own choice is no choice by hand.
        cut: the removed layers.
        selected: the scores on screen; their questions and texts are compared on.
    """
    on_screen = [condition for condition in (selected.selection.questions, selected.selection.texts) if condition is not None]
    named = tuple(st.session_state.get("front-others", []))
    comparison = _compare(model, on_screen, named)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        goal = _goal(comparison)
        quantity = _choice("Quality", _quantities(comparison), "front-quantity", ACCURACY)
        by = _choice("Against", _AXES, "front-by", SIZE)
        if comparison.unlisted:
            st.multiselect(
                "Other models",
                comparison.unlisted,
                key="front-others",
                width=240,
                help="Models of the gallery are always here.",
            )
    compared = comparison.front(quantity)
    if compared is None:
        st.info("No results yet. Run a sweep, measure scores or heal a block to see models here.")
        return
    if by == SPEED and not any(form.times for form in comparison.forms):
        st.info("No speed of this model is measured. Click **Measure speed** in the **Cost** tab.")
    else:
        _chart(compared, by, strategy, cut, selected)
    answer = goals.answer(comparison, goal)
    st.markdown(words.plain(answer.said), help=words.plain(verdict.RULE))
    _actions(answer, comparison, model, strategy)
    st.caption(words.plain(measured_on(comparison)))
    st.caption(_about(compared, by))


def _chart(compared: Front, by: str, strategy: ChosenStrategy, cut: Cut, selected: Selected) -> None:
    quantity = compared.quantity
    chart_selection.chart_of_blocks(
        figures.trade_off(compared, by, dark=chart.is_dark(), height=340),
        key="front",
        alt=f"{quantity.capitalize()} against {_AXES[by].lower()} of {len(compared.candidates)} models on the same data.",
        file_name="trade-off",
        n_layers=strategy.distances.n_layers,
        chosen=strategy.block,
    )
    wanted = selected.selection.condition(ACCURACY if quantity == ACCURACY else LOSS)
    marked = chart_selection.of_front(compared, by, wanted or compared.condition)
    chart_selection.mark({chart_selection.name_now("front"): marked}, cut, strategy)
    selection.show_chip([compared.condition])


def _compare(model: ModelSpec, on: Sequence[Condition], named: tuple[str, ...]) -> Comparison:
    """Return `front.of_model` on some questions and texts, cached until a result is added, changed or deleted."""
    version = service.version((*SCORED, "speed"))
    return _compared(version, stored_results.known(model), SameMaterial.of(on), named)


@st.cache_resource(max_entries=16, show_spinner=False)
def _compared(version: str, model: ModelSpec, material: SameMaterial, named: tuple[str, ...]) -> Comparison:
    return front.of_model(model, material, named)


def _quantities(comparison: Comparison) -> dict[str, words.Markdown]:
    """Return the quantities to choose from: bits per byte if another tokenizer makes a loss per token incomparable."""
    n_losses = sum(LOSS in candidate.readings for candidate in comparison.candidates)
    losses = comparison.front(LOSS)
    return _QUANTITIES | ({BITS: "Bits per byte"} if losses and n_losses > len(losses.candidates) else {})


def _choice(label: words.Markdown, options: dict[str, words.Markdown], key: str, usual: str) -> str:
    return st.segmented_control(label, list(options), format_func=options.get, default=usual, required=True, key=key)


def _goal(comparison: Comparison) -> Goal:
    """Draw the form of the goal."""
    kind = st.selectbox("Goal", list(_GOALS), format_func=_GOALS.get, key="goal-kind", width=200)
    if kind == BYTES:
        usual = next((goal.value / _MEGABYTE for goal in verdict.usual_goals(comparison) if goal.kind == BYTES), 100.0)
        least, most, step = 0.001, 1e7, max(0.001, float(f"{usual / 10:.1g}"))
    else:
        least, most, usual, step = _LIMITS[kind]
    form = "%.2f" if step >= 0.01 else "%.4f"
    value = float(st.number_input("Limit", least, most, max(least, usual), step, form, key=f"goal-{kind}", width=115))
    return Goal(kind, round(_MEGABYTE * value) if kind == BYTES else value)


def _about(compared: Front, by: str) -> words.Markdown:
    said = (
        "Bars: 95 % intervals. Open: significantly worse than a model that costs no more. Click a symbol to select its block."
    )
    if not any(one.is_other for one in compared.candidates):
        said += " Is a smaller model better? Measure one on the same data, then choose it under **Other models**."
    return said + (" A number of layers that was not timed has no point." if by == SPEED else "")


def _actions(answer: Answer, comparison: Comparison, model: ModelSpec, strategy: ChosenStrategy) -> None:
    """Draw the button that selects the answer's block, and those of missing measurements: scores as one grid, then speeds."""
    missing = unmeasured.missing(comparison, model)
    curves = service.read_all(service.of_here("sweep"))
    grid, lasts = unmeasured.affordable_grid(comparison, missing, curves)
    speeds = unmeasured.speeds(missing)
    undecided, quantity = answer.undecided, answer.goal.quantity
    more = None if undecided is None else unmeasured.more_data(undecided, quantity, answer.needed)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        chosen = answer.candidate
        if chosen is not None and chosen.cut is not None and not chosen.is_other:
            st.button(
                f"Take {chosen.cut.brief()}",
                key=f"goal-take-{blocks.written(chosen.cut)}",
                icon=":material/content_cut:",
                type="primary",
                on_click=cuts.take_or_say,
                args=(chosen.cut, strategy.cut(chosen.cut.size).removed, strategy.distances.n_layers),
            )
        if more is not None and start.button(
            f"Measure {answer.needed:,} {'questions' if quantity == ACCURACY else 'texts'}",
            key="goal-measure",
            icon=":material/play_arrow:",
            help="Scores the unpruned and the pruned model on the same data. The answer updates when it is done.",
        ):
            start.start_and_show(more.spec, more.what)
        duration = "duration unknown" if lasts is None else f"about {words.span(lasts.low_s, lasts.high_s)}"
        if grid is not None and start.button(
            f"Measure missing points ({duration})",
            key="front-missing",
            icon=":material/play_arrow:",
            help="Runs one grid: the same questions, texts and removals in missing precisions. Stored parts take no time.",
        ):
            start.start_and_show(grid, f"Missing precisions of {state.name(model)}")
        if speeds and start.button(
            "Measure missing speeds",
            key="front-speeds",
            icon=":material/speed:",
            help="Times each precision in turn. Needs an idle machine.",
        ):
            start.start_all([(spec, f"Speed of {state.name(model)} in {spec.model.precision}") for spec in speeds])
    if missing:
        st.caption(f"Not measured: {words.plain(', '.join(measurement.what for measurement in missing))}.")
