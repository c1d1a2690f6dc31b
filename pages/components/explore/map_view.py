"""The map on which a block is chosen: by the selected distance or the damage, as a map or as lines.

The figures have no selection, are built once and are shared: building one takes far longer than ringing a block.
"""

from collections.abc import Sequence

import streamlit as st
from plotly.graph_objs import Figure

from analysis import service
from analysis.charts import maps
from analysis.charts.look import Finished
from analysis.core.blocks import Block
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
    least = min(best, key=lambda entry: entry.distance)
    said = f"{words.metric(metric)}. The most similar block is {least.block.describe()} at {least.distance:.3f}."
    others = best if metric != own else ()
    if how == "lines":
        figure = maps.picked(
            lines(shown, metric=metric, dark=chart.is_dark(), height=_HEIGHT), cut.removed, dark=chart.is_dark()
        )
    else:
        figure = distance_map(shown, strategy.path(), others, metric=metric, max_size=None, height=_HEIGHT)
    chart_selection.chart_of_blocks(
        _kept(figure, distances.n_layers),
        key=CHART,
        alt=f"{_kind(how)} by {said}",
        file_name="distance-map",
        n_layers=distances.n_layers,
        chosen=strategy.block,
    )
    st.caption(_how_sure(distances, cut, how) if metric == own else _by_another(best, words.plain(words.metric(metric)), cut))


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


_WHAT = "Angle between the residual stream at layer l and at layer l + n."


def _name(metric: str) -> str:
    return "loss increase" if metric == DAMAGE else words.metric(metric)


def _kind(how: str) -> str:
    return "Lines for each block size" if how == "lines" else "Heat map"


def _damage(damage: FoundResult, how: str, cut: Cut, strategy: ChosenStrategy) -> None:
    """The measured damage in the map's place."""
    result = damage.result
    if how == "lines":
        plain = lines(damage, metric=DAMAGE, dark=chart.is_dark(), height=_HEIGHT)
        figure = maps.picked(plain, cut.removed, dark=chart.is_dark())
    else:
        figure = damage_map(damage, height=_HEIGHT)
    alt = f"{_kind(how)} of the measured loss increase without each block of up to {len(result.increase)} layers."
    figure = _kept(figure, result.n_layers)
    chart_selection.chart_of_blocks(
        figure, key=CHART, alt=alt, file_name="damage-map", n_layers=result.n_layers, chosen=strategy.block
    )
    best = next((entry for entry in result.best if entry.n == cut.n), None)
    least = f" At n = {cut.n}: {best.block.brief()}, {best.increase:+.3f} nats per token." if best else ""
    st.caption(f"The line marks the block of each size with the lowest loss increase.{least}")


def _kept(figure: Figure, n_layers: int) -> Figure:
    """Limit the axis to the sizes of the range on screen, where there is one."""
    sizes = state.sizes(n_layers)
    return maps.of_sizes(figure, sizes) if sizes else figure


def _how_sure(distances: DistanceResult, cut: Cut, how: str) -> str:
    """Say in how many resamples of the texts the chosen block wins, and which block comes second."""
    if not 0 < cut.n < distances.n_layers:
        return "The line marks the chosen block of each size. A ring will mark the block at the slider's n."
    if not distances.wins:
        return "The line marks the chosen block of each size. A ring marks the selected block. Click a block to remove it."
    row = distances.wins[cut.n - 1]
    chosen = next(best.block for best in distances.best if best.n == cut.n)
    others = [start for start in range(len(row)) if start != chosen.start]
    second = max(others, key=row.__getitem__, default=None)
    of_size = f"{cut.n} layers" if cut.n > 1 else "single layers"
    which = "This block has" if cut.removed == chosen else f"Of {of_size}, {chosen.brief()} {'have' if cut.n > 1 else 'has'}"
    said = f"{which} the smallest distance in {row[chosen.start]:.0%} of text resamples"
    circles = _LINES if how == "lines" else "Small circles: statistically tied with it (95 %)."
    if second is None or row[second] == 0:
        return f"{said}, no other block in any. {circles}"
    return f"{said}, {Block(second, cut.n).brief()} in {row[second]:.0%}. {circles}"


_LINES = "Blue: all blocks of this size. The line across marks the most similar block of each size."


def _by_another(best: Sequence[Best], name: words.Markdown, cut: Cut) -> str:
    """Return the block that another distance would choose; it is drawn dotted, since the map's own distance chooses."""
    found = next((entry.block for entry in best if entry.n == cut.n), None)
    if found is None:
        return f"Dotted: the choice by {name}. Blocks are still chosen by the map's own distance."
    verdict = "the removed block" if found == cut.removed else "not the removed block"
    return f"Dotted: by {name} the choice at n = {cut.n} would be {found.brief()}, {verdict}."


def distance_map(
    found: FoundResult,
    path: Sequence[Best],
    others: Sequence[Best],
    *,
    metric: str,
    max_size: int | None,
    height: int,
) -> Figure:
    """The map by one of its metrics; arguments as `maps.distance_map`."""
    key = " / ".join(" ".join(f"{best.n}:{best.start}" for best in blocks) for blocks in (path, others))
    return _distance_map(version(found), key, metric, max_size, height, found, path, others)


def damage_map(found: FoundResult, *, height: int) -> Figure:
    """The damage map; arguments as `maps.damage_map`."""
    return _damage_map(version(found), height, found)


def lines(found: FoundResult, *, metric: str, dark: bool, height: int) -> Figure:
    """The lines of a map or of the damage; arguments as `maps.distance_lines`."""
    return _lines(version(found), metric, dark, height, found)


@st.cache_resource(max_entries=24, show_spinner=False)
def _distance_map(
    version: Version,
    blocks: str,
    metric: str,
    max_size: int | None,
    height: int,
    _found: FoundResult,
    _path: Sequence[Best],
    _others: Sequence[Best],
) -> Figure:
    close = remarks.of_map(_found.result, metric, service.arrays(_found).get("text_distances"))
    figure = maps.distance_map(
        _found.result,
        _path,
        others=_others,
        rivals=close,
        metric=metric,
        max_size=max_size,
        height=height,
    )
    return Finished(figure)


@st.cache_resource(max_entries=12, show_spinner=False)
def _damage_map(version: Version, height: int, _found: FoundResult) -> Figure:
    return Finished(maps.damage_map(_found.result, height=height))


@st.cache_resource(max_entries=12, show_spinner=False)
def _lines(version: Version, metric: str, dark: bool, height: int, _found: FoundResult) -> Figure:
    if _found.result.kind == "damage":
        return maps.damage_lines(_found.result, dark=dark, height=height)
    return maps.distance_lines(_found.result, metric=metric, dark=dark, height=height)
