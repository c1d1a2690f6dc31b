"""The experiment behind the curve: accuracy, loss and generation for n = 0 .. max_n."""

from collections.abc import Sequence

from analysis.core.progress import OnProgress, Stages, ignore
from analysis.core.record import Spec
from analysis.experiments.accuracy import choice
from analysis.experiments.accuracy.measurement import Measurement, MeasurementShards
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec, resolve
from analysis.models.loading import load as models
from analysis.models.loading.load import Loader


def run(
    spec: SweepSpec, on_progress: OnProgress = ignore, *, load: Loader = models.FRESH
) -> SweepResult:
    """Measure the curve, or return the stored one; no question is measured twice on the same cut.

    A stopped run resumes. The unfinished result is stored after every piece. `scores.stored_scores`
    reads it back with all other stored sweeps and evaluations of this model. So more questions
    refine a curve, and strategies share the scores of equal blocks.

    Strategies that need a map or the layers' influence use the stored distance map of
    `spec.distances`. Those that need the damage use the stored damage map of `spec.damage`, those
    that search the stored search of `spec.search`. Each is computed first if it is missing.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = SweepResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    stages = Stages.after_loading(on_progress)
    points = _prepared(resolved, stages, load)
    stages.begin(choice.SCORES)
    points.scores.wall_s = stored.wall_s if stored is not None else 0.0
    points.complete(stages, keep=lambda: _result(resolved, points, complete=False).save())
    finished = _result(resolved, points, complete=True)
    finished.save()
    return finished


def _prepared(spec: SweepSpec, stages: Stages, load: Loader) -> Measurement:
    """Return the points of a resolved request, with the scores known so far."""
    loaded = load(spec.model, stages, by_layer=spec.generation is None)
    cuts = choice.cuts(spec, loaded, stages)
    return Measurement.of(spec, loaded, cuts, stages, result_key=spec.fingerprint())


def _result(spec: SweepSpec, points: Measurement, *, complete: bool) -> SweepResult:
    return SweepResult(
        spec=spec,
        **points.common_fields(),
        complete=complete,
        points=points.points,
        n_questions=len(points.material.questions),
        questions=points.answers,
        text_losses=points.losses,
        writings=points.writings if spec.generation is not None else [],
    )


class SweepShards(MeasurementShards):
    """Shards of a curve."""

    resolve = staticmethod(resolve)

    def __init__(self, spec: SweepSpec, on_progress: OnProgress, *, load: Loader) -> None:
        """Load the model, choose the cuts and read the questions and texts of a resolved
        request.
        """
        super().__init__(_prepared(spec, Stages.after_loading(on_progress), load))

    @staticmethod
    def before(spec: SweepSpec) -> Sequence[Spec]:
        """Return the experiments that its strategy chooses from."""
        return spec.rests_on
