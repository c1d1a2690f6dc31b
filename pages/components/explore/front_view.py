"""The trade-off: a goal and its answer, then accuracy or loss against size or speed over everything measured of the model."""

from dataclasses import replace

import streamlit as st

from analysis.charts import front as figures
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library as stored
from analysis.results.compared import front
from analysis.results.compared.front import (
    BEST,
    DOMINATED,
    SIZE,
    SPEED,
    TIED,
    Front,
)
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored.reading import ACCURACY, LOSS
from pages.components.explore import chart_selection, decide, savings
from pages.components.shared import chart, selection, state, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut

_QUANTITIES = {ACCURACY: "Accuracy", LOSS: "Loss"}
_AXES = {SIZE: "Size", SPEED: "Speed"}


def show(model: ModelSpec, strategy: ChosenStrategy, cut: Cut, selected: Selected) -> None:
    """Draw the goal and its answer, the front, and the measurements that it rests on.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen; a click on the strategy's own choice is no choice by hand.
        cut: the removed layers.
        selected: the scores on screen, whose dataset and precision answer the goal.
    """
    with st.container(border=True):
        st.markdown("**Start from a goal**")
        decide.goal(model, strategy, selected, "goal")
    own = decide.weighed(model)
    n_stored = sum(stored_results.count(kind, model, any_precision=True) for kind in decide.KINDS)
    rivals = stored.rivals(decide.KINDS, own)
    speed = savings.find_speed(model)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        quantity = _choice("Quality", _QUANTITIES, "front-quantity", ACCURACY)
        by = _choice("Against", _AXES, "front-by", SIZE)
        found = front.fronts(
            quantity,
            [entry.result for entry in sorted(own, key=lambda entry: entry.summary.weight, reverse=True)],
            [entry.result for entry in rivals],
            speed.result if speed else None,
        )
        if not found:
            st.info("No results yet. Run a sweep, measure scores or heal a block to see models here.")
            return
        shown = _condition(found)
        if sizes := state.sizes(strategy.distances.n_layers):
            kept = [offer for offer in shown.offers if offer.is_rival or offer.cut is None or offer.cut.size in sizes]
            shown = replace(shown, offers=kept)
    if by == SPEED and not any(offer.times for offer in shown.own()):
        st.info("No speed of this model is measured. Click **Measure speed** in the **Cost** tab.")
        return
    chart_selection.chart_of_blocks(
        figures.trade_off(shown, by, None, dark=chart.is_dark()),
        key="front",
        alt=f"{_QUANTITIES[quantity]} against {_AXES[by].lower()} of {len(shown.offers)} models under the same conditions.",
        file_name="trade-off",
        n_layers=strategy.distances.n_layers,
        chosen=strategy.block,
    )
    chart_selection.mark({chart_selection.name_now("front"): chart_selection.of_front(shown, by)}, cut, strategy)
    selection.show_chip([shown.condition])
    if n_stored > len(own):
        st.caption(f"Shows the strongest {len(own):,} of {n_stored:,} stored results.")
    st.caption(_about(shown, by))


def _choice(label: words.Markdown, options: dict[str, words.Markdown], key: str, usual: str) -> str:
    return st.segmented_control(label, list(options), format_func=options.get, default=usual, required=True, key=key)


def _condition(found: list[Front]) -> Front:
    """The condition to look at, where there is more than one: offers of two are never on one chart."""
    if len(found) == 1:
        return found[0]
    place = st.selectbox(
        "Measured on",
        range(len(found)),
        key="front-condition",
        width=320,
        format_func=lambda i: f"{found[i].condition.on_what()} · {len(found[i].own())} models",
    )
    return found[place]


def _counted(shown: Front, by: str) -> str:
    """The number of offers by standing."""
    standing = [own for _, own in shown.standing(by)]
    n_best, n_tied, n_dominated = (sum(own == place for own in standing) for place in (BEST, TIED, DOMINATED))
    return f"{n_best} best measured, {n_tied} statistically tied, {n_dominated} dominated."


def _about(shown: Front, by: str) -> str:
    rivals = sorted({offer.facts.name for offer in shown.offers if offer.is_rival})
    said = [
        f"Bars are 95 % intervals. {_counted(shown, by)} Open: dominated, "
        f"the paired 95 % interval against a model that costs no more excludes zero. Pale: statistically tied with the best "
        f"measured. The best of many looks better than it is. Click a symbol to select its block."
    ]
    if rivals:
        said.append(f"Squares are other models on the same questions: {words.plain(', '.join(rivals))}.")
    else:
        said.append("Is a smaller model better? Measure one on the same questions to see it here.")
    if by == SPEED:
        said.append("Speeds that were not timed are read from the fitted line.")
    return " ".join(said)
