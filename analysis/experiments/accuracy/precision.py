"""The experiment that compares a precision with float32: two evaluations of the unpruned model on
the same questions.
"""

from dataclasses import replace

from analysis.core.progress import OnProgress, Progress, ignore
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.precision_spec import PrecisionResult, PrecisionSpec, moved
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec
from analysis.models.loading import load as models
from analysis.models.loading.load import Loader
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.resolving import resolve, resolve_model


def exact(model: ModelSpec) -> ModelSpec:
    """Return the request for the same weights in float32."""
    return replace(model, dtype="float32", quantization="none")


def run(
    spec: PrecisionSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> PrecisionResult:
    """Evaluate the unpruned model in its precision and in float32; stored results of either are
    reused.

    If float32 does not fit into memory, the layers are read from the disk one by one.

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
    mean, ends, largest = moved(
        [a.loglikelihoods for a, _ in pairs], [b.loglikelihoods for _, b in pairs]
    )
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
