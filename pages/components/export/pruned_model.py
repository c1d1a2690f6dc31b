"""The pruned model to export: its removed layers, its heal or none, and its gains and losses with their intervals."""

from dataclasses import dataclass
from typing import Literal

import streamlit as st

from analysis import service
from analysis.core.blocks import PartSet, Removal, parse_removal
from analysis.core.errors import BlockRangeError
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.strategies import STRATEGIES
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import changes, recovery
from analysis.results.compared.changes import Change
from analysis.results.compared.speed import Amount
from analysis.results.evidence import ESTIMATED, MEASURED, SIZE, SPEED, Evidence, Quantity
from analysis.results.stored import reading, summaries
from analysis.results.stored.reading import Reading
from analysis.results.stored.result import FoundResult
from analysis.results.words import glossary
from pages.components.shared import cuts, frame, selection, start, state, stored_results, words

_IN_FULL = {reading.ACCURACY: "Accuracy", reading.LOSS: "Loss"}
Colour = Literal["normal", "inverse", "off"]
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
    return service.folder(heal.adapter) is not None


def choose(known: FoundResult, model: ModelSpec) -> Choice | None:
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
    found = stored_results.shown("distances", stored_results.find("distances", model))
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
        for entry in stored_results.find("heal", model, any_precision=True, having=(("block", summaries.cut_key(cut)),))
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
    parts = [heal.spec.recipe, recovery.course(heal)]
    if heal.healed and heal.healed.loss is not None:
        parts.append(f"loss {words.nats(heal.healed.loss)}")
    if heal.ended_early:
        parts.append(f"stopped at step {heal.kept_step}")
    return " · ".join(parts if has_adapter(heal) else [*parts, "adapter not on this machine"])


def evidence_of(choice: Choice) -> Evidence:
    """Return the evidence on the choice under the condition of Explore; that of a healed one under its own."""
    model = state.current_model()
    shown = selection.now(model)
    known = shown.evidence if shown is not None else selection.stored(selection.curve(model), None, model)
    heal = choice.heal if choice.heal is not None and choice.heal.healed is not None else None
    return known.on(choice.cut, choice.model, choice.facts, heal)


def show_gains(choice: Choice) -> None:
    """Draw size, speed, accuracy and loss side by side, next to the unpruned model, and links to missing measurements."""
    found = evidence_of(choice)
    size, speed, *qualities = st.columns(4, gap="medium")
    with size:
        _size(choice, found.quantity(SIZE))
    with speed:
        _speed(choice, found.quantity(SPEED))
    scores = [found.quantity(name) for name in _IN_FULL]
    for quantity, column in zip(scores, qualities, strict=True):
        with column:
            _quality(quantity, choice)
    # Of a healing run that was scored under another condition than Explore shows, its own.
    own = [quantity.after.condition for quantity in scores if isinstance(quantity.after, Reading)]
    selection.show_chip(own or selection.selected_conditions(found.selected))


def _number(
    label: words.Markdown,
    value: words.Markdown,
    change: words.Markdown | None,
    said: str,
    *,
    help: words.Markdown,
    colour: Colour = "off",
) -> None:
    with st.container(gap="xsmall", key=f"number-{label.lower()}"):
        st.metric(label, value, change, delta_color=colour, delta_arrow="off", help=help)
        st.caption(words.plain(said))


def _size(choice: Choice, found: Quantity) -> None:
    facts = choice.facts
    if found.change is None or found.before is None or found.after is None:
        said = "The sizes of these sublayers are unknown. Open the Model page to check the model again."
        _number("Weights", "–", None, said, help="Counted, not measured.")
        return
    kept = sizes.savings(facts, choice.cut).kept_parameters
    said = (
        f"Unpruned {words.size(found.before.value)}. {words.count(kept)} of {words.count(facts.n_parameters)} parameters "
        f"remain, {words.plain(found.on.removeprefix('exact, '))}."
        + (" A folder keeps single sublayers as zeros, at their full size." if isinstance(choice.cut, PartSet) else "")
    )
    change = f"−{-found.change.difference:.0%}".replace("%", " %")
    _number("Weights", words.size(found.after.value), change, said, help="Counted, not measured.")


