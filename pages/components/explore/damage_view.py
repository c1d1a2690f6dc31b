"""Does the distance pick the right layers? The measured loss increase of each block, and its distance."""

import streamlit as st

from analysis import service
from analysis.charts import lesson as figures
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import agreement
from analysis.results.stored import reading
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection, compute, map_view
from pages.components.shared import chart, selection, stored_results, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import version

_HEIGHT = 330
_MAP, _SCATTER = "damage-map", "distance-and-damage"


def show(shown: FoundResult, damage: FoundResult | None, model: ModelSpec, cut: Cut, strategy: ChosenStrategy) -> None:
    """Draw the section.

    Args:
        shown: the distance map on screen.
        damage: the loss-increase map, finished or growing; None while there is none.
        model: the model, for a new measurement.
        cut: the removed layers.
        strategy: how blocks are chosen.
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
    left, right = st.columns(2, gap="medium")
    with left, st.container(gap="xsmall"):
        st.markdown("**Loss increase without each block**", help="Increase of the loss on held-out text.")
        chart_selection.chart_of_blocks(
            map_view.damage_map(version(damage), _HEIGHT, damage),
            key=_MAP,
            alt=f"Heat map of the measured loss increase without each block, {_progress(result)}.",
            file_name="damage-map",
            n_layers=result.n_layers,
            chosen=strategy.block,
        )
    marks = {chart_selection.name_now(_MAP): chart_selection.CELLS}
    with right, st.container(gap="xsmall"):
        marks |= _agreement(result, compared.result, cut.n, service.arrays(damage).get("text_losses"))
    chart_selection.mark(marks, cut, strategy)
    measured = next((one for block in result.best if (one := reading.of_damage(result, block.block))), None)
    selection.show_chip([measured and measured.condition], _caption(result, compared is shown))


def _nothing_yet(shown: FoundResult, model: ModelSpec) -> None:
    if any(job.kind == "damage" for job in service.jobs.active()):
        st.info("The loss increase is being measured. The map appears here with its first blocks and grows.")
        return
    st.info(
        "The distance only predicts the cost of a removal. Click **Measure loss increase** to remove each block once and "
        "compare both on held-out text."
    )
    with st.container(border=True, width=720):
        compute.damage_form(model, shown.result, "damage")


def _agreement(result: DamageResult, distances: DistanceResult, n: int, losses: object) -> dict[str, chart_selection.Mark]:
    """Draw the blocks of n layers by distance and loss increase, and how well the two agree; return the marks of the chart."""
    st.markdown(f"**Distance and loss increase, blocks of {words.layers(n)}**")
    costs = result.increase[n - 1] if 0 < n <= len(result.increase) else []
    if not any(cost is not None for cost in costs):
        st.info(f"No block of {words.layers(n)} is measured. Move the slider, or measure larger blocks.")
        return {}
    chart.show(
        figures.distance_and_damage(distances, result, n, dark=chart.is_dark(), height=_HEIGHT),
        key=_SCATTER,
        alt=f"Distance against measured loss increase for every block of {words.layers(n)}.",
        file_name=_SCATTER,
    )
    found = agreement.of_size(result, distances, n, losses)
    if found.correlation is not None:
        rank = found.correlation
        ends = "interval unknown" if rank.low is None else f"95 % CI {rank.low:.2f} to {rank.high:.2f}"
        st.caption(
            f"Rank correlation {rank.value:.2f} ({ends}, {rank.n_blocks} blocks).".replace("-", "−"),
            help=f"Spearman's ρ. 1: the same order. {agreement.INTERVAL}",
        )
    row = distances.mean[n - 1]
    places = {f"{start}:{n}": [(row[start], cost)] for start, cost in enumerate(costs) if cost is not None}
    return {_SCATTER: chart_selection.Mark(places)}


def _progress(result: DamageResult) -> str:
    texts = [n for row in result.n_measured for n in row]
    measured = sum(n > 0 for n in texts)
    return f"{measured:,} of {len(texts):,} blocks measured"


def _caption(result: DamageResult, same_map: bool) -> words.Markdown:
    said = f"{_progress(result)}. Unpruned loss: {result.unpruned_loss:.2f} nats/token."
    if not result.complete:
        said += " Blank cells are not measured yet."
    return said if same_map else f"{said} The distances are those of the map it was measured with."


def rows(result: DamageResult, distances: DistanceResult) -> list[dict]:
    """Return the distance and the loss increase of every block."""
    damage = result.table("blocks").records()
    for row in damage:
        row["distance"] = distances.mean[row["n"] - 1][row["start"]]
    return damage
