"""Charts without their selection, built once and shared: building one takes far longer than ringing a block."""

from collections.abc import Sequence

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import curves, maps
from analysis.experiments.maps.distance_spec import Best
from analysis.results.compared import remarks
from pages.components.shared import library
from pages.components.shared.library import Found
from pages.components.shared.selection import Version, version


def distance_map(
    found: Found, path: Sequence[Best], others: Sequence[Best], *, metric: str, scaled: bool, max_size: int | None, height: int
) -> Figure:
    """The map by one of its metrics; arguments as `maps.distance_map`."""
    return _distance_map(version(found), tuple(path), tuple(others), metric, scaled, max_size, height, found)


def damage_map(found: Found, *, scaled: bool, height: int) -> Figure:
    """The damage map; arguments as `maps.damage_map`."""
    return _damage_map(version(found), scaled, height, found)


def lines(found: Found, *, metric: str, dark: bool, height: int) -> Figure:
    """The lines of a map or of the damage; arguments as `maps.distance_lines`."""
    return _lines(version(found), metric, dark, height, found)


def curve(
    kind: str, sweep: Found, others: Sequence[Found], heals: Sequence[Found], *, dark: bool, height: int
) -> Figure:  # fmt: skip
    """The curve of `accuracy` or `loss`; arguments as `curves.accuracy_curve`."""
    versions = tuple(version(entry) for entry in (*others, *heals))
    return _curve(kind, version(sweep), versions, dark, height, sweep, others, heals)


def writing(sweep: Found, *, dark: bool) -> Figure:
    """Draw the texts that the pruned models of a curve write; arguments as `curves.writing_curve`."""
    return _writing(version(sweep), dark, sweep)


@st.cache_resource(max_entries=8, show_spinner=False)
def _writing(version: Version, dark: bool, _sweep: Found) -> Figure:
    return curves.writing_curve(_sweep.result, dark=dark)


@st.cache_resource(max_entries=24, show_spinner=False)
def _distance_map(
    version: Version, path: tuple[Best, ...], others: tuple[Best, ...], metric: str, scaled: bool, max_size: int | None,
    height: int, _found: Found,
) -> Figure:  # fmt: skip
    close = remarks.of_map(_found.result, metric, library.array(_found, "text_distances"))
    return maps.distance_map(
        _found.result, path, others=others, rivals=close, metric=metric, row_normalised=scaled, max_size=max_size, height=height
    )


@st.cache_resource(max_entries=12, show_spinner=False)
def _damage_map(version: Version, scaled: bool, height: int, _found: Found) -> Figure:
    return maps.damage_map(_found.result, row_normalised=scaled, height=height)


@st.cache_resource(max_entries=12, show_spinner=False)
def _lines(version: Version, metric: str, dark: bool, height: int, _found: Found) -> Figure:
    if _found.result.kind == "damage":
        return maps.damage_lines(_found.result, dark=dark, height=height)
    return maps.distance_lines(_found.result, metric=metric, dark=dark, height=height)


@st.cache_resource(max_entries=24, show_spinner=False)
def _curve(
    kind: str, version: Version, versions: tuple[Version, ...], dark: bool, height: int, _sweep: Found,
    _others: Sequence[Found], _heals: Sequence[Found],
) -> Figure:  # fmt: skip
    draw = curves.accuracy_curve if kind == "accuracy" else curves.loss_curve
    healed = [entry.result for entry in _heals]
    return draw(_sweep.result, healed, others=[entry.result for entry in _others], dark=dark, height=height)
