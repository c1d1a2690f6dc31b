"""Measurement of missing scores in pieces. All cuts of a piece share one trunk, and no score is
measured twice.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np

from analysis.core.blocks import PartSet, Removal, parse_removal, removal, written
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.core.shards import Shard, Work
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy import generation, scores
from analysis.experiments.accuracy.points import GenerationCheck, Point, QuestionScore
from analysis.experiments.accuracy.scores import Material, Scores, answer
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.scoring import likelihood
from analysis.experiments.scoring.likelihood import Cuts
from analysis.models.loading.load import LoadedModel
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec

QUESTIONS = "scoring questions"
TEXTS = "measuring the loss on text"
GENERATION = "writing"
"""Names of the reported phases."""
QUESTIONS_PER_CHUNK = 24
"""Minimum of questions scored between two stored states; a group of questions is never split."""
TEXTS_PER_CHUNK = 16
"""Minimum of texts measured between two stored states."""
_MOST_CHUNKS = 100
"""Maximum of stored states of a measurement, since storing large sets takes long."""
_ALONE = 16
"""Approximate number of prompt tokens that take as long as one generated token."""

Figures = list[list[Any]]
"""Scores of a piece by cut: the log-likelihoods of each question's options, or each text's loss."""


PointsSpec = TypeVar("PointsSpec", SweepSpec, EvaluateSpec)
"""A request for points on questions, texts and prompts."""


@dataclass(frozen=True)
class Piece:
    """Work between two stored states: some cuts on some questions, on some texts, or one cut that
    generates.
    """

    phase: str
    cuts: Cuts
    items: tuple[int, ...]
    """Indices of questions or texts."""
    size: int
    """Amount of work in units of progress."""


@dataclass(frozen=True)
class Origin:
    """The requests for the material of pieces that other workers may measure, for an unchanged
    model.
    """

    model: ModelSpec
    """Resolved request, as the other fields."""
    benchmark: BenchmarkSpec | None
    loss_corpus: CorpusSpec | None

    def shard(self, piece: Piece) -> Shard | None:
        """Return the request for a piece as a shard; None for generation, which has no shards."""
        source: BenchmarkSpec | CorpusSpec | None = None
        if piece.phase == QUESTIONS and self.benchmark is not None:
            source = replace(
                self.benchmark, limit=None
            )  # a smaller number of questions or texts is a prefix of a larger one
        elif piece.phase == TEXTS and self.loss_corpus is not None:
            source = replace(self.loss_corpus, n_texts=1)
        if source is None:
            return None
        content = {
            "model": self.model.to_json(),
            "source": source.to_json(),
            "items": list(piece.items),
            "cuts": [
                written(cut) if isinstance(cut, PartSet) else cut and list(cut.layers)
                for cut in piece.cuts
            ],
            "version": SweepSpec.version,
        }
        return Shard(piece.phase, content, piece.size)


def _piece(shard: Shard) -> Piece:
    cuts = [
        parse_removal(cut) if isinstance(cut, str) else cut and removal(cut)
        for cut in shard.content["cuts"]
    ]
    return Piece(shard.kind, cuts, tuple(shard.content["items"]), shard.size)


@dataclass
class PieceProgress:
    """Reports progress over pieces of several phases."""

    on_progress: OnProgress
    total: int
    phase: str = ""
    begun: int = 0

    def __call__(self, done: int) -> None:
        """Report that `done` more units than at the beginning of this piece of work are done."""
        self.on_progress(Progress(self.phase, self.begun + done, self.total))


@dataclass
class Measurement:
    """The scores of a model without each of some sets of layers: known ones, and the measurement of
    the rest.
    """

    loaded: LoadedModel
    material: Material
    cuts: Cuts
    """Layers to leave out; None leaves out no layer."""
    scores: Scores = field(default_factory=Scores)
    """Known scores; measured ones are added."""
    generation: GenerationSpec | None = None
    """The prompts that every cut continues; None to skip them."""
    origin: Origin | None = None
    """Model, questions and texts of the pieces, if other workers may have measured some as shards.
    None if the model is not as it was loaded."""

    @classmethod
    def of(
        cls,
        spec: PointsSpec,
        loaded: LoadedModel,
        cuts: Cuts,
        on_progress: OnProgress,
        **values: Any,
    ) -> Self:
        """Return a measurement with the material and the stored scores of a resolved request.

        Args:
            spec: the request.
            loaded: its model, with nothing changed.
            cuts: the removed layers of each point.
            on_progress: receives a report.
            **values: of this report.
        """
        on_progress(Progress("reading questions and texts", values=values))
        material = scores.prepare(loaded, spec.benchmark, spec.loss_corpus)
        cached = scores.stored_scores(spec.model, spec.benchmark, spec.loss_corpus, spec.generation)
        return cls(
            loaded,
            material,
            cuts,
            cached,
            spec.generation,
            Origin(spec.model, spec.benchmark, spec.loss_corpus),
        )

    def common_fields(self) -> dict[str, Any]:
        """Return the fields that the results of a sweep and of an evaluation have in common."""
        loaded = self.loaded
        material = self.material
        return {
            "versions": loaded.versions(),
            "wall_s": self.scores.wall_s,
            "n_tokens": material.n_tokens,
            "model": loaded.facts,
            "n_layers": loaded.facts.n_layers,
            "lines": material.lines,
            "n_truncated": material.n_truncated,
            "skipped_rows": material.skipped_rows,
            "packing": material.packing,
            "text_tokens": material.text_tokens,
        }

    @property
    def points(self) -> list[Point]:
        """Scores so far, by cut."""
        return [self.scores.point(cut, self.material) for cut in self.cuts]

    @property
    def point(self) -> Point:
        """Scores so far of the first cut."""
        return self.points[0]

    @property
    def answers(self) -> list[list[QuestionScore]]:
        """Answers so far, by cut, in the order of the questions."""
        return [self.scores.answers_of(cut, self.material) for cut in self.cuts]

    @property
    def losses(self) -> list[list[float]]:
        """Losses so far, by cut, of the first texts."""
        return [self.scores.losses_of(cut, self.material) for cut in self.cuts]

    @property
    def writings(self) -> list[GenerationCheck | None]:
        """Generated text so far, by cut."""
        return [self.scores.writings.get(cut) for cut in self.cuts]

    @property
    def reads_disk(self) -> bool:
        """Return whether the model's layers are on the disk, so that all pieces go through them in
        one reading.
        """
        return self.loaded.decoder.on_disk is not None

    def complete(
        self, on_progress: OnProgress = ignore, keep: Callable[[], None] = lambda: None
    ) -> Self:
        """Measure the missing scores.

        Args:
            on_progress: receives a report of every piece; may raise `Cancelled`.
            keep: stores the scores so far; called after every piece.
        """
        pieces = [*self.pieces_of_shards(), *self._generations()]
        progress = PieceProgress(on_progress, sum(piece.size for piece in pieces))
        for together in self.together(pieces):
            progress.phase = "reading layer by layer" if self.reads_disk else together[0].phase
            started = time.perf_counter()
            stored = [self._stored(piece) for piece in together]
            missing = [
                piece
                for piece, piece_scores in zip(together, stored, strict=True)
                if piece_scores is None
            ]
            measured = iter(self.measured(missing, progress))
            for piece, piece_scores in zip(together, stored, strict=True):
                self._take(piece, next(measured) if piece_scores is None else piece_scores[0])
                progress.begun += piece.size
            self.scores.wall_s += (
                time.perf_counter()
                - started
                + sum(piece_scores[1] for piece_scores in stored if piece_scores is not None)
            )
            keep()
        return self

    def pieces_of_shards(self) -> list[Piece]:
        """Return the pieces that other workers may measure: all without generation."""
        return [*self._questions(), *self._texts()]

    def together(self, pieces: list[Piece]) -> list[list[Piece]]:
        """Return the pieces that are measured together: one each, or all of a model that is read
        from the disk.
        """
        return [pieces] if self.reads_disk else [[piece] for piece in pieces]

    def _stored(self, piece: Piece) -> tuple[Figures, float] | None:
        """Return scores and seconds of a piece that was measured as a shard; None if there is
        none.
        """
        shard = self.origin.shard(piece) if self.origin is not None else None
        arrays = shard.figures() if shard is not None else None
        if arrays is None:
            return None
        values = arrays["values"].tolist()
        if piece.phase == QUESTIONS:
            ends = np.cumsum(
                [len(self.material.encoded[index].options) for index in piece.items]
            ).tolist()
            values = [[row[a:b] for a, b in zip([0, *ends], ends, strict=False)] for row in values]
        return values, float(arrays["wall_s"][0])

    def measured(self, pieces: Sequence[Piece], progress: PieceProgress) -> list[Figures]:
        """Return the scores of pieces that are measured together."""
        if not pieces:
            return []
        decoder = self.loaded.decoder
        if pieces[0].phase == GENERATION:
            assert self.generation is not None
            with without_block(decoder, pieces[0].cuts[0]):
                return [
                    [
                        [
                            generation.check(
                                decoder,
                                self.loaded.tokenizer,
                                self.generation,
                                lambda *_: progress(0),
                            )
                        ]
                    ]
                ]
        scorings = [self._scoring(piece.phase, piece.cuts, piece.items) for piece in pieces]
        likelihood.measure(decoder, scorings, progress)
        return [scoring.figures for scoring in scorings]

    def _scoring(self, phase: str, cuts: Cuts, items: Iterable[int]) -> likelihood.Measure:
        """Return the scoring of some questions or texts for some cuts."""
        decoder = self.loaded.decoder
        material = self.material
        if phase == QUESTIONS:
            return likelihood.QuestionScoring(
                decoder, [material.encoded[i] for i in items], cuts, packed=material.packed
            )
        return likelihood.TextScoring(decoder, [material.texts[i] for i in items], cuts)

    def _take(self, piece: Piece, figures: Figures) -> None:
        for cut, values in zip(piece.cuts, figures, strict=True):
            if piece.phase == QUESTIONS:
                questions = [self.material.questions[index] for index in piece.items]
                self.scores.take(
                    cut, [answer(*pair) for pair in zip(questions, values, strict=True)], ()
                )
            elif piece.phase == TEXTS:
                self.scores.losses[cut] = [*self.scores.losses.get(cut, []), *values]
            else:
                self.scores.writings[cut] = values[0]

    def _questions(self) -> Iterator[Piece]:
        """Yield the unanswered questions, grouped by the cuts that lack them."""
        lacking: dict[tuple[int, ...], list[int]] = {}
        for index, question in enumerate(self.material.questions):
            missing = tuple(
                i
                for i, cut in enumerate(self.cuts)
                if question.id not in self.scores.answers.get(cut, {})
            )
            if missing:
                lacking.setdefault(missing, []).append(index)
        for missing, indices in lacking.items():
            for chunk in chunks(self.material.questions, indices):
                cuts = [self.cuts[i] for i in missing]
                yield Piece(
                    QUESTIONS, cuts, tuple(chunk), self._scoring(QUESTIONS, cuts, chunk).size
                )

    def _texts(self) -> Iterator[Piece]:
        """Yield the unmeasured texts in order, grouped by the cuts that lack them."""
        lacking: dict[int, list[Removal | None]] = {}
        n_texts = len(self.material.texts)
        for cut, losses in zip(self.cuts, self.losses, strict=True):
            lacking.setdefault(len(losses), []).append(cut)
        step = _chunk_size(TEXTS_PER_CHUNK, n_texts)
        for begin, cuts in lacking.items():
            for first in range(begin, n_texts, step):
                chunk = tuple(range(first, min(first + step, n_texts)))
                yield Piece(TEXTS, cuts, chunk, self._scoring(TEXTS, cuts, chunk).size)

    def _generations(self) -> Iterator[Piece]:
        """Yield the cuts that have not generated yet."""
        if self.generation is None:
            return
        n_tokens = max(1, self.generation.max_new_tokens) + generation.SUM_TOKENS
        for cut in self.cuts:
            if cut not in self.scores.writings:
                yield Piece(GENERATION, [cut], (), _ALONE * n_tokens * self.loaded.decoder.n_layers)


class MeasurementShards(Work):
    """Shards of a measurement, each with some cuts on some questions or texts."""

    def __init__(self, measurement: Measurement) -> None:
        """Take the measurement of a resolved request."""
        assert measurement.origin is not None, "a changed model has no shards"
        self._measurement = measurement
        self.reads_disk = measurement.reads_disk
        shards = map(measurement.origin.shard, measurement.pieces_of_shards())
        self._shards = [shard for shard in shards if shard is not None]

    def missing(self) -> list[Shard]:
        """Return the unmeasured pieces, without generation."""
        return [shard for shard in self._shards if not shard.is_stored()]

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure pieces and store each."""
        pieces = [_piece(shard) for shard in shards]
        progress = PieceProgress(on_progress, sum(piece.size for piece in pieces))
        remaining = iter(shards)
        for together in self._measurement.together(pieces):
            progress.phase = together[0].phase
            started = time.perf_counter()
            measured = self._measurement.measured(together, progress)
            seconds = (time.perf_counter() - started) / len(together)
            for piece, figures in zip(together, measured, strict=True):
                next(remaining).keep(_arrays(figures, seconds))
                progress.begun += piece.size


