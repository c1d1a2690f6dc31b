"""The stored results on the lesson's charts: the strongest evidence of the current model, and a ring around the selected block.

The selection of other pages changes none of the lesson's results. The ring is at the block's own value or not there at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st
from plotly.graph_objs import Figure

from analysis.charts import selected
from analysis.charts.lesson import Rung
from analysis.core.blocks import Block, Removal
from analysis.core.record import Spec
from analysis.data.gallery import EXHIBITS
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import COMPENSATIONS
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.strategies import SEARCHING, USUAL
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import generations
from analysis.results.compared import selection as scores
from analysis.results.stored import evidence
from analysis.results.words import exercises, lesson
from pages.components.shared import chart, library, selection, state, words

Places = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class LessonResults:
    """The results of a model; None where nothing is stored yet."""

    facts: ModelFacts | None
    distances: DistanceResult | None
    sweep: SweepResult | None
    """The curve of the blocks on the map's path."""
    heals: list[HealResult]
    damage: DamageResult | None

    @property
    def name(self) -> str:
        """The model's name, to be shown as plain text."""
        return self.facts.name if self.facts else "your model"

    @property
    def size(self) -> int:
        """The block size that the lesson asks about."""
        return lesson.question_size(self.distances.n_layers) if self.distances else 5


def of(model: ModelSpec) -> LessonResults:
    """Return the strongest evidence there is of a model; the last run and the selections of other pages do not count."""
    maps, damages = _finished("distances", model), _finished("damage", model)
    curves = [result for result in _finished("sweep", model) if result.spec.strategy == "similarity"]
    distances = next(iter(maps), None)
    same_map = [result for result in damages if distances and result.spec.distances == distances.spec]
    damage, heals = next(iter(same_map or damages), None), _finished("heal", model, any_precision=True)
    known = [*_finished("inspect", model), distances, *curves, damage, *heals]
    facts = next((result.model for result in known if result is not None), None)
    return LessonResults(facts, distances, next(iter(curves), None), heals, damage)


def of_the_gallery() -> list[tuple[str, SweepResult]]:
    """Accuracy curves of the models of the gallery, each with its model's name, those of the usual cut first.

    Of each question set and strategy the strongest.
    """
    curves: dict[tuple[str, str, str], tuple[str, SweepResult]] = {}
    for exhibit in EXHIBITS:
        for sweep in _finished("sweep", ModelSpec(exhibit.source)):
            if sweep.spec.strategy in (USUAL, *SEARCHING):
                key = (exhibit.source, sweep.spec.benchmark.task, sweep.spec.strategy)
                curves.setdefault(key, (exhibit.title, sweep))
    return sorted(curves.values(), key=lambda curve: curve[1].spec.strategy != USUAL)


def specs(shown: LessonResults) -> list[Spec]:
    """The requests that the lesson's figures are the answers to."""
    return [result.spec for result in (shown.distances, shown.sweep, shown.damage, *shown.heals) if result is not None]


def _finished(kind: str, model: ModelSpec, *, any_precision: bool = False) -> list[Any]:
    """Strongest first."""
    return [found.result for found in library.find(kind, model, any_precision=any_precision) if found.result.complete]


