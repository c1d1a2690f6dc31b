"""The experiment that holds a precision against float32: two evaluations of the unpruned model on the same questions."""

from dataclasses import replace

from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import questions as benchmarks
from analysis.experiments.accuracy import evaluation
from analysis.experiments.accuracy.precision import PrecisionResult, PrecisionSpec, moved
from analysis.experiments.accuracy.spec import EvaluateResult, EvaluateSpec
from analysis.models import load as models
from analysis.models.load import Load
from analysis.models.spec import ModelSpec


def resolve(spec: PrecisionSpec) -> PrecisionSpec:
    """The spec with concrete dtype, device and identities.

    Raises:
        SpecError: also where the dtype that this machine is good at is float32.
    """
    return replace(spec, benchmark=benchmarks.resolve(spec.benchmark), model=models.resolve(spec.model))


def run(spec: PrecisionSpec, on_progress: OnProgress = ignore, *, load: Load = models.FRESH) -> PrecisionResult:
    """Evaluate the unpruned model in its precision and in float32; what is stored of either is taken from there.

    Where float32 does not fit into memory its layers are read from the disk one by one.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = PrecisionResult.load(resolved, on_progress)
    if stored is not None:
        return stored

    def scored(model: ModelSpec) -> EvaluateResult:
        on_progress(Progress("loading the model", message=f"Scoring in {model.dtype}."))
        asked = EvaluateSpec(model=model, benchmark=resolved.benchmark, loss_corpus=None)
        return evaluation.run(asked, on_progress, load=load)

    half = scored(resolved.model)
    exact = scored(models.resolve(replace(resolved.model, dtype="float32", quantization="none")))
    pairs = list(zip(half.questions, exact.questions, strict=True))
    mean, ends, largest = moved([a.loglikelihoods for a, _ in pairs], [b.loglikelihoods for _, b in pairs])
    low, high = ends or (None, None)
    result = PrecisionResult(
        spec=resolved,
        versions=half.versions,
        wall_s=half.wall_s + exact.wall_s,
        n_tokens=half.n_tokens + exact.n_tokens,
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
