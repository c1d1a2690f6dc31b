"""Does the distance pick the right layers? The distance map beside the measured damage of the same blocks."""

from collections.abc import Callable
from typing import Any, TypeGuard

import streamlit as st

from analysis import service
from analysis.core.blocks import Block, Removal, blocks_up_to
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import agreement
from analysis.results.compared.agreement import Agreement, Price, Rank
from analysis.results.stored import reading
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection, compute, map_view
from pages.components.shared import selection, stored_results, words
from pages.components.shared.cuts import Cut

_HEIGHT = 330
CHARTS = ("distances", "damage-map")
"""Keys of the charts, for `pick.name_now`."""


def show(
    shown: FoundResult, damage: FoundResult | None, model: ModelSpec, cut: Cut, chosen: Callable[[int], Block | None]
) -> None:
    """Draw the section.

    Args:
        shown: the distance map on screen.
        damage: the damage, finished or growing; None while there is none.
        model: the model, for a new measurement.
        cut: the removed layers.
        chosen: the strategy's own block of a size.
    """
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header("Does the distance pick the right layers?", anchor=False, width="content")
        if damage is not None:
            with st.popover("Measure again", key="damage-popover", on_change="rerun"):
                compute.damage_form(model, shown.result, "damage")
    if damage is None:
        _nothing_yet(shown, model)
        return
    result: DamageResult = damage.result
    compared = stored_results.by_key("distances", result.spec.distances.fingerprint()) or shown
    distances: DistanceResult = compared.result
    _numbers(result, distances, cut, service.arrays(damage).get("text_losses"))
    measured = (reading.of_damage(result, block) for block in blocks_up_to(1, result.n_layers))
    selection.show_chip([one.condition for one in measured if one is not None][:1])
    sizes = len(result.increase)
    left, right = st.columns(2, gap="medium")
    with left, st.container(gap="xsmall"):
        st.markdown("**Distance**")
        plain = map_view.distance_map(
            compared, distances.best, (), metric=distances.spec.metric, max_size=sizes, height=_HEIGHT
        )
        alt = f"Heat map of distance for blocks of up to {sizes} layers. The line is the most similar block of each size."
        chart_selection.chart_of_blocks(
            plain, key="distances", alt=alt, file_name="distance-map-small", n_layers=shown.result.n_layers, chosen=chosen
        )
    with right, st.container(gap="xsmall"):
        st.markdown("**Loss increase**", help="Measured increase of the loss on held-out text.")
        figure = map_view.damage_map(damage, height=_HEIGHT)
        alt = f"Heat map of the measured loss increase without each block, {_progress(result)}."
        chart_selection.chart_of_blocks(
            figure, key="damage-map", alt=alt, file_name="damage-map", n_layers=shown.result.n_layers, chosen=chosen
        )
    st.caption(_caption(result, compared is shown))


def _nothing_yet(shown: FoundResult, model: ModelSpec) -> None:
    if any(job.kind == "damage" for job in service.active()):
        st.info("The loss increase is being measured. The map appears here with its first blocks and grows.")
        return
    st.info(
        "The distance only predicts the cost of a removal. Click **Measure loss increase** to remove each block once and "
        "compare both on held-out text."
    )
    with st.container(border=True, width=720):
        compute.damage_form(model, shown.result, "damage")


