"""The selection that all pages share: the block on screen, its condition, and the evidence for exactly these two.

The dataset is one for all panels: that of the curve chosen last, else that of the model's longest curve. A strategy without a
curve on it shows its own strongest curve, and the dataset is then that curve's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import streamlit as st

from analysis.core.blocks import Removal
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import scores_of_block
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult
from pages.components.shared import chip, cuts, state, stored_results
from pages.components.shared.cuts import ChosenStrategy, Cut

_MAPS = 10
"""So many loss-increase maps are read beside the one on screen."""
Version = tuple[str, float]
"""Key of a result and the time it was saved: a growing result keeps its key."""


@dataclass(frozen=True)
class Evidence:
    """Stored results of one model that score its blocks; those on screen come first, then the strongest."""

    model: ModelSpec
    shown: FoundResult | None
    """The curve on screen, whose dataset, texts and precision are selected."""
    damage: list[FoundResult]
    """The loss-increase map on screen and the strongest others."""
    heals: list[FoundResult]
    """The strongest heals, and those under the selected condition."""
    speed: FoundResult | None

    @cached_property
    def scores(self) -> list[FoundResult]:
        """The strongest curves, evaluations and heals, and the strongest under the selected condition."""
        return stored_results.scorings(self.model).strongest(stored_results.MOST, self.shown)

    def relevant(self, removed: Removal | None) -> list[FoundResult]:
        """Return the curves, evaluations and heals that decide about the scores of a block, however many are stored."""
        return stored_results.scorings(self.model).of(removed, self.shown)

    def maps(self, removed: Removal | None) -> list[FoundResult]:
        """Return the loss-increase map on screen, then others that reach to the size of a block."""
        if removed is None:
            return self.damage[:1]
        reach = stored_results.find("damage", self.model, most=_MAPS, first=f"largest < {int(removed.size)}")
        shown = {entry.key for entry in self.damage[:1]}
        return [*self.damage[:1], *(entry for entry in reach if entry.key not in shown)]

    def of(self, removed: Removal | None) -> Selected:
        """The scores of exactly this block under the selected condition."""
        scores, maps = self.relevant(removed), self.maps(removed)
        return _selected(versions([*scores, *maps]), removed, self.shown and self.shown.key, self, scores, maps)

    def scored(self, cut: Cut) -> Cut:
        """Return the cut with the scores of exactly its layers under the selected condition, from any result that has them."""
        if cut.removed is None or (cut.point is not None and (cut.point.acc, cut.point.loss) != (None, None)):
            return cut
        results = [entry.result for entry in self.relevant(cut.removed)]
        found = scores_of_block.scoring(self.of(cut.removed).selection, results)
        return cut if found is None else replace(cut, point=found[0], result=found[1])


@dataclass(frozen=True)
class Shown:
    """Everything a panel needs: the block, how it was chosen, and its measurements."""

    model: ModelSpec
    distances: FoundResult
    sweep: FoundResult | None
    """The curve on screen; None while the strategy has none."""
    damage: FoundResult | None
    """The loss-increase map on screen."""
    strategy: ChosenStrategy
    cut: Cut
    evidence: Evidence

    @property
    def asked(self) -> ModelSpec:
        """The model of new requests: in the precision of the curve on screen, else of the map."""
        return chip.as_shown(self.model, self.sweep and self.sweep.result, self.distances.result)

    @property
    def selected(self) -> Selected:
        """The scores of the block on screen under the selected condition."""
        return self.evidence.of(self.cut.removed)


def now(model: ModelSpec) -> Shown | None:
    """The selection on screen; None while the model has no distance map."""
    distances = stored_results.shown("distances", stored_results.find("distances", model))
    return None if distances is None else on_map(distances, curve(model), model)


def on_map(distances: FoundResult, sweep: FoundResult | None, model: ModelSpec) -> Shown:
    """The selection with this map and this curve on screen.

    Args:
        distances: the distance map.
        sweep: the curve, `curve(model)`.
        model: the model of the page.
    """
    damage = cuts.damage_shown(distances, model)
    scores, measured = sweep.result if sweep else None, damage.result if damage else None
    strategy = ChosenStrategy(state.strategy(), distances.result, scores, measured)
    known = evidence(sweep, damage, model)
    return Shown(model, distances, sweep, damage, strategy, known.scored(cuts.now(strategy)), known)


def curves(model: ModelSpec, strategy: str = "") -> list[FoundResult]:
    """Return the strongest curves of a strategy; of the one on screen unless another is named."""
    return stored_results.find("sweep", model, having=(("strategy", strategy or state.strategy()),))


def curve(model: ModelSpec, strategy: str = "") -> FoundResult | None:
    """The curve on screen: of the strategy on screen or the one named, on the selected dataset where it has one."""
    dataset = selected_dataset(model)
    if dataset is None:
        return None
    own = (("strategy", strategy or state.strategy()),)
    on_dataset = stored_results.find("sweep", model, having=(*own, ("dataset", summaries.dataset(dataset))))
    return stored_results.shown("sweep", on_dataset or stored_results.find("sweep", model, having=own))


def selected_dataset(model: ModelSpec) -> BenchmarkSpec | None:
    """Return the dataset of all panels, with any number of questions; None while the model has no curve."""
    chosen = state.shown_result("sweep")
    last = stored_results.find("sweep", model, most=1, having=(("key", chosen),)) if chosen else []
    one = last or stored_results.find("sweep", model, most=1, first="n_cuts DESC")  # of equally long ones the strongest
    return dataset_of(one[0]) if one else None


def other_datasets(model: ModelSpec) -> list[str]:
    """The further datasets with a curve of the model, each with its largest number of questions: "MMLU, 5-shot (114)"."""
    selected = selected_dataset(model)
    found: dict[str, int] = {}
    for entry, n in stored_results.datasets(model):
        dataset = dataset_of(entry)
        if dataset != selected:
            name = questions.title(dataset) + (f", {dataset.shots}-shot" if dataset.shots else "")
            found[name] = max(found.get(name, 0), n)
    return [f"{name} ({n} questions)" for name, n in found.items()]


def dataset_of(found: FoundResult) -> BenchmarkSpec:
    """The dataset of a curve, without its number of questions, draw and release."""
    return replace(found.result.spec.benchmark, limit=None, seed=0, identity="")


def evidence(sweep: FoundResult | None, damage: FoundResult | None, model: ModelSpec) -> Evidence:
    """All results that score blocks of a model.

    Args:
        sweep: the curve on screen.
        damage: the loss-increase map on screen.
        model: the model of the page.
    """
    maps = [entry for entry in stored_results.find("damage", model, most=_MAPS) if damage is None or entry.key != damage.key]
    heals = stored_results.scores_of("heal", model, sweep)
    speed = stored_results.shown("speed", stored_results.find("speed", model))
    return Evidence(model, sweep, [*([damage] if damage else []), *maps], heals, speed)


def evaluations(model: ModelSpec) -> list[FoundResult]:
    """Return the strongest evaluations of single blocks without an adapter."""
    return stored_results.scores_of("evaluate", model)


def version(found: FoundResult) -> Version:
    """The key of a result with its time, which differs from all others and from itself with fewer numbers."""
    return found.key, found.saved_at


def versions(found: Sequence[FoundResult]) -> tuple[Version, ...]:
    """The keys of results with their times, for caches that must notice a growing result."""
    return tuple(map(version, found))


@st.cache_resource(max_entries=512, show_spinner=False)
def _selected(
    told: tuple[Version, ...],
    removed: Removal | None,
    shown: str | None,
    _evidence: Evidence,
    _scores: list[FoundResult],
    _maps: list[FoundResult],
) -> Selected:
    results = [entry.result for entry in _scores]
    on_screen: SweepResult | None = _evidence.shown.result if _evidence.shown else None
    damage: list[DamageResult] = [entry.result for entry in _maps]
    return scores_of_block.select(removed, results, shown=on_screen, damage=damage)
