"""The map on which a block is chosen: by the selected distance or the damage, as a map or as lines.

The figures have no selection, are built once and are shared: building one takes far longer than
ringing a block.
"""

from collections.abc import Sequence

import streamlit as st
from plotly.graph_objs import Figure

from analysis import service
from analysis.charts import maps
from analysis.charts.look import Finished
from analysis.experiments.maps import distance_spec, metrics
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.results.compared import remarks
from analysis.results.stored.result import FoundResult
from pages.components.explore import chart_selection
from pages.components.shared import chart, state, words
from pages.components.shared.cuts import ChosenStrategy, Cut
from pages.components.shared.selection import Version, version

DAMAGE = "damage"
CHART = "map"
"""Key of the chart, for `chart_selection.name_now`."""
VIEWS = {"map": "Map", "lines": "Lines"}
_VIEWS_HELP = (
    "**Map**: start layer to the right, block size upwards, yellow is low. "
    "**Lines**: one line for each size, as in the paper's Fig. 1c. Click a block to remove it."
)
_HEIGHT = 316


def view() -> str:
    """Return how blocks are drawn: one of `VIEWS`."""
    return state.option_of("view", VIEWS, "map")


def controls(distances: FoundResult, damage: FoundResult | None) -> None:
    """Draw the choice of a quantity and of a view."""
    names = _quantities(distances.result, damage)

    def choose_metric() -> None:
        metric = st.session_state["metric"]
        state.choose_option("metric", "" if metric == names[0] else metric)

    def choose_view() -> None:
        how = st.session_state["map-view"]
        state.choose_option("view", "" if how == "map" else how)

    left, right = st.columns([3, 2], vertical_alignment="bottom", gap="small")
    with left, state.showing("metric", _quantity(names)):
        st.selectbox(
            "Quantity of the map", names, format_func=_name, key="metric", on_change=choose_metric
        )
    with right, state.showing("map-view", view()):
        st.selectbox(
            "View",
            list(VIEWS),
            format_func=VIEWS.__getitem__,
            key="map-view",
            on_change=choose_view,
            help=_VIEWS_HELP,
        )


def _quantities(distances: DistanceResult, damage: FoundResult | None) -> list[str]:
    """Return what the map can show, its own distance first."""
    metric = distances.spec.metric
    return [
        metric,
        *(name for name in distances.others if name != metric),
        *([DAMAGE] if damage else []),
    ]


def _quantity(names: list[str]) -> str:
    wanted = state.option("metric")
    return wanted if wanted in names else names[0]


def show(
    entry: FoundResult, damage: FoundResult | None, strategy: ChosenStrategy, cut: Cut
) -> None:
    """Draw the chart and the remark on it.

    Args:
        entry: the distance map.
        damage: the measured damage, if there is any.
        strategy: how blocks are chosen.
        cut: the removed layers.
    """
    distances: DistanceResult = entry.result
    names = _quantities(distances, damage)
    how = view()
    own_metric = distances.spec.metric
    metric = _quantity(names)
    wanted = state.option("metric")
    if wanted and wanted not in names:
        st.caption(
            f"This link asks for {words.plain(_name(wanted))}, which this map does not have."
        )
    drawn = damage if metric == DAMAGE and damage is not None else entry
    if how == "lines":
        figure = maps.picked(
            _lines(version(drawn), metric, chart.is_dark(), drawn),
            cut.removed,
            dark=chart.is_dark(),
        )
        remark = (
            "Blue: all blocks of this size. The line across marks the lowest value of each size."
        )
    elif metric == DAMAGE:
        figure = _damage_map(version(drawn), drawn)
        is_map = len(drawn.result.increase) > 1
        remark = (
            "Line: the block of each size with the lowest loss increase."
            if is_map
            else "Each bar removes one layer."
        )
    else:
        path = strategy.path()
        others = () if metric == own_metric else distance_spec.best_blocks(distances.others[metric])
        key = " / ".join(
            " ".join(f"{best.n}:{best.start}" for best in blocks) for blocks in (path, others)
        )
        figure = _distance_map(version(entry), key, metric, entry, path, others)
        remark = "Line: chosen blocks. Circles: tied with the most similar (95 %)."
        if metric != own_metric:
            remark = (
                f"Dotted: the most similar block by {words.plain(_name(metric))}. Line: by the"
                " map's own distance."
            )
    chart_selection.chart_of_blocks(
        figure,
        key=CHART,
        alt=f"{'Lines for each block size' if how == 'lines' else 'Heat map'} by {_name(metric)}.",
        file_name="damage-map" if metric == DAMAGE else "distance-map",
        n_layers=distances.n_layers,
        chosen=strategy.block,
    )
    st.caption(remark)


def _name(metric: str) -> str:
    return "loss increase" if metric == DAMAGE else metrics.title(metric)


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
    return Finished(
        maps.distance_map(
            _found.result, _path, others=_others, tied=close, metric=metric, height=_HEIGHT
        )
    )


@st.cache_resource(max_entries=12, show_spinner=False)
def _damage_map(version: Version, _found: FoundResult) -> Figure:
    return Finished(maps.damage_map(_found.result, height=_HEIGHT))


@st.cache_resource(max_entries=12, show_spinner=False)
def _lines(version: Version, metric: str, dark: bool, _found: FoundResult) -> Figure:
    if _found.result.kind == "damage":
        return maps.damage_lines(_found.result, dark=dark, height=_HEIGHT)
    return maps.distance_lines(_found.result, metric=metric, dark=dark, height=_HEIGHT)
