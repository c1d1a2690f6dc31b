"""The verdict: the cost of the removed layers in one sentence, and the best known block of their size.

The words are made by `results.words.headline` from `results.evidence`, as everywhere. The recommendation of the decision sheet
is another thing (`results.words.decision`).
"""

from collections.abc import Sequence

import streamlit as st

from analysis.core.blocks import Block, PartSet, Removal
from analysis.data.spec import CorpusSpec, default_loss_corpus
from analysis.experiments.accuracy import precision_spec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.models.source.model_spec import ModelSpec
from analysis.results import evidence
from analysis.results.compared import quality_costs
from analysis.results.compared.changes import Change
from analysis.results.compared.quality_costs import BestCut, Cost
from analysis.results.evidence import RECOVERY, SPEED
from analysis.results.stored.reading import LOSS
from analysis.results.stored.result import FoundResult
from analysis.results.words import headline
from pages.components.explore import savings
from pages.components.jobs import card
from pages.components.shared import cuts, selection, start, state, words
from pages.components.shared.cuts import ChosenStrategy
from pages.components.shared.selection import Evidence, Shown


def show(shown: Shown) -> None:
    """Draw the verdict, and under it the best known block of this size with a button that selects it."""
    cut, strategy, model, known = shown.cut, shown.strategy, shown.model, shown.evidence
    removed, n_layers = cut.removed, strategy.distances.n_layers
    condition = selection.chip(selection.selected_conditions(shown.selected))
    if removed is None:
        nothing = cut.unknown or "Nothing is removed. Move the slider or pick layers to see how much their removal costs."
        st.markdown(f"{nothing} {condition}".strip())
        return
    measured = known.on(removed, shown.asked, strategy.distances.model)
    st.markdown(f"{words.plain(headline.sentence(measured))} {condition}".strip(), help=_measured_on(measured, shown.sweep))
    found, best = best_of(known, removed if isinstance(removed, PartSet) else removed.size, n_layers)
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small", key="best-cut"):
        if best is None:
            which = "sublayers of this many layers" if isinstance(removed, PartSet) else words.layers(cut.n)
            st.caption(f"The best choice of {which} is not known: no two were measured under the same conditions.")
            if not isinstance(removed, PartSet):  # no map is made of parts
                st.button("Measure loss increase", key="to-damage", on_click=state.choose_option, args=("tab", "damage"))
        elif best.cut == removed:
            st.caption(_is_best(best))
        else:
            _better(best, removed, found, strategy)
        if best is not None and best.reported is None:
            _report(best, shown.sweep, shown.asked)
        if SPEED in measured.missing and state.option("tab") != "cost":  # that tab has the button itself
            savings.speed_button(known.speed, savings.last_speed_job(shown.asked), shown.asked, removed)
        if RECOVERY in measured.missing:
            start.instant_heal_button(shown.sweep, cut, model)


def best_of(known: Evidence, like: int | PartSet, n_layers: int) -> tuple[list[Cost], BestCut | None]:
    """Return the measured loss without n layers, or without as many parts, and the best of these removals.

    Protected layers stay.

    Args:
        known: stored results of the model.
        like: removed layers, or removed parts of the same shape.
        n_layers: layers of the model.
    """
    every = [*known.scores, *known.damage]
    found: list[Cost] = _costs(selection.versions(every), like, every)
    free = [cost for cost in found if not cuts.protected_in(cost.cut, n_layers)]
    return found, quality_costs.best_cut(free)


def _measured_on(found: evidence.Evidence, sweep: FoundResult | None) -> str:
    lines = headline.measured_on(found)
    if sweep is not None and (precise := precision_spec.describe_cost(sweep.result.spec.model)):
        lines.append(f"Precision: {precise}")
    return "\n".join(f"- {words.plain(line)}" for line in lines)


