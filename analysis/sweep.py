"""The experiment behind the curve: accuracy and loss for n = 0 .. max_n, all cuts of a batch from one shared trunk."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from analysis import benchmarks, corpora, distance_map, evaluation, machine, models, scoring, selection, storage
from analysis.errors import BlockRangeError, CorruptResultError
from analysis.evaluation import Load, Material, Meter
from analysis.models import LoadedModel
from analysis.progress import OnProgress, Progress, ignore
from analysis.results import Answer, SweepResult
from analysis.scoring import Cuts
from analysis.specs import SweepSpec

QUESTIONS_PER_CHUNK = 24
"""Questions scored between two stored states of the curve; a group of questions is never split over chunks."""


def resolve(spec: SweepSpec) -> SweepSpec:
    """The spec with concrete dtype, device and identities; the map is of the same model."""
    model = models.resolve(spec.model)
    return replace(
        spec,
        model=model,
        benchmark=benchmarks.resolve(spec.benchmark),
        loss_corpus=None if spec.loss_corpus is None else corpora.resolve(spec.loss_corpus),
        distances=distance_map.resolve(replace(spec.distances, model=model)),
    )


def run(spec: SweepSpec, on_progress: OnProgress = ignore, *, load: Load = models.load) -> SweepResult:
    """Measure the curve, or return the stored one; no question is scored twice.

    What a stopped run of the same sweep has scored is gone on with, and so is what a sweep over more or fewer of the same
    questions has: asking for more questions refines a curve.

    `similarity` uses the stored distance map of `spec.distances`, or computes it first.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = SweepResult.load(resolved, on_progress)
    if stored is not None and stored.complete:
        return stored
    loaded = load(resolved.model, on_progress)
    cuts = _cuts(resolved, loaded, on_progress)
    on_progress(Progress("reading questions and texts", values={"result_key": resolved.fingerprint()}))
    stuff = evaluation.material(loaded, resolved.benchmark, resolved.loss_corpus)
    curve = _Curve(resolved, loaded, stuff, cuts)
    for earlier in [stored] if stored is not None else _others_of_this_curve(resolved):
        curve.take_over(earlier)
    curve.measure(on_progress)
    return curve.result(complete=True)


def _others_of_this_curve(spec: SweepSpec) -> list[SweepResult]:
    """Stored sweeps that differ from this one in nothing but the number of questions."""
    found = []
    for stored in storage.find_results("sweep"):
        with contextlib.suppress(CorruptResultError):
            other = SweepResult.read(stored)
            if replace(other.spec, benchmark=replace(other.spec.benchmark, limit=spec.benchmark.limit)) == spec:
                found.append(other)
    return found


def _cuts(spec: SweepSpec, loaded: LoadedModel, on_progress: OnProgress) -> Cuts:
    """The block for every n, None first."""
    n_layers = loaded.decoder.n_layers
    max_n = n_layers // 2 if spec.max_n is None else spec.max_n
    if not 0 <= max_n < n_layers:
        raise BlockRangeError(
            f"A sweep up to {max_n} removed layers was asked for, but {loaded.facts.name} has {n_layers} layers and must keep "
            f"at least 1; choose max-n 0..{n_layers - 1}."
        )
    best = []
    if spec.strategy == "similarity" and max_n > 0:
        best = distance_map.run(spec.distances, on_progress, load=lambda model, report: loaded).best
    return [selection.choose(spec.strategy, n, n_layers=n_layers, best=best) for n in range(max_n + 1)]