def _numbers(result: DamageResult, distances: DistanceResult, cut: Cut, losses: Any) -> None:
    """Agreement within the size of the selected block, the price of the distance's choice, and the selected block beside it."""
    found = agreement.of_size(result, distances, cut.n, losses)
    text = words.plain(words.texts(result.spec.corpus))
    columns = st.columns([3, 4, 4, 3], gap="small")
    within = found.correlation
    columns[0].metric(
        f"Rank correlation, n = {cut.n}",
        _rho(within.value if within else None),
        words.plain(within.basis()) if within else "too few blocks",
        delta_color="off",
        delta_arrow="off",
        help=f"Spearman's ρ of distance and loss increase among blocks of {words.layers(cut.n)}: {in_words(within)}. "
        f"1 = the same order. {agreement.INTERVAL}",
    )
    paid = found.price
    columns[1].metric(
        f"Extra loss of distance's pick, {text}",
        _moved(paid),
        _picked(found),
        delta_color="off",
        delta_arrow="off",
        help="Loss increase of the most similar block minus that of the best block of this size, nats per token"
        + (f" ({words.plain(paid.interval())}). The best of many looks better than it is." if paid else "."),
    )
    own = agreement.price(result, cut.removed, found.choice, losses) if _both(cut.removed, found.choice) else None
    columns[2].metric(
        f"Selected block vs. that pick, {text}",
        _moved(own),
        _selected(own, cut.removed),
        delta_color="off",
        delta_arrow="off",
        help="Loss increase of the selected block minus that of the most similar block of its size, nats per token"
        + (f" ({words.plain(own.interval())})." if own else "."),
    )
    every = agreement.pooled(result, distances)
    if said := agreement.sentences(result, distances, cut.n, losses)[:-1]:
        st.caption(words.plain(" ".join(said)))
    columns[3].metric(
        "All sizes pooled",
        _rho(every.value if every else None),
        "driven by block size",
        delta_color="off",
        delta_arrow="off",
        help="Spearman's ρ over the blocks of all sizes. Longer blocks are farther apart and cost more, so this figure is high "
        "even if the distance cannot choose among blocks of one size.",
    )


def _both(removed: Removal | None, choice: Block | None) -> TypeGuard[Block]:
    return isinstance(removed, Block) and choice is not None and removed.size == choice.size


def _moved(paid: Price | None) -> str:
    return "–" if paid is None else f"{paid.difference:+.2f} nats".replace("-", "−")


def _picked(found: Agreement) -> str:
    paid = found.price
    if paid is None:
        return "not all blocks measured yet" if found.correlation else "outside this map"
    return f"{_where(paid.block)} is the best block" if paid.block == paid.reference else _ends(paid)


def _selected(own: Price | None, removed: Removal | None) -> str:
    if own is None:
        return "nothing removed" if removed is None else "not measured" if isinstance(removed, Block) else "not one block"
    if own.block == own.reference:
        return f"{_where(own.block)} is the pick"
    return _ends(own)


def _ends(paid: Price) -> str:
    """The interval of a price, and the two blocks."""
    blocks = f"{_where(paid.block)} vs. {_where(paid.reference)}"
    if paid.low is None or paid.high is None:
        return f"{blocks}, interval unknown"
    return f"95 % {paid.low:+.2f} to {paid.high:+.2f}, {blocks}".replace("-", "−")


def _where(block: Block) -> str:
    return f"[{block.start}, {block.stop})"


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def in_words(rank: Rank | None) -> str:
    """A rank correlation in words."""
    if rank is None:
        return "too few blocks"
    for least, said in ((0.9, "nearly the same order"), (0.7, "mostly the same order"), (0.4, "partly the same order")):
        if rank.value >= least:
            return said
    return "hardly related" if rank.value > -0.4 else "mostly the reverse order"


def _progress(result: DamageResult) -> str:
    texts = [n for row in result.n_measured for n in row]
    measured = sum(n > 0 for n in texts)
    return f"{measured:,} of {len(texts):,} blocks measured"


def _caption(result: DamageResult, same_map: bool) -> str:
    corpus = result.spec.corpus
    said = (
        f"Yellow is low in both. Rings mark the selected block, lines the best block of each size. {_progress(result)} on "
        f"{result.n_texts} texts of {words.plain(words.texts(corpus))}, up to {corpus.seq_len} tokens, in "
        f"{words.duration(result.wall_s)}. Unpruned loss: {result.unpruned_loss:.2f} nats per token."
    )
    if not result.complete:
        said += " Unfinished: blank cells are not measured yet."
    return said if same_map else f"{said} The distances come from the map it was measured with, not from the map above."


def rows(result: DamageResult, distances: DistanceResult) -> list[dict]:
    """The table behind both maps: every block's distance and damage."""
    damage = result.table("blocks").records()
    for row in damage:
        row["distance"] = distances.mean[row["n"] - 1][row["start"]]
    return damage
