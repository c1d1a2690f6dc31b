"""Request and result of a loss-increase map: the measured loss without each block up to a size."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np

from analysis.core import stats
from analysis.core.blocks import Block, blocks_up_to, check_count
from analysis.core.bounds import MOST_LAYERS, Bound, Count, Figure, Loss, NonNegative
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, spec_dataclass
from analysis.core.table import MISSING, Column, Table
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import (
    INTERVAL_COLUMNS,
    Best,
    DistanceSpec,
    ends_of,
    texts_read,
)
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts


def default_damage_corpus() -> CorpusSpec:
    """Return the default text of a loss-increase map, which is held-out Wikipedia text."""
    return CorpusSpec(source="wiki", n_texts=8, seq_len=128, split="validation", min_tokens=128)


@spec_dataclass
class DamageSpec(Spec):
    """The measured increase of the loss without every block up to a size."""

    kind: ClassVar[str] = "damage"
    version: ClassVar[int] = 4
    """4: losses weighed by tokens."""

    model: ModelSpec = field(default_factory=ModelSpec)
    corpus: CorpusSpec = field(default_factory=default_damage_corpus)
    distances: Annotated[DistanceSpec, Part(only=("model", "metric"))] = field(
        default_factory=DistanceSpec
    )
    """The distance map that the loss increase is compared with."""
    max_size: Annotated[int | None, Option(), Bound(1, MOST_LAYERS)] = None
    """Largest block size (default: half of the layers)."""

    def check_depth(self, n_layers: int) -> None:
        """Check the largest size."""
        check_count(self.max_size or 1, n_layers, "max-size 1")

    def flop(self, facts: ModelFacts) -> float:
        """Return the floating-point operations of a measurement without stored parts and without
        the distance map.
        """
        n_layers = facts.n_layers
        blocks = blocks_up_to(self.max_size or n_layers // 2, n_layers)
        after = sum(n_layers - block.stop for block in blocks)  # layers behind each block
        tokens = self.corpus.n_texts * self.corpus.seq_len
        return tokens * facts.flop(n_layers + after, 1 + len(blocks))


def resolve(spec: DamageSpec) -> DamageSpec:
    """Return the request with concrete dtype, device and identities; the distance map is of the
    same model.
    """
    resolved = resolving.resolve(spec)
    return replace(
        resolved, distances=resolving.resolve(replace(spec.distances, model=resolved.model))
    )


@dataclass(frozen=True)
class LeastDamage:
    """The block of one size with the least measured loss increase."""

    n: Count
    start: Count
    increase: Figure
    """Mean increase of the loss, nats per token."""

    @property
    def block(self) -> Block:
        """The block as a `Block`."""
        return Block(self.start, self.n)


@dataclass(frozen=True)
class DamageResult(Result):
    """The measured loss increase without every block, compared with the distance map."""

    kind: ClassVar[str] = "damage"
    array_names: ClassVar[tuple[str, ...]] = ("text_losses",)
    gaps: ClassVar[tuple[str, ...]] = ("text_losses",)
    spec_type: ClassVar[type[Spec]] = DamageSpec

    model: ModelFacts
    n_layers: Count
    unpruned_loss: Loss
    """Next-token cross-entropy of the unpruned model, nats per token of all texts; 0 until a text
    is measured."""
    increase: list[list[Figure | None]]
    """Row n-1 holds n = 1..max_size; entry l is the loss without [l, l+n) minus the unpruned loss,
    nats per token of all texts. None until a text is measured, and if the loss of the pruned model
    is not finite."""
    stderr: list[list[NonNegative | None]]
    """Standard errors of `increase` over texts, paired by text; None until two are measured."""
    n_measured: list[list[Count]]
    """Texts measured so far for each block."""
    best: list[LeastDamage]
    """argmin over l for each n, ties to the deeper start; only sizes whose blocks are all
    measured."""
    n_texts: Count
    """Number of texts."""
    rank_correlation: Figure | None
    """Spearman's rho between distance and increase over all measured blocks; None with fewer than
    three."""
    rank_correlation_by_size: list[Figure | None]
    """Spearman's rho among the blocks of each size n = 1..max_size."""
    text_tokens: list[Count] = field(default_factory=list)
    """Predicted tokens of each text, the weights of the losses."""
    text_losses: np.ndarray | None = None
    """Loss per block and text, (1 + n_blocks, n_texts), float32, NaN where not measured yet. Row 0
    is the unpruned model, then all blocks by size and start. None in results that came with version
    0.2."""

    def tables(self) -> dict[str, Table]:
        """Return a table of all blocks, and one of the least damaging block of each size."""
        # Once all is measured, a missing value is a loss that is no finite number.
        blank = "not finite" if self.complete else MISSING
        rho = Column("rank_correlation", "rank correlation", format=".2f")
        loss = Column(
            "increase",
            "loss increase",
            "nats/token",
            ".4f",
            low="low",
            high="high",
            parts=("stderr",),
            missing=blank,
        )
        block = Column("block", "block with the smallest increase")
        first = (Column("n"), Column("start"))
        increase = (loss, *INTERVAL_COLUMNS)
        columns = (*first, replace(block, title="block"), *increase, Column("n_texts", "texts"))
        best = (*first, block, *increase, rho)
        blocks = [
            Block(start, n)
            for n, row in enumerate(self.increase, start=1)
            for start in range(len(row))
        ]
        caption = self.measured_on()
        return {
            "blocks": Table(
                "Loss increase of every block", columns, list(map(self._row, blocks)), caption
            ),
            "best": Table(
                "Block with the smallest loss increase, by size",
                best,
                [self._row(entry.block) for entry in self.best],
                caption,
            ),
        }

    def beside(self, best: Sequence[Best]) -> Table:
        """Return a table of the least damaging and the most similar block of each size.

        Args:
            best: the chosen blocks of the map that the damage is compared with.
        """
        table = self.table("best")
        chosen = {entry.n: entry.block for entry in best}
        more_columns = (
            Column("similar", "most similar block"),
            Column(
                "similar_increase",
                "loss increase of the most similar",
                "nats/token",
                ".4f",
                parts=("similar_stderr",),
                low="similar_low",
                high="similar_high",
                missing="not finite",
            ),
            *(replace(column, name=f"similar_{column.name}") for column in INTERVAL_COLUMNS),
        )
        rows = [dict(row) for row in table.rows]
        for row in rows:
            if block := chosen.get(row["n"]):
                similar_row = self._row(block)
                row |= {
                    "similar": similar_row["block"],
                    "similar_increase": similar_row["increase"],
                }
                row |= {
                    f"similar_{column.name}": similar_row[column.name]
                    for column in INTERVAL_COLUMNS
                }
        return replace(
            table,
            title="Blocks with the smallest loss increase and most similar blocks",
            columns=(*table.columns, *more_columns),
            rows=rows,
        )

    def interval(self, block: Block) -> tuple[float, float] | None:
        """Return the 95 % interval of the loss increase without a block over texts by Student's t;
        None without one.
        """
        row = block.size - 1
        increase = self.increase[row][block.start]
        if increase is None:
            return None
        n_texts = self.n_measured[row][block.start]
        return stats.mean_interval(increase, self.stderr[row][block.start], n_texts)

    def _row(self, block: Block) -> dict[str, Any]:
        row = block.size - 1
        start = block.start
        return {
            "n": block.size,
            "start": start,
            "block": block.describe(),
            "increase": self.increase[row][start],
            "stderr": self.stderr[row][start],
            **ends_of(self.interval(block)),
            "n_texts": self.n_measured[row][start],
            "rank_correlation": self.rank_correlation_by_size[row],
        }

    def measured_on(self) -> str:
        """Return the unpruned model's loss and the texts that it was measured on, in words."""
        texts = texts_read(self.n_texts, self.spec.corpus, self.precision_in_words)
        return f"Loss of the unpruned model {self.unpruned_loss:.4f} nats/token on {texts}."


register(
    Experiment(
        DamageSpec,
        DamageResult,
        run="analysis.experiments.maps.damage:run",
        title="Loss-increase map",
        place=2,
        shards="analysis.experiments.maps.damage:DamageShards",
        resolve="analysis.experiments.maps.damage_spec:resolve",
    )
)
