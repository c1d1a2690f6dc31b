"""The trade-off: a goal and its answer, then accuracy or loss against size or speed over everything measured of the model."""

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from analysis.charts import front as figures
from analysis.core import blocks
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import front
from analysis.results.compared.candidates import Comparison
from analysis.results.compared.front import (
    BEST,
    DOMINATED,
    SIZE,
    SPEED,
    TIED,
    Front,
    Offer,
)
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored.reading import ACCURACY, BITS, LOSS, Condition, conditions_of
from analysis.results.stored.result import FoundResult
from analysis.results.words import goals
from analysis.results.words.goals import MEGABYTES, NATS, POINTS, TIMES, Goal, GoalAnswer
from pages.components.explore import chart_selection, precisions, savings
from pages.components.shared import access, chart, cuts, selection, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import versions

_QUANTITIES = {ACCURACY: "Accuracy", LOSS: "Loss"}
_AXES = {SIZE: "Size", SPEED: "Speed"}
_KINDS = ("sweep", "evaluate", "heal")
"""Results that score removals."""
_GOALS: dict[str, words.Markdown] = {
    POINTS: "Max. accuracy drop, points",
    MEGABYTES: "Max. size, MB",
    TIMES: "Min. speedup, times",
    NATS: "Max. loss rise, nats/token",
}
_LIMITS = {
    POINTS: (0.5, 100.0, 3.0, 0.5),
    MEGABYTES: (0.001, 1e7, 0.0, 10.0),
    TIMES: (1.0, 100.0, 1.2, 0.05),
    NATS: (0.01, 20.0, 0.5, 0.05),
}
"""Least, most, default and step of each goal; the default size is 85 % of the unpruned model's."""


def show(model: ModelSpec, strategy: ChosenStrategy, cut: Cut, selected: Selected) -> None:
    """Draw the goal and its answer, the front, and the measurements that it rests on.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen; a click on the strategy's own choice is no choice by hand.
        cut: the removed layers.
        selected: the scores on screen, whose dataset and precision answer the goal.
    """
    own_results = _weighed(model)
    on_screen = [condition for condition in (selected.selection.questions, selected.selection.texts) if condition is not None]
    unlisted = precisions.others(model, own_results, on_screen)
    named = st.session_state.get("front-others", [])
    every = precisions.compare(model, own_results, on_screen, named)
    with st.container(border=True):
        st.markdown("**Start from a goal**")
        wish = _goal(model, strategy, selected)
        precisions.answer(every, wish)
    n_stored = sum(stored_results.count(kind, model, any_precision=True) for kind in _KINDS)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        quantity = _choice("Quality", _quantities(every), "front-quantity", ACCURACY)
        by = _choice("Against", _AXES, "front-by", SIZE)
        comparison = _on(every, quantity, model, own_results, on_screen, named)
        if unlisted:
            st.multiselect(
                "Other models", unlisted, key="front-others", width=320, help="Models of the gallery are always here."
            )
        shown = comparison.front(quantity)
        if shown is None:
            st.info("No results yet. Run a sweep, measure scores or heal a block to see models here.")
            return
        if sizes := state.sizes(strategy.distances.n_layers):
            kept = [offer for offer in shown.offers if offer.is_rival or offer.cut is None or offer.cut.size in sizes]
            shown = replace(shown, offers=kept)
    if by == SPEED and not any(offer.times for offer in shown.own()):
        st.info("No speed of this model is measured. Click **Measure speed** in the **Cost** tab.")
        precisions.measure(comparison, model)
        return
    chart_selection.chart_of_blocks(
        figures.trade_off(shown, by, None, dark=chart.is_dark()),
        key="front",
        alt=f"{quantity.capitalize()} against {_AXES[by].lower()} of {len(shown.offers)} models on the same data.",
        file_name="trade-off",
        n_layers=strategy.distances.n_layers,
        chosen=strategy.block,
    )
    wanted = selected.selection.condition(ACCURACY if quantity == ACCURACY else LOSS)
    marked = chart_selection.of_front(shown, by, wanted or shown.condition)
    chart_selection.mark({chart_selection.name_now("front"): marked}, cut, strategy)
    selection.show_chip([shown.condition])
    if n_stored > len(own_results):
        st.caption(f"Shows the strongest {len(own_results):,} of {n_stored:,} stored results.")
    st.caption(_about(shown, by))
    precisions.measure(comparison, model)


def _quantities(every: Comparison) -> dict[str, words.Markdown]:
    """Return the quantities to choose from: bits per byte where another tokenizer makes a loss per token incomparable."""
    n_losses = sum(LOSS in candidate.readings for candidate in every.candidates)
    return _QUANTITIES | ({BITS: "Loss, bits per byte"} if n_losses > len(every.offers(LOSS)) else {})