def _speed(choice: Choice, found: Quantity) -> None:
    help = "Generated tokens per second at batch size 1. Speed depends on the number of removed layers, not on their position."
    change = found.change
    if change is None or change.low is None or change.high is None:
        what = choice.cut.brief() if isinstance(choice.cut, PartSet) else words.layers(choice.cut.size)
        _number("Speed", "–", None, f"Not measured without {what}.", help=help)
        if start.button(
            "Measure speed", key="export-speed", icon=":material/speed:", help="Run it while the machine is otherwise idle."
        ):
            start.start_and_show(found.request, f"Speed of {state.name(choice.model)}")
        return
    times = Amount(1 + change.difference, 1 + change.low, 1 + change.high)
    said, value = f"Speed ratio{_ends(times, '.2f', ' 95 %: ')} {found.on[:1].upper()}{found.on[1:]}.", "–"
    if isinstance(found.before, Amount) and isinstance(found.after, Amount):
        said = f"{_ends(found.after, '.1f', '95 %: ')} Unpruned {found.before.value:.1f}{_ends(found.before, '.1f')}. {said}"
        value = f"{found.after.value:,.1f} tokens/s"
    colour: Colour = "off" if not change.is_significant else "normal" if change.difference > 0 else "inverse"
    about = "about " if found.state == ESTIMATED else ""
    _number("Speed", value, f"{about}{times.value:.2f} times as fast", said, help=help, colour=colour)


def _ends(amount: Amount | Reading, digits: str, before: str = "", size: int = 1) -> str:
    """The interval: as a clause of its own after `before`, else in brackets; empty where there is none."""
    if amount.low is None or amount.high is None:
        return ""
    ends = f"{size * amount.low:{digits}} to {size * amount.high:{digits}}"
    return f"{before}{ends}." if before else f" ({ends})"


def _quality(found: Quantity, choice: Choice) -> None:
    what, before, after, change = found.name, found.before, found.after, found.change
    help = frame.help_on(_IN_FULL[what], "95 % interval", *(["Nat"] if what == reading.LOSS else []))
    if found.state != MEASURED or before is None or not isinstance(after, Reading) or change is None:
        _number(_IN_FULL[what], "–", None, f"Not measured without {choice.cut.describe()}.", help=help)
        st.page_link("pages/explore.py", label="Measure on Explore", icon=":material/grid_on:")
        return
    size, digits, unit = _shown_as(what)
    precise = ".1f" if what == reading.ACCURACY else digits
    said = (
        f"{_ends(after, digits, '95 %: ', size)} Unpruned {size * before.value:{precise}}{_ends(before, digits, size=size)}. "
        f"{_change(change, what)} {found.material}."
    )
    moved = f"{size * change.difference:+{precise}} {'points' if what == reading.ACCURACY else unit}"
    colour: Colour = "off" if not change.is_significant else "normal" if what == reading.ACCURACY else "inverse"
    _number(_IN_FULL[what], f"{size * after.value:{precise}} {unit}", moved, said, help=help, colour=colour)


def _shown_as(what: str) -> tuple[int, str, str]:
    """By how much a value is multiplied, its digits, its unit."""
    return (100, ".0f", "%") if what == reading.ACCURACY else (1, ".2f", "nats/token")


def _signed(value: float, digits: str) -> str:
    """Return a number with its sign, but a zero without one."""
    shown = f"{value:+{digits}}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "−")


def _change(change: Change, what: str) -> str:
    """The interval of the change, and whether there is one."""
    size, digits, _ = _shown_as(what)
    digits = ".1f" if what == reading.ACCURACY else digits  # an interval that just excludes zero must not end at it
    counted = "questions" if what == reading.ACCURACY else "texts"
    ends = ""
    if change.low is not None and change.high is not None:
        low, high = (_signed(size * end, digits) for end in (change.low, change.high))
        ends = f"{'Paired change' if change.paired else 'Change'} 95 %: {low} to {high}"
    if not change.is_significant:
        return f"{ends}: {changes.not_significant(change.n, change.needed, counted)}.".removeprefix(": ")
    return f"{ends}." if what == reading.ACCURACY else f"{ends}: {glossary.as_surprise(change.difference)}."
