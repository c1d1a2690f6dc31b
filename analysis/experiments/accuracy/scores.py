"""Scores of pruned models on tokenized questions and texts, each measured once."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from analysis.core.blocks import PartSet, Removal, parse_removal, removal, written
from analysis.core.progress import OnProgress, Progress
from analysis.core.shards import Shard
from analysis.core.stats import mean_and_stderr, weighted_mean_and_stderr
from analysis.data import corpora
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.data.tasks import Question
from analysis.experiments.accuracy import generation as accuracy_generation
from analysis.experiments.accuracy import points
from analysis.experiments.accuracy.points import Answer, GenerationCheck, Lines, Point
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec, SweepResult, SweepSpec
from analysis.experiments.scoring import likelihood, trees
from analysis.experiments.scoring.likelihood import Cuts
from analysis.experiments.scoring.trees import EncodedQuestion
from analysis.models.cut import without_block
from analysis.models.load import LoadedModel
from analysis.models.spec import ModelSpec


@dataclass(frozen=True)
class Material:
    """Questions and texts, tokenized for one model."""

    questions: list[Question]
    encoded: list[EncodedQuestion]
    texts: list[list[int]]
    text_bytes: list[int]
    """UTF-8 bytes of the predicted part of each text: all of it but its first token."""
    vocab_size: int
    packed: bool
    """Whether questions share rows."""
    packing: str = ""
    """Why they do not although the model's family seemed to allow it, in a sentence; "" otherwise."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own file that cannot be asked, each with its number and the reason."""

    @property
    def lines(self) -> Lines | None:
        """Chance and majority accuracy of these questions; None without questions."""
        if not self.questions:
            return None
        return Lines(benchmarks.chance(self.questions), benchmarks.majority(self.questions))

    @cached_property
    def question_by_id(self) -> dict[str, Question]:
        """The questions by their identifier in the source."""
        return {question.id: question for question in self.questions}

    @property
    def n_truncated(self) -> int:
        """Questions whose prompt did not fit the model's window."""
        return sum(question.truncated for question in self.encoded)

    @property
    def text_tokens(self) -> list[int]:
        """Predicted tokens of each text, by which its loss counts."""
        return [len(ids) - 1 for ids in self.texts]

    @property
    def n_tokens(self) -> int:
        """Tokens that run through the layers of one cut, shared prefixes counted once."""
        return sum(likelihood.row_lengths(self.encoded, packed=self.packed)) + sum(len(ids) for ids in self.texts)


def prepare(
    loaded: LoadedModel, benchmark: BenchmarkSpec | None, loss_corpus: CorpusSpec | None, *, skip_texts: int = 0
) -> Material:
    """Read and tokenize questions and texts.

    Args:
        loaded: the model, for its tokenizer and its window.
        benchmark, loss_corpus: questions and texts; None to skip either.
        skip_texts: texts at the front of the draw to leave to others.

    Raises:
        CorpusError, BenchmarkError: when the texts or questions cannot be used.
    """
    questions = benchmarks.load(benchmark) if benchmark is not None else []
    window = loaded.facts.max_positions
    texts: list[list[int]] = []
    if loss_corpus is not None:
        texts = corpora.tokenize(loss_corpus.fitting(window), loaded.tokenizer, skip=skip_texts).token_ids
    encoded = [trees.encode(question, loaded.tokenizer, window) for question in questions]
    packing = likelihood.packing(loaded.decoder, encoded)
    return Material(
        questions=questions,
        encoded=encoded,
        texts=texts,
        text_bytes=[_predicted_bytes(loaded, ids) for ids in texts],
        vocab_size=loaded.facts.vocab_size,
        packed=packing.packed,
        packing=packing.said,
        skipped_rows=benchmarks.skipped_rows(benchmark) if benchmark is not None else [],
    )


