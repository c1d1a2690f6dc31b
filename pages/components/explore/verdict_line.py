"""The verdict: accuracy and loss without the removed layers, and a button for the best known block of their size.

The words are made by `results.words.headline` from `results.evidence`, as everywhere. The recommendation of the decision sheet
is another thing (`results.verdict`).
"""

from collections.abc import Sequence

import streamlit as st

from analysis.core.blocks import PartSet, Removal
from analysis.experiments.accuracy import precision_spec
from analysis.results import evidence
from analysis.results.compared import quality_costs
from analysis.results.compared.quality_costs import Cost
from analysis.results.evidence import RECOVERY
from analysis.results.stored.reading import LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.words import headline
from pages.components.shared import cuts, selection, start, words
from pages.components.shared.selection import Shown


def show(shown: Shown) -> None:
    """Draw the verdict."""
    measured = shown.evidence
    if measured is None:
        st.markdown(shown.cut.unknown or "Nothing is removed. Move the slider or click a block to see what its removal costs.")
        return
    st.markdown(words.plain(headline.verdict(measured)), help=_in_detail(measured, shown))


def buttons(shown: Shown) -> None:
    """Draw the button that selects the best known block of this size, and the one that heals the selected block."""
    measured = shown.evidence
    if measured is None:
        return
    _best(shown, measured.removed)
    if RECOVERY in measured.missing:
        start.instant_heal_button(shown.sweep, shown.cut, shown.model)


def _in_detail(found: evidence.Evidence, shown: Shown) -> words.Markdown:
    """Return all quantities with their intervals, then what they are measured on."""
    lines = [headline.sentence(found), *headline.measured_on(found)]
    if units := words.other_losses(shown.readings.get(LOSS), shown.strategy.distances.model.vocab_size):
        lines.append(f"Loss in other units: {units}")
    if shown.sweep is not None and (precise := precision_spec.describe_cost(shown.sweep.result.spec.model)):
        lines.append(f"Precision: {precise}")
    return "\n".join(f"- {words.plain(line)}" for line in lines)


def _best(shown: Shown, removed: Removal) -> None:
    """Draw the button that selects the best known block of this size, unless it is selected."""
    n_layers, every = shown.strategy.distances.n_layers, [*shown.scores, *shown.damage_maps]
    like = removed if isinstance(removed, PartSet) else removed.size
    costs: list[Cost] = _costs(selection.versions(every), like, every)
    best = quality_costs.best_cut([cost for cost in costs if not cuts.protected_in(cost.cut, n_layers)])
    if best is not None and best.cut != removed:
        own = next((cost for cost in costs if cost.cut == removed and cost.condition == best.condition), None)
        st.button(
            f"Select {best.cut.brief()}",
            key="take-best",
            on_click=cuts.take_or_say,
            args=(best.cut, shown.strategy.cut(best.cut.size).removed, n_layers),
            help=f"Lowest measured loss of this size: {_in_full(best, own)}",
        )


def _in_full(cost: Cost, own: Cost | None) -> words.Markdown:
    """Return the loss increase of the best block and of the selected one, and on which texts."""
    said = f"{_amount(cost)} on {words.plain(cost.condition.material_in_words())}"
    if own is not None:
        said += f", selected block {_amount(own)}"
    return f"{said}. The same texts chose it, so the number is optimistic."


def _amount(cost: Cost) -> str:
    change = cost.change
    ends = "" if change.low is None or change.high is None else f" (95 % CI {change.low:.2f} to {change.high:.2f})"
    return f"{change.difference:+.2f} nats/token{ends}".replace("-", "−")


@st.cache_resource(max_entries=256, show_spinner=False)
def _costs(told: str, like: int | PartSet, _found: Sequence[FoundResult]) -> list[Cost]:
    return quality_costs.of_cuts([entry.result for entry in _found], LOSS, like)