def _is_best(best: BestCut) -> str:
    size = "this many sublayers" if isinstance(best.cut, PartSet) else words.layers(best.cut.size)
    said = f"Best of {best.n_compared} measured choices of {size} on {_where(best.chosen)}"
    if best.reported is not None:
        return f"{said}: {_amount(best.reported)} on {_where(best.reported)}, not used to choose it."
    return f"{said}. {_TOO_GOOD}"


def _better(best: BestCut, removed: Removal, found: Sequence[Cost], strategy: ChosenStrategy) -> None:
    """Draw the sentence that compares the best block with the one on screen, and the button that selects it."""
    cost, own, apart = _beside(best, removed, found)
    said = f"Best known of {best.n_compared} choices: **{_name(best.cut)}**, {_amount(cost)} on {_where(cost)}"
    if own is not None and apart is not None and not apart.is_significant:
        said += f", not significantly different from {_amount(own)} for this selection"
    elif own is not None:
        said += f", against {_amount(own)} for this selection"
    if best.reported is None:
        said += f". {_TOO_GOOD}"
    st.caption(said if said.endswith(".") else f"{said}.")

    is_surely_better = apart is not None and apart.is_significant and apart.difference < 0
    st.button(
        f"Take {_name(best.cut)}",
        key="take-best",
        type="primary" if is_surely_better else "secondary",
        on_click=cuts.take_or_say,
        args=(best.cut, strategy.cut(best.cut.size).removed, strategy.distances.n_layers),
        help=f"Remove {best.cut.describe()} instead.",
    )


def _beside(best: BestCut, removed: Removal, found: Sequence[Cost]) -> tuple[Cost, Cost | None, Change | None]:
    """Return the best block's cost, this one's under the same conditions, and the difference.

    The texts are other ones than those that chose it, where such texts were measured.
    """
    for cost in (best.reported, best.chosen):
        own = next((one for one in found if cost and one.cut == removed and one.condition == cost.condition), None)
        if cost is not None and own is not None:
            return cost, own, quality_costs.extra_cost(own, cost)
    return best.cost, None, None


_TOO_GOOD = "Chosen and measured on the same texts: looks better than it is."


def _report(best: BestCut, sweep: FoundResult | None, model: ModelSpec) -> None:
    """Draw the button that measures the best block on texts that had no part in choosing it, where the usual ones are such."""
    corpus, chose = default_loss_corpus(), best.chosen.condition.material
    if not isinstance(chose, CorpusSpec) or quality_costs.share_texts(corpus, chose):
        return
    asked = sweep.result.spec.request.benchmark if sweep else EvaluateSpec().benchmark
    wanted = [EvaluateSpec(model, cut, benchmark=asked, loss_corpus=corpus) for cut in (None, best.cut)]
    job = card.last_of("evaluate", lambda spec: spec == wanted[1])
    if job is not None and job.is_active:
        card.in_place(job, "report-best")
        return
    card.failure(job)
    why = f"Measures it on {corpus.n_texts} texts of {words.plain(words.texts(corpus))}, which were not used to choose it."
    if start.button(f"Score {_name(best.cut)}", key="report-best", icon=":material/target:", help=why):
        start.start_all(
            [(spec, f"Score of {spec.block.describe() if spec.block else 'the unpruned model'}") for spec in wanted]
        )


def _name(cut: Removal) -> str:
    return f"[{cut.start}, {cut.stop})" if isinstance(cut, Block) else cut.brief()


def _amount(cost: Cost) -> str:
    change = cost.change
    ends = "" if change.low is None or change.high is None else f" (95 %: {change.low:.2f} to {change.high:.2f})"
    return f"{change.difference:+.2f} nats{ends}".replace("-", "−")


def _where(cost: Cost) -> str:
    return words.plain(cost.condition.material_in_words())


@st.cache_resource(max_entries=256, show_spinner=False)
def _costs(told: str, like: int | PartSet, _found: Sequence[FoundResult]) -> list[Cost]:
    return quality_costs.of_cuts([entry.result for entry in _found], LOSS, like)
