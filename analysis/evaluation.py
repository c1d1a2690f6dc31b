"""Accuracy and loss of cuts of a loaded model, and the experiment that measures a single one, healed or not."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from analysis import benchmarks, corpora, machine, models, prefix_trees, pruning, scoring
from analysis.architecture import find_decoder
from analysis.blocks import LayerSet, Removal
from analysis.errors import RecipeError
from analysis.models import LoadedModel
from analysis.prefix_trees import EncodedQuestion
from analysis.progress import OnProgress, Progress, ignore
from analysis.results import Answer, EvaluateResult, Lines, Point
from analysis.scoring import Cuts
from analysis.specs import BenchmarkSpec, CorpusSpec, EvaluateSpec, ModelSpec
from analysis.tasks import Question

Load = Callable[[ModelSpec, OnProgress], LoadedModel]
"""How an experiment gets its model: `models.load`, or a worker's warm one."""


@dataclass(frozen=True)
class Material:
    """Questions and texts, tokenized for one model."""

    questions: list[Question]
    encoded: list[EncodedQuestion]
    texts: list[list[int]]
    packed: bool
    """Whether this model's family runs packed rows."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own file that cannot be asked, each with its number and the reason."""

    @property
    def lines(self) -> Lines | None:
        """Chance and majority accuracy of these questions; None without questions."""
        if not self.questions:
            return None
        return Lines(benchmarks.chance(self.questions), benchmarks.majority(self.questions))

    @property
    def n_truncated(self) -> int:
        """Questions whose prompt did not fit the model's window."""
        return sum(question.truncated for question in self.encoded)

    @property
    def n_tokens(self) -> int:
        """Tokens that run through the layers of one cut, shared prefixes counted once."""
        return sum(scoring.row_lengths(self.encoded, packed=self.packed)) + sum(len(ids) for ids in self.texts)


def material(loaded: LoadedModel, benchmark: BenchmarkSpec | None, loss_corpus: CorpusSpec | None) -> Material:
    """Load and tokenize what is to be measured."""
    questions = benchmarks.load(benchmark) if benchmark is not None else []
    window = loaded.facts.max_positions
    encoded = [prefix_trees.encode(question, loaded.tokenizer, window) for question in questions]
    texts: list[list[int]] = []
    if loss_corpus is not None:
        fitting = replace(loss_corpus, seq_len=min(loss_corpus.seq_len, window or loss_corpus.seq_len))
        texts = corpora.tokenize(fitting, loaded.tokenizer).token_ids
    skipped = benchmarks.skipped_rows(benchmark) if benchmark is not None else []
    return Material(questions, encoded, texts, packed=scoring.can_pack(loaded.decoder), skipped_rows=skipped)


def answer(question: Question, loglikelihoods: list[float]) -> Answer:
    """The verdict on one question: the option with the highest log-likelihood, the first of equals."""
    prediction = max(range(len(loglikelihoods)), key=lambda index: loglikelihoods[index])
    return Answer(question.id, loglikelihoods, prediction, question.gold)


def is_right_normalised(question: Question, answered: Answer) -> bool:
    """Whether the option with the highest log-likelihood per character is the right one (`acc_norm`)."""
    # Characters of the choice without the one space that parts it from the context, as the harness counts them.
    lengths = [max(1, len(option) - 1) for option in question.options]
    scores = [value / length for value, length in zip(answered.loglikelihoods, lengths, strict=True)]
    return scores.index(max(scores)) == question.gold


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (sample deviation over root n, as lm-evaluation-harness reports); 0 for one value."""
    return fmean(values), stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def point(cut: Removal | None, questions: Sequence[Question], answers: Sequence[Answer], losses: Sequence[float]) -> Point:
    """Summarize what one cut scored.

    Args:
        cut: the removed block; None for the unpruned model.
        questions: as many as `answers`, in the same order.
        answers: what was answered; may be empty.
        losses: mean cross-entropy per text, nats per token; may be empty.
    """
    values: dict[str, Any] = {}
    if answers:
        right = [float(given.prediction == given.gold) for given in answers]
        normalised = [float(is_right_normalised(*pair)) for pair in zip(questions, answers, strict=True)]
        values["acc"], values["acc_stderr"] = mean_and_stderr(right)
        values["acc_norm"], values["acc_norm_stderr"] = mean_and_stderr(normalised)
        macro = benchmarks.macro_average(questions, right)
        if macro is not None:
            values["acc_macro"] = macro
    if losses:
        values["loss"], values["loss_stderr"] = mean_and_stderr(losses)
    if isinstance(cut, LayerSet):
        values["layers"] = list(cut.layers)
    size, start = (0, None) if cut is None else (cut.size, cut.start)
    return Point(n=size, start=start, n_samples=len(answers), n_texts=len(losses), **values)


def text_loss(loaded: LoadedModel, texts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Mean cross-entropy over texts and its standard error, of the model as it is now."""
    return mean_and_stderr(scoring.text_losses(loaded.decoder, texts, [None])[0])


