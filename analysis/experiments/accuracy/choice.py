"""The removed layers of a sweep: chosen by its strategy from a map, a loss-increase map or a search, or listed by the user."""

from dataclasses import replace

from analysis.core.progress import OnProgress, Progress
from analysis.core.record import Spec
from analysis.data import corpora, decontamination, questions
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.maps import damage, distance_map
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.scoring.likelihood import Cuts
from analysis.experiments.search import search
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


def rests_on(spec: SweepSpec) -> list[Spec]:
    """Return the experiments that a resolved sweep chooses its layers from."""
    maps: list[Spec] = [spec.distances] if needs(spec.strategy, MAP, INFLUENCE) else []
    damaged = [spec.damage.distances, spec.damage] if spec.damage is not None else []
    return [*maps, *damaged, *([spec.search] if spec.search is not None else [])]


def cuts(spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress) -> Cuts:
    """Return the removed layers of every point, None first; maps and searches that are not stored are measured.

    Raises:
        BlockRangeError: when the model has too few layers.
        CorpusError: when the texts of a search repeat those of the loss.
    """
    n_layers = loaded.decoder.n_layers
    spec.check_depth(n_layers)
    if needs(spec.strategy, BLOCKS):
        return [None, *sorted(set(spec.blocks), key=lambda block: (block.size, block.start))]
    max_n = n_layers // 2 if spec.max_n is None else spec.max_n
    inputs = _strategy_inputs(spec, loaded, on_progress) if max_n > 0 else StrategyInputs(n_layers)
    return [chosen(spec.strategy, n, inputs) for n in range(max_n + 1)]


def _strategy_inputs(spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress) -> StrategyInputs:
    """Return the strategy's input, measuring it first if it is not stored."""

    def map_by(metric: str) -> DistanceResult:
        map_spec = replace(spec.distances, metric=metric)
        return distance_map.stored_map(map_spec) or distance_map.run(map_spec, on_progress, load=models.ReadyModel(loaded))

    return StrategyInputs(
        loaded.decoder.n_layers,
        best=map_by(spec.distances.metric).best if needs(spec.strategy, MAP) else (),
        influence=map_by(INFLUENCE_METRIC).mean[0] if needs(spec.strategy, INFLUENCE) else (),
        least=() if spec.damage is None else damage.run(spec.damage, on_progress, load=models.ReadyModel(loaded)).best,
        draw=spec.draw,
        searched=_searched(spec, loaded, on_progress),
    )


def _searched(spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress) -> list[tuple[int, ...]]:
    """Return the path of a strategy's search, and report the questions that its texts quote.

    Raises:
        CorpusError: when the texts of the search repeat those of the curve's loss.
    """
    if spec.search is None:
        return []
    texts = [text for corpus in (spec.search.corpus, spec.search.validation) for text in search.documents(corpus, loaded)[1]]
    hits = decontamination.shared_questions(questions.load(spec.benchmark), texts)
    if hits.ids:
        on_progress(
            Progress(
                "reading questions and texts",
                message=f"{len(hits.ids)} of {hits.n_questions} questions share {hits.n_words} words in a row with the search "
                f"texts of these layers, which makes the accuracy look too good: {', '.join(hits.ids[:5])}.",
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
