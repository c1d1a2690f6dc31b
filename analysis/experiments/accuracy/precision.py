"""The experiment that holds a precision against float32: two evaluations of the unpruned model on the same questions."""

from dataclasses import replace

from analysis.core.errors import LayerscopeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.precision_spec import PrecisionResult, PrecisionSpec, cost, moved
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec
from analysis.models.loading import load as models
from analysis.models.loading import planning
from analysis.models.loading.load import LoadedModel, Loader
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.resolving import resolve, resolve_model

_SAMPLE = 100
"""Questions of `once`: float32 takes a few seconds of a small model for them."""


def exact(model: ModelSpec) -> ModelSpec:
    """Return the request for the same weights in float32."""
    return replace(model, dtype="float32", quantization="none")


def run(spec: PrecisionSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH) -> PrecisionResult:
    """Evaluate the unpruned model in its precision and in float32; stored results of either are reused.

    Where float32 does not fit into memory its layers are read from the disk one by one.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = PrecisionResult.load(resolved, on_progress)
    if stored is not None:
        return stored

    def scored(model: ModelSpec) -> EvaluateResult:
        on_progress(Progress("loading the model", message=f"Scoring in {model.dtype}."))
        evaluate_spec = EvaluateSpec(model=model, benchmark=resolved.benchmark, loss_corpus=None)
        return evaluation.run(evaluate_spec, on_progress, load=load)

    half = scored(resolved.model)
    exact_result = scored(resolve_model(exact(resolved.model)))
    pairs = list(zip(half.questions, exact_result.questions, strict=True))
    mean, ends, largest = moved([a.loglikelihoods for a, _ in pairs], [b.loglikelihoods for _, b in pairs])
    low, high = ends or (None, None)
    result = PrecisionResult(
        spec=resolved,
        versions=half.versions,
        wall_s=half.wall_s + exact_result.wall_s,
        n_tokens=half.n_tokens + exact_result.n_tokens,
        complete=True,
        model=half.model,
        n_questions=len(pairs),
        n_options=sum(len(a.loglikelihoods) for a, _ in pairs),
        mean_nats=mean,
        low_nats=low,
        high_nats=high,
        largest_nats=largest,
        n_changed=sum(a.prediction != b.prediction for a, b in pairs),
    )
    result.save()
    return result


def once(model: ModelSpec, benchmark: BenchmarkSpec, on_progress: OnProgress, *, load: Loader) -> None:
    """Measure the cost of a model's precision on the first questions of a result, unless it is known or there is no question.

    Nothing is measured where float32 does not fit into memory next to the loaded model. A failure is only reported, since the
    result that it belongs to is complete.

    Args:
        model, benchmark: of the result, resolved.
        on_progress: receives reports; may raise `Cancelled`.
        load: hands out the model that the result was measured with; the one in float32 is released afterwards.
    """
    if model.is_exact or cost(model) is not None:
        return

    class LoadEither(Loader):
        def __call__(self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False) -> LoadedModel:
            return (load if spec == model else models.FRESH)(spec, on_progress, by_layer=by_layer)

    sample = replace(benchmark, limit=min(_SAMPLE, benchmark.limit or _SAMPLE))

    def say(message: str) -> None:
        on_progress(Progress(f"measuring the cost of {model.precision}, once", message=message))

    try:
        if planning.plan(exact(model)).fits:
            say(f"Comparing {model.precision} with float32 on a few questions, once for this model.")
            run(PrecisionSpec(model, sample), on_progress, load=LoadEither())
        else:
            say(f"The cost of {model.precision} was not measured: there is no memory left for the model in float32.")
    except LayerscopeError as error:
        say(f"The cost of {model.precision} was not measured: {error}")