def _predicted_bytes(loaded: LoadedModel, ids: list[int]) -> int:
    def length(tokens: list[int]) -> int:
        return len(loaded.tokenizer.decode(tokens, skip_special_tokens=True).encode())

    return length(ids) - length(ids[:1])


QUESTIONS_PER_CHUNK = 24
"""Questions scored between two stored states, at least; a group of questions is never split over chunks."""
TEXTS_PER_CHUNK = 16
"""Texts whose loss is measured between two stored states, at least."""
_MOST_CHUNKS = 100
"""Storing takes longer the more there is, so large sets are stored in larger chunks and not more often than this."""


def answer(question: Question, loglikelihoods: list[float]) -> Answer:
    """The verdict on one question: the option with the highest log-likelihood, the first of equals."""
    prediction = max(range(len(loglikelihoods)), key=lambda index: loglikelihoods[index])
    return Answer(question.id, loglikelihoods, prediction, question.gold)


def is_right_normalised(question: Question, answered: Answer) -> bool:
    """Return whether the option with the highest log-likelihood per character is the right one (`acc_norm`)."""
    # Characters of the choice without the one space that parts it from the context, as the harness counts them.
    lengths = [max(1, len(option) - 1) for option in question.options]
    scores = [value / length for value, length in zip(answered.loglikelihoods, lengths, strict=True)]
    return scores.index(max(scores)) == question.gold


def point(
    cut: Removal | None,
    material: Material,
    answers: Sequence[Answer] = (),
    losses: Sequence[float] = (),
    writing: GenerationCheck | None = None,
) -> Point:
    """Summarize the scores of one pruned model.

    Args:
        cut: the removed layers; None for the unpruned model.
        material: the sources of the questions of `answers` and the texts of `losses`.
        answers: the answers so far.
        losses: mean cross-entropy of the first texts, nats per token.
        writing: its generated text.
    """
    values: dict[str, Any] = {}
    if answers:
        questions = [material.question_by_id[given.id] for given in answers]
        right = [float(given.prediction == given.gold) for given in answers]
        normalised = [float(is_right_normalised(*pair)) for pair in zip(questions, answers, strict=True)]
        values["acc"], values["acc_stderr"] = mean_and_stderr(right)
        values["acc_norm"], values["acc_norm_stderr"] = mean_and_stderr(normalised)
        values["acc_macro"] = benchmarks.macro_average(questions, right)
    if losses:
        values |= _loss_values(material, losses)
    if writing is not None:
        values |= {
            "repetition_rate": writing.repetition_rate,
            "distinct_rate": writing.distinct_rate,
            "generated_tokens": writing.n_tokens,
            "sum_acc": writing.acc,
            "sum_acc_stderr": writing.acc_stderr,
            "n_sums": len(writing.sums),
        }
    return Point(**points.place(cut), n_samples=len(answers), n_texts=len(losses), **values)


def _loss_values(material: Material, losses: Sequence[float]) -> dict[str, Any]:
    tokens = material.text_tokens[: len(losses)]
    loss, stderr = weighted_mean_and_stderr(losses, tokens)
    n_bytes = sum(material.text_bytes[: len(losses)])
    return {
        "loss": loss,
        "loss_stderr": stderr,
        "loss_per_ln_v": loss / math.log(material.vocab_size),
        "perplexity": math.exp(min(loss, 700.0)),  # beyond it is infinite, which JSON does not know
        "bits_per_byte": loss * sum(tokens) / math.log(2) / n_bytes if n_bytes else None,
    }


