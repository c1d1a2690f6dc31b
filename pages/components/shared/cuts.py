"""The cut: the layers that a strategy removes at the slider's n, its measurements, and the cut on
screen.
"""

from dataclasses import dataclass

import streamlit as st

from analysis.core.blocks import Block, Removal, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.experiments import strategies
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import Best, DistanceResult
from analysis.experiments.strategies import (
    BLOCKS,
    DAMAGE,
    DRAW,
    INFLUENCE,
    SEARCHED,
    StrategyInputs,
    needs,
)
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import state, stored_results, words

SLIDER = "n"
"""Key of the slider."""
_MEASURED_FIRST = (INFLUENCE, DRAW, SEARCHED, BLOCKS)
"""The cuts of strategies with these needs are read from a measured curve: neither map nor damage
says which they are."""


@dataclass(frozen=True)
class Cut:
    """The layers to remove."""

    n: int
    removed: Removal | None
    """None for n = 0, and if it is not known yet."""
    unknown: words.Markdown = ""
    """Reason why the layers are unknown, with the control that finds them; empty if they are
    known."""
    by_hand: bool = False
    """Whether these layers were picked instead of the strategy's choice."""


@dataclass(frozen=True)
class ChosenStrategy:
    """Strategy with the results that it chooses blocks from."""

    name: str
    """One of `strategies.STRATEGIES`."""
    distances: DistanceResult
    """The map on screen, which `similarity` chooses from."""
    sweep: SweepResult | None
    """The curve on screen, which the others' cuts are read from."""
    damage: DamageResult | None
    """The measured damage, if there is no curve for `loss-greedy`."""

    def cut(self, n: int) -> Cut:
        """Return the cut of n layers."""
        if n == 0:
            return Cut(0, None)
        inputs = StrategyInputs(
            self.distances.n_layers,
            self.distances.best,
            least=self.damage.best if self.damage else (),
        )
        if not needs(self.name, *_MEASURED_FIRST, DAMAGE):
            return Cut(n, strategies.chosen(self.name, n, inputs))
        point = (
            next((point for point in self.sweep.points if point.n == n), None)
            if self.sweep
            else None
        )
        if point is not None:
            return Cut(n, point.block)
        least = (
            _of_damage(self.name, n, inputs)
            if self.damage and not needs(self.name, *_MEASURED_FIRST)
            else None
        )
        return Cut(n, least, "" if least else _missing(self.name, n, self.sweep))

    def block(self, n: int) -> Block | None:
        """Return the removal if it is known and one block, else None."""
        removed = self.cut(n).removed
        return removed if isinstance(removed, Block) else None

    def path(self) -> list[Best]:
        """Return the chosen block of each size with its distance; sizes whose cut is unknown or no
        block are left out.

        Only blocks that follow a rule make a path: not those at random or by hand, nor layers one
        by one.
        """
        if needs(self.name, *_MEASURED_FIRST):
            return []
        chosen = [self.block(n) for n in range(1, self.distances.n_layers)]
        means = self.distances.mean
        return [
            Best(block.size, block.start, means[block.size - 1][block.start])
            for block in chosen
            if block is not None
        ]


def _of_damage(strategy: str, n: int, inputs: StrategyInputs) -> Removal | None:
    """Return the choice by measured loss increase, if it covers blocks of this size."""
    try:
        return strategies.chosen(strategy, n, inputs)
    except BlockRangeError:
        return None


def _missing(strategy: str, n: int, sweep: SweepResult | None) -> str:
    measured = sorted({point.n for point in sweep.points if point.n}) if sweep else []
    if measured:
        reach = (
            f"for n = {measured[0]} to {measured[-1]}"
            if len(measured) > 1
            else f"for n = {measured[0]}"
        )
        return (
            f"The curve of {words.plain(strategy)} has no result for n = {n}, only {reach}. Move"
            " the slider, or run a sweep."
        )
    how = "Click **Run a sweep** on Explore"
    if needs(strategy, BLOCKS):
        how += " and enter your blocks"
    elif needs(strategy, DAMAGE):
        how = "Measure the loss-increase map on Explore, or click **Run a sweep** there"
    return f"The layers that {words.plain(strategy)} removes are not measured. {how}."


def slider(n_layers: int) -> None:
    """Draw the slider; it goes by the arrow keys too."""
    with state.showing(SLIDER, min(state.chosen_n(), n_layers - 1)):
        st.slider(
            "Layers removed, n",
            0,
            n_layers - 1,
            key=SLIDER,
            on_change=lambda: state.choose_n(st.session_state[SLIDER]),
            label_visibility="collapsed",
        )


def now(strategy: ChosenStrategy) -> Cut:
    """Return the cut on screen: the layers picked by hand if there are n of them, else those of the
    strategy.
    """
    n = min(state.chosen_n(), strategy.distances.n_layers - 1)
    removed = state.own_cut(strategy.distances.n_layers)
    if removed is not None and removed.size == n and removed != strategy.cut(n).removed:
        return Cut(n, removed, by_hand=True)
    return strategy.cut(n)


