"""Map, slider, layer strip and curves, all showing the same cut."""

import streamlit as st

from analysis import map_figures, selection
from analysis.results import Best, DistanceResult
from pages.components import chart, curves, cut_numbers, guard, library, state, theme

SCALES = {False: "raw", True: "row-normalised"}


def show(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...], *, live: bool) -> None:
    """Draw the view; moving the slider redraws this and nothing else.

    Args:
        map_key, sweep_key, heal_keys: which results.
        live: whether the sweep is growing, so that the view must look again every two seconds.
    """
    st.fragment(_view, run_every="2s" if live else None)(map_key, sweep_key, heal_keys)


def _view(map_key: str, sweep_key: str | None, heal_keys: tuple[str, ...]) -> None:
    with guard.errors_shown():
        found, sweep = library.by_key("distances", map_key), library.by_key("sweep", sweep_key)
        if found is None:
            st.info("This map is no longer in the cache; reload the page.")
            return
        heals = [library.by_key("heal", key) for key in heal_keys]
        distances, strategy = found.result, state.strategy()
        scores = sweep.result if sweep else None
        with st.container(gap="xsmall"):
            left, right = st.columns([3, 2], vertical_alignment="center", gap="medium")
            with left:
                n = _slider(distances.n_layers)
            block = selection.choose(strategy, n, n_layers=distances.n_layers, best=distances.best)
            right.markdown(f"**{block.describe()}** removed" if block else "**Nothing removed**: the unpruned model")
            strip = map_figures.layer_strip(distances.n_layers, block, dark=theme.is_dark())
            what = block.describe() if block else "nothing"
            chart.show(strip, key="strip", alt=f"Layers of the model; removed: {what}.", file_name="layers", toolbar=False)
            cut_numbers.show(distances, scores, n, block)
        left, right = st.columns(2, gap="medium")
        with left, st.container(gap="xsmall"):
            _map(distances, strategy, block)
        with right, st.container(gap=None):
            curves.show(scores, [heal.result for heal in heals if heal], n)


def _slider(n_layers: int) -> int:
    st.session_state["n"] = min(state.chosen_n(), n_layers - 1)
    n = st.slider("Layers removed, n", 0, n_layers - 1, key="n", on_change=lambda: state.choose_n(st.session_state["n"]))
    return n


def _path(distances: DistanceResult, strategy: str) -> list[Best]:
    """The chosen block of each size, with its distance on this map."""
    chosen = [
        selection.choose(strategy, n, n_layers=distances.n_layers, best=distances.best) for n in range(1, distances.n_layers)
    ]
    return [Best(block.size, block.start, distances.mean[block.size - 1][block.start]) for block in chosen if block]


def _map(distances: DistanceResult, strategy: str, block) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.markdown("**Distance across each block**", help="How far the residual stream turns between layer l and layer l + n.")
        normalised = st.segmented_control(
            "Colour by", list(SCALES), format_func=SCALES.get, default=False, required=True, key="row-normalised",
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
    figure = map_figures.distance_map(
        distances, _path(distances, strategy), selected=block, row_normalised=bool(normalised), height=412
    )
    best = min(distances.best, key=lambda entry: entry.distance)
    alt = f"Heat map of angular distance; the most similar block is {best.block.describe()} at {best.distance:.3f}."
    chart.show(figure, key="map", alt=alt, file_name="distance-map")