@dataclass
class _Curve:
    """A curve in the making: what has been scored, for every cut, and the result that it amounts to."""

    spec: SweepSpec
    loaded: LoadedModel
    stuff: Material
    cuts: Cuts
    answers: list[dict[str, Answer]] = field(default_factory=list)
    """Per cut, by question."""
    losses: list[list[float]] = field(default_factory=list)
    """Per cut, per text."""
    wall_s: float = 0.0

    def __post_init__(self) -> None:
        self.answers = [{} for _ in self.cuts]
        self.losses = [[] for _ in self.cuts]

    def take_over(self, earlier: SweepResult) -> None:
        """Use what an earlier sweep of the same cuts has scored."""
        wanted = {question.id for question in self.stuff.questions}
        for mine, theirs in zip(self.answers, earlier.questions, strict=True):
            mine.update({answered.id: answered for answered in theirs if answered.id in wanted})
        if all(earlier.text_losses):
            self.losses = earlier.text_losses
        self.wall_s += earlier.wall_s

    def measure(self, on_progress: OnProgress) -> None:
        """Score what is missing, storing the curve after every chunk."""
        missing = [index for index, question in enumerate(self.stuff.questions) if question.id not in self.answers[0]]
        chunks = _chunks(self.stuff.questions, missing)
        texts = [] if self.losses[0] else self.stuff.texts
        decoder, packed = self.loaded.decoder, self.stuff.packed
        sizes = [scoring.n_batches(decoder, [self.stuff.encoded[i] for i in chunk], packed=packed) for chunk in chunks]
        total = (sum(sizes) + len(scoring.text_batches(decoder, texts))) * len(self.cuts)
        meter = Meter(on_progress, "scoring questions", total)
        for chunk, size in zip(chunks, sizes, strict=True):
            self._score(chunk, meter)
            meter.begun += size * len(self.cuts)
        if texts:
            meter.phase = "measuring the loss on text"
            began = time.perf_counter()
            self.losses = scoring.text_losses(decoder, texts, self.cuts, meter)
            self.wall_s += time.perf_counter() - began
        self.result(complete=True).save()

    def _score(self, chunk: list[int], meter: Meter) -> None:
        began = time.perf_counter()
        encoded = [self.stuff.encoded[index] for index in chunk]
        scored = scoring.option_loglikelihoods(self.loaded.decoder, encoded, self.cuts, meter, packed=self.stuff.packed)
        for answers, cut_scores in zip(self.answers, scored, strict=True):
            for index, values in zip(chunk, cut_scores, strict=True):
                question = self.stuff.questions[index]
                answers[question.id] = evaluation.answer(question, values)
        self.wall_s += time.perf_counter() - began
        self.result(complete=False).save()

    def result(self, *, complete: bool) -> SweepResult:
        """The curve as it is now."""
        questions = [question for question in self.stuff.questions if question.id in self.answers[0]]
        answers = [[given[question.id] for question in questions] for given in self.answers]
        return SweepResult(
            spec=self.spec,
            versions=machine.versions(),
            wall_s=self.wall_s,
            n_tokens=self.stuff.n_tokens,
            complete=complete,
            model=self.loaded.facts,
            n_layers=self.loaded.decoder.n_layers,
            points=[
                evaluation.point(cut, questions, given, losses)
                for cut, given, losses in zip(self.cuts, answers, self.losses, strict=True)
            ],
            lines=self.stuff.lines,
            n_questions=len(self.stuff.questions),
            n_truncated=self.stuff.n_truncated,
            skipped_rows=self.stuff.skipped_rows,
            questions=answers,
            text_losses=self.losses,
            text_tokens=[len(ids) - 1 for ids in self.stuff.texts],
        )


def _chunks(questions: Sequence[benchmarks.Question], missing: Sequence[int]) -> list[list[int]]:
    """Indices of the missing questions in chunks of about `QUESTIONS_PER_CHUNK`, ending where a group ends."""
    chunks: list[list[int]] = []
    for index in missing:
        goes_on = chunks and questions[index].group and questions[index].group == questions[chunks[-1][-1]].group
        if chunks and (goes_on or len(chunks[-1]) < QUESTIONS_PER_CHUNK):
            chunks[-1].append(index)
        else:
            chunks.append([index])
    return chunks
