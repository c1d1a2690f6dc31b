"""The experiment that measures a single model, cut or not, healed or not."""

from dataclasses import dataclass, replace

from analysis.core.blocks import Removal
from analysis.core.errors import SpecError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.record import Spec
from analysis.data import corpora
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy import points, scores
from analysis.experiments.accuracy.points import Answer, GenerationCheck, Lines, Point
from analysis.experiments.accuracy.scores import Material, Scores
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec
from analysis.models import adapter
from analysis.models import load as models
from analysis.models.adapter import with_adapter
from analysis.models.load import Load, LoadedModel


def score(loaded: LoadedModel, material: Material, on_progress: OnProgress = ignore) -> Point:
    """Return accuracy and loss of the model as it is now, on prepared questions and texts."""
    found = Scores()
    scores.complete(found, loaded, material, [None], on_progress)
    return found.point(None, material)


@dataclass(frozen=True)
class Measured:
    """Scores of one model."""

    point: Point
    lines: Lines | None
    questions: list[Answer]
    text_losses: list[float]
    text_tokens: list[int]
    writing: GenerationCheck | None
    wall_s: float
    n_tokens: int
    n_truncated: int
    skipped_rows: list[str]
    packing: str
    """As of `scores.Material`."""

    def of(self, cut: Removal | None) -> "Measured":
        """Return these scores as those of the model without `cut`, for a model whose layers were removed beforehand."""
        return replace(self, point=replace(self.point, **points.place(cut)))


def measure(
    loaded: LoadedModel,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    generation: GenerationSpec | None = None,
    on_progress: OnProgress = ignore,
    *,
    cut: Removal | None = None,
    known: Scores | None = None,
    origin: scores.Origin | None = None,
) -> Measured:
    """Measure accuracy, loss and generated text of a model as it is now, or of the model without `cut`.

    Args:
        loaded: the model.
        benchmark, loss_corpus, generation: questions, texts and prompts; None to skip each.
        on_progress: receives reports; may raise `Cancelled`.
        cut: layers to leave out.
        known: scores of this model that need not be measured again.
        origin: as for `scores.complete`.

    Raises:
        CorpusError, BenchmarkError: when the texts or questions cannot be used.
    """
    on_progress(Progress("reading questions and texts"))
    material = scores.prepare(loaded, benchmark, loss_corpus)
    found = Scores() if known is None else known
    scores.complete(found, loaded, material, [cut], on_progress, writing=generation, origin=origin)
    return Measured(
        point=found.point(cut, material),
        lines=material.lines,
        questions=found.answers_of(cut, material),
        text_losses=found.losses_of(cut, material),
        text_tokens=material.text_tokens,
        writing=found.writings.get(cut),
        wall_s=found.wall_s,
        n_tokens=material.n_tokens,
        n_truncated=material.n_truncated,
        skipped_rows=material.skipped_rows,
        packing=material.packing,
    )


def resolve(spec: EvaluateSpec) -> EvaluateSpec:
    """The spec with concrete dtype, device and identities."""
    # First: a file that cannot be read is refused before a model is looked for.
    benchmark = None if spec.benchmark is None else benchmarks.resolve(spec.benchmark)
    loss_corpus = None if spec.loss_corpus is None else corpora.resolve(spec.loss_corpus)
    healed = adapter.named(spec.adapter)
    return replace(spec, model=models.resolve(spec.model), adapter=healed, benchmark=benchmark, loss_corpus=loss_corpus)


def run(spec: EvaluateSpec, on_progress: OnProgress = ignore, *, load: Load = models.FRESH) -> EvaluateResult:
    """Measure one model, without `spec.block` and with `spec.adapter` if they are given.

    Raises:
        LayerscopeError: for each problem that the user can fix, in one sentence.
    """
    resolved = resolve(spec)
    stored = EvaluateResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    measured_on = (resolved.benchmark, resolved.loss_corpus, resolved.generation)
    if resolved.adapter is None:
        loaded = _ready(resolved, on_progress, load)
        known = scores.remembered(resolved.model, *measured_on)
        origin = scores.Origin(resolved.model, resolved.benchmark, resolved.loss_corpus)
        measured = measure(loaded, *measured_on, on_progress, cut=resolved.block, known=known, origin=origin)
    else:
        loaded = with_adapter(models.load(resolved.model, on_progress), resolved.block, str(adapter.located(resolved.adapter)))
        measured = measure(loaded, *measured_on, on_progress).of(resolved.block)
    result = EvaluateResult(
        spec=resolved,
        versions=loaded.versions(),
        wall_s=measured.wall_s,
        n_tokens=measured.n_tokens,
        complete=True,
        model=loaded.facts,
        n_layers=loaded.facts.n_layers,
        point=measured.point,
        lines=measured.lines,
        n_truncated=measured.n_truncated,
        skipped_rows=measured.skipped_rows,
        packing=measured.packing,
        questions=measured.questions,
        text_losses=measured.text_losses,
        text_tokens=measured.text_tokens,
        writing=measured.writing,
    )
    result.save()
    return result


def _ready(spec: EvaluateSpec, on_progress: OnProgress, load: Load) -> LoadedModel:
    """The model of a resolved request, with nothing changed, which has the layers that are to be left out."""
    loaded = load(spec.model, on_progress, by_layer=spec.generation is None)
    if spec.block is not None:
        spec.block.check(loaded.decoder.n_layers)
    return loaded


class Work(scores.Pieces):
    """Shards of an evaluation, each with some questions or texts; that of a healed model is not shared (`shards.Work`)."""

    resolve = staticmethod(resolve)

    def __init__(self, spec: EvaluateSpec, on_progress: OnProgress, *, load: Load) -> None:
        """Load the model and read the questions and texts of a resolved request."""
        if spec.adapter is not None:
            raise SpecError("A healed model is evaluated by one process. Leave out --workers.")
        loaded = _ready(spec, on_progress, load)
        material = scores.prepare(loaded, spec.benchmark, spec.loss_corpus)
        known = scores.remembered(spec.model, spec.benchmark, spec.loss_corpus, spec.generation)
        origin = scores.Origin(spec.model, spec.benchmark, spec.loss_corpus)
        super().__init__(known, loaded, material, [spec.block], origin)

    @staticmethod
    def before(spec: EvaluateSpec) -> list[Spec]:
        """It rests on nothing."""
        return []
