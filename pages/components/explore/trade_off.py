"""The trade-off: accuracy or loss against size or speed of all measured models, with a budget."""

import math
from collections.abc import Sequence

import streamlit as st

from analysis import service
from analysis.charts import front as figures
from analysis.core import blocks, units
from analysis.models.source.model_spec import ModelSpec
from analysis.results import verdict
from analysis.results.compared import front, generations, unmeasured
from analysis.results.compared.candidates import Candidate
from analysis.results.compared.front import SIZE, SPEED, Comparison, Front
from analysis.results.compared.material_filter import SameMaterial
from analysis.results.compared.scores_of_block import Selected
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, BITS, LOSS
from analysis.results.score.stored_scores import SCORED
from analysis.results.verdict import Goal
from analysis.results.words import goals
from analysis.results.words.front_table import measured_on
from pages.components.explore import chart_selection, readout
from pages.components.shared import chart, cuts, selection, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

_QUANTITIES: dict[str, words.Markdown] = {ACCURACY: "Accuracy", LOSS: "Loss"}
_AXES: dict[str, words.Markdown] = {SIZE: "Size", SPEED: "Speed"}
_MEGABYTE = 1e6


def show(model: ModelSpec, strategy: ChosenStrategy, cut: Cut, selected: Selected) -> None:
    """Draw the budget, the chart, the best model of each kind within the budget, and missing
    measurements.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen; its own choice is not a choice by hand.
        cut: the removed layers.
        selected: the scores on screen, whose questions and texts all models are compared on.
    """
    on_screen = [
        condition
        for condition in (selected.accuracy.condition, selected.loss.condition)
        if condition is not None
    ]
    named = tuple(st.session_state.get("front-others", []))
    comparison = _compare(model, on_screen, named)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        limits = _budget(comparison)
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
        _chart(compared, by, limits, strategy, cut, selected)
    for column, (way, candidate) in zip(
        st.columns(3), verdict.routes(comparison, limits).items(), strict=True
    ):
        with column, st.container(border=True, height="stretch"):
            _card(way, candidate, quantity, strategy)
    _actions(comparison, model)
    st.caption(words.plain(measured_on(comparison)))
    st.caption(_about(compared, by))


def _chart(
    compared: Front,
    by: str,
    limits: Sequence[Goal],
    strategy: ChosenStrategy,
    cut: Cut,
    selected: Selected,
) -> None:
    quantity = compared.quantity
    chart_selection.chart_of_blocks(
        figures.trade_off(compared, by, dark=chart.is_dark(), height=340, limits=limits),
        key="front",
        alt=(
            f"{quantity.capitalize()} against {_AXES[by].lower()} of {len(compared.candidates)}"
            " models on the same data."
        ),
        file_name="trade-off",
        n_layers=strategy.distances.n_layers,
        chosen=strategy.block,
    )
    wanted = selected.measured(ACCURACY if quantity == ACCURACY else LOSS).condition
    marked = chart_selection.of_front(compared, by, wanted or compared.condition)
    chart_selection.mark({chart_selection.name_now("front"): marked}, cut, strategy)
    selection.show_chip([compared.condition])


def _compare(model: ModelSpec, on: Sequence[Condition], named: tuple[str, ...]) -> Comparison:
    """Return `front.of_model` on some questions and texts, cached until a result is added, changed
    or deleted.
    """
    version = service.version((*SCORED, "speed"))
    return _compared(version, stored_results.known(model), SameMaterial.of(on), named)


@st.cache_resource(max_entries=16, show_spinner=False)
def _compared(
    version: str, model: ModelSpec, material: SameMaterial, named: tuple[str, ...]
) -> Comparison:
    return front.of_model(model, material, named)


def _quantities(comparison: Comparison) -> dict[str, words.Markdown]:
    """Return the quantities to choose from: bits per byte if another tokenizer makes a loss per
    token incomparable.
    """
    n_losses = sum(LOSS in candidate.scores for candidate in comparison.candidates)
    losses = comparison.front(LOSS)
    return _QUANTITIES | (
        {BITS: "Bits per byte"} if losses and n_losses > len(losses.candidates) else {}
    )


def _choice(label: words.Markdown, options: dict[str, words.Markdown], key: str, usual: str) -> str:
    return st.segmented_control(
        label, list(options), format_func=options.__getitem__, default=usual, required=True, key=key
    )


