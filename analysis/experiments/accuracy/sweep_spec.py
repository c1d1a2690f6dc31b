"""Requests and results of sweeps and of single evaluations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from analysis.core.blocks import Removal, check_count
from analysis.core.bounds import MOST_LAYERS, SEED, Bound, Count, Loss, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Table
from analysis.data import corpora
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec, default_loss_corpus
from analysis.experiments.accuracy import points as cuts
from analysis.experiments.accuracy import precision_spec
from analysis.experiments.accuracy.points import GenerationCheck, Lines, Point, QuestionScore
from analysis.experiments.maps import damage_spec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search.search_spec import SearchSpec, same_text, search_for
from analysis.experiments.strategies import (
    BLOCKS,
    DAMAGE,
    DRAW,
    INFLUENCE,
    INFLUENCE_METRIC,
    MAP,
    SEARCHED,
    STRATEGIES,
    USUAL,
    needs,
)
from analysis.models.source import resolving
from analysis.models.source.adapter_config import result_name
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts


@spec_dataclass
class SweepSpec(Spec):
    """Accuracy and loss against the number of removed layers, n = 0 .. max_n."""

    kind: ClassVar[str] = "sweep"
    version: ClassVar[int] = 4
    """4: losses weighed by tokens."""
    later: ClassVar[tuple[str, ...]] = ("search",)

    model: ModelSpec = field(default_factory=ModelSpec)
    benchmark: BenchmarkSpec = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec | None = field(default_factory=default_loss_corpus)
    """Text for the mean next-token loss; None to skip it."""
    distances: Annotated[DistanceSpec, Part(only=("model", "metric"))] = field(
        default_factory=DistanceSpec
    )
    """The map that `similarity` chooses from."""
    strategy: Annotated[str, Option(choices=STRATEGIES)] = USUAL
    """Strategy that chooses the removed layers. `similarity` and `block-influence` choose them on
    32 texts of C4, whatever --texts names; `--set distances.corpus.source=FILE` changes that
    (default: similarity)."""
    max_n: Annotated[int | None, Option(), Bound(0, MOST_LAYERS)] = None
    """Largest number of removed layers (default: half of the layers)."""
    draw: Annotated[int, Option(), SEED] = 0
    """Seed of the strategy `random`."""
    blocks: Annotated[tuple[Removal, ...], Option()] = ()
    """Blocks that the strategy `manual` removes, one point of the curve each."""
    damage: Annotated[
        DamageSpec | None, Part(usual="analysis.experiments.accuracy.sweep_spec:usual_damage")
    ] = None
    """The damage map of `loss-greedy`; None for other strategies."""
    generation: Annotated[GenerationSpec | None, Option("--generate")] = None
    """Also measure generated text at each n: repetition, distinct tokens and arithmetic (default:
    off)."""
    search: Annotated[
        SearchSpec | None, Part(usual="analysis.experiments.accuracy.sweep_spec:usual_search")
    ] = None
    """The search of a strategy that searches; None for other strategies."""

    def __post_init__(self) -> None:
        require(
            needs(self.strategy, BLOCKS) == bool(self.blocks),
            "The strategy manual needs blocks to remove (--blocks), and no other strategy takes"
            " any.",
        )
        one_of("strategy", self.strategy, STRATEGIES)
        for corpus in () if self.search is None else (self.search.corpus, self.search.validation):
            require(
                self.loss_corpus is None or not same_text(corpus, self.loss_corpus),
                "The loss of this curve and the search of its layers use the same text"
                f" ({corpora.title(corpus)}), on which pruning looks too good. Choose another text"
                " for one of them.",
            )

    @property
    def chosen_on(self) -> CorpusSpec | None:
        """Texts of the map or search that the layers are chosen by; None for a strategy without
        one.
        """
        if self.damage is not None:
            return self.damage.corpus
        if self.search is not None:
            return self.search.corpus
        return self.distances.corpus if needs(self.strategy, MAP, INFLUENCE) else None

    @property
    def rests_on(self) -> list[Spec]:
        """Requests whose results the layers are chosen from."""
        damage = self.damage or usual_damage(self)
        search = self.search or usual_search(self)
        maps: list[Spec] = [self.distances] if needs(self.strategy, MAP, INFLUENCE) else []
        if damage is not None:
            maps += [damage.distances, damage]
        return maps if search is None else [*maps, search]

    def chosen_in_words(self) -> str:
        """Return the texts that the layers are chosen on, in a sentence; "" without any."""
        corpus = self.chosen_on
        if corpus is None:
            return ""
        is_by_loss = self.damage is not None or self.search is not None
        is_same = self.loss_corpus is not None and corpus.subject == self.loss_corpus.subject
        bias = ""
        if is_by_loss and is_same:
            bias = (
                " Their loss is measured on this text as well, so the lowest of many measured"
                " losses is biased low."
            )
        return (
            f"Layers chosen on {corpus.n_texts} texts of {corpora.title(corpus)}, up to"
            f" {corpus.seq_len} tokens.{bias}"
        )

    def check_depth(self, n_layers: int) -> None:
        """Check the removed layers, the largest number of them, and the search that chooses
        them.
        """
        if not needs(self.strategy, BLOCKS):
            check_count(self.max_n or 0, n_layers, "max-n 0")
        super().check_depth(n_layers)


def usual_search(spec: SweepSpec) -> SearchSpec | None:
    """Return the default search of a strategy that searches; None for the other strategies."""
    if not needs(spec.strategy, SEARCHED):
        return None
    return search_for(spec.strategy, spec.model, spec.max_n, spec.loss_corpus)


def sparing(spec: SweepSpec, layers: Iterable[int]) -> SweepSpec:
    """Return the request with a search that keeps these layers; unchanged if the strategy does not
    search.
    """
    protected = tuple(sorted(layers))
    if not protected or not needs(spec.strategy, SEARCHED):
        return spec
    return replace(
        spec, search=search_for(spec.strategy, spec.model, spec.max_n, spec.loss_corpus, protected)
    )


def usual_damage(spec: SweepSpec) -> DamageSpec | None:
    """Return the default damage map of `loss-greedy`; None for the other strategies."""
    if not needs(spec.strategy, DAMAGE):
        return None
    return DamageSpec(
        model=spec.model, distances=DistanceSpec(model=spec.model), max_size=spec.max_n or None
    )


def resolve(spec: SweepSpec) -> SweepSpec:
    """Return the request with concrete dtype, device and identities, and the defaults in fields
    that its strategy ignores.

    Two requests that give the same curve become the same request.
    """
    resolved = resolving.resolve(spec)
    model = resolved.model
    strategy = spec.strategy
    distances = (
        replace(spec.distances, model=model)
        if needs(strategy, MAP, INFLUENCE)
        else DistanceSpec(model)
    )
    if needs(strategy, INFLUENCE) and not needs(strategy, MAP):
        distances = replace(distances, metric=INFLUENCE_METRIC)
    measured = None
    searched = None
    if needs(strategy, DAMAGE):
        measured = damage_spec.resolve(
            replace(spec.damage or DamageSpec(max_size=spec.max_n or None), model=model)
        )
    if needs(strategy, SEARCHED):
        search_spec = spec.search or usual_search(resolved)
        assert search_spec is not None
        searched = resolving.resolve(replace(search_spec, model=model, strategy=strategy))
    draw = spec.draw if needs(strategy, DRAW) else 0
    return replace(
        resolved,
        distances=resolving.resolve(distances),
        damage=measured,
        draw=draw,
        search=searched,
    )


@spec_dataclass
class EvaluateSpec(Spec):
    """One model, cut or not, healed or not, on one set of questions and one set of texts."""

    kind: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 4
    """4: losses weighed by tokens."""
    later: ClassVar[tuple[str, ...]] = ("as_file",)

    model: ModelSpec = field(default_factory=ModelSpec)
    block: Annotated[Removal | None, Option()] = None
    """Removed layers or sublayers (default: none, the unpruned model)."""
    adapter: Annotated[str | None, Option(metavar="DIR")] = None
    """Folder of a PEFT adapter for the pruned model, or `adapters/ID` in the cache folder (default:
    none)."""
    benchmark: BenchmarkSpec | None = field(default_factory=BenchmarkSpec)
    loss_corpus: CorpusSpec | None = field(default_factory=default_loss_corpus)
    generation: Annotated[GenerationSpec | None, Option("--generate")] = None
    """Also measure generated text: repetition, distinct tokens and arithmetic (default: off)."""
    as_file: Annotated[bool, Option()] = False
    """Quantize healed matrices again, as in the exported GGUF file that llama.cpp runs (default:
    off)."""

    def __post_init__(self) -> None:
        require(
            not self.as_file or (self.adapter is not None and self.block is not None),
            "as_file measures the file of a healed model. Give block and adapter.",
        )


def resolve_evaluation(spec: EvaluateSpec) -> EvaluateSpec:
    """Return the request with concrete dtype, device and identities, and the name of its adapter in
    results.
    """
    resolved = resolving.resolve(replace(spec, adapter=result_name(spec.adapter)))
    exact = resolved.model.is_exact or not spec.as_file
    require(
        exact,
        f"as_file measures in float32 without quantization, not in {resolved.model.precision}. Use"
        " --dtype float32.",
    )
    return resolved


def _measured_on(result: "SweepResult | EvaluateResult", points: Sequence[Point]) -> str:
    spec: SweepSpec | EvaluateSpec = result.spec
    benchmark = spec.benchmark
    corpus = spec.loss_corpus
    parts = [result.ran_in]
    if benchmark is not None:
        n = max((point.n_samples for point in points), default=0)
        parts.append(
            f"{n} questions of {benchmarks.title(benchmark)}, seed {benchmark.seed}, with 95 %"
            " Wilson intervals"
        )
    if corpus is not None:
        n = max((point.n_texts for point in points), default=0)
        parts.append(
            f"Loss on {n} texts of {corpora.title(corpus)}, seed {corpus.seed}, with 95 % intervals"
            " over texts"
        )
    short = "" if corpus is None else lacking(corpus, result.model, result.text_tokens)
    sentences = [
        ". ".join(parts) + ".",
        short,
        result.packing,
        precision_spec.describe_cost(spec.model),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def lacking(corpus: CorpusSpec, model: ModelFacts, text_tokens: Sequence[int]) -> str:
    """Return the part of a requested loss text that was not read, in a sentence; "" for none, and
    if no text was read.

    Args:
        corpus: the requested text.
        model: The model, whose window truncates the texts.
        text_tokens: predicted tokens of each text.
    """
    return (
        corpora.shortfall(corpus.fitting(model.max_positions), [n + 1 for n in text_tokens])
        if text_tokens
        else ""
    )


@dataclass(frozen=True)
class SweepResult(Result):
    """Accuracy and loss for n = 0 .. max_n on the same questions and texts."""

    kind: ClassVar[str] = "sweep"
    spec_type: ClassVar[type[Spec]] = SweepSpec

    model: ModelFacts
    n_layers: Count
    points: list[Point]
    """Scores by n, from n = 0."""
    lines: Lines | None
    """Reference levels; None until questions are scored."""
    n_questions: Count
    """Number of requested questions; `points[i].n_samples` of them are scored."""
    n_truncated: Count | None
    """Number of prompts truncated on the left to the model's window; None if the stored measurement
    that contains this curve does not tell it."""
    questions: list[list[QuestionScore]] = field(default_factory=list)
    """Score of each question by point."""
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own question file that could not be asked, each with its number and the
    reason."""
    packing: str = ""
    """Reason in a sentence if questions were scored in separate rows although the family supports
    shared ones; "" otherwise."""
    text_losses: list[list[Loss]] = field(default_factory=list)
    """Mean next-token cross-entropy of each text by point, nats."""
    text_tokens: list[Count] = field(default_factory=list)
    """Predicted tokens of each text, the weights of the losses."""
    writings: list[GenerationCheck | None] = field(default_factory=list)
    """Generated text by point, None until it is measured; empty if no generation is requested."""

    def tables(self) -> dict[str, Table]:
        """Return the scores of every point."""
        return {"points": cuts.table(self.points, caption=self.measured_on())}

    def measured_on(self) -> str:
        """Return the questions and texts in words."""
        sentences = (_measured_on(self, self.points), self.spec.chosen_in_words())
        return " ".join(sentence for sentence in sentences if sentence)