@dataclass
class Scores:
    """Scores of each set of removed layers measured so far, and the seconds they took."""

    answers: dict[Removal | None, dict[str, Answer]] = field(default_factory=dict)
    """By cut, by the question's identifier."""
    losses: dict[Removal | None, list[float]] = field(default_factory=dict)
    """By cut, of the first texts: mean cross-entropy, nats per token."""
    writings: dict[Removal | None, GenerationCheck] = field(default_factory=dict)
    wall_s: float = 0.0

    def answers_of(self, cut: Removal | None, material: Material) -> list[Answer]:
        """Return the answers without these layers, in the order of the questions."""
        known = self.answers.get(cut, {})
        return [known[question.id] for question in material.questions if question.id in known]

    def losses_of(self, cut: Removal | None, material: Material) -> list[float]:
        """The losses of a cut on the first texts."""
        return self.losses.get(cut, [])[: len(material.texts)]

    def point(self, cut: Removal | None, material: Material) -> Point:
        """Return the scores so far without these layers."""
        return point(cut, material, self.answers_of(cut, material), self.losses_of(cut, material), self.writings.get(cut))

    def take(self, cut: Removal | None, answers: Sequence[Answer], losses: Sequence[float]) -> None:
        """Add answers and losses of this cut that were measured elsewhere."""
        self.answers.setdefault(cut, {}).update({given.id: given for given in answers})
        if len(losses) > len(self.losses.get(cut, [])):
            self.losses[cut] = list(losses)


def remembered(
    model: ModelSpec, benchmark: BenchmarkSpec | None, loss_corpus: CorpusSpec | None, generation: GenerationSpec | None
) -> Scores:
    """Return the scores in stored sweeps and evaluations of this model on these questions, texts and prompts.

    The numbers of questions and texts do not matter: both are drawn in a seeded order, so that fewer are the first of more.

    Args:
        model, benchmark, loss_corpus, generation: resolved.
    """
    scores = Scores()
    for spec, measured in _stored_cuts(model):
        asks_the_same, reads_the_same = same_questions(spec.benchmark, benchmark), same_texts(spec.loss_corpus, loss_corpus)
        for cut, answers, losses, writing in measured:
            scores.take(cut, answers if asks_the_same else (), losses if reads_the_same else ())
            if writing is not None and spec.generation == generation:
                scores.writings[cut] = writing
    return scores


_read: ContextVar[dict[tuple[str, str, int], Any] | None] = ContextVar("read", default=None)
"""Results that `_stored_cuts` has read inside of `reading_once`."""


@contextlib.contextmanager
def reading_once(read: dict[tuple[str, str, int], Any]) -> Iterator[None]:
    """Let several curves of one model share the stored results: all are read for the first curve, only new ones for the rest.

    Args:
        read: the results read before, which are kept; empty at first.
    """
    before = _read.set(read)
    try:
        yield
    finally:
        _read.reset(before)


_CutScores = tuple[Removal | None, list[Answer], list[float], GenerationCheck | None]


def _stored_cuts(model: ModelSpec) -> Iterator[tuple[SweepSpec | EvaluateSpec, list[_CutScores]]]:
    """The cuts of every stored sweep and evaluation of a model, adapters left out."""
    read = _read.get()
    for swept in SweepResult.all_of(model, read):
        if swept.spec.model == model:
            writings = swept.writings or [None] * len(swept.points)
            parts = zip(swept.points, swept.questions, swept.text_losses, writings, strict=True)
            yield swept.spec, [(point.block, answers, losses, wrote) for point, answers, losses, wrote in parts]
    for alone in EvaluateResult.all_of(model, read):
        if alone.spec.model == model and alone.spec.adapter is None:
            yield alone.spec, [(alone.point.block, alone.questions, alone.text_losses, alone.writing)]


def same_questions(a: BenchmarkSpec | None, b: BenchmarkSpec | None) -> bool:
    """Return whether both requests have questions, and the questions of one are the first questions of the other."""
    return a is not None and b is not None and replace(a, limit=None) == replace(b, limit=None)


def same_texts(a: CorpusSpec | None, b: CorpusSpec | None) -> bool:
    """Return whether both requests have texts, and the texts of one are the first texts of the other."""
    return a is not None and b is not None and replace(a, n_texts=1) == replace(b, n_texts=1)


