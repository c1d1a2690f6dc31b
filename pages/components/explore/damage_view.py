"""Does the distance pick the right layers? The distance map beside the measured damage of the same blocks."""

from collections.abc import Callable

import streamlit as st

from analysis import jobs
from analysis.core.blocks import Block, Removal
from analysis.experiments.maps.spec import DamageResult, DistanceResult
from analysis.models.spec import ModelSpec
from analysis.reading import reading
from analysis.reading.reading import Reading
from pages.components.explore import compute, drawn, map_view, pick
from pages.components.shared import library, words
from pages.components.shared.cuts import Cut
from pages.components.shared.library import Found

_HEIGHT = 330
CHARTS = ("foretold", "damage-map")
"""Keys of the charts, for `pick.name_now`."""


def show(shown: Found, damage: Found | None, model: ModelSpec, cut: Cut, chosen: Callable[[int], Block | None]) -> None:
    """Draw the section.

    Args:
        shown: the distance map on screen.
        damage: the damage, finished or growing; None while there is none.
        model: the model, for a new measurement.
        cut: what is removed now.
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
    compared = library.by_key("distances", result.spec.distances.fingerprint()) or shown
    distances: DistanceResult = compared.result
    _numbers(result, cut)
    sizes = len(result.increase)
    scaled = map_view.view() == "rows"
    left, right = st.columns(2, gap="medium")
    with left, st.container(gap="xsmall"):
        st.markdown("**What the distance foretells**")
        plain = drawn.distance_map(
            compared, distances.best, (), metric=distances.spec.metric, scaled=scaled, max_size=sizes, height=_HEIGHT
        )
        alt = f"Heat map of distance for blocks of up to {sizes} layers; the line is the most similar block of each size."
        pick.chart_of_blocks(
            plain, key="foretold", alt=alt, file_name="distance-map-small", n_layers=shown.result.n_layers, chosen=chosen
        )
    with right, st.container(gap="xsmall"):
        st.markdown("**What removing the block costs**", help="Measured increase of the loss on held-out text.")
        figure = drawn.damage_map(damage, scaled=scaled, height=_HEIGHT)
        alt = f"Heat map of the measured loss increase without each block; {_progress(result)}."
        pick.chart_of_blocks(
            figure, key="damage-map", alt=alt, file_name="damage-map", n_layers=shown.result.n_layers, chosen=chosen
        )
    st.caption(_caption(result, compared is shown))


def _nothing_yet(shown: Found, model: ModelSpec) -> None:
    if any(job.kind == "damage" for job in jobs.active()):
        st.info("The damage is being measured; the map appears here with its first blocks and grows.")
        return
    st.info(
        "The distance only foretells what a cut costs. Click **Measure the damage** to remove every block once, read held-out "
        "text without it, and see whether the two agree."
    )
    with st.container(border=True, width=720):
        compute.damage_form(model, shown.result, "damage")


def _numbers(result: DamageResult, cut: Cut) -> None:
    """How well the two agree, and what the cut on screen costs beside the cheapest of its size."""
    columns = st.columns([3, 3, 4, 4], gap="small")
    rank = result.rank_correlation
    columns[0].metric(
        "Rank correlation", _rho(rank), agreement(rank), delta_color="off", delta_arrow="off",
        help="Spearman's ρ between distance and loss increase over all measured blocks: 1 if both put them in the same order.",
    )  # fmt: skip
    here = result.rank_correlation_by_size[cut.n - 1] if 0 < cut.n <= len(result.rank_correlation_by_size) else None
    columns[1].metric(
        f"Among blocks of n = {cut.n}", _rho(here), agreement(here), delta_color="off", delta_arrow="off",
        help="The same among blocks of the slider's size, where the choice is really made.",
    )  # fmt: skip
    # Named with its text: other losses on this page are mostly of another.
    text, here_ = words.plain(words.texts(result.spec.corpus)), _increase(result, cut.removed)
    columns[2].metric(
        f"Loss increase of this cut, {text}", _nats(here_), _where(cut.removed), delta_color="off", delta_arrow="off",
        help=f"Nats per token, {words.plain(here_.on_what()) if here_ else 'not measured of this cut'}.",
    )  # fmt: skip
    best = next((entry for entry in result.best if entry.n == cut.n), None)
    least = _increase(result, best.block) if best else None
    columns[3].metric(
        f"Least for {words.layers(cut.n)}, {text}", _nats(least),
        _where(best.block) if best else "not all measured yet" if 0 < cut.n <= len(result.increase) else "beyond this map",
        delta_color="off", delta_arrow="off",
        help="The block of this size that costs least, once all are measured"
        + (f"; {words.plain(least.on_what())}." if least else "."),
    )  # fmt: skip


def _increase(result: DamageResult, removed: Removal | None) -> Reading | None:
    return reading.of_damage(result, removed) if isinstance(removed, Block) else None


def _where(removed) -> str:
    if removed is None:
        return "nothing removed"
    return f"[{removed.start}, {removed.stop})" if isinstance(removed, Block) else "not one block"


def _rho(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _nats(increase: Reading | None) -> str:
    return "–" if increase is None else f"{increase.value:+.3f} nats".replace("-", "−")


def agreement(rho: float | None) -> str:
    """A rank correlation in words."""
    if rho is None:
        return "too few blocks"
    for least, said in ((0.9, "nearly the same order"), (0.7, "mostly the same order"), (0.4, "partly the same order")):
        if rho >= least:
            return said
    return "hardly related" if rho > -0.4 else "rather the reverse order"


def _progress(result: DamageResult) -> str:
    texts = [n for row in result.n_measured for n in row]
    measured = sum(n > 0 for n in texts)
    return f"{measured:,} of {len(texts):,} blocks measured"


def _caption(result: DamageResult, same_map: bool) -> str:
    corpus = result.spec.corpus
    said = (
        f"Yellow is little in both, rings mark the cut on screen, lines the best block of each size. {_progress(result)} on "
        f"{result.n_texts} texts of {words.plain(words.texts(corpus))}, up to {corpus.seq_len} tokens, unpruned loss "
        f"{result.unpruned_loss:.2f} nats per token, {words.duration(result.wall_s)}."
    )
    if not result.complete:
        said += " Unfinished: blank cells are still to come."
    return said if same_map else f"{said} Compared with the map it was measured against, which is not the one above."


def rows(result: DamageResult, distances: DistanceResult) -> list[dict]:
    """The table behind both maps: every block's distance and damage."""
    damage = result.table("blocks").records()
    for row in damage:
        row["distance"] = distances.mean[row["n"] - 1][row["start"]]
    return damage
