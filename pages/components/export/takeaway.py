"""The choice to export: a cut, and a heal of it or none."""

from dataclasses import dataclass

import streamlit as st

from analysis.core import store
from analysis.core.blocks import Removal, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.strategies import STRATEGIES
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import cuts, library, selection, state, words

_BARE = ""
"""The choice of no heal."""


@dataclass(frozen=True)
class Choice:
    """A cut of the current model, healed or not."""

    model: ModelSpec
    """As a result of it says: concrete dtype and device."""
    facts: ModelFacts
    cut: Removal
    heal: HealResult | None

    @property
    def adapter(self) -> str | None:
        """The heal's adapter, relative to the cache folder, where it is on this machine."""
        return self.heal.adapter if self.heal is not None and has_adapter(self.heal) else None


def has_adapter(heal: HealResult) -> bool:
    """Return whether the heal's adapter is on this machine; that of a precomputed heal stayed where it was made."""
    return bool(heal.adapter) and (store.cache_dir() / str(heal.adapter) / "adapter_config.json").exists()


def show(known: FoundResult, model: ModelSpec) -> Choice | None:
    """Draw the choice, beginning at the cut that Explore shows; None while there is none.

    Args:
        known: any result of the model.
        model: the current model.
    """
    facts = known.result.model
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
        said = st.container(width="content")
        with st.popover("Change layers", type="tertiary", icon=":material/edit:", width=150):
            n, strategy, text = _asked(facts.n_layers)
    cut = _cut(model, facts.n_layers, n, strategy, text)
    if cut is None:
        return None
    said.markdown(f"**{words.plain(facts.name)}** without **{cut.describe()}**")
    cuts.say_protected(cut, facts.n_layers)
    return Choice(known.result.spec.model, facts, cut, _heal(model, cut))


def _asked(n_layers: int) -> tuple[int, str, str]:
    """How many layers go, how they are chosen, and a cut that is written by hand, as it was typed."""
    with state.showing("export-n", max(1, min(state.chosen_n(), n_layers - 1))):
        n = st.number_input(
            "Layers removed, n",
            1,
            n_layers - 1,
            key="export-n",
            on_change=lambda: state.choose_n(st.session_state["export-n"]),
        )
    with state.showing("export-strategy", state.strategy()):
        strategy = st.selectbox(
            "Strategy",
            list(STRATEGIES),
            key="export-strategy",
            help=words.strategies_help(),
            on_change=lambda: state.choose_strategy(st.session_state["export-strategy"]),
        )
    text = st.text_input(
        "Or your own layers",
        key="export-cut",
        placeholder="11:5 or 3:1+7:2",
        persist_state="session",
        help=f"{words.A_CUT} Leave empty to use the choice above.",
    )
    return int(n), strategy, text.strip()


def _cut(model: ModelSpec, n_layers: int, n: int, strategy: str, text: str) -> Removal | None:
    if text:
        try:
            cut = parse_removal(text)
            cuts.check(cut, n_layers)
        except BlockRangeError as error:
            st.error(words.plain(str(error)))
            return None
        return cut
    picked = state.own_cut(n_layers)
    return picked if picked is not None and picked.size == n else _shown_on_explore(model, n, strategy)


def _shown_on_explore(model: ModelSpec, n: int, strategy: str) -> Removal | None:
    found = library.shown("distances", library.find("distances", model))
    if found is None:
        st.info("This model has no distance map, so no block is suggested. Enter your own layers, or compute a map first.")
        st.page_link("pages/explore.py", label="Compute a map", icon=":material/grid_on:")
        return None
    damage = cuts.damage_shown(found, model)
    sweep = selection.curve(model, strategy)
    chosen = cuts.at(n, strategy, found.result, sweep.result if sweep else None, damage.result if damage else None)
    if chosen.removed is None:
        st.info(chosen.unknown)
    return chosen.removed


def _heal(model: ModelSpec, cut: Removal) -> HealResult | None:
    found = {
        entry.key: entry.result
        for entry in library.find("heal", model, any_precision=True, having=(("block", summaries.cut_key(cut)),))
        if entry.result.is_of(cut) and (entry.result.healed is not None or entry.result.ended_early)
    }
    if not found:
        with st.container(horizontal=True, vertical_alignment="center", gap="small", key="not-healed"):
            st.caption("This pruned model is not healed. Export it as is, or heal it first.", width="content")
            st.page_link("pages/heal.py", label="Heal", icon=":material/healing:", width="content")
        return None
    names = {key: _name(heal) for key, heal in found.items()} | {_BARE: "not healed"}
    ready = [key for key, heal in found.items() if has_adapter(heal)]
    usual = list(names).index(ready[0] if ready else _BARE)
    key = st.selectbox(
        "Healing run", list(names), usual, format_func=names.get, key=f"export-heal-{'-'.join(sorted(found))}", width=480
    )
    return found.get(key)


def _name(heal: HealResult) -> str:
    length = words.heal_length(heal.spec)
    parts = [heal.spec.recipe, *([length] if length != heal.spec.recipe else [])]
    if heal.healed and heal.healed.loss is not None:
        parts.append(f"loss {words.nats(heal.healed.loss)}")
    if heal.ended_early:
        parts.append(f"stopped at step {heal.kept_step}")
    return " · ".join(parts if has_adapter(heal) else [*parts, "adapter not on this machine"])
