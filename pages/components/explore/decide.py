"""Choosing the layers to remove beside the slider: by a goal, in writing, back to the strategy's or to the last choice."""

from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from analysis.core import blocks
from analysis.core.blocks import Removal
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import front
from analysis.results.compared.front import Front, Offer
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored.reading import Condition, conditions_of
from analysis.results.stored.result import FoundResult
from analysis.results.words import goals
from analysis.results.words.goals import MEGABYTES, NATS, POINTS, TIMES, Goal, GoalAnswer
from pages.components.explore import savings
from pages.components.shared import access, cuts, selection, start, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy
from pages.components.shared.selection import Shown

MENU = "goal-popover"
"""Key of the menu."""


def show(shown: Shown) -> None:
    """Draw the menu.

    Args:
        shown: the selection.
    """
    menu = st.popover("Decide", icon=":material/flag:", key=MENU, on_change="rerun", help=_HELP)
    with menu, st.container(width=460):
        if menu.open:
            st.markdown("**Start from a goal**")
            goal(shown.model, shown.strategy, shown.selected, MENU)
            st.markdown("**Enter a block**")
            cuts.field(shown.strategy)
        with st.container(horizontal=True, gap="small"):
            cuts.back_button(shown.cut, shown.strategy)
            if shown.cut.removed is not None:
                _sheet_button()


def _sheet_button() -> None:
    """Open the decision sheet of the removed layers."""
    if st.button(
        "Decision sheet",
        key="to-sheet",
        icon=":material/description:",
        type="tertiary",
        on_click=state.choose_option,
        args=("way", "Decision sheet"),
        help="One page: go, measure more or don't, with numbers, cost and risk.",
    ):
        st.switch_page("pages/export.py")


_HELP = "Start from a goal, enter a block, restore the strategy's block, or open the decision sheet."


KINDS = ("sweep", "evaluate", "heal")
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


