"""The distance map, by the metric that is picked, and in words how sure its choice is."""

from collections.abc import Sequence

import streamlit as st

from analysis import map_figures, selection
from analysis.blocks import Block
from analysis.results import Best, DistanceResult
from pages.components import chart, words
from pages.components.cuts import Cut

SCALES = {False: "raw", True: "row-normalised"}


def show(distances: DistanceResult, path: Sequence[Best], cut: Cut) -> None:
    """Draw the map.

    Args:
        distances: the map.
        path: the chosen block of each size.
        cut: what is removed now.
    """
    own = distances.spec.metric
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.markdown(
            "**Distance across each block**", width="content",
            help="How far the residual stream turns between layer l and layer l + n.",
        )  # fmt: skip
        metric = own
        if distances.others:
            names = [own, *(name for name in distances.others if name != own)]
            metric = st.selectbox(
                "Distance", names, format_func=words.METRIC_NAMES.get, key="metric", label_visibility="collapsed", width=150,
                persist_state="session",
            )  # fmt: skip
        normalised = st.segmented_control(
            "Colour by", list(SCALES), format_func=SCALES.get, default=False, required=True, key="row-normalised",
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
    best = _best(distances, metric)
    figure = map_figures.distance_map(
        distances, path, others=best if metric != own else (), selected=cut.removed, row_normalised=bool(normalised),
        metric=metric, height=412,
    )  # fmt: skip
    least = min(best, key=lambda entry: entry.distance)
    name = words.METRIC_NAMES[metric]
    alt = f"Heat map of {name} distance; the most similar block is {least.block.describe()} at {least.distance:.3f}."
    chart.show(figure, key="map", alt=alt, file_name="distance-map")
    st.caption(_how_sure(distances, cut) if metric == own else _by_another(best, name, cut))


def _best(distances: DistanceResult, metric: str) -> Sequence[Best]:
    return distances.best if metric == distances.spec.metric else selection.best_blocks(distances.others[metric])


def _how_sure(distances: DistanceResult, cut: Cut) -> str:
    """In how many resamples of the texts the chosen block wins, and which block comes second."""
    if not 0 < cut.n < distances.n_layers:
        return "The line is the chosen block of every size; the ring will mark the one at the slider's n."
    if not distances.wins:
        return "The line is the chosen block of every size; the ring marks the one at the slider's n."
    row = distances.wins[cut.n - 1]
    order = sorted(range(len(row)), key=lambda start: -row[start])
    first, second = order[0], order[1] if len(order) > 1 else None
    chosen = next((best.start for best in distances.best if best.n == cut.n), None)
    runner = second if first == chosen else first
    said = f"Of {cut.n} {_layers(cut.n)}, the most similar block is {_name(chosen, cut.n)}: "
    if isinstance(cut.removed, Block) and cut.removed.start == chosen and cut.removed.size == cut.n:
        said = "How sure is this choice? "
    if chosen is None:
        return ""
    said += f"in {row[chosen]:.0%} of resamples of the texts this block wins"
    if runner is None or row[runner] == 0:
        return f"{said}; no other ever does."
    return f"{said}; second: {_name(runner, cut.n)}, in {row[runner]:.0%}."


def _by_another(best: Sequence[Best], name: str, cut: Cut) -> str:
    """What another distance would choose; it is drawn dotted, since cuts are chosen by the map's own."""
    found = next((entry.block for entry in best if entry.n == cut.n), None)
    if found is None:
        return f"Dotted: what the distance {name} would choose. The cuts are still chosen by the map's own distance."
    verdict = "the same block as is removed" if found == cut.removed else "not what is removed"
    return f"Dotted: by the distance {name} the choice at n = {cut.n} would be {found.describe()}, {verdict}."


def _name(start: int | None, n: int) -> str:
    return Block(start, n).describe() if start is not None else "unknown"


def _layers(n: int) -> str:
    return "layer" if n == 1 else "layers"
