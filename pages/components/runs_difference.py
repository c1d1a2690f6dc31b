"""Two maps of one model subtracted: other texts, another precision."""

from dataclasses import replace

import numpy as np
import streamlit as st

from analysis.charts import runs as run_figures
from analysis.charts.runs import Drawn
from analysis.reading import runs
from pages.components.shared import chart, state, words


def show(drawn: list[Drawn]) -> None:
    """Draw the difference of two of the maps, chosen here; a sentence where no two are of one model.

    Args:
        drawn: maps of one metric.
    """
    several = [one for one in drawn if sum(_model(one) == _model(other) for other in drawn) > 1]
    names = runs.shortened([one.name for one in several])
    usable = [replace(one, name=name) for one, name in zip(several, names, strict=True)]
    if not usable:
        if len(drawn) > 1:
            st.caption("A difference map needs two maps of the same model: tick one on other texts or in another precision.")
        return
    left, right = st.columns([5, 4], gap="medium", vertical_alignment="center")
    with right:
        st.markdown("**What changes when only the texts or the precision change**")
        first, second = _choice(usable)
        st.caption(_said(first, second))
    with left:
        figure = run_figures.difference_map(first.result, second.result, (first.name, second.name))
        alt = f"Heat map of {first.name} minus {second.name} for every block."
        chart.show(figure, key="runs-difference", alt=alt, file_name="map-difference")


def _choice(usable: list[Drawn]) -> tuple[Drawn, Drawn]:
    """The two maps: at first the second one minus the first, which is the reference if one is pinned."""
    names = [one.name for one in usable]
    one, other = st.columns(2, gap="small")
    first = usable[one.selectbox("Map", range(len(usable)), 1, names.__getitem__, key=state.generation("runs-first", names))]
    partners = [partner for partner in usable if partner is not first and _model(partner) == _model(first)]
    beside = [partner.name for partner in partners]
    key = state.generation("runs-second", [first.name, *beside])
    return first, partners[other.selectbox("minus", range(len(partners)), 0, beside.__getitem__, key=key)]


def _model(drawn: Drawn) -> tuple[str, int]:
    spec = drawn.result.spec.model
    return spec.identity or spec.source, drawn.result.n_layers


def _said(first: Drawn, second: Drawn) -> str:
    """How far the two are apart, and whether it would change what is cut."""
    values = np.array([value for row in run_figures.map_difference(first.result, second.result) for value in row])
    pairs = list(zip(first.result.best, second.result.best, strict=True))
    same = sum(a.start == b.start for a, b in pairs)
    half = [(a, b) for a, b in pairs if a.n <= first.result.n_layers // 2]
    near = sum(a.start == b.start for a, b in half)
    shift = max((abs(a.start - b.start) for a, b in half), default=0)
    return (
        f"Teal: {words.plain(first.name)} finds the ends more alike; brown: {words.plain(second.name)} does. "
        f"On average the distance differs by {values.mean():+.4f} (mean of all blocks; half of them by less than "
        f"{np.median(np.abs(values)):.4f}). The same block is chosen for {same} of {len(pairs)} sizes, and for {near} of the "
        f"{len(half)} sizes up to half of the layers, where the choice moves by at most {shift} "
        f"layer{'' if shift == 1 else 's'}."
    )
