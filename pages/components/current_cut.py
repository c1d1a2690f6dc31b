"""The slider n, and the cut on screen in words: the strategy's choice at n, or a block that was picked by hand."""

import streamlit as st

from analysis.core.blocks import Block
from analysis.core.errors import BlockRangeError
from analysis.experiments.accuracy.spec import SweepResult
from pages.components import cuts, state, words
from pages.components.cuts import Cut, Strategy

SLIDER = "n"
"""Key of the slider."""


def slider(n_layers: int) -> int:
    """Draw the slider; it goes by the arrow keys too."""
    st.session_state[SLIDER] = min(state.chosen_n(), n_layers - 1)
    return st.slider(
        "Layers removed, n", 0, n_layers - 1, key=SLIDER, on_change=lambda: state.choose_n(st.session_state[SLIDER])
    )


def now(n: int, strategy: Strategy) -> Cut:
    """The cut on screen; draws a menu where several manual cuts of one size are meant.

    Args:
        n: the slider's.
        strategy: how blocks are chosen.
    """
    cut = chosen(n, strategy)
    return cut if cut.by_hand else strategy.cut(n, _which(strategy.sweep, n))


def chosen(n: int, strategy: Strategy) -> Cut:
    """The block that was picked by hand, where it has n layers, else the strategy's cut."""
    own = state.own_block(strategy.distances.n_layers)
    if own is not None and own.size == n and own != strategy.block(n):
        return cuts.own(own, strategy.sweep)
    return strategy.cut(n)


def say(cut: Cut, strategy: Strategy) -> None:
    """Draw the cut in one line, with the way back from a block that was picked by hand."""
    if cut.removed is None:
        st.markdown(cut.missing or "**Nothing removed**: the unpruned model", width="content")
        return
    st.markdown(f"**{cut.removed.describe()}**" + ("" if cut.by_hand else " removed"), width="content")
    if cut.by_hand:
        name = f"l*({cut.n})" if strategy.name == "similarity" else strategy.name
        chosen = strategy.cut(cut.n).removed
        why = f"This block was picked by hand; {strategy.name} chooses {chosen.describe() if chosen else 'no known one'}."
        st.button(
            f"Back to {name}", key="back", icon=":material/undo:", type="tertiary", help=why,
            on_click=lambda: state.choose_block(None),
        )  # fmt: skip


def by_hand(n_layers: int) -> None:
    """Draw a menu in which a block is written instead of clicked."""
    menu = st.popover(
        ":material/edit:", type="tertiary", key="own-block-menu", on_change="rerun", width=64,
        help="Write a block: cuts it as a click on the map does.",
    )  # fmt: skip
    if not menu.open:
        return

    def take() -> None:
        st.session_state["own-block-error"] = ""
        try:
            block = Block.parse(st.session_state["own-block"].strip())
            block.check(n_layers)
        except BlockRangeError as error:
            st.session_state["own-block-error"] = str(error)
        else:
            state.choose_block(block)

    with menu:
        st.text_input("START:SIZE, counted from 0", key="own-block", placeholder="11:5", on_change=take)
        if st.session_state.get("own-block-error"):
            st.error(words.plain(st.session_state["own-block-error"]))


def _which(sweep: SweepResult | None, n: int) -> int:
    """Which of several manual cuts of one size is meant."""
    same = cuts.of_size(sweep, n)
    if len(same) < 2:
        return 0
    names = [point.block.describe() if point.block else "" for point in same]
    return int(
        st.selectbox("Cut", range(len(same)), format_func=names.__getitem__, key=f"which-{n}", label_visibility="collapsed")
    )
