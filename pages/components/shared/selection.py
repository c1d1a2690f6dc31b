"""The selection that all pages share: the block on screen, its condition, and the evidence for exactly these two.

The dataset is one for all panels: that of the curve chosen last, else that of the model's longest curve. A strategy without a
curve on it shows its own strongest curve, and the dataset is then that curve's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from analysis.core.blocks import Removal
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.spec import SweepResult
from analysis.experiments.maps.spec import DamageResult
from analysis.models.spec import ModelSpec
from analysis.reading import selection
from analysis.reading.selection import Selected
from pages.components.shared import cuts, library, precision, state
from pages.components.shared.cuts import Cut, Strategy
from pages.components.shared.library import Found

Version = tuple[str, float]
"""Key of a result and the time it was saved: a growing result keeps its key."""


@dataclass(frozen=True)
class Evidence:
    """Stored results of one model that score its blocks; those on screen come first, then the strongest."""

    shown: Found | None
    """The curve on screen, whose dataset, texts and precision are selected."""
    scores: list[Found]
    """Curves, evaluations and heals."""
    damage: list[Found]
    """Loss-increase maps."""
    heals: list[Found]
    speed: Found | None

    def of(self, removed: Removal | None) -> Selected:
        """The scores of exactly this block under the selected condition."""
        return _selected(versions([*self.scores, *self.damage]), removed, self.shown and self.shown.key, self)

    def scored(self, cut: Cut) -> Cut:
        """The same cut with the scores of exactly its layers under the selected condition, from whichever result has them."""
        if cut.removed is None or (cut.point is not None and (cut.point.acc, cut.point.loss) != (None, None)):
            return cut
        found = selection.scoring(self.of(cut.removed).selection, [entry.result for entry in self.scores])
        return cut if found is None else replace(cut, point=found[0], result=found[1])


@dataclass(frozen=True)
class Shown:
    """Everything a panel needs: the block, how it was chosen, and what is known of it."""

    model: ModelSpec
    distances: Found
    sweep: Found | None
    """The curve on screen; None while the strategy has none."""
    damage: Found | None
    """The loss-increase map on screen."""
    strategy: Strategy
    cut: Cut
    evidence: Evidence

    @property
    def asked(self) -> ModelSpec:
        """The model of new requests: in the precision of the curve on screen, else of the map."""
        return precision.as_shown(self.model, self.sweep and self.sweep.result, self.distances.result)

    @property
    def selected(self) -> Selected:
        """The scores of the block on screen under the selected condition."""
        return self.evidence.of(self.cut.removed)


def now(model: ModelSpec) -> Shown | None:
    """The selection on screen; None while the model has no distance map."""
    distances = library.shown("distances", library.find("distances", model))
    return None if distances is None else on_map(distances, curve(model), model)


def on_map(distances: Found, sweep: Found | None, model: ModelSpec) -> Shown:
    """The selection with this map and this curve on screen.

    Args:
        distances: the distance map.
        sweep: the curve, `curve(model)`.
        model: the model of the page.
    """
    damage = cuts.damage_shown(distances, model)
    scores, measured = sweep.result if sweep else None, damage.result if damage else None
    strategy = Strategy(state.strategy(), distances.result, scores, measured)
    known = evidence(sweep, damage, model)
    return Shown(model, distances, sweep, damage, strategy, known.scored(cuts.now(strategy)), known)


def curves(model: ModelSpec, strategy: str = "") -> list[Found]:
    """All curves of a strategy, strongest first; of the one on screen unless another is named."""
    return [entry for entry in library.find("sweep", model) if entry.summary.strategy == (strategy or state.strategy())]


def curve(model: ModelSpec, strategy: str = "") -> Found | None:
    """The curve on screen: of the strategy on screen or the one named, on the selected dataset where it has one."""
    own = curves(model, strategy)
    dataset = selected_dataset(model)
    return library.shown("sweep", [entry for entry in own if dataset_of(entry) == dataset] or own)


def selected_dataset(model: ModelSpec) -> BenchmarkSpec | None:
    """The dataset of all panels, whatever the number of its questions; None while the model has no curve."""
    every = library.find("sweep", model)
    chosen = state.shown_result("sweep")
    last = next((entry for entry in every if entry.key == chosen), None)
    longest = max(every, key=lambda entry: len(entry.result.points), default=None)  # of equally long ones the strongest
    one = last or longest
    return None if one is None else dataset_of(one)


def other_datasets(model: ModelSpec) -> list[str]:
    """The further datasets with a curve of the model, each with its largest number of questions: "MMLU, 5-shot (114)"."""
    selected = selected_dataset(model)
    found: dict[str, int] = {}
    for entry in library.find("sweep", model):
        dataset = dataset_of(entry)
        if dataset != selected:
            name = questions.title(dataset) + (f", {dataset.shots}-shot" if dataset.shots else "")
            found[name] = max(found.get(name, 0), entry.result.n_questions)
    return [f"{name} ({n} questions)" for name, n in found.items()]


def dataset_of(found: Found) -> BenchmarkSpec:
    """The dataset of a curve, without its number of questions, draw and release."""
    return replace(found.result.spec.benchmark, limit=None, seed=0, identity="")


def evidence(sweep: Found | None, damage: Found | None, model: ModelSpec) -> Evidence:
    """All results that score blocks of a model.

    Args:
        sweep: the curve on screen.
        damage: the loss-increase map on screen.
        model: the model of the page.
    """
    others = [entry for entry in library.find("sweep", model) if sweep is None or entry.key != sweep.key]
    maps = [entry for entry in library.find("damage", model) if damage is None or entry.key != damage.key]
    heals = [entry for entry in library.find("heal", model, any_precision=True) if entry.summary.is_repair]
    scores = [*([sweep] if sweep else []), *evaluations(model), *others, *heals]
    speed = library.shown("speed", library.find("speed", model))
    return Evidence(sweep, scores, [*([damage] if damage else []), *maps], heals, speed)


def evaluations(model: ModelSpec) -> list[Found]:
    """All evaluations of single blocks without an adapter."""
    return [entry for entry in library.find("evaluate", model) if entry.result.spec.adapter is None]


def version(found: Found) -> Version:
    """The key of a result with its time, which differs from all others and from itself with fewer numbers."""
    return found.key, found.saved_at


def versions(found: Sequence[Found]) -> tuple[Version, ...]:
    """The keys of results with their times, for caches that must notice a growing result."""
    return tuple(map(version, found))


@st.cache_resource(max_entries=512, show_spinner=False)
def _selected(told: tuple[Version, ...], removed: Removal | None, shown: str | None, _evidence: Evidence) -> Selected:
    results = [entry.result for entry in _evidence.scores]
    on_screen: SweepResult | None = _evidence.shown.result if _evidence.shown else None
    damage: list[DamageResult] = [entry.result for entry in _evidence.damage]
    return selection.select(removed, results, shown=on_screen, damage=damage)
