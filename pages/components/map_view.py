"""The distance map, by the metric that is picked, and in words how sure its choice is."""

from collections.abc import Sequence

import streamlit as st

from analysis import map_figures, selection
from analysis.blocks import Block
from analysis.results import Best, DistanceResult
from pages.components import chart, words
from pages.components.cuts import Cut

_WHAT = "How far the residual stream turns between layer l and layer l + n."
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
        metric = own
        if distances.others:
            names = [own, *(name for name in distances.others if name != own)]
            metric = st.selectbox(
                "Distance", names, format_func=words.METRIC_NAMES.get, key="metric",
                label_visibility="collapsed", width=190,
                persist_state="session",
            )  # fmt: skip
        else:
            st.markdown("**Distance across each block**", width="content", help=_WHAT)
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
    alt = f"Heat map by {name}; the most similar block is {least.block.describe()} at {least.distance:.3f}."
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
    chosen = next(best.block for best in distances.best if best.n == cut.n)
    others = [start for start in range(len(row)) if start != chosen.start]
    second = max(others, key=row.__getitem__, default=None)
    of_size = f"{cut.n} layers" if cut.n > 1 else "single layers"
    said = "How sure: " if cut.removed == chosen else f"Of {of_size}, the most similar are {chosen.describe()}: "
    said += f"in {row[chosen.start]:.0%} of resamples of the texts this block wins"
    if second is None or row[second] == 0:
        return f"{said}; no other ever does."
    return f"{said}; second: {Block(second, cut.n).describe()}, in {row[second]:.0%}."


def _by_another(best: Sequence[Best], name: str, cut: Cut) -> str:
    """What another distance would choose; it is drawn dotted, since cuts are chosen by the map's own."""
    found = next((entry.block for entry in best if entry.n == cut.n), None)
    if found is None:
        return f"Dotted: what {name} would choose. The cuts are still chosen by the map's own distance."
    verdict = "the same block as is removed" if found == cut.removed else "not what is removed"
    return f"Dotted: by {name} the choice at n = {cut.n} would be {found.describe()}, {verdict}."