@dataclass
class Meter:
    """Turns pieces of work of several phases into `Progress`."""

    on_progress: OnProgress
    total: int
    phase: str = ""
    begun: int = 0

    def __call__(self, done: int) -> None:
        """Report that `done` more pieces than at the beginning of this piece of work are done."""
        self.on_progress(Progress(self.phase, self.begun + done, self.total))


QUESTIONS, TEXTS, WRITING = "scoring questions", "measuring the loss on text", "writing"


@dataclass(frozen=True)
class _Piece:
    """Work between two stored states: some cuts on some questions, on some texts, or one cut that writes."""

    phase: str
    cuts: Cuts
    items: tuple[int, ...]
    """Indices of questions or texts."""
    size: int
    """In units of progress."""


@dataclass(frozen=True)
class Origin:
    """Where material is from, for pieces that others may have measured: of a model as it was loaded, with nothing changed."""

    model: ModelSpec
    """Resolved, as are the others."""
    benchmark: BenchmarkSpec | None
    loss_corpus: CorpusSpec | None

    def shard(self, piece: _Piece) -> Shard | None:
        """A piece as work that stands alone; None where it writes, which is not shared."""
        source: BenchmarkSpec | CorpusSpec | None = None
        if piece.phase == QUESTIONS and self.benchmark is not None:
            source = replace(self.benchmark, limit=None)  # the first questions of more are the same, and so are texts
        elif piece.phase == TEXTS and self.loss_corpus is not None:
            source = replace(self.loss_corpus, n_texts=1)
        if source is None:
            return None
        content = {
            "model": self.model.to_json(),
            "source": source.to_json(),
            "items": list(piece.items),
            "cuts": [written(cut) if isinstance(cut, PartSet) else cut and list(cut.layers) for cut in piece.cuts],
            "version": SweepSpec.version,
        }
        return Shard(piece.phase, content, piece.size)


def _piece(shard: Shard) -> _Piece:
    cuts = [parse_removal(cut) if isinstance(cut, str) else cut and removal(cut) for cut in shard.content["cuts"]]
    return _Piece(shard.kind, cuts, tuple(shard.content["items"]), shard.size)


_Found = list[list[Any]]
"""Figures of a piece, by cut: of each question the log-likelihoods of its options, or of each text its loss."""


def complete(
    scores: Scores,
    loaded: LoadedModel,
    material: Material,
    cuts: Cuts,
    on_progress: OnProgress,
    *,
    writing: GenerationSpec | None = None,
    keep: Callable[[], None] = lambda: None,
    origin: Origin | None = None,
) -> None:
    """Measure the missing scores of these cuts, all cuts of a batch from one shared trunk.

    Args:
        scores: filled in place.
        loaded: the unpruned model.
        material: the questions and texts.
        cuts: layers to leave out; None is the model as it is.
        on_progress: receives a report of every piece; may raise `Cancelled`.
        writing: the prompts that every cut continues; None to skip them.
        keep: stores the scores so far; called after every piece of work, so that a kill loses only the one in hand.
        origin: model, questions and texts of the pieces, where others may have measured some as shards. None where the model
            is not as it was loaded.
    """
    pieces = _lacking(scores, loaded, material, cuts)
    if writing is not None:
        pieces += [_Piece(WRITING, [cut], (), _size(writing, loaded)) for cut in cuts if cut not in scores.writings]
    stored = [_stored(piece, origin, material) for piece in pieces]
    meter = Meter(on_progress, sum(piece.size for piece in pieces))
    if loaded.decoder.on_disk is not None:
        began = time.perf_counter()
        meter.phase = "reading layer by layer"
        found = iter(_measured(loaded, material, [one for one, known in zip(pieces, stored, strict=True) if not known], meter))
        for piece, known in zip(pieces, stored, strict=True):
            _take(piece, known[0] if known else next(found), scores, material)
        scores.wall_s += time.perf_counter() - began + sum(known[1] for known in stored if known)
        keep()
        return
    for piece, known in zip(pieces, stored, strict=True):
        meter.phase = piece.phase
        began = time.perf_counter()
        if piece.phase == WRITING and writing is not None:
            _write(piece.cuts[0], scores, loaded, writing, meter)
        else:
            _take(piece, known[0] if known else _measured(loaded, material, [piece], meter)[0], scores, material)
        scores.wall_s += time.perf_counter() - began + (known[1] if known else 0.0)
        meter.begun += piece.size
        keep()


