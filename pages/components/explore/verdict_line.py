"""The verdict: accuracy and loss without the removed layers, with buttons for the best block of
their size and for healing.

The words are made by `results.words.headline` from `results.evidence`, as everywhere. The
recommendation of the decision sheet is another thing (`results.verdict`).
"""

from collections.abc import Sequence

import streamlit as st

from analysis.core.blocks import PartSet
from analysis.experiments.accuracy import precision_spec
from analysis.results import evidence
from analysis.results.compared import quality_costs
from analysis.results.compared.quality_costs import Cost
from analysis.results.evidence import RECOVERY
from analysis.results.score.score import LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.words import headline
from pages.components.shared import cuts, selection, start, words
from pages.components.shared.selection import Shown


def show(view: Shown) -> None:
    """Draw the verdict."""
    measured = view.evidence
    if measured is None:
        st.markdown(
            view.cut.unknown
            or "Nothing is removed. Move the slider or click a block to see what its removal costs."
        )
        return
    st.markdown(words.plain(headline.verdict(measured)), help=_in_detail(measured, view))


def heal_button(view: Shown) -> None:
    """Draw the button that heals the selected block, unless a healing run of it is stored."""
    if view.evidence is not None and RECOVERY in view.evidence.missing:
        start.instant_heal_button(view.sweep, view.cut, view.model)


def _in_detail(measured: evidence.Evidence, view: Shown) -> words.Markdown:
    """Return all quantities with their intervals, then what they are measured on."""
    lines = [headline.sentence(measured), *headline.measured_on(measured)]
    if units := words.other_losses(
        view.block_scores.get(LOSS), view.strategy.distances.model.vocab_size
    ):
        lines.append(f"Loss in other units: {units}")
    if view.sweep is not None and (
        precise := precision_spec.describe_cost(view.sweep.result.spec.model)
    ):
        lines.append(f"Precision: {precise}")
    return "\n".join(f"- {words.plain(line)}" for line in lines)


def best_button(view: Shown) -> None:
    """Draw the button that selects the best known block of this size, unless it is selected."""
    removed = view.cut.removed
    if removed is None:
        return
    n_layers = view.strategy.distances.n_layers
    every = [*view.scores, *view.damage_maps]
    like = removed if isinstance(removed, PartSet) else removed.size
    costs: list[Cost] = _costs(selection.versions(every), like, every)
    best = quality_costs.best_cut(
        [cost for cost in costs if not cuts.protected_in(cost.cut, n_layers)]
    )
    if best is not None and best.cut != removed:
        selected = next(
            (cost for cost in costs if cost.cut == removed and cost.condition == best.condition),
            None,
        )
        st.button(
            f"Select {best.cut.brief()}",
            key="take-best",
            on_click=cuts.take_or_say,
            args=(best.cut, view.strategy.cut(best.cut.size).removed, n_layers),
            help=f"Lowest measured loss of this size: {_in_full(best, selected)}",
        )


def _in_full(cost: Cost, selected: Cost | None) -> words.Markdown:
    """Return the loss increase of the best block and of the selected one, and on which texts."""
    sentence = f"{_amount(cost)} on {words.plain(cost.condition.material_in_words())}"
    if selected is not None:
        sentence += f", selected block {_amount(selected)}"
    return f"{sentence}. The same texts chose it, so the number is optimistic."


def _amount(cost: Cost) -> str:
    change = cost.change
    ends = (
        ""
        if change.low is None or change.high is None
        else f" (95 % CI {change.low:.2f} to {change.high:.2f})"
    )
    return f"{change.difference:+.2f} nats/token{ends}".replace("-", "−")


@st.cache_resource(max_entries=256, show_spinner=False)
def _costs(versions: str, like: int | PartSet, _found: Sequence[FoundResult]) -> list[Cost]:
    return quality_costs.of_cuts([entry.result for entry in _found], LOSS, like)