@dataclass(frozen=True)
class Measured:
    """What one model scored."""

    point: Point
    lines: Lines | None
    questions: list[Answer]
    text_losses: list[float]
    n_tokens: int
    n_truncated: int
    skipped_rows: list[str]


@dataclass
class Meter:
    """Turns pieces of work of several phases into `Progress`."""

    on_progress: OnProgress
    phase: str
    total: int
    values: dict = field(default_factory=dict)
    begun: int = 0

    def __call__(self, done: int) -> None:
        """Report that `done` more pieces than at the beginning of this phase are done."""
        self.on_progress(Progress(self.phase, self.begun + done, self.total, values=self.values))


def measure(
    loaded: LoadedModel,
    benchmark: BenchmarkSpec | None,
    loss_corpus: CorpusSpec | None,
    on_progress: OnProgress = ignore,
    *,
    cut: Removal | None = None,
) -> Measured:
    """Accuracy and loss of a model as it is now, or of what would be left without `cut`.

    Raises:
        CorpusError, BenchmarkError: when the texts or questions cannot be used.
    """
    on_progress(Progress("reading questions and texts"))
    stuff = material(loaded, benchmark, loss_corpus)
    cuts: Cuts = [cut]
    answers: list[Answer] = []
    losses: list[float] = []
    if stuff.questions:
        meter = Meter(on_progress, "scoring questions", scoring.n_batches(loaded.decoder, stuff.encoded, packed=stuff.packed))
        scored = scoring.option_loglikelihoods(loaded.decoder, stuff.encoded, cuts, meter, packed=stuff.packed)[0]
        answers = [answer(*pair) for pair in zip(stuff.questions, scored, strict=True)]
    if stuff.texts:
        meter = Meter(on_progress, "measuring the loss on text", len(scoring.text_batches(loaded.decoder, stuff.texts)))
        losses = scoring.text_losses(loaded.decoder, stuff.texts, cuts, meter)[0]
    return Measured(
        point=point(cut, stuff.questions, answers, losses),
        lines=stuff.lines,
        questions=answers,
        text_losses=losses,
        n_tokens=stuff.n_tokens,
        n_truncated=stuff.n_truncated,
        skipped_rows=stuff.skipped_rows,
    )


def resolve(spec: EvaluateSpec) -> EvaluateSpec:
    """The spec with concrete dtype, device and identities."""
    return replace(
        spec,
        model=models.resolve(spec.model),
        benchmark=None if spec.benchmark is None else benchmarks.resolve(spec.benchmark),
        loss_corpus=None if spec.loss_corpus is None else corpora.resolve(spec.loss_corpus),
    )


def run(spec: EvaluateSpec, on_progress: OnProgress = ignore, *, load: Load = models.load) -> EvaluateResult:
    """Measure one model, without `spec.block` and with `spec.adapter` if they are given.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    resolved = resolve(spec)
    stored = EvaluateResult.load(resolved, on_progress)
    if stored is not None:
        return stored
    if resolved.adapter is None:
        loaded = load(resolved.model, on_progress)
        if resolved.block is not None:
            resolved.block.check(loaded.decoder.n_layers)
        began = time.perf_counter()
        measured = measure(loaded, resolved.benchmark, resolved.loss_corpus, on_progress, cut=resolved.block)
    else:
        loaded = with_adapter(models.load(resolved.model, on_progress), resolved.block, resolved.adapter)
        began = time.perf_counter()
        measured = measure(loaded, resolved.benchmark, resolved.loss_corpus, on_progress)
        size, start = (resolved.block.size, resolved.block.start) if resolved.block else (0, None)
        measured = replace(measured, point=replace(measured.point, n=size, start=start))
    result = EvaluateResult(
        spec=resolved,
        versions=machine.versions(),
        wall_s=time.perf_counter() - began,
        n_tokens=measured.n_tokens,
        complete=True,
        model=loaded.facts,
        n_layers=loaded.facts.n_layers,
        point=measured.point,
        lines=measured.lines,
        n_truncated=measured.n_truncated,
        skipped_rows=measured.skipped_rows,
        questions=measured.questions,
        text_losses=measured.text_losses,
    )
    result.save()
    return result


def with_adapter(loaded: LoadedModel, block: Removal | None, adapter: str) -> LoadedModel:
    """Cut a privately loaded model for good and put a PEFT adapter on what is left.

    Raises:
        RecipeError: when the folder is no PEFT adapter or does not fit the cut model.
    """
    from peft import PeftModel

    if not (Path(adapter) / "adapter_config.json").exists():
        raise RecipeError(
            f"The folder {adapter} has no adapter_config.json, so it is not a PEFT adapter; give one that a heal saved."
        )
    if block is not None:
        pruning.cut(loaded.decoder, block)
    try:
        with warnings.catch_warnings():
            # PEFT only warns when the adapter has no weights for some layer, and then leaves that layer unhealed.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(loaded.model, adapter).eval()
    except (RuntimeError, ValueError, KeyError, UserWarning) as error:
        raise RecipeError(
            f"The adapter {adapter} does not fit this model without {block.describe() if block else 'any layer removed'}; "
            f"give the block that it was healed for."
        ) from error
    return replace(loaded, model=model, decoder=find_decoder(model))
