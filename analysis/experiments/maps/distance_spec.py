"""Request and result of a distance map: the distance of every pair of depths, and the most similar
blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.core.bounds import Count, Figure, NonNegative, Share, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.core.store import StoredResult
from analysis.core.table import Column, Table
from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.metrics import METRICS, possible
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts


@spec_dataclass
class DistanceSpec(Spec):
    """The distance of every pair of depths (l, l+n) on some texts."""

    kind: ClassVar[str] = "distances"

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=CorpusSpec)
    metric: Annotated[str, Option(choices=METRICS)] = "angular"
    """Distance between two depths of the residual stream."""

    def __post_init__(self) -> None:
        one_of("metric", self.metric, METRICS)

    def flop(self, facts: ModelFacts) -> float:
        """Return the floating-point operations of a measurement without stored parts."""
        return self.corpus.n_texts * self.corpus.seq_len * facts.flop(facts.n_layers, 0)


@dataclass(frozen=True)
class Best:
    """The chosen block of one size."""

    n: Count
    """Block size, in layers."""
    start: Count
    """First removed layer."""
    distance: Figure
    """Mean distance of the block."""

    @property
    def block(self) -> Block:
        """The block as a `Block`."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DistanceResult(Result):
    """The distance map of a model on some texts."""

    kind: ClassVar[str] = "distances"
    array_names: ClassVar[tuple[str, ...]] = ("states", "text_distances")
    spec_type: ClassVar[type[Spec]] = DistanceSpec

    model: ModelFacts
    n_layers: Count
    """Number of decoder layers, L."""
    mean: list[list[Figure]]
    """Row n-1 holds n = 1..L; entry l of it is the mean over texts of d(x[l], x[l+n]), l = 0..L-n;
    in [0, 1]."""
    stderr: list[list[NonNegative]]
    """Standard errors of `mean` over texts, same shape; 0 with a single text."""
    best: list[Best]
    """argmin over l for each n = 1..L-1, ties to the deeper start (paper section 2)."""
    n_texts: Count
    """Number of texts used."""
    n_skipped: Count
    """Number of documents skipped because they had fewer than 16 tokens."""
    text_lengths: list[Count]
    """Number of tokens of each text."""
    states: np.ndarray | None = None
    """Last-token residual stream x[0..L], pre-norm, (n_texts, L+1, hidden_size), float32; None in
    precomputed results."""
    wins: list[list[Share]] = field(default_factory=list)
    """Share of bootstrap resamples of the texts in which a block is the best of its size; shaped
    like `mean`."""
    others: dict[str, list[list[Figure]]] = field(default_factory=dict)
    """Mean maps of other metrics on the same texts by name, shaped like `mean`."""
    text_distances: dict[str, np.ndarray] | None = None
    """Distances of all pairs of depths per text by metric, (n_texts, L+1, L+1), float64; None in
    precomputed results."""

    def interval(self, block: Block) -> tuple[float, float] | None:
        """Return the 95 % interval of a block's mean over texts by Student's t, within the range of
        the metric; None without one.
        """
        row = block.size - 1
        ends = stats.mean_interval(
            self.mean[row][block.start], self.stderr[row][block.start], self.n_texts
        )
        least, most = possible(self.spec.metric)
        return None if ends is None else (max(ends[0], least), min(ends[1], most))

    def tables(self) -> dict[str, Table]:
        """Return a table of all blocks, and one of the most similar block of each size."""
        distances = [
            Column("n"),
            Column("start"),
            Column("block", "most similar block"),
            Column("distance", format=".4f", low="low", high="high", parts=("stderr",)),
            *INTERVAL_COLUMNS,
            *(
                [Column("wins", "share of bootstrap samples that select this block", format=".0%")]
                if self.wins
                else []
            ),
        ]
        columns = (*distances, *map(Column, self.others))
        blocks = [
            Block(start, n) for n, row in enumerate(self.mean, start=1) for start in range(len(row))
        ]
        return {
            "blocks": (
                Table(
                    "Distance of every block",
                    columns,
                    list(map(self._row, blocks)),
                    self.measured_on(),
                ).titled(block="block")
            ),
            "best": Table(
                "Most similar block of each size",
                tuple(distances),
                [self._row(best.block) for best in self.best],
                self.measured_on(),
            ),
        }

    def _row(self, block: Block) -> dict[str, Any]:
        row = block.size - 1
        start = block.start
        return {
            "n": block.size,
            "start": start,
            "block": block.describe(),
            "distance": self.mean[row][start],
            "stderr": self.stderr[row][start],
            **ends_of(self.interval(block)),
            "wins": self.wins[row][start] if self.wins else None,
            **{metric: rows[row][start] for metric, rows in self.others.items()},
        }

    def measured_on(self) -> str:
        """Return the texts in words."""
        return (
            f"{texts_read(self.n_texts, self.spec.corpus, self.precision_in_words)}. Too short and"
            f" skipped: {self.n_skipped}."
        )

    @classmethod
    def arrays_in(cls, stored: StoredResult) -> dict[str, Any]:
        """Read arrays as for every result; distances stored as one array of all metrics, by
        position, are returned by name.
        """
        arrays = super().arrays_in(stored)
        if isinstance(stacked := arrays.get("text_distances"), np.ndarray):
            there_were = (
                "angular",
                "angular-tokens",
                "cosine-tokens",
                "relative-l2",
            )  # in this order, not that of METRICS
            arrays["text_distances"] = dict(zip(there_were, stacked.swapaxes(0, 1), strict=True))
        return arrays


def texts_read(n_texts: int, corpus: CorpusSpec, precision: str) -> str:
    """Return the texts that a map was measured on, with the precision that read them, in words."""
    return (
        f"{n_texts} texts of {corpora.title(corpus)}, up to {corpus.seq_len} tokens, seed"
        f" {corpus.seed}, in {precision}"
    )


INTERVAL_COLUMNS = (
    Column("stderr", format=".4f"),
    Column("low", format=".4f"),
    Column("high", format=".4f"),
)
"""The standard error of a mean over texts, and the ends of its 95 % interval."""


def ends_of(interval: tuple[float, float] | None) -> dict[str, float | None]:
    """Return the ends of an interval as columns of a table; None without one."""
    low, high = interval or (None, None)
    return {"low": low, "high": high}


def best_blocks(mean: Sequence[Sequence[float]]) -> list[Best]:
    """Return the most similar block of every size: argmin over start l of the mean distance d(x[l],
    x[l+n]).

    Args:
        mean: row n-1, entry l, as in `DistanceResult.mean`.

    Returns:
        One entry for each n = 1..L-1, sizes independent of each other; ties go to the deeper start.

    Source: Gromov et al., arXiv:2403.17887, section 3.2.
    """
    best = []
    for n, row in enumerate(mean[:-1], start=1):
        start = min(range(len(row)), key=lambda index: (row[index], -index))
        best.append(Best(n=n, start=start, distance=row[start]))
    return best


register(
    Experiment(
        DistanceSpec,
        DistanceResult,
        run="analysis.experiments.maps.distance_map:run",
        title="Distance map",
        place=1,
        shards="analysis.experiments.maps.distance_map:DistanceShards",
        resolve="analysis.models.source.resolving:resolve",
    )
)
