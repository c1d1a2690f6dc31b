"""Choosing the layers to remove beside the slider: on the strip or in writing.

The strip drags and stretches a block, or picks layer by layer. The texts that it shows of a block
while it is dragged are in the page already. The server hears of the block once it is released.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.charts.look import palette
from analysis.core.blocks import parse_removal, single_parts
from analysis.core.errors import BlockRangeError
from analysis.results.compared import block_values
from analysis.results.stored.result import FoundResult
from pages.components.shared import chart, cuts, state, words
from pages.components.shared.cuts import ChosenStrategy
from pages.components.shared.selection import Shown, Version, version

_STRIP = "layer-strip"
_HERE = Path(__file__)
_strip = st.components.v2.component(
    "layerscope_layer_strip",
    html=_HERE.with_name("layer_strip.html").read_text(),
    css=_HERE.with_name("layer_strip.css").read_text(),
    js=_HERE.with_name("layer_strip.js").read_text(),
)
_HEARD = "strip-heard"
"""Key of the session for the number of the strip's last message, by which the strip knows that it
was answered."""


def show_strip(view: Shown, is_first: bool) -> None:
    """Draw the strip, and a note if the removed layers include a protected one.

    Args:
        view: the selection.
        is_first: whether a note says how the strip is used.
    """
    distances = view.distances
    damage = view.damage
    strategy = view.strategy
    cut = view.cut
    n_layers = strategy.distances.n_layers
    colours = palette(chart.is_dark())

    def heard() -> None:
        message = st.session_state[_STRIP].get("said")
        try:
            _hear(message if isinstance(message, dict) else {}, strategy)
        except BlockRangeError as error:
            st.toast(words.plain(str(error)), icon=":material/lock:")

    _strip(
        key=_STRIP,
        data={
            "values": _values(
                version(distances), version(damage) if damage else None, distances, damage
            ),
            "cut": list(cut.removed.layers) if cut.removed else [],
            "parts": dict(single_parts(cut.removed)) if cut.removed else {},
            "kept": sorted(state.protected(n_layers)),
            "heard": st.session_state.get(_HEARD),
            "look": {"pruned": colours.pruned, "kept": colours.kept},
            "note": "Drag to remove other layers" if is_first else "",
        },
        on_said_change=heard,
    )
    who = "This selection" if cut.by_hand else f"The choice of {words.plain(strategy.name)}"
    cuts.say_protected(cut.removed, n_layers, who)


def _hear(message: dict[str, Any], strategy: ChosenStrategy) -> None:
    """Take the block and the protected layers that the strip reports, each only if it changed.

    Raises:
        BlockRangeError: when the model lacks these layers.
    """
    st.session_state[_HEARD] = message.get("number")
    n_layers = strategy.distances.n_layers
    if isinstance(text := message.get("protected"), str):
        layers = parse_removal(text).layers if text else ()
        state.protect(layer for layer in layers if layer < n_layers)
    if isinstance(text := message.get("cut"), str):
        if text:
            cut = parse_removal(text)
            cuts.take(cut, strategy.cut(cut.size).removed, n_layers)
        else:
            state.choose_n(0)


@st.cache_resource(max_entries=24, show_spinner=False)
def _values(
    version: Version, of_damage: Version | None, _found: FoundResult, _damage: FoundResult | None
) -> str:
    """Return the values of all blocks as JSON, written once: they are 40 kB of numbers, and the
    same at each redraw.
    """
    return json.dumps(
        asdict(block_values.of_results(_found.result, _damage.result if _damage else None))
    )


def sheet_button() -> None:
    """Open the decision sheet of the removed layers."""
    if st.button(
        "Decision sheet",
        key="to-sheet",
        icon=":material/description:",
        type="tertiary",
        on_click=state.choose_option,
        args=("way", "Decision sheet"),
        help="One page: go, measure more or don't, with numbers, cost and risk.",
    ):
        st.switch_page("pages/export.py")