def _choice(label: words.Markdown, options: dict[str, words.Markdown], key: str, usual: str) -> str:
    return st.segmented_control(label, list(options), format_func=options.get, default=usual, required=True, key=key)


def _on(
    every: Comparison,
    quantity: str,
    model: ModelSpec,
    own_results: list[FoundResult],
    on_screen: list[Condition],
    named: Sequence[str],
) -> Comparison:
    """Return the comparison on the chosen questions or texts: models on two of them are never on one chart.

    Those on screen come first, and the other kind of material stays that on screen.
    """
    there = precisions.materials(every, quantity)
    if len(there) < 2:
        return every
    place = st.selectbox(
        "Measured on",
        range(len(there)),
        key="front-condition",
        width=320,
        format_func=lambda i: there[i].material_in_words(),
    )
    if not place:
        return every
    others = [condition for condition in on_screen if type(condition.material) is not type(there[place].material)]
    return precisions.compare(model, own_results, [there[place], *others], named)


def _counted(shown: Front, by: str) -> str:
    """The number of offers by standing."""
    standing = [place for _, place in shown.standing(by)]
    n_best, n_tied, n_dominated = (sum(place == wanted for place in standing) for wanted in (BEST, TIED, DOMINATED))
    return f"{n_best} best measured, {n_tied} statistically tied, {n_dominated} dominated."


def _about(shown: Front, by: str) -> str:
    others = [offer for offer in shown.offers if offer.is_rival]
    rivals = sorted({offer.name for offer in others if by == SIZE or offer.times is not None})
    untimed = sorted({offer.name for offer in others} - set(rivals))
    data = "questions" if shown.quantity == ACCURACY else "texts"
    said = [
        f"Bars are 95 % intervals. {_counted(shown, by)} Open: dominated, "
        f"the paired 95 % interval against a model that costs no more excludes zero. Pale: statistically tied with the best "
        f"measured. The best of many looks better than it is. Click a symbol to select its block."
    ]
    precisions_shown = sorted({offer.reading.condition.precision for offer in shown.own()})
    if len(precisions_shown) > 1:
        said.append(f"Colour: pruned or healed. Symbol: precision ({words.plain('; '.join(precisions_shown))}).")
    if rivals:
        said.append(f"Grey symbols are other models on the same {data}: {words.plain(', '.join(rivals))}.")
    if untimed:
        said.append(f"No speed is measured of {words.plain(', '.join(untimed))}.")
    if not others:
        said.append(f"Is a smaller model better? Measure one on the same {data}, then choose it under **Other models**.")
    if by == SPEED:
        said.append("A number of layers that was not timed has no point.")
    return " ".join(said)


def _size_limit(size: float, least: float, step: float) -> tuple[float, float]:
    """Return the default and the step of the size goal.

    Args:
        size: of the unpruned model, MB.
        least: smallest allowed size.
        step: of large models.
    """
    usual = 0.85 * size
    if usual >= step:
        return float(round(usual)), step
    return max(least, float(f"{usual:.2g}")), max(least, float(f"{usual / 10:.1g}"))