_ALONE = 16
"""A token that is written waits for the one before it, and takes as long as about so many that are read together."""


def _size(writing: GenerationSpec, loaded: LoadedModel) -> int:
    """How much work it is to write, in tokens through layers."""
    n_tokens = max(1, writing.max_new_tokens) + accuracy_generation.SUM_TOKENS
    return _ALONE * n_tokens * loaded.decoder.n_layers


def _lacking(scores: Scores, loaded: LoadedModel, material: Material, cuts: Cuts) -> list[_Piece]:
    return [*_questions(scores, loaded, material, cuts), *_texts(scores, loaded, material, cuts)]


def _stored(piece: _Piece, origin: Origin | None, material: Material) -> tuple[_Found, float] | None:
    """Return the figures of a piece that was measured as a shard, and the seconds that took; None where it was not."""
    shard = origin.shard(piece) if origin is not None else None
    figures = shard.found() if shard is not None else None
    if figures is None:
        return None
    values = figures["values"].tolist()
    if piece.phase == QUESTIONS:
        ends = np.cumsum([len(material.encoded[index].options) for index in piece.items]).tolist()
        values = [[row[a:b] for a, b in zip([0, *ends], ends, strict=False)] for row in values]
    return values, float(figures["wall_s"][0])


def _write(cut: Removal | None, scores: Scores, loaded: LoadedModel, writing: GenerationSpec, meter: Meter) -> None:
    with without_block(loaded.decoder, cut):
        scores.writings[cut] = accuracy_generation.check(loaded.decoder, loaded.tokenizer, writing, lambda done, of: meter(0))


def _measured(loaded: LoadedModel, material: Material, pieces: Sequence[_Piece], meter: Meter) -> list[_Found]:
    """Return the figures of pieces: one after another, or all of them in one reading where the model is on the disk."""
    decoder = loaded.decoder
    if decoder.on_disk is None:
        return [_scored(loaded, material, piece, meter) for piece in pieces]
    measures: list[likelihood.Measure] = []
    for piece in pieces:
        if piece.phase == QUESTIONS:
            measures.append(likelihood.Asked(decoder, _encoded(piece, material), piece.cuts, packed=material.packed))
        else:
            measures.append(likelihood.Read(decoder, [material.texts[index] for index in piece.items], piece.cuts))
    likelihood.measure(decoder, measures, meter)
    return [measure.found for measure in measures]


def _scored(loaded: LoadedModel, material: Material, piece: _Piece, meter: Meter) -> _Found:
    if piece.phase == QUESTIONS:
        asked = _encoded(piece, material)
        return likelihood.option_loglikelihoods(loaded.decoder, asked, piece.cuts, meter, packed=material.packed)
    return likelihood.text_losses(loaded.decoder, [material.texts[index] for index in piece.items], piece.cuts, meter)


def _encoded(piece: _Piece, material: Material) -> list[EncodedQuestion]:
    return [material.encoded[index] for index in piece.items]


def _take(piece: _Piece, found: _Found, scores: Scores, material: Material) -> None:
    for cut, of_cut in zip(piece.cuts, found, strict=True):
        if piece.phase == QUESTIONS:
            given = [answer(material.questions[index], values) for index, values in zip(piece.items, of_cut, strict=True)]
            scores.answers.setdefault(cut, {}).update({one.id: one for one in given})
        else:
            scores.losses[cut] = [*scores.losses.get(cut, []), *of_cut]


