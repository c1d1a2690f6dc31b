"""The experiment that measures a single model, pruned or not, healed or not: a sweep of one point.

A sweep shares the identities of a request, its material, the fields of the result and the shards with it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from analysis.core.errors import SpecError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.record import Spec
from analysis.core.shards import Shard
from analysis.data import corpora, questions
from analysis.experiments.accuracy import points, scores
from analysis.experiments.accuracy.measurement import Measurement, Origin
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec, SweepSpec
from analysis.experiments.scoring.likelihood import Cuts
from analysis.models import adapter
from analysis.models import load as models
from analysis.models.load import Load, LoadedModel

PointsSpec = TypeVar("PointsSpec", SweepSpec, EvaluateSpec)
"""A request for points on questions, texts and prompts."""


def with_identities(spec: PointsSpec) -> PointsSpec:
    """Return the spec with concrete dtype, device and the identities of its questions, texts and model."""
    # First: a file that cannot be read is refused before a model is looked for.
    benchmark = None if spec.benchmark is None else questions.resolve(spec.benchmark)
    loss_corpus = None if spec.loss_corpus is None else corpora.resolve(spec.loss_corpus)
    return replace(spec, model=models.resolve(spec.model), benchmark=benchmark, loss_corpus=loss_corpus)


def prepared(spec: PointsSpec, loaded: LoadedModel, cuts: Cuts, on_progress: OnProgress, **values: Any) -> Measurement:
    """Return the points of a resolved request, with the scores known so far.

    Args:
        spec: the request.
        loaded: its model, with nothing changed.
        cuts: the removed layers of each point.
        on_progress: receives a report.
        **values: of this report.
    """
    on_progress(Progress("reading questions and texts", values=values))
    material = scores.prepare(loaded, spec.benchmark, spec.loss_corpus)
    known = scores.remembered(spec.model, spec.benchmark, spec.loss_corpus, spec.generation)
    return Measurement(loaded, material, cuts, known, spec.generation, Origin(spec.model, spec.benchmark, spec.loss_corpus))


def common_fields(spec: SweepSpec | EvaluateSpec, points: Measurement) -> dict[str, Any]:
    """Return the fields that the results of a sweep and of an evaluation have in common."""
    loaded, material = points.loaded, points.material
    return {
        "spec": spec,
        "versions": loaded.versions(),
        "wall_s": points.scores.wall_s,
        "n_tokens": material.n_tokens,
        "model": loaded.facts,
        "n_layers": loaded.facts.n_layers,
        "lines": material.lines,
        "n_truncated": material.n_truncated,
        "skipped_rows": material.skipped_rows,
        "packing": material.packing,
        "text_tokens": material.text_tokens,
    }


def resolve(spec: EvaluateSpec) -> EvaluateSpec:
    """The spec with concrete dtype, device and identities."""
    return with_identities(replace(spec, adapter=adapter.named(spec.adapter)))


def run(spec: EvaluateSpec, on_progress: OnProgress = ignore, *, load: Load = models.FRESH) -> EvaluateResult:
    """Measure one model, without `spec.block` and with `spec.adapter` if they are given.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = EvaluateResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    measured = _prepared(resolved, on_progress, load).complete(on_progress)
    result = EvaluateResult(
        **common_fields(resolved, measured),
        complete=True,
        point=replace(measured.point, **points.place(resolved.block)),  # a healed model has lost its layers before
        questions=measured.answers[0],
        text_losses=measured.losses[0],
        writing=measured.writings[0],
    )
    result.save()
    return result


def _prepared(spec: EvaluateSpec, on_progress: OnProgress, load: Load) -> Measurement:
    """Return the one point of a resolved request."""
    if spec.adapter is None:
        loaded = load(spec.model, on_progress, by_layer=spec.generation is None)
        if spec.block is not None:
            spec.block.check(loaded.decoder.n_layers)
        return prepared(spec, loaded, [spec.block], on_progress)
    folder = str(adapter.located(spec.adapter))
    healed = adapter.with_adapter(models.load(spec.model, on_progress), spec.block, folder)
    on_progress(Progress("reading questions and texts"))
    return Measurement(healed, scores.prepare(healed, spec.benchmark, spec.loss_corpus), [None], generation=spec.generation)


class PointShards:
    """Shards of an evaluation, each with some questions or texts; that of a healed model is not shared (`shards.Work`)."""

    resolve: Any = staticmethod(resolve)
    prepared: Any = staticmethod(_prepared)

    def __init__(self, spec: Any, on_progress: OnProgress, *, load: Load) -> None:
        """Load the model and read the questions and texts of a resolved request."""
        if getattr(spec, "adapter", None) is not None:
            raise SpecError("A healed model is evaluated by one process. Leave out --workers.")
        self._points: Measurement = self.prepared(spec, on_progress, load)
        self.reads_disk = self._points.reads_disk

    @staticmethod
    def before(spec: Any) -> list[Spec]:
        """It rests on nothing."""
        return []

    def missing(self) -> list[Shard]:
        """Return the pieces that nobody has measured."""
        return self._points.missing()

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure some pieces, and store each."""
        self._points.measure(shards, on_progress)
