"""Requests and results of maps, for distances and for measured damage."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.core.bounds import MOST_LAYERS, Bound, one_of
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec
from analysis.core.registry import Experiment, register
from analysis.core.store import Stored
from analysis.core.table import MISSING, Column, Table
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.metrics import METRICS
from analysis.models.spec import ModelFacts, ModelSpec


@dataclass(frozen=True)
class DistanceSpec(Spec):
    """The distance of every pair of depths (l, l+n) on some texts."""

    kind: ClassVar[str] = "distances"

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=CorpusSpec)
    metric: Annotated[str, Option(choices=METRICS)] = "angular"
    """Distance between two depths of the residual stream."""

    def __post_init__(self) -> None:
        one_of("metric", self.metric, METRICS)


def default_damage_corpus() -> CorpusSpec:
    """The held-out Wikipedia text on which the loss without every block is measured unless another is asked for."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=128, split="validation", min_tokens=128)


@dataclass(frozen=True)
class DamageSpec(Spec):
    """The measured increase of the loss without every block up to a size."""

    kind: ClassVar[str] = "damage"
    version: ClassVar[int] = 4
    """4: losses weighed by tokens."""

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=default_damage_corpus)
    distances: Annotated[DistanceSpec, Part(only=("model", "metric"))] = field(default_factory=DistanceSpec)
    """The map that the damage is compared with."""
    max_size: Annotated[int | None, Option(), Bound(1, MOST_LAYERS)] = None
    """Largest block size (default: half of the layers)."""


