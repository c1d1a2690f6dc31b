"""The removed layers of a sweep, chosen by a strategy or listed by the user."""

from dataclasses import replace
from typing import Any

from analysis.core.progress import OnProgress, Progress, Stages
from analysis.data import corpora, decontamination, questions
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.maps import damage, distance_map
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.scoring.likelihood import Cuts
from analysis.experiments.search import search
from analysis.experiments.search.search_spec import SearchSpec
from analysis.experiments.strategies import (
    BLOCKS,
    INFLUENCE,
    INFLUENCE_METRIC,
    MAP,
    StrategyInputs,
    chosen,
    needs,
)
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel
from analysis.models.source.sizes import ModelFacts

SCORES = "scores"
"""Name of the stage that scores all points."""
_TOKENS_PER_QUESTION = 34
_ALL_QUESTIONS = 1000
"""Tokens of a question of ARC-Easy, and the assumed number of questions without a limit."""


def _work(spec: SweepSpec, facts: ModelFacts) -> dict[str, float]:
    """Return the planned work of a resolved sweep and of what it chooses its layers from, by phase,
    in FLOPs.
    """
    n_layers = facts.n_layers
    tokens = (spec.benchmark.limit or _ALL_QUESTIONS) * _TOKENS_PER_QUESTION
    tokens += (
        spec.loss_corpus.n_texts * spec.loss_corpus.seq_len if spec.loss_corpus is not None else 0
    )
    n_cuts = len(spec.blocks) or (n_layers // 2 if spec.max_n is None else spec.max_n)
    planned = dict.fromkeys((distance_map.PHASE, damage.PHASE, search.PHASE, SCORES), 0.0)
    for request in spec.rests_on:
        experiment: Any = {DistanceSpec: distance_map, DamageSpec: damage, SearchSpec: search}[
            type(request)
        ]
        planned[experiment.PHASE] += experiment.work(request, facts)
    return planned | {SCORES: tokens * facts.flop(n_layers * (1 + n_cuts / 2), 1 + n_cuts)}


def cuts(spec: SweepSpec, loaded: LoadedModel, stages: Stages) -> Cuts:
    """Return the removed layers of every point, None first; maps and searches that are not stored
    are measured.

    Their work and that of the scores is planned in the stages.

    Raises:
        BlockRangeError: If the model has too few layers.
        CorpusError: If the texts of a search repeat those of the loss.
    """
    n_layers = loaded.decoder.n_layers
    spec.check_depth(n_layers)
    stages.plan(_work(spec, loaded.facts))
    if needs(spec.strategy, BLOCKS):
        return [None, *sorted(set(spec.blocks), key=lambda block: (block.size, block.start))]
    max_n = n_layers // 2 if spec.max_n is None else spec.max_n
    inputs = _strategy_inputs(spec, loaded, stages) if max_n > 0 else StrategyInputs(n_layers)
    return [chosen(spec.strategy, n, inputs) for n in range(max_n + 1)]


def _strategy_inputs(
    spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress
) -> StrategyInputs:
    """Return the strategy's input, measuring it first if it is not stored."""

    def map_by(metric: str) -> DistanceResult:
        map_spec = replace(spec.distances, metric=metric)
        return distance_map.stored_map(map_spec) or distance_map.run(
            map_spec, on_progress, load=models.ReadyModel(loaded)
        )

    return StrategyInputs(
        loaded.decoder.n_layers,
        best=map_by(spec.distances.metric).best if needs(spec.strategy, MAP) else (),
        influence=map_by(INFLUENCE_METRIC).mean[0] if needs(spec.strategy, INFLUENCE) else (),
        least=(
            ()
            if spec.damage is None
            else damage.run(spec.damage, on_progress, load=models.ReadyModel(loaded)).best
        ),
        draw=spec.draw,
        searched=_searched(spec, loaded, on_progress),
    )


def _searched(
    spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress
) -> list[tuple[int, ...]]:
    """Return the path of a strategy's search, and report questions that its texts contain.

    Raises:
        CorpusError: If the texts of the search repeat those of the curve's loss.
    """
    if spec.search is None:
        return []
    texts = [
        text
        for corpus in (spec.search.corpus, spec.search.validation)
        for text in search.documents(corpus, loaded)[1]
    ]
    hits = decontamination.shared_questions(questions.load(spec.benchmark), texts)
    if hits.ids:
        on_progress(
            Progress(
                "reading questions and texts",
                message=(
                    f"{len(hits.ids)} of {hits.n_questions} questions share {hits.n_words} words in"
                    " a row with the search texts of these layers, which makes the accuracy look"
                    f" too good: {', '.join(hits.ids[:5])}."
                ),
            )
        )
    if spec.loss_corpus is not None:
        title = corpora.title(spec.loss_corpus)
        decontamination.refuse_shared(
            texts,
            search.documents(spec.loss_corpus, loaded)[1],
            measured_title=f"loss text of this curve ({title})",
            earlier_title=f"search text of its layers ({corpora.title(spec.search.corpus)})",
        )
    return search.run(spec.search, on_progress, load=models.ReadyModel(loaded)).path
