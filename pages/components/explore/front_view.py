"""The best trade-off: what is the best one can have for a size, a speed or a loss, over everything measured of the model."""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from analysis.charts import front as figures
from analysis.core import blocks
from analysis.models.spec import ModelSpec
from analysis.reading import front
from analysis.reading import library as stored
from analysis.reading.front import SIZE, SPEED, Front, Offer
from analysis.reading.reading import ACCURACY, LOSS
from pages.components.explore import chart_marks, cut_marks, pick, speed_view
from pages.components.shared import cuts, library, state, theme, words
from pages.components.shared.cuts import Cut, Strategy

KINDS = ("sweep", "evaluate", "heal")
"""Results that say how good a model is."""
_QUANTITIES = {ACCURACY: "Accuracy", LOSS: "Loss"}
_AXES = {SIZE: "Size", SPEED: "Speed"}
_WISHES = {"size": "I have, MB", "speed": "I want, times the speed", "loss": "I accept, points lost"}
_NATS = {"loss": "I accept, nats lost"}


def show(model: ModelSpec, strategy: Strategy, cut: Cut) -> None:
    """Draw the wish and its answer, the front, and what it rests on.

    Args:
        model: the model of the page.
        strategy: how blocks are chosen; a click on what it chooses anyway is no choice by hand.
        cut: what is removed now.
    """
    own = [entry for kind in KINDS for entry in library.find(kind, model, any_precision=True)]
    rivals = stored.rivals(KINDS, own)
    speed = speed_view.find(model)
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
            st.info("Nothing can be weighed yet: run a sweep, score a cut or heal one, and it appears here.")
            return
        shown = _condition(found)
        if sizes := state.sizes(strategy.distances.n_layers):
            kept = [offer for offer in shown.offers if offer.is_rival or offer.cut is None or offer.cut.size in sizes]
            shown = replace(shown, offers=kept)
        answer = _wish(shown)
    _say(answer, strategy)
    if by == SPEED and not any(offer.times for offer in shown.own()):
        st.info("No speed of this model has been measured: **Measure speed** is under Cost.")
        return
    pick.chart_of_blocks(
        figures.trade_off(shown, by, None, dark=theme.is_dark()),
        key="front",
        alt=f"{_QUANTITIES[quantity]} against {_AXES[by].lower()} of {len(shown.offers)} models measured alike.",
        file_name="trade-off",
        n_layers=strategy.distances.n_layers,
        chosen=strategy.block,
    )
    cut_marks.show({pick.name_now("front"): chart_marks.of_front(shown, by)}, cut, strategy)
    st.caption(_about(shown, by))


def _choice(label: words.Markdown, options: dict[str, words.Markdown], key: str, usual: str) -> str:
    return st.segmented_control(label, list(options), format_func=options.get, default=usual, required=True, key=key)


def _condition(found: list[Front]) -> Front:
    """The condition to look at, where there is more than one: offers of two are never on one chart."""
    if len(found) == 1:
        return found[0]
    place = st.selectbox(
        "Measured on", range(len(found)), key="front-condition", width=320,
        format_func=lambda i: f"{found[i].condition.on_what()} · {len(found[i].own())} models",
    )  # fmt: skip
    return found[place]


def _wish(shown: Front) -> Callable[[], Offer | None]:
    """The wish in one field; what answers it."""
    wishes = _WISHES if shown.quantity == ACCURACY else _WISHES | _NATS
    wish = st.selectbox("A wish", list(wishes), format_func=wishes.get, key="front-wish", width=220)
    megabytes = max(offer.bytes for offer in shown.own()) / 1e6
    if wish == "size":
        most = st.number_input("MB", 1.0, value=float(round(0.85 * megabytes)), step=10.0, key="front-mb", width=130)
        return lambda: shown.within(most * 1e6)
    if wish == "speed":
        times = st.number_input("times", 1.0, value=1.2, step=0.05, key="front-times", width=130)
        return lambda: shown.faster(times)
    if shown.quantity == ACCURACY:
        points = st.number_input("points", 0.0, value=2.0, step=0.5, key="front-points", width=130)
        return lambda: shown.smallest(points / 100)
    nats = st.number_input("nats", 0.0, value=0.2, step=0.05, key="front-nats", width=130)
    return lambda: shown.smallest(nats)


def _say(answer: Callable[[], Offer | None], strategy: Strategy) -> None:
    """The answer in one sentence, with a button that takes it where it is a cut."""
    offer = answer()
    if offer is None:
        st.markdown("Nothing measured grants that: try more cuts or heals, or a milder wish.")
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(_sentence(offer), width="content")
        if offer.cut is None:
            return
        name = blocks.written(offer.cut)
        st.button(
            f"Take {offer.cut.brief()}", key=f"front-take-{name}", icon=":material/content_cut:",
            on_click=cuts.take_or_say, args=(offer.cut, strategy.cut(offer.cut.size).removed, strategy.distances.n_layers),
        )  # fmt: skip


def _sentence(offer: Offer) -> str:
    lines = figures.said(offer, SPEED)
    return f"**{words.plain(lines[0][:1].upper() + lines[0][1:])}**: {words.plain('; '.join(lines[1:]))}."


def _about(shown: Front, by: str) -> str:
    rivals = sorted({offer.facts.name for offer in shown.offers if offer.is_rival})
    said = [
        f"{words.plain(shown.condition.on_what())}; bars are 95 % intervals. Filled: no other one is better for as little, "
        f"by what was measured; the best of many looks better than it is, and neighbours whose bars overlap may not differ. "
        f"A click takes the cut."
    ]
    if rivals:
        said.append(f"Squares are other models on the same questions: {words.plain(', '.join(rivals))}.")
    else:
        said.append("Or a smaller model? Measure one on the same questions, and it stands here too.")
    if by == SPEED:
        said.append("Speeds of numbers of layers that were not timed are read from the line through those that were.")
    return " ".join(said)
