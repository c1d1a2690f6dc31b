"""The experiment that evaluates a single model, pruned or not, healed or not."""

from dataclasses import replace

from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, Stages, ignore
from analysis.experiments.accuracy import points, scores
from analysis.experiments.accuracy.choice import SCORES
from analysis.experiments.accuracy.measurement import Measurement, MeasurementShards
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    resolve_evaluation,
)
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.running import adapters, gguf_cut
from analysis.models.source import adapter_config, gguf_families
from analysis.models.source.location import gguf_of


def run(
    spec: EvaluateSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> EvaluateResult:
    """Measure one model, without `spec.block` and with `spec.adapter` if they are given.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve_evaluation(spec)
    stored = EvaluateResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    stages = Stages.after_loading(on_progress, {SCORES: 1.0})
    measured = _prepared(resolved, stages, load)
    stages.begin(SCORES)
    measured.complete(stages)
    result = EvaluateResult(
        spec=resolved,
        **measured.common_fields(),
        complete=True,
        point=replace(
            measured.point, **points.place(resolved.block)
        ),  # the layers of a healed model are already removed
        questions=measured.answers[0],
        text_losses=measured.losses[0],
        writing=measured.writings[0],
    )
    result.save()
    return result


def _prepared(spec: EvaluateSpec, on_progress: OnProgress, load: Loader) -> Measurement:
    """Return the measurement of a resolved request."""
    if spec.adapter is None:
        loaded = load(spec.model, on_progress, by_layer=spec.generation is None)
        spec.check_depth(loaded.decoder.n_layers)
        return Measurement.of(spec, loaded, [spec.block], on_progress)
    folder = str(adapter_config.located(spec.adapter))
    healed = adapters.with_adapter(models.load(spec.model, on_progress), spec.block, folder)
    if spec.as_file:
        healed = _as_file(spec, healed)
    on_progress(Progress("reading questions and texts"))
    return Measurement(
        healed,
        scores.prepare(healed, spec.benchmark, spec.loss_corpus),
        [None],
        generation=spec.generation,
    )


def _as_file(spec: EvaluateSpec, healed: LoadedModel) -> LoadedModel:
    """Replace the weights of a healed model by those of its GGUF file."""
    assert spec.block is not None, "an adapter of the unpruned model changes no file"
    refused = gguf_families.refusal(spec.model, spec.block)
    source = gguf_of(spec.model)
    if refused is not None or source is None:
        raise UnsupportedModelError(str(refused))
    merged = healed.model.merge_and_unload()
    gguf_cut.round_as_file(source, spec.block, merged)
    return replace(healed, model=merged, decoder=find_decoder(merged))


class EvaluationShards(MeasurementShards):
    """Shards of an evaluation, each with some questions or texts; an evaluation of a healed model
    has none.
    """

    resolve = staticmethod(resolve_evaluation)

    def __init__(self, spec: EvaluateSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Load the model and read the questions and texts of a resolved request."""
        if spec.adapter is not None:
            raise SpecError("A healed model is evaluated by one process. Leave out --workers.")
        super().__init__(_prepared(spec, on_progress, load))