def take(removed: Removal, strategy: Removal | None, n_layers: int) -> None:
    """Make layers that somebody picked the current cut; if the strategy chooses the same layers,
    keep its cut.

    Args:
        removed: the picked layers.
        strategy: the strategy's choice of that size.
        n_layers: layers of the model.

    Raises:
        BlockRangeError: when the model cannot lose these layers, or one of them is protected.
    """
    check(removed, n_layers)
    if removed == strategy:
        state.choose_n(removed.size)
    else:
        state.choose_cut(removed)


def check(removed: Removal, n_layers: int) -> None:
    """See to it that somebody may pick these layers.

    Raises:
        BlockRangeError: when the model cannot lose them, or one of them is protected.
    """
    removed.check_depth(n_layers)
    if removed.size >= n_layers:
        raise BlockRangeError(
            f"You selected all {n_layers} layers. Keep at least one here, or use the command line."
        )
    if kept := protected_in(removed, n_layers):
        named = (
            f"Layer {kept[0]} is" if len(kept) == 1 else f"Layers {', '.join(map(str, kept))} are"
        )
        raise BlockRangeError(
            f"{named} protected. Select other layers, or remove the protection on the strip."
        )


def take_or_say(removed: Removal, strategy: Removal | None, n_layers: int) -> None:
    """Take layers as `take`; show the reason of a refusal as a toast, and leave the cut as it
    was.
    """
    try:
        take(removed, strategy, n_layers)
    except BlockRangeError as error:
        st.toast(words.plain(str(error)), icon=":material/lock:")


def protected_in(removed: Removal | None, n_layers: int) -> list[int]:
    """Return the protected layers in a removal, ascending."""
    return sorted(state.protected(n_layers).intersection(removed.touched)) if removed else []


def say_protected(
    removed: Removal | None, n_layers: int, who: words.Markdown = "This selection"
) -> None:
    """Name the protected layers that a cut takes, if it takes any.

    Args:
        removed: the cut.
        n_layers: layers of the model.
        who: the subject of the sentence.
    """
    kept = protected_in(removed, n_layers)
    if kept:
        named = f"layer {kept[0]}" if len(kept) == 1 else f"layers {', '.join(map(str, kept))}"
        st.caption(f":material/lock: {who} removes the protected {named}.", width="content")


def say(cut: Cut) -> None:
    """Draw the cut in one line."""
    if cut.removed is None:
        nothing = "**Nothing removed**: the unpruned model"
        st.markdown(
            f"**{words.layers(cut.n)}**, not known yet" if cut.n else nothing, width="content"
        )
        return
    st.markdown(f"**{cut.removed.brief()}**" + ("" if cut.by_hand else " removed"), width="content")


def back_button(cut: Cut, strategy: ChosenStrategy) -> None:
    """Draw the button that returns from layers picked by hand to those of the strategy; nothing if
    none were picked.
    """
    if cut.by_hand:
        name = words.plain(strategy.name)
        chosen = strategy.cut(cut.n).removed
        why = (
            f"You selected these layers. {name} selects"
            f" {chosen.brief() if chosen else 'unmeasured layers'}."
        )
        st.button(
            f"Back to {name}",
            key="back",
            icon=":material/undo:",
            type="tertiary",
            help=why,
            on_click=lambda: state.choose_cut(None),
        )


def strategy_menu(label: str, key: str) -> None:
    """Draw the menu of strategies that choose the removed layers.

    Args:
        label: its label.
        key: of the widget, another one for each place.
    """
    with state.showing(key, state.strategy()):
        st.selectbox(
            label,
            list(strategies.STRATEGIES),
            key=key,
            help=words.strategies_help(),
            on_change=lambda: state.choose_strategy(st.session_state[key]),
        )


def field(n_layers: int, strategy: ChosenStrategy | None) -> None:
    """Draw the field in which a cut is written instead of picked.

    Args:
        n_layers: layers of the model.
        strategy: the strategy on screen; None without a map.
    """

    def written() -> None:
        st.session_state["own-block-error"] = ""
        try:
            cut = parse_removal(st.session_state["own-block"].strip())
            check(cut, n_layers)
            take(cut, None if strategy is None else strategy.cut(cut.size).removed, n_layers)
        except BlockRangeError as error:
            st.session_state["own-block-error"] = str(error)

    st.text_input(
        "Layers to remove",
        key="own-block",
        placeholder="11:5 or 3:1+7:2",
        on_change=written,
        help=words.A_CUT,
    )
    if st.session_state.get("own-block-error"):
        st.error(words.message(st.session_state["own-block-error"]))


def damage_shown(distances: FoundResult, model: ModelSpec) -> FoundResult | None:
    """Return the loss-increase map next to a distance map: the strongest, preferably compared with
    this map.
    """
    entries = stored_results.find("damage", model)
    if not entries:
        return None
    strongest = (("strength", entries[0].summary.weight.sortable()),)
    best = stored_results.find(
        "damage",
        model,
        most=1,
        having=strongest,
        first=f"map != '{summaries.key_of(distances.result.spec)}'",
    )
    return stored_results.shown(
        "damage", [*best, *(entry for entry in entries if entry.key != best[0].key)]
    )