@dataclass(frozen=True)
class EvaluateResult(Result):
    """Accuracy and loss of one model."""

    kind: ClassVar[str] = "evaluate"
    spec_type: ClassVar[type[Spec]] = EvaluateSpec

    model: ModelFacts
    n_layers: Count
    point: Point
    lines: Lines | None
    n_truncated: Count | None
    """Number of prompts truncated on the left to the model's window; None if the stored measurement
    that contains this evaluation does not tell it."""
    questions: list[QuestionScore] = field(default_factory=list)
    skipped_rows: list[str] = field(default_factory=list)
    """Rows of the user's own question file that could not be asked, each with its number and the
    reason."""
    packing: str = ""
    """Reason in a sentence if questions were scored in separate rows although the family supports
    shared ones; "" otherwise."""
    text_losses: list[Loss] = field(default_factory=list)
    """Mean next-token cross-entropy of each text, nats."""
    text_tokens: list[Count] = field(default_factory=list)
    """Predicted tokens of each text, the weights of the losses."""
    writing: GenerationCheck | None = None
    """Generated text, if requested."""

    def tables(self) -> dict[str, Table]:
        """Return the scores as a table."""
        return {"points": cuts.table([self.point], caption=self.measured_on())}

    def measured_on(self) -> str:
        """Return the questions and texts in words."""
        return _measured_on(self, [self.point])


register(
    Experiment(
        SweepSpec,
        SweepResult,
        run="analysis.experiments.accuracy.sweep:run",
        title="Accuracy curve",
        place=3,
        shards="analysis.experiments.accuracy.sweep:SweepShards",
        resolve="analysis.experiments.accuracy.sweep_spec:resolve",
    )
)


register(
    Experiment(
        EvaluateSpec,
        EvaluateResult,
        run="analysis.experiments.accuracy.evaluation:run",
        title="Evaluation",
        place=4,
        shards="analysis.experiments.accuracy.evaluation:EvaluationShards",
        resolve="analysis.experiments.accuracy.sweep_spec:resolve_evaluation",
    )
)