@dataclass(frozen=True)
class Best:
    """The chosen block of one size."""

    n: int
    """Block size, in layers."""
    start: int
    """First removed layer."""
    distance: float
    """Its mean distance."""

    @property
    def block(self) -> Block:
        """The block itself."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DistanceResult(Result):
    """The distance map of a model on some texts."""

    kind: ClassVar[str] = "distances"
    spec_type: ClassVar[type[Spec]] = DistanceSpec

    model: ModelFacts
    n_layers: int
    """L."""
    mean: list[list[float]]
    """Row n-1 holds n = 1..L; entry l of it is the mean over texts of d(x[l], x[l+n]), l = 0..L-n; in [0, 1]."""
    stderr: list[list[float]]
    """Standard errors of `mean` over texts, same shape; 0 with a single text."""
    best: list[Best]
    """argmin over l for each n = 1..L-1, ties to the deeper start (paper section 2)."""
    n_texts: int
    """Texts really used."""
    n_skipped: int
    """Documents passed over because they were under 16 tokens."""
    text_lengths: list[int]
    """Tokens of each text used."""
    states: np.ndarray | None = None
    """Last-token residual stream x[0..L], pre-norm, (n_texts, L+1, hidden_size), float32; None in precomputed results."""
    wins: list[list[float]] = field(default_factory=list)
    """Same shape as `mean`: share of bootstrap resamples of the texts in which this block is the best of its size."""
    others: dict[str, list[list[float]]] = field(default_factory=dict)
    """By the name of a metric, the mean map of that metric on the same texts, shaped like `mean`."""
    text_distances: dict[str, np.ndarray] | None = None
    """By metric, the distance of every pair of depths per text, (n_texts, L+1, L+1), float64; None in precomputed results."""

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """Names of the arrays kept of each text."""
        return ("states", "text_distances")

    def tables(self) -> dict[str, Table]:
        """Every block, and the most similar one of each size."""
        distances = [
            Column("n"),
            Column("start"),
            Column("block", "most similar block"),
            Column("distance", format=".4f", error="stderr", low="low", high="high"),
            *_ENDS,
            *([Column("wins", "share of resamples won", format=".0%")] if self.wins else []),
        ]
        every = tuple([*distances, *map(Column, self.others)])
        blocks = [Block(start, n) for n, row in enumerate(self.mean, start=1) for start in range(len(row))]
        return {
            "blocks": Table("Distance of every block", every, list(map(self._row, blocks)), self.measured_on()).titled(
                block="block"
            ),
            "best": Table(
                "Most similar block of each size",
                tuple(distances),
                [self._row(best.block) for best in self.best],
                self.measured_on(),
            ),
        }

    def _row(self, block: Block) -> dict[str, Any]:
        row, start = block.size - 1, block.start
        return {
            "n": block.size,
            "start": start,
            "block": block.describe(),
            "distance": self.mean[row][start],
            "stderr": self.stderr[row][start],
            **_ends(self.mean[row][start], self.stderr[row][start], self.n_texts),
            "wins": self.wins[row][start] if self.wins else None,
            **{metric: rows[row][start] for metric, rows in self.others.items()},
        }

    def measured_on(self) -> str:
        """On which texts."""
        return f"{_texts(self)}. {self.n_skipped} documents were too short."

    @classmethod
    def arrays_in(cls, stored: Stored) -> dict[str, Any]:
        """Read arrays as for every result; distances stored as one array of all metrics, by position, are returned by name."""
        found = super().arrays_in(stored)
        if isinstance(stacked := found.get("text_distances"), np.ndarray):
            there_were = ("angular", "angular-tokens", "cosine-tokens", "relative-l2")  # in this order, not that of METRICS
            found["text_distances"] = dict(zip(there_were, stacked.swapaxes(0, 1), strict=True))
        return found


def _texts(result: "DistanceResult | DamageResult") -> str:
    n, spec = result.n_texts, result.spec
    name, length, seed = spec.corpus.source.rsplit("/", 1)[-1], spec.corpus.seq_len, spec.corpus.seed
    return f"{n} texts of {name}, up to {length} tokens, seed {seed}, in {result.precision_in_words}"


@dataclass(frozen=True)
class LeastDamage:
    """The block of one size whose removal was measured to cost least."""

    n: int
    start: int
    increase: float
    """Mean increase of the loss, nats per token."""

    @property
    def block(self) -> Block:
        """The block itself."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DamageResult(Result):
    """The measured loss increase without every block, beside the prediction of the distance map."""

    kind: ClassVar[str] = "damage"
    gaps: ClassVar[tuple[str, ...]] = ("text_losses",)
    spec_type: ClassVar[type[Spec]] = DamageSpec

    model: ModelFacts
    n_layers: int
    unpruned_loss: float
    """Next-token cross-entropy of the unpruned model, nats per token of all texts; 0 until a text is measured."""
    increase: list[list[float | None]]
    """Row n-1 holds n = 1..max_size; entry l is the loss without [l, l+n) minus the unpruned loss, nats per token of all texts.
    None until a text is measured, and where the loss of the cut model is no finite number."""
    stderr: list[list[float | None]]
    """Standard errors of `increase`, whole texts being the sample, each paired with itself; None until two are measured."""
    n_measured: list[list[int]]
    """Texts measured so far for each block."""
    best: list[LeastDamage]
    """argmin over l for each n, ties to the deeper start; only sizes whose blocks are all measured."""
    n_texts: int
    """Texts there are."""
    rank_correlation: float | None
    """Spearman's rho between distance and increase over all measured blocks; None with fewer than three."""
    rank_correlation_by_size: list[float | None]
    """The same among the blocks of each size n = 1..max_size."""
    text_tokens: list[int] = field(default_factory=list)
    """Predicted tokens of each text, by which its loss counts."""
    text_losses: np.ndarray | None = None
    """Loss per block and text, (1 + n_blocks, n_texts), float32, NaN where not measured yet. Row 0 is the unpruned model, then
    all blocks by size and start. None in results that came with version 0.2."""

    @classmethod
    def array_names(cls) -> tuple[str, ...]:
        """The losses per text."""
        return ("text_losses",)

    def tables(self) -> dict[str, Table]:
        """Every block, and the least damaging one of each size."""
        # Once all is measured, a missing value is a loss that is no finite number.
        blank = "not finite" if self.complete else MISSING
        rho = Column("rank_correlation", "rank correlation", format=".2f")
        loss = Column("increase", "loss increase", "nats/token", ".4f", error="stderr", low="low", high="high", missing=blank)
        block = Column("block", "block with the smallest increase")
        every = (Column("n"), Column("start"), replace(block, title="block"), loss, *_ENDS, Column("n_texts", "texts"))
        best = (Column("n"), Column("start"), block, loss, *_ENDS, rho)
        blocks = [Block(start, n) for n, row in enumerate(self.increase, start=1) for start in range(len(row))]
        said = self.measured_on()
        return {
            "blocks": Table("Loss increase of every block", every, list(map(self._row, blocks)), said),
            "best": Table(
                "Block with the smallest loss increase, by size", best, [self._row(one.block) for one in self.best], said
            ),
        }

    def beside(self, best: Sequence[Best]) -> Table:
        """The least damaging block of each size beside the most similar one.

        Args:
            best: the chosen blocks of the map that the damage is compared with.
        """
        least, chosen = self.table("best"), {entry.n: entry.block for entry in best}
        others = (
            Column("similar", "most similar block"),
            Column(
                "similar_increase",
                "loss increase of the most similar",
                "nats/token",
                ".4f",
                error="similar_stderr",
                low="similar_low",
                high="similar_high",
                missing="not finite",
            ),
            *(replace(column, name=f"similar_{column.name}") for column in _ENDS),
        )
        rows = [dict(row) for row in least.rows]
        for row in rows:
            if block := chosen.get(row["n"]):
                other = self._row(block)
                row |= {"similar": other["block"], "similar_increase": other["increase"]}
                row |= {f"similar_{column.name}": other[column.name] for column in _ENDS}
        return replace(
            least,
            title="Blocks with the smallest loss increase and most similar blocks",
            columns=(*least.columns, *others),
            rows=rows,
        )

    def _row(self, block: Block) -> dict[str, Any]:
        row, start = block.size - 1, block.start
        return {
            "n": block.size,
            "start": start,
            "block": block.describe(),
            "increase": self.increase[row][start],
            "stderr": self.stderr[row][start],
            **_ends(self.increase[row][start], self.stderr[row][start], self.n_measured[row][start]),
            "n_texts": self.n_measured[row][start],
            "rank_correlation": self.rank_correlation_by_size[row],
        }

    def measured_on(self) -> str:
        """Return the unpruned model's loss and the texts that it was measured on, in words."""
        return f"Loss of the unpruned model {self.unpruned_loss:.4f} nats/token on {_texts(self)}."


_ENDS = (Column("stderr", format=".4f"), Column("low", format=".4f"), Column("high", format=".4f"))
"""The standard error of a mean over texts, and the ends of its 95 % interval."""


def _ends(mean: float | None, stderr: float | None, n: int) -> dict[str, float | None]:
    """The ends of a mean's interval by Student's t; None twice where there is none."""
    low, high = (None if mean is None else stats.mean_interval(mean, stderr, n)) or (None, None)
    return {"low": low, "high": high}


def best_blocks(mean: Sequence[Sequence[float]]) -> list[Best]:
    """The most similar block of every size: argmin over start l of the mean distance d(x[l], x[l+n]).

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
        DistanceSpec, DistanceResult, run="analysis.experiments.maps.distance_map:run", title="Distance map",
        shards="analysis.experiments.maps.distance_map:Work",
    )
)  # fmt: skip


register(
    Experiment(
        DamageSpec, DamageResult, run="analysis.experiments.maps.damage:run", title="Loss-increase map",
        shards="analysis.experiments.maps.damage:Work",
    )
)  # fmt: skip