class Pieces:
    """Missing scores as shards (`shards.Work`)."""

    def __init__(self, scores: Scores, loaded: LoadedModel, material: Material, cuts: Cuts, origin: Origin) -> None:
        """Arguments as of `complete`."""
        self._loaded, self._material = loaded, material
        self.reads_disk = loaded.decoder.on_disk is not None
        self._all = [shard for piece in _lacking(scores, loaded, material, cuts) if (shard := origin.shard(piece)) is not None]

    def missing(self) -> list[Shard]:
        """The pieces that nobody has measured."""
        return [shard for shard in self._all if not shard.is_stored()]

    def measure(self, shards: Sequence[Shard], on_progress: OnProgress) -> None:
        """Measure some pieces, and store each."""
        pieces = [_piece(shard) for shard in shards]
        meter = Meter(on_progress, sum(piece.size for piece in pieces))
        for together in [pieces] if self.reads_disk else [[piece] for piece in pieces]:
            meter.phase = together[0].phase
            began = time.perf_counter()
            found = _measured(self._loaded, self._material, together, meter)
            took = (time.perf_counter() - began) / len(together)
            for piece, of_piece in zip(together, found, strict=True):
                shards[pieces.index(piece)].keep(_figures(of_piece, took))
                meter.begun += piece.size


def _figures(found: _Found, wall_s: float) -> Mapping[str, np.ndarray]:
    rows = [np.concatenate([np.atleast_1d(np.asarray(one, dtype=np.float64)) for one in of_cut]) for of_cut in found]
    return {"values": np.stack(rows), "wall_s": np.array([wall_s])}


def _questions(scores: Scores, loaded: LoadedModel, material: Material, cuts: Cuts) -> list[_Piece]:
    """The unanswered questions, those that the same cuts lack together."""
    lacking: dict[tuple[int, ...], list[int]] = {}
    for index, question in enumerate(material.questions):
        missing = tuple(i for i, cut in enumerate(cuts) if question.id not in scores.answers.get(cut, {}))
        if missing:
            lacking.setdefault(missing, []).append(index)
    pieces = []
    for missing, indices in lacking.items():
        for chunk in _chunks(material.questions, indices):
            asked, of = [material.encoded[index] for index in chunk], [cuts[i] for i in missing]
            size = likelihood.Asked(loaded.decoder, asked, of, packed=material.packed).size
            pieces.append(_Piece(QUESTIONS, of, tuple(chunk), size))
    return pieces


def _chunk_size(least: int, total: int) -> int:
    return max(least, math.ceil(total / _MOST_CHUNKS))


def _chunks(questions: Sequence[Question], indices: Sequence[int]) -> list[list[int]]:
    """Indices in chunks of about `QUESTIONS_PER_CHUNK`, ending where a group ends."""
    size = _chunk_size(QUESTIONS_PER_CHUNK, len(indices))
    chunks: list[list[int]] = []
    for index in indices:
        goes_on = chunks and questions[index].group and questions[index].group == questions[chunks[-1][-1]].group
        if chunks and (goes_on or len(chunks[-1]) < size):
            chunks[-1].append(index)
        else:
            chunks.append([index])
    return chunks


def _texts(scores: Scores, loaded: LoadedModel, material: Material, cuts: Cuts) -> list[_Piece]:
    """The unmeasured texts, those that the same cuts lack together, in order."""
    lacking: dict[int, list[Removal | None]] = {}
    for cut in cuts:
        lacking.setdefault(len(scores.losses_of(cut, material)), []).append(cut)
    pieces = []
    step = _chunk_size(TEXTS_PER_CHUNK, len(material.texts))
    for begin, missing in lacking.items():
        for first in range(begin, len(material.texts), step):
            chunk = tuple(range(first, min(first + step, len(material.texts))))
            size = likelihood.Read(loaded.decoder, [material.texts[index] for index in chunk], missing).size
            pieces.append(_Piece(TEXTS, missing, chunk, size))
    return pieces