def goal(model: ModelSpec, strategy: ChosenStrategy, selected: Selected, key: str) -> None:
    """Draw the goal and its answer.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen.
        selected: the scores on screen, whose dataset and precision count.
        key: first part of the widgets' keys.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        kind = st.selectbox("Goal", list(_GOALS), format_func=_GOALS.get, key=f"{key}-kind", width=230)
        least, most, usual, step = _LIMITS[kind]
        if kind == MEGABYTES:
            facts = strategy.distances.model
            usual, step = _size_limit(facts.n_parameters * facts.bytes_per_parameter / 1e6, least, step)
        form = "%.2f" if step >= 0.01 else "%.4f"
        value = st.number_input("Limit", least, most, usual, step, form, key=f"{key}-{kind}", width=130)
    goal = Goal(kind, float(value))
    found = fronts(goal.quantity, model)
    if not found:
        st.info("No removal is scored yet. Run a sweep first.")
        return
    like = selected.selection.condition(goal.quantity) or found[0].condition
    answer = goals.reach(goal, found, like, _size(like))
    st.markdown(words.plain(" ".join(answer.sentences())))
    _unmeasured(answer, strategy)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if answer.offer is not None:
            _take(answer.offer, strategy, key)
        if answer.candidate is not None and answer.needed is not None:
            _measure(answer.candidate, answer.needed, goal, model, key)
    n_removals = sum(offer.cut is not None for offer in found[0].own())
    st.caption(
        f"The 95 % interval must meet the limit. Chosen among {n_removals} measured removals: the best of many looks better "
        "than it is."
    )


def fronts(quantity: str, model: ModelSpec) -> list[Front]:
    """Return all offers of a model, condition by condition, from everything measured."""
    ranked = sorted(weighed(model), key=lambda entry: entry.summary.weight, reverse=True)
    speed = savings.find_speed(model)
    return front.fronts(quantity, [entry.result for entry in ranked], (), speed.result if speed else None)


def weighed(model: ModelSpec) -> list[FoundResult]:
    """Return the strongest results that score removals, and the strongest under the conditions of the curve on screen."""
    curve, found = selection.curve(model), dict[str, FoundResult]()
    for kind in KINDS:
        of_kind = stored_results.find(kind, model, any_precision=True)
        if len(of_kind) >= stored_results.MOST and curve is not None:
            of_kind += stored_results.scores_of(kind, model, curve)
        found |= {entry.id: entry for entry in of_kind}
    return list(found.values())


def _size(condition: Condition) -> int | None:
    """Return the number of questions of a dataset; None for texts, and where it is unknown."""
    asked = condition.material
    return questions.size(asked, access.question_file) if isinstance(asked, BenchmarkSpec) else None


def _unmeasured(answer: GoalAnswer, strategy: ChosenStrategy) -> None:
    """Name the number of layers to remove for a size that no measured block reaches."""
    if answer.offer is None and answer.goal.kind == MEGABYTES:
        held = strategy.distances.spec.model.dtype
        n = goals.layers_needed(strategy.distances.model, answer.goal.value, held)
        st.markdown(
            f"Remove {words.layers(n)} to fit. Run a sweep up to n = {n}." if n else "No number of removed layers fits."
        )


def _take(offer: Offer, strategy: ChosenStrategy, key: str) -> None:
    if offer.cut is not None:
        st.button(
            f"Take {offer.cut.brief()}",
            key=f"{key}-take-{blocks.written(offer.cut)}",
            icon=":material/content_cut:",
            type="primary",
            on_click=cuts.take_or_say,
            args=(offer.cut, strategy.cut(offer.cut.size).removed, strategy.distances.n_layers),
        )


def _measure(offer: Offer, needed: int, goal: Goal, model: ModelSpec, key: str) -> None:
    """Draw the button that measures the unpruned and the pruned model on so many questions, with its duration."""
    request = _request(offer, needed, goal, model)
    if request is None:
        return
    rate = goals.seconds_per_question(_here(model, offer.reading.condition))
    lasts = goals.duration(needed, rate)
    about = f"about {words.duration(lasts)}" if lasts is not None else "duration not measured on this machine"
    if start.button(
        f"Measure {needed:,} questions ({about})",
        key=f"{key}-measure",
        icon=":material/play_arrow:",
        help="Asks the unpruned and the pruned model the same questions. The answer above updates when it is done.",
    ):
        start.start_and_show(request, f"{needed:,} questions without {request.blocks[0].brief()}")


def _request(offer: Offer, needed: int, goal: Goal, model: ModelSpec) -> SweepSpec | None:
    """Return a sweep of the unpruned model and this removal alone; None for texts, and without the former sweep."""
    asked = offer.reading.condition.material
    if goal.quantity == front.LOSS or not isinstance(asked, BenchmarkSpec) or offer.cut is None:
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
    found = conditions_of(result).get(offer.reading.quantity)
    return found is not None and found == offer.reading.condition


def _here(model: ModelSpec, condition: Condition) -> list[SweepResult]:
    """The sweeps of a model in one precision."""
    found = [entry.result for entry in stored_results.find("sweep", model)]
    return [one for one in found if condition.precision in {each.precision for each in conditions_of(one).values()}]


_KEPT = 30
_HISTORY = "cuts-before"


class _Choice(NamedTuple):
    """Controls that chose the layers on screen."""

    strategy: str
    n: int
    own: Removal | None

    def describe(self) -> str:
        return self.own.describe() if self.own else f"n = {self.n} by {words.plain(self.strategy)}"


def remember_choice() -> None:
    """Note the present choice, if it differs from the last one, by any control."""
    now, history = _Choice(state.strategy(), state.chosen_n(), state.own_cut()), _history()
    if not history or history[-1] != now:
        history.append(now)
        del history[:-_KEPT]


def undo_button() -> None:
    """Draw the undo button, where there is a former choice; its help names that choice."""
    history = _history()
    if len(history) > 1:
        st.button(
            "Undo",
            key="undo",
            icon=":material/undo:",
            type="tertiary",
            on_click=_back,
            help=f"Back to {history[-2].describe()}.",
        )


def _back() -> None:
    history = _history()
    history.pop()
    before = history[-1]
    state.choose_strategy(before.strategy)
    state.choose_n(before.n)
    if before.own is not None:
        state.choose_cut(before.own)


def _history() -> list[_Choice]:
    """Return the choices for the current model, oldest first, the one on screen last."""
    model, kept = st.session_state.get(_HISTORY, (None, []))
    if model != state.current_model():
        kept = []
        st.session_state[_HISTORY] = (state.current_model(), kept)
    return kept