def ladder(heals: Sequence[HealResult]) -> tuple[list[Rung], HealResult | None]:
    """Return unpruned, pruned, instantly healed and trained models of one cut, and the heal that represents them.

    Of several cuts the one with the strongest evidence is taken, of equally strong ones one that has both ways of healing.

    Args:
        heals: strongest first.
    """
    cuts: dict[object, dict[str, HealResult]] = {}
    for heal in heals:
        spec = heal.spec
        # The fits of other methods are no rung between the cut and its training: a training begins with the projection.
        is_rung = not spec.control and (spec.trains or spec.compensation == COMPENSATIONS[0])
        if heal.unpruned and heal.pruned and heal.healed and is_rung:
            cut = (spec.block, spec.benchmark, spec.validation, spec.model.quantization, spec.model.dtype)
            cuts.setdefault(cut, {}).setdefault("trained" if spec.trains else "instant", heal)
    if not cuts:
        return [], None
    ways = max(cuts.values(), key=lambda ways: (min(map(evidence.weight, ways.values())), len(ways)))
    best = ways.get("trained") or ways["instant"]
    assert best.unpruned
    assert best.pruned
    rungs = [Rung("unpruned", best.unpruned, "unpruned"), Rung("pruned", best.pruned, "pruned")]
    for way in ("instant", "trained"):
        if way in ways and (point := ways[way].healed):
            rungs.append(Rung("instant" if way == "instant" else words.heal_length(ways[way].spec), point, "healed"))
    return rungs, best


def for_exercises(shown: LessonResults) -> exercises.Results:
    """Return the results that exercises are made from."""
    _, heal = ladder(shown.heals)
    return exercises.Results(shown.size, shown.facts, shown.distances, shown.sweep, heal)


def too_few(found: Sequence[exercises.Exercise]) -> str:
    """Return the results that the missing exercises need, in a sentence; empty where all exercises are there."""
    if len(found) >= exercises.WANTED:
        return ""
    return (
        f"This model has results for {len(found)} of {exercises.WANTED} exercises. "
        "The others need a distance map, an accuracy curve and its loss."
    )


def missing(sentence: words.Markdown, page: str, label: words.Markdown) -> None:
    """Name the missing result of this step, and the page that computes it."""
    st.info(sentence, icon=":material/hourglass_empty:")
    st.page_link(page, label=label, icon=":material/arrow_forward:")


def selected_removal() -> Removal | None:
    """The selected block; None while the model has no distance map, or nothing is removed."""
    now = selection.now(state.current_model())
    return None if now is None else now.cut.removed


def selected_block(size: int) -> Block | None:
    """The selected block if it has this number of layers."""
    own = selected_removal()
    return own if isinstance(own, Block) and own.size == size else None


def places_of_scores(sweep: SweepResult) -> dict[str, Places]:
    """By quantity, the places of the selected block on a chart of accuracy or loss, under the condition of a curve."""
    own = selected_removal()
    return {} if own is None else {**selected.of_scores(scores.select(own, _scores_of_selection(), shown=sweep))}


def places_of_generations(sweep: SweepResult) -> Places:
    """The places of the selected block on the chart of generated text, under the condition of a curve."""
    found = generations.collect(sweep.spec.model, [sweep, *_scores_of_selection()], sweep.spec.generation)
    return selected.of_generations(found, selected_removal())


def _scores_of_selection() -> list[Any]:
    now = selection.now(state.current_model())
    return [] if now is None else [entry.result for entry in now.evidence.scores]


def ringed(figure: Figure, places: Places, note: str = selected.UNMEASURED) -> Figure:
    """A chart with the ring of the selected block, or with a note that it has no value there.

    Args:
        figure: the chart, which stays as it is.
        places: of the selected block.
        note: the text on the chart without a place.
    """
    return figure if selected_removal() is None else selected.marked(figure, places, note=note, dark=chart.is_dark())


def ring_caption(found: dict[str, Places], reason: Callable[[Removal], str] | None = None) -> None:
    """Name the selected block below the charts, and the quantities that are not measured for it.

    Args:
        found: by quantity, its places.
        reason: the sentence on a block without a place; None for the usual one.
    """
    own = selected_removal()
    if own is None:
        return
    unmeasured = [name for name, places in found.items() if not places]
    said = [f"Ring: the selected block, {own.brief()}."] if len(unmeasured) < len(found) else []
    if unmeasured and reason is not None:
        said.append(reason(own))
    elif unmeasured:
        said.append(f"{selected.UNMEASURED} ({', '.join(unmeasured)}): {own.brief()}.")
    st.caption(words.plain(" ".join(said)))