def _budget(comparison: Comparison) -> list[Goal]:
    """Draw a slider for the size and one for the speed, if any is measured, and return the limits
    that they set.
    """
    sizes = [candidate.memory / _MEGABYTE for candidate in comparison.candidates] or [0.0]
    largest = (
        comparison.reference.memory / _MEGABYTE if comparison.reference is not None else max(sizes)
    )
    most = (
        math.ceil(max((form.memory / _MEGABYTE for form in comparison.forms), default=max(sizes)))
        + 1
    )
    least = min(math.floor(min(sizes)), most - 1)
    usual = min(most, max(least, round(largest / 2)))
    size = st.slider("Max. size, MB", least, most, usual, key="budget-size", width=220)
    limits = [Goal(verdict.BYTES, round(_MEGABYTE * size))]
    times = [candidate.times for candidate in comparison.candidates if candidate.times]
    if times:
        low = math.floor(10 * min(times)) / 10
        high = math.ceil(10 * max(times)) / 10 + 0.1
        speed = st.slider(
            "Min. relative speed", low, high, low, 0.05, key="budget-speed", width=220
        )
        limits += [Goal(verdict.SPEED, speed)] if speed > low else []
    return limits


def _card(way: str, candidate: Candidate | None, quantity: str, strategy: ChosenStrategy) -> None:
    """Draw the best model of one kind within the budget, with its change of the quantity on the
    chart.
    """
    st.markdown(f"**{words.plain(way)}**", help=words.plain(verdict.RULE))
    if candidate is None:
        st.caption("No measured model fits.")
        return
    action = goals.action(candidate)
    st.markdown(words.plain(f"{action[:1].upper()}{action[1:]}, {units.size(candidate.memory)}"))
    st.markdown(f"**{words.plain(goals.effect(candidate, quantity))}**")
    _generated_text(candidate)
    if candidate.cut is not None and not candidate.is_other:
        st.button(
            f"Select {candidate.cut.brief()}",
            key=f"take-{blocks.written(candidate.cut)}",
            icon=":material/content_cut:",
            on_click=cuts.take_or_say,
            args=(
                candidate.cut,
                strategy.cut(candidate.cut.size).removed,
                strategy.distances.n_layers,
            ),
        )


def _generated_text(candidate: Candidate) -> None:
    """Draw the stored text of a model that is not healed, after the prompt of Explore."""
    kinds = {"sweep": None, "evaluate": candidate.cut}
    entries = [
        entry
        for kind, cut in kinds.items()
        for entry in stored_results.generating(kind, candidate.model, cut)
    ]
    stored = readout.texts(
        generations.collect(candidate.model, [entry.result for entry in entries])
    )
    runs = stored["texts"].get(blocks.written(candidate.cut) if candidate.cut else "")
    if runs and not candidate.repair:
        text = " ".join(run for run, _ in runs)
        st.caption(
            words.plain(f"“… {text} …”"), help=words.plain(f"Generated after “{stored['prompt']}”")
        )


def _about(compared: Front, by: str) -> words.Markdown:
    sentences = (
        "Bars: 95 % intervals. Dotted line: best measured. Pale: outside the budget. Click a symbol"
        " to select it."
    )
    if not any(candidate.is_other for candidate in compared.candidates):
        sentences += (
            " Is a smaller model better? Measure one on the same data, then choose it under **Other"
            " models**."
        )
    return sentences + (
        " A number of layers that was not timed has no point." if by == SPEED else ""
    )


def _actions(comparison: Comparison, model: ModelSpec) -> None:
    """Draw the buttons that measure missing scores, as one grid, and missing speeds."""
    missing = unmeasured.missing(comparison, model)
    grid, lasts = unmeasured.affordable_grid(
        comparison, missing, service.read_all(service.of_here("sweep"))
    )
    speeds = unmeasured.speeds(missing)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        duration = (
            "duration unknown"
            if lasts is None
            else f"about {units.span(lasts.low_s, lasts.high_s)}"
        )
        if grid is not None and start.button(
            f"Measure missing points ({duration})",
            key="front-missing",
            icon=":material/play_arrow:",
            help=(
                "Runs one grid: the same questions, texts and removals in missing precisions."
                " Stored parts take no time."
            ),
        ):
            start.start_and_show(grid, f"Missing precisions of {state.name(model)}")
        if speeds and start.button(
            "Measure missing speeds",
            key="front-speeds",
            icon=":material/speed:",
            help="Times each precision in turn. Needs an idle machine.",
        ):
            start.start_all(
                [
                    (spec, f"Speed of {state.name(model)} in {spec.model.precision}")
                    for spec in speeds
                ]
            )
    if missing:
        st.caption(
            f"Not measured: {words.plain(', '.join(measurement.what for measurement in missing))}."
        )
