"""The map on which a block is chosen: by the selected distance or the damage, as a map or as lines.

The figures have no selection, are built once and are shared: building one takes far longer than ringing a block.
"""

from collections.abc import Sequence

import streamlit as st
from plotly.graph_objs import Figure

from analysis import service
from analysis.charts import maps
from analysis.charts.look import Finished
from analysis.experiments.maps import distance_spec
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.results.compared import remarks
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.shared import chart, state, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Version, version

DAMAGE = "damage"
CHART = "map"
"""Key of the chart, for `pick.name_now`; the selected block on it is marked by `cut_marks`."""
VIEWS = {"map": "Map", "lines": "Lines"}
_VIEWS_HELP = (
    "**Map**: start layer to the right, block size upwards, yellow is low. "
    "**Lines**: one line for each size, as in the paper's Fig. 1c. Click a block to remove it."
)
_HEIGHT = 316


def view() -> str:
    """Return how blocks are drawn: one of `VIEWS`."""
    return state.option_of("view", VIEWS, "map")


def show(shown: FoundResult, damage: FoundResult | None, strategy: ChosenStrategy, cut: Cut) -> None:
    """Draw the controls, the chart and the remarks on it.

    Args:
        shown: the distance map.
        damage: the measured damage, if there is any.
        strategy: how blocks are chosen.
        cut: the removed layers.
    """
    distances: DistanceResult = shown.result
    own = distances.spec.metric
    names = [own, *(name for name in distances.others if name != own), *([DAMAGE] if damage else [])]
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small", key="map-controls"
    ):
        metric = _metric(names)
        how = _how()
    if metric == DAMAGE and damage is not None:
        _damage(damage, how, cut, strategy)
        return
    best = distances.best if metric == own else distance_spec.best_blocks(distances.others[metric])
    others = best if metric != own else ()
    if how == "lines":
        figure = maps.picked(_lines(version(shown), metric, chart.is_dark(), shown), cut.removed, dark=chart.is_dark())
    else:
        path = strategy.path()
        key = " / ".join(" ".join(f"{best.n}:{best.start}" for best in blocks) for blocks in (path, others))
        figure = _distance_map(version(shown), key, metric, shown, path, others)
    least = min(best, key=lambda entry: entry.distance)
    said = f"{words.metric(metric)}. The most similar block is {least.block.brief()} at {least.distance:.3f}"
    chart_selection.chart_of_blocks(
        figure,
        key=CHART,
        alt=f"{_kind(how)} by {said}.",
        file_name="distance-map",
        n_layers=distances.n_layers,
        chosen=strategy.block,
    )
    if how == "lines":
        st.caption(_LINES)
    elif metric == own:
        st.caption("Line: the chosen block of each size. Small circles: statistically tied with the most similar block (95 %).")
    else:
        st.caption(f"Dotted: the most similar block by {words.plain(words.metric(metric))}. The map's own distance chooses.")


def _metric(names: list[str]) -> str:
    """The choice of a distance, where there is one."""
    if len(names) < 2 and not state.option("metric"):
        st.markdown("**Distance across each block**", width="content", help=_WHAT)
        return names[0]
    wanted = state.option("metric")
    if wanted and wanted not in names:
        st.caption(f"This link shows {words.plain(_name(wanted))}, which this map does not have.", width="content")

    def choose() -> None:
        metric = st.session_state["metric"]
        state.choose_option("metric", "" if metric == names[0] else metric)

    with state.showing("metric", wanted if wanted in names else names[0]):
        return st.selectbox(
            "Quantity", names, format_func=_name, key="metric", label_visibility="collapsed", width=200, on_change=choose
        )


def _how() -> str:
    def choose() -> None:
        how = st.session_state["map-view"]
        state.choose_option("view", "" if how == "map" else how)

    with state.showing("map-view", view()):
        st.segmented_control(
            "View",
            list(VIEWS),
            format_func=VIEWS.get,
            required=True,
            key="map-view",
            label_visibility="collapsed",
            on_change=choose,
            help=_VIEWS_HELP,
        )
    return view()


_LINES = "Blue: all blocks of this size. The line across marks the lowest value of each size."
_WHAT = "Angle between the residual stream at layer l and at layer l + n."


def _name(metric: str) -> str:
    return "loss increase" if metric == DAMAGE else words.metric(metric)


def _kind(how: str) -> str:
    return "Lines for each block size" if how == "lines" else "Heat map"


def _damage(damage: FoundResult, how: str, cut: Cut, strategy: ChosenStrategy) -> None:
    """The measured damage in the map's place."""
    result = damage.result
    if how == "lines":
        figure = maps.picked(_lines(version(damage), DAMAGE, chart.is_dark(), damage), cut.removed, dark=chart.is_dark())
    else:
        figure = damage_map(version(damage), _HEIGHT, damage)
    alt = f"{_kind(how)} of the measured loss increase without each block of up to {len(result.increase)} layers."
    chart_selection.chart_of_blocks(
        figure, key=CHART, alt=alt, file_name="damage-map", n_layers=result.n_layers, chosen=strategy.block
    )
    st.caption("Line: the block of each size with the lowest loss increase.")


@st.cache_resource(max_entries=24, show_spinner=False)
def _distance_map(
    version: Version,
    blocks: str,
    metric: str,
    _found: FoundResult,
    _path: Sequence[Best],
    _others: Sequence[Best],
) -> Figure:
    close = remarks.of_map(_found.result, metric, service.arrays(_found).get("text_distances"))
    return Finished(maps.distance_map(_found.result, _path, others=_others, rivals=close, metric=metric, height=_HEIGHT))


@st.cache_resource(max_entries=12, show_spinner=False)
def damage_map(version: Version, height: int, _found: FoundResult) -> Figure:
    """Return the loss-increase map, built once."""
    return Finished(maps.damage_map(_found.result, height=height))


@st.cache_resource(max_entries=12, show_spinner=False)
def _lines(version: Version, metric: str, dark: bool, _found: FoundResult) -> Figure:
    if _found.result.kind == "damage":
        return maps.damage_lines(_found.result, dark=dark, height=_HEIGHT)
    return maps.distance_lines(_found.result, metric=metric, dark=dark, height=_HEIGHT)
