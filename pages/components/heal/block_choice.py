"""The choice of the layers that a healing run removes first."""

import streamlit as st

from analysis.core.blocks import Block, Removal
from analysis.experiments import strategies
from pages.components.shared import cuts, state
from pages.components.shared.library import Found

_NAMES = {name: strategies.STRATEGIES[name].title for name in ("similarity", "deepest")} | {
    "own": "Own choice",
    "scattered": "As on Explore",
}


def show(distances: Found | None, n_layers: int, current: Removal | None = None) -> Removal | None:
    """Draw and return the cut to heal, at first that of the Explore page, with a menu that changes it; None when there is none.

    Args:
        distances: the map that the most similar block is taken from, if there is one.
        n_layers: the model's layers.
        current: the cut of the Explore page, where it is known.
    """
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        st.header("1 Layers to remove", anchor=False, width="content")
        menu = st.popover(
            "Change", key="change-cut", type="tertiary", icon=":material/edit:", help="Choose other layers.", width=100
        )  # fmt: skip
    said = st.empty()
    with menu:
        chosen = _controls(distances, n_layers, current)
    if chosen:
        said.markdown(f"**{chosen.describe()}**")
        cuts.say_protected(chosen, n_layers)
    return chosen


def _controls(distances: Found | None, n_layers: int, current: Removal | None) -> Removal | None:
    own = state.own_cut(n_layers)
    scattered = next((cut for cut in (own, current) if cut is not None and not isinstance(cut, Block)), None)
    missing = {"similarity": distances is None, "scattered": scattered is None}
    ways = [way for way in _NAMES if not missing.get(way)]
    picked = own if isinstance(own, Block) else None
    if picked is None and state.strategy() not in _NAMES and isinstance(current, Block):
        picked = current  # a block of another strategy has no button of its own here
    if picked is not None and picked != st.session_state.get("heal_picked"):
        st.session_state["heal_way"] = "own"  # a click on the map is the newest choice of layers
    st.session_state["heal_picked"] = picked
    usual = "scattered" if scattered else state.strategy() if state.strategy() in ways else ways[0]
    way = st.session_state.get("heal_way", usual)
    with state.showing("block-way", way if way in ways else usual):
        way = st.segmented_control(
            "Choose layers by", ways, format_func=_NAMES.get, required=True, key="block-way",
            on_change=lambda: st.session_state.update(heal_way=st.session_state["block-way"]),
        )  # fmt: skip
    if way == "scattered":
        return scattered
    left, right = st.columns(2)
    with state.showing("heal-n", max(1, min(state.chosen_n(), n_layers - 1))):
        n = left.number_input(
            "Removed layers, n", 1, n_layers - 1, key="heal-n", on_change=lambda: state.choose_n(st.session_state["heal-n"])
        )
    best = distances.result.best if distances else ()
    chosen = strategies.chosen("deepest" if way == "own" else way, int(n), strategies.Given(n_layers, best=best))
    if way == "own" and chosen:
        most = n_layers - int(n)
        key = f"heal-start-{n}"
        with state.showing(key, picked.start if picked and picked.size == n else min(chosen.start, most)):
            start = right.number_input(
                "First layer", 0, most, key=key,
                on_change=lambda: cuts.take_or_say(Block(int(st.session_state[key]), int(n)), None, n_layers),
            )  # fmt: skip
        chosen = Block(int(start), int(n))
    elif chosen:
        right.number_input("First layer", value=chosen.start, disabled=True, key=f"shown-start-{way}-{n}")
    return chosen