def _goal(model: ModelSpec, strategy: ChosenStrategy, selected: Selected) -> Goal:
    """Draw the goal and its answer among the removals in the precision on screen, and return the goal.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen.
        selected: the scores on screen, whose dataset and precision count.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        kind = st.selectbox("Goal", list(_GOALS), format_func=_GOALS.get, key="goal-kind", width=230)
        least, most, usual, step = _LIMITS[kind]
        if kind == MEGABYTES:
            facts = strategy.distances.model
            usual, step = _size_limit(facts.n_parameters * facts.bytes_per_parameter / 1e6, least, step)
        form = "%.2f" if step >= 0.01 else "%.4f"
        value = st.number_input("Limit", least, most, usual, step, form, key=f"goal-{kind}", width=130)
    goal = Goal(kind, float(value))
    fronts = _fronts(goal.quantity, model, _weighed(model))
    if not fronts:
        st.info("No removal is scored yet. Run a sweep first.")
        return goal
    like = selected.selection.condition(goal.quantity) or fronts[0].condition
    answer = goals.reach(goal, fronts, like, _size(like))
    st.markdown(words.plain(" ".join(answer.sentences())))
    _unmeasured(answer, strategy)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if answer.offer is not None:
            _take(answer.offer, strategy)
        if answer.candidate is not None and answer.needed is not None:
            _measure(answer.candidate, answer.needed, goal, model)
    n_removals = sum(offer.cut is not None for offer in fronts[0].own())
    st.caption(
        f"The 95 % interval must meet the limit. Chosen among {n_removals} measured removals: the best of many looks better "
        "than it is."
    )
    return goal


def _fronts(quantity: str, model: ModelSpec, own_results: list[FoundResult]) -> list[Front]:
    """Return all offers of a model, condition by condition, from everything measured."""
    ranked = sorted(own_results, key=lambda entry: entry.summary.weight, reverse=True)
    speed = savings.find_speed(model)
    return _fronts_of(quantity, versions(ranked), versions([speed] if speed else []), ranked, speed)


@st.cache_resource(max_entries=32, show_spinner=False)
def _fronts_of(
    quantity: str, measured: str, timed: str, _ranked: Sequence[FoundResult], _speed: FoundResult | None
) -> list[Front]:
    return front.fronts(quantity, [entry.result for entry in _ranked], _speed.result if _speed else None)


def _weighed(model: ModelSpec) -> list[FoundResult]:
    """Return the strongest results that score removals, and the strongest under the conditions of the curve on screen."""
    curve, by_id = selection.curve(model), dict[str, FoundResult]()
    for kind in _KINDS:
        of_kind = stored_results.find(kind, model, any_precision=True)
        if len(of_kind) >= stored_results.MOST and curve is not None:
            of_kind += stored_results.scores_of(kind, model, curve)
        by_id |= {entry.id: entry for entry in of_kind}
    return list(by_id.values())


def _size(condition: Condition) -> int | None:
    """Return the number of questions of a dataset; None for texts, and where it is unknown."""
    benchmark = condition.material
    return questions.size(benchmark, access.question_file) if isinstance(benchmark, BenchmarkSpec) else None


def _unmeasured(answer: GoalAnswer, strategy: ChosenStrategy) -> None:
    """Name the number of layers to remove for a size that no measured block reaches."""
    if answer.offer is None and answer.goal.kind == MEGABYTES:
        dtype = strategy.distances.spec.model.dtype
        n = goals.layers_needed(strategy.distances.model, answer.goal.value, dtype)
        st.markdown(
            f"Remove {words.layers(n)} to fit. Run a sweep up to n = {n}." if n else "No number of removed layers fits."
        )


def _take(offer: Offer, strategy: ChosenStrategy) -> None:
    if offer.cut is not None:
        st.button(
            f"Take {offer.cut.brief()}",
            key=f"goal-take-{blocks.written(offer.cut)}",
            icon=":material/content_cut:",
            type="primary",
            on_click=cuts.take_or_say,
            args=(offer.cut, strategy.cut(offer.cut.size).removed, strategy.distances.n_layers),
        )


def _measure(offer: Offer, needed: int, goal: Goal, model: ModelSpec) -> None:
    """Draw the button that measures the unpruned and the pruned model on so many questions, with its duration."""
    request = _request(offer, needed, goal, model)
    if request is None:
        return
    rate = goals.seconds_per_question(_here(model, offer.reading.condition))
    lasts = goals.duration(needed, rate)
    about = f"about {words.duration(lasts)}" if lasts is not None else "duration not measured on this machine"
    if start.button(
        f"Measure {needed:,} questions ({about})",
        key="goal-measure",
        icon=":material/play_arrow:",
        help="Asks the unpruned and the pruned model the same questions. The answer above updates when it is done.",
    ):
        start.start_and_show(request, f"{needed:,} questions without {request.blocks[0].brief()}")


def _request(offer: Offer, needed: int, goal: Goal, model: ModelSpec) -> SweepSpec | None:
    """Return a sweep of the unpruned model and this removal alone; None for texts, and without the former sweep."""
    benchmark = offer.reading.condition.material
    if goal.quantity == front.LOSS or not isinstance(benchmark, BenchmarkSpec) or offer.cut is None:
        return None
    curve = next((entry.result for entry in selection.curves(model) if _alike(entry.result, offer)), None)
    curve = curve or next((e.result for e in stored_results.find("sweep", model) if _alike(e.result, offer)), None)
    if curve is None:
        return None
    spec = start.unresolved(curve.spec)
    return replace(
        spec,
        strategy="manual",
        blocks=(offer.cut,),
        max_n=None,
        benchmark=replace(spec.benchmark, limit=needed),
        damage=None,
        search=None,
        generation=None,
    )


def _alike(result: SweepResult, offer: Offer) -> bool:
    condition = conditions_of(result).get(offer.reading.quantity)
    return condition is not None and condition == offer.reading.condition


def _here(model: ModelSpec, condition: Condition) -> list[SweepResult]:
    """The sweeps of a model in one precision."""
    results = [entry.result for entry in stored_results.find("sweep", model)]
    return [
        result
        for result in results
        if condition.precision in {condition_there.precision for condition_there in conditions_of(result).values()}
    ]