def measure(
    loaded: LoadedModel,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    generation: GenerationSpec | None = None,
    on_progress: OnProgress = ignore,
    *,
    cuts: Cuts = (None,),
    cached: Scores | None = None,
) -> Measurement:
    """Measure accuracy, loss and generated text of a model in its present state, or without each of
    some sets of layers.

    Args:
        loaded: the model.
        benchmark, loss_corpus, generation: questions, texts and prompts; None to skip each.
        on_progress: receives reports; may raise `Cancelled`.
        cuts: layers to leave out, each set measured on its own.
        cached: scores of this model that need not be measured again.

    Raises:
        CorpusError, BenchmarkError: If the texts or questions cannot be used.
    """
    on_progress(Progress("reading questions and texts"))
    material = scores.prepare(loaded, benchmark, loss_corpus)
    return Measurement(loaded, material, cuts, cached or Scores(), generation).complete(on_progress)


def _arrays(figures: Figures, wall_s: float) -> Mapping[str, np.ndarray]:
    rows = [
        np.concatenate([np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in of_cut])
        for of_cut in figures
    ]
    return {"values": np.stack(rows), "wall_s": np.array([wall_s])}


def _chunk_size(min_size: int, total: int) -> int:
    return max(min_size, math.ceil(total / _MOST_CHUNKS))


def chunks(questions: Sequence[Question], indices: Sequence[int]) -> list[list[int]]:
    """Return indices in chunks of about `QUESTIONS_PER_CHUNK`, ending where a group ends."""
    size = _chunk_size(QUESTIONS_PER_CHUNK, len(indices))
    parts: list[list[int]] = []
    for index in indices:
        continues = (
            parts
            and questions[index].group
            and questions[index].group == questions[parts[-1][-1]].group
        )
        if parts and (continues or len(parts[-1]) < size):
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts
