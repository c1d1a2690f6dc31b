"""Requests and results of a search."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Removal, removal
from analysis.core.bounds import (
    MOST_LAYERS,
    MOST_WHOLE,
    SEED,
    Bound,
    Count,
    Figure,
    Loss,
    NonNegative,
    Share,
    one_of,
    shown,
)
from analysis.core.errors import BlockRangeError
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import REMOVED, Column, Table
from analysis.data import corpora
from analysis.data.spec import CorpusSpec, default_loss_corpus
from analysis.experiments.strategies import SEARCHING, STRATEGIES, Layers
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts

OBJECTIVES = ("kl", "loss")
"""Quantities that a search minimizes: the divergence from the unpruned next-token distribution, or
the loss on the text."""
STREAM_BYTES = 1 << 29
"""Bytes of residual streams that are kept for the search text, first of the unpruned model, then of
cuts. Half as much is kept for each other text. Other streams are recomputed."""


def default_search_corpus() -> CorpusSpec:
    """Return the default text for searches, which is Wikipedia without its held-out part."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=128, split="train", min_tokens=128)


def default_validation_corpus() -> CorpusSpec:
    """Return the default text that decides between the best sets of a size, held-out Wikipedia
    text.
    """
    return replace(default_search_corpus(), split="validation")


def default_report_corpus() -> CorpusSpec:
    """Return the text that reports the loss of the sets found, and neither searches nor decides:
    C4.
    """
    return replace(default_loss_corpus(), n_texts=16, seq_len=128)


@spec_dataclass
class SearchSpec(Spec):
    """Sets of layers, of each size the one whose removal changes the model's predictions least,
    searched on some text.
    """

    kind: ClassVar[str] = "search"

    model: ModelSpec = field(default_factory=ModelSpec)
    strategy: Annotated[str, Option(choices=SEARCHING)] = "swaps"
    """Search strategy."""
    objective: Annotated[str, Option(choices=OBJECTIVES)] = "kl"
    """Quantity to keep small: `kl` to the unpruned model's next-token distribution, or the `loss`.
    Every second prediction of a text counts, with `--set stride=1` all."""
    corpus: CorpusSpec = field(default_factory=default_search_corpus)
    """The text that is searched on."""
    validation: Annotated[CorpusSpec, Part(only=())] = field(
        default_factory=default_validation_corpus
    )
    """The text that decides between the best sets of a size."""
    report: Annotated[CorpusSpec, Part(only=())] = field(default_factory=default_report_corpus)
    """Text that reports the loss of the sets found."""
    max_n: Annotated[int | None, Option(), Bound(1, MOST_LAYERS)] = None
    """Largest number of removed layers (default: half of the layers, or all that are not
    protected)."""
    protect: Annotated[tuple[int, ...], Option(metavar="N,…"), Bound(0, MOST_LAYERS)] = ()
    """Layers that stay (default: none)."""
    budget: Annotated[int, Option(), Bound(1, MOST_WHOLE)] = 4_000
    """Largest number of sets of layers to measure."""
    first: Annotated[int, Bound(1, 1_000_000)] = 2
    """Number of texts that every set is measured on. The best few are measured on half of the
    texts, and the closest on all."""
    stride: Annotated[int, Bound(1, 1_000)] = 2
    """Step between the predictions of a text that count: 2 takes every second one."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of strategies that draw."""

    def __post_init__(self) -> None:
        one_of("strategy", self.strategy, SEARCHING)
        one_of("objective", self.objective, OBJECTIVES)
        texts = (
            ("guides the search", self.corpus),
            ("decides between sets", self.validation),
            ("reports the loss", self.report),
        )
        for index, (purpose, corpus) in enumerate(texts):
            for other_name, against in texts[index + 1 :]:
                require(
                    not same_text(corpus, against),
                    f"One text ({shown(corpus.source)}) both {purpose} and {other_name}. The loss"
                    " of the selected candidate is biased low on it. Choose another text, or its"
                    " train and validation parts.",
                )

    def check_depth(self, n_layers: int) -> None:
        """Check the protected layers, and the largest number of removed ones."""
        checked_size(self, n_layers)

    def like(self, other: "SearchSpec") -> bool:
        """Return whether the values of the other search hold for this one; only strategy, size and
        budget may differ.
        """
        free = ("strategy", "max_n", "protect", "budget", "seed", "validation", "report")
        return replace(other, **{name: getattr(self, name) for name in free}) == self


def same_text(first: CorpusSpec, second: CorpusSpec) -> bool:
    """Return whether two requests for text draw from the same documents: no split keeps them
    apart.
    """
    is_split = {first.split, second.split} == {"train", "validation"}
    return first.subject == second.subject and not is_split


@dataclass(frozen=True)
class Searched:
    """The set of one size that a search found."""

    n: Count
    """Removed layers."""
    layers: list[Count]
    """The removed layers."""
    cost: Figure
    """Objective on the search text in nats per token: a KL divergence, or the increase of the
    loss."""
    validation: Figure | None
    """Objective on the validation text; None if only one set was found."""
    loss: Figure
    """Increase of the next-token loss on the report text in nats per token."""
    loss_stderr: NonNegative | None
    """Standard error of `loss` over texts, paired by text; None for one text."""
    n_rivals: Count
    """Number of final sets of this size, between which the validation text decided."""

    @property
    def removed(self) -> Removal:
        """The removed layers as a block or a set of layers."""
        return removal(self.layers)


@dataclass(frozen=True)
class SearchResult(Result):
    """Sets that a search found for n = 1, 2, …, with all measured values."""

    kind: ClassVar[str] = "search"
    array_names: ClassVar[tuple[str, ...]] = ("sets", "values")
    gaps: ClassVar[tuple[str, ...]] = ("values",)
    spec_type: ClassVar[type[Spec]] = SearchSpec

    model: ModelFacts
    n_layers: Count
    max_n: Count
    """Largest requested n."""
    found: list[Searched]
    """Found sets by n, from n = 1; fewer than `max_n` while the search runs or if it ended
    early."""
    n_sets: Count
    """Number of sets whose values the search used."""
    n_texts: Count
    """Number of search texts."""
    n_validation: Count
    n_report: Count
    """Number of validation texts and of report texts."""
    unpruned_loss: Loss
    """Loss of the unpruned model on the report text, nats per token."""
    quoted: Share
    """Largest share of word runs of the validation or report text that an earlier text contains, in
    [0, 1]."""
    n_measured: Count = 0
    """Number of sets that this search measured itself."""
    ended: str = ""
    """Reason why the search ended before `max_n`, in a sentence; empty if it did not."""
    sets: np.ndarray | None = None
    """All measured sets, (n_sets, L), uint8, 1 for a removed layer; None in precomputed results."""
    values: dict[str, np.ndarray] | None = None
    """Values of each set on each text, (n_sets, n_texts), float64 or NaN, by kind of text (search,
    validation, report)."""

    @property
    def path(self) -> list[Layers]:
        """Layers of each size, as strategies read them."""
        return [tuple(searched.layers) for searched in self.found]

    @property
    def is_decided(self) -> bool:
        """Whether the validation text was read, because the search ended with several sets of a
        size.
        """
        return any(searched.validation is not None for searched in self.found)

    def tables(self) -> dict[str, Table]:
        """Return a table of the found set of each size, with its values on all texts."""
        quantity = "KL" if self.spec.objective == "kl" else "loss increase"
        decision = (
            Column("validation", f"{quantity}, decision text", "nats/token", ".4f"),
            Column("n_rivals", "candidates"),
        )
        columns = (
            Column("n"),
            *REMOVED,
            Column("cost", f"{quantity}, search text", "nats/token", ".4f"),
            Column(
                "loss",
                "loss increase, held-out text",
                "nats/token",
                ".4f",
                low="low",
                high="high",
                parts=("loss_stderr",),
            ),
            Column("loss_stderr", format=".4f"),
            Column("low", format=".4f"),
            Column("high", format=".4f"),
            *(decision if self.is_decided else ()),
        )
        strategy = STRATEGIES.get(self.spec.strategy)
        title = f"Layers found by {strategy.title.lower() if strategy else 'search'}"
        return {
            "found": Table(
                title, columns, [self._row(searched) for searched in self.found], self.measured_on()
            )
        }

    def _row(self, searched: Searched) -> dict[str, Any]:
        low, high = stats.mean_interval(searched.loss, searched.loss_stderr, self.n_report) or (
            None,
            None,
        )
        values = {
            name: getattr(searched, name)
            for name in ("n", "cost", "validation", "loss", "loss_stderr", "n_rivals")
        }
        removed = searched.removed
        return values | {
            "removed": removed.describe(),
            "start": removed.start,
            "size": removed.size,
            "low": low,
            "high": high,
        }

    @property
    def _counted(self) -> str:
        """Return in words how many predictions of a text count."""
        if self.spec.stride == 1:
            return "They count every prediction."
        return (
            f"Search and decision count 1 of {self.spec.stride} predictions, the loss counts all."
        )

    def measured_on(self) -> str:
        """Return the texts and their overlap in words."""
        spec = self.spec
        parts = [
            f"Searched on {_texts(self.n_texts, spec.corpus)}.",
            (
                f"Decided between candidates on {_texts(self.n_validation, spec.validation)}."
                if self.is_decided
                else ""
            ),
            (
                f"Loss on {_texts(self.n_report, spec.report)} (unpruned model:"
                f" {self.unpruned_loss:.4f}), in {self.precision_in_words}. Intervals are 95 % over"
                " texts, paired with the unpruned model."
            ),
            (
                f"At most {100 * self.quoted:.1f} % of the eight-word sequences of a text occur in"
                " another of these texts."
            ),
            f"{self.n_sets:,} sets were measured. {self._counted}",
            self.ended,
        ]
        return " ".join(sentence for sentence in parts if sentence)


def _texts(n: int, corpus: CorpusSpec) -> str:
    part = "" if corpus.split == "all" else f" ({corpus.split} part)"
    return f"{n} texts of {corpora.title(corpus)}{part}, up to {corpus.seq_len} tokens"


def check_protected(layers: Iterable[int], n_layers: int) -> None:
    """Check that a model has the protected layers.

    Raises:
        BlockRangeError: If the model lacks one of them.
    """
    if wrong := [layer for layer in layers if layer >= n_layers]:
        raise BlockRangeError(
            f"Layer {wrong[0]} cannot be protected: this model has layers 0..{n_layers - 1}."
            " Protect some of these, or none."
        )


def checked_size(spec: SearchSpec, n_layers: int) -> tuple[int, tuple[int, ...]]:
    """Return the largest number of removed layers, and the layers that may be removed.

    Raises:
        BlockRangeError: If too few layers may be removed.
    """
    check_protected(spec.protect, n_layers)
    free = tuple(layer for layer in range(n_layers) if layer not in spec.protect)
    max_size = min(len(free), n_layers - 1)
    max_n = min(n_layers // 2, max_size) if spec.max_n is None else spec.max_n
    if not 1 <= max_n <= max_size:
        n_protected = n_layers - len(free)
        raise BlockRangeError(
            f"A search up to {max(1, max_n)} removed layers is impossible: this model has"
            f" {n_layers} layers, {n_protected} protected, and must keep at least one."
            + (
                f" Choose max-n 1..{max_size}, or protect fewer."
                if max_size
                else " Protect fewer layers."
            )
        )
    return max_n, free


@dataclass(frozen=True)
class SearchCost:
    """Estimated cost of a search."""

    sets: int
    """Maximum number of measured sets."""
    usual: int
    """Expected number of measured sets."""
    flop: float
    """Expected floating-point operations."""

    @property
    def sentence(self) -> str:
        """Return the cost in a sentence."""
        usual_text = f", usually {self.usual:,}" if self.usual < self.sets else ""
        return (
            f"The search measures up to {self.sets:,} sets of layers{usual_text}, about"
            f" {self.flop / 1e12:,.0f} TFLOP."
        )


def takes(spec: SearchSpec, facts: ModelFacts) -> SearchCost:
    """Return the estimated cost of a search from its request.

    A set runs about a third of the layers, since it continues from the first layer that differs
    from a measured set. The estimate includes sets measured on all texts, on the validation text
    and on the report text, and one run of the unpruned model on every text.
    """
    n_layers = facts.n_layers
    n_free = n_layers - len({layer for layer in spec.protect if layer < n_layers})
    max_n = min(n_free, n_layers - 1, spec.max_n or n_layers // 2)
    search = STRATEGIES[spec.strategy].search
    assert search is not None, "the request was checked"
    sets = search.sets(n_free, max_n, spec.budget)
    usual_sets = round(sets * search.usual)
    head = facts.hidden_size * facts.vocab_size
    layers = sum(facts.layer_parameters)

    def cost(n_texts: int, corpus: CorpusSpec, stride: int) -> float:
        return 2 * n_texts * corpus.seq_len * (layers / 3 + head / stride)

    decided = (spec.validation,) if search.most_ends > 1 else ()
    quick = cost(min(spec.first, spec.corpus.n_texts), spec.corpus, spec.stride)
    full_cost = cost(spec.corpus.n_texts, spec.corpus, spec.stride)
    ends = sum(_ENDS * cost(text.n_texts, text, spec.stride) for text in decided) + cost(
        spec.report.n_texts, spec.report, 1
    )
    once = (
        2
        * sum(text.n_texts * text.seq_len for text in (spec.corpus, *decided, spec.report))
        * (layers + head)
    )
    return SearchCost(
        sets, usual_sets, usual_sets * (quick + full_cost / _SETS_FOR_ONE) + max_n * ends + once
    )


_SETS_FOR_ONE = 6
"""Approximate ratio of sets measured on the first texts to sets measured on all texts."""
_ENDS = 1.5
"""Approximate number of sets of a size that are measured on the validation text if there may be
several."""


def search_for(
    strategy: str,
    model: ModelSpec,
    max_n: int | None,
    reports: CorpusSpec | None,
    protect: Iterable[int] = (),
) -> SearchSpec:
    """Return the default search of a curve: on Wikipedia, and on C4 if the loss of the curve is on
    Wikipedia.

    Args:
        strategy, model: Strategy and model of the curve.
        max_n: Largest n of the curve; None for half of the layers.
        reports: Text of the curve's loss, which no search may read.
        protect: Layers that stay.
    """
    default = SearchSpec(
        model=model, strategy=strategy, max_n=max_n or None, protect=tuple(sorted(protect))
    )
    if reports is None or reports.subject != default.corpus.subject:
        return default
    corpus = default.corpus
    report = default.report
    source = report.source
    return replace(
        default,
        corpus=replace(corpus, source=source),
        validation=replace(default.validation, source=source),
        report=replace(report, source=corpus.source, split="validation"),
    )


register(
    Experiment(
        SearchSpec,
        SearchResult,
        run="analysis.experiments.search.search:run",
        title="Search",
        resolve="analysis.models.source.resolving:resolve",
        help=(
            "For each size, the set of layers whose removal changes the model's predictions least,"
            " searched on one text and judged on others."
        ),
    )
)
