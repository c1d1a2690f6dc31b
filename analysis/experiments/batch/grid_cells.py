"""Cells of a grid: the points of a curve, compared with the unpruned model on the same questions
and texts.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from analysis.core import stats
from analysis.core.bounds import Count, Figure, Loss, Seconds, Share
from analysis.core.intervals import Interval
from analysis.core.table import REMOVED, Column, Table, interval_columns, interval_values
from analysis.data import corpora, questions
from analysis.experiments.accuracy.pairs import compare, is_above
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.strategies import DRAW, INFLUENCE, MAP, needs

NO_LOSS = (
    "No significant drop up to n: the largest n up to which no block's 95 % interval of the change"
    " in accuracy lies below zero. Changes are from the unpruned model, paired by question (Bonett"
    " and Price) or by text (Student's t). Each n is tested alone, because a correction over n"
    " would only raise this n. The lower end of the change is the largest drop that may be missed"
)
"""Definition of `GridCell.no_loss_n`, without the final full stop."""


@dataclass(frozen=True)
class PairedChange(Interval):
    """Difference between a pruned and the unpruned model."""

    difference: Figure
    """Score of the pruned model minus that of the unpruned model: accuracy, or loss in nats per
    token."""
    low: Figure | None
    """Lower end of the paired 95 % interval; None with fewer than four texts."""
    high: Figure | None


@dataclass(frozen=True)
class CutScores:
    """Scores of the model without a block."""

    n: Count
    """Number of removed layers; 0 for the unpruned model."""
    removed: str
    """Removed layers in words."""
    acc: Share | None
    acc_low: Figure | None
    """Ends of the 95 % interval (Wilson)."""
    acc_high: Figure | None
    n_samples: Count
    """Number of questions."""
    loss: Loss | None
    """Nats per token."""
    loss_low: Figure | None
    """Ends of the 95 % interval over texts (Student's t); None for fewer than four texts."""
    loss_high: Figure | None
    n_texts: Count
    bits_per_byte: Loss | None
    """Loss in bits per byte, comparable between vocabularies."""
    acc_change: PairedChange | None
    """Change in accuracy; None for the unpruned model and without questions."""
    loss_change: PairedChange | None
    """Change in loss; None for the unpruned model and without losses per text."""
    start: Count | None = None
    """First removed layer; None in grids of earlier versions and for the unpruned model."""


@dataclass(frozen=True)
class GridCell:
    """A curve of a grid, or the reason why it could not be measured."""

    model: str
    """Name of the model."""
    n_layers: Count | None
    """Number of layers; None if the model could not be read."""
    precision: str
    """dtype, quantization and format of the stored weights in words."""
    strategy: str
    """Strategy that chose the removed layers, with the draw of a random one."""
    map_texts: str
    """Texts of the distance map that the strategy used; "" if it used none."""
    questions: str
    texts: str
    """Texts of the loss."""
    key: str
    """Fingerprint of the stored curve; "" if there is none."""
    wall_s: Seconds
    """Seconds of the measurement, without reused scores."""
    error: str = ""
    """Reason why it could not be measured, in a sentence; "" if it was measured."""
    chance: Share | None = None
    """Expected accuracy of guessing."""
    no_loss_n: Count | None = None
    """Largest n up to which accuracy does not drop significantly (`NO_LOSS`). None without
    questions, and if the unpruned model's accuracy is not significantly above chance."""
    cuts: list[CutScores] = field(default_factory=list)
    """Scores by n, from n = 0."""

    @property
    def name(self) -> str:
        """Return model, strategy, questions and texts of the curve in one line."""
        return ", ".join(
            part for part in (self.model, self.strategy, self.questions, self.texts) if part
        )


def _distinguishing_values(spec: SweepSpec) -> dict[str, Any]:
    """Return the fields of a cell that follow from its request."""
    model = spec.model
    corpus = spec.loss_corpus
    strategy = spec.strategy
    short = model.source.rstrip("/").rsplit("/", 1)[-1]
    return {
        "model": short,
        "precision": model.precision_in_words(),
        "strategy": f"{strategy}, draw {spec.draw}" if needs(strategy, DRAW) else strategy,
        "map_texts": (
            corpora.title(spec.distances.corpus) if needs(strategy, MAP, INFLUENCE) else ""
        ),
        "questions": questions.title(spec.benchmark),
        "texts": "" if corpus is None else corpora.title(corpus),
    }


def without_numbers(spec: SweepSpec, reason: str = "") -> GridCell:
    """Return a cell without scores, because it is not measured yet or failed for a reason."""
    return GridCell(**_distinguishing_values(spec), n_layers=None, key="", wall_s=0.0, error=reason)


def measured(sweep: SweepResult) -> GridCell:
    """Return the cell of a finished curve."""
    cuts = [_cut(sweep, index) for index in range(len(sweep.points))]
    return GridCell(
        **{
            **_distinguishing_values(sweep.spec),
            "model": sweep.model.name,
            "precision": sweep.precision_in_words,
        },
        n_layers=sweep.n_layers,
        key=sweep.spec.fingerprint(),
        wall_s=sweep.wall_s,
        chance=sweep.lines.chance if sweep.lines else None,
        no_loss_n=_no_loss_n(sweep, cuts),
        cuts=cuts,
    )


def _no_loss_n(sweep: SweepResult, cuts: list[CutScores]) -> int | None:
    if sweep.lines is None or not is_above(sweep.points[0], sweep.lines.chance):
        return None
    reached = 0
    for cut in cuts[1:]:
        if cut.acc_change is None or (
            cut.acc_change.is_significant and cut.acc_change.difference < 0
        ):
            break
        reached = cut.n
    return reached


def _cut(sweep: SweepResult, index: int) -> CutScores:
    point = sweep.points[index]
    acc = point.interval or (None, None)
    loss = point.loss_interval or (None, None)
    return CutScores(
        n=point.n,
        removed=point.block.describe() if point.block else "nothing",
        acc=point.acc,
        acc_low=acc[0],
        acc_high=acc[1],
        n_samples=point.n_samples,
        loss=point.loss,
        loss_low=loss[0],
        loss_high=loss[1],
        n_texts=point.n_texts,
        bits_per_byte=point.bits_per_byte,
        acc_change=_acc_change(sweep, index) if index else None,
        loss_change=_loss_change(sweep, index) if index else None,
        start=point.block.start if point.block else None,
    )


def _acc_change(sweep: SweepResult, index: int) -> PairedChange | None:
    if index >= len(sweep.questions) or not sweep.questions[0] or not sweep.questions[index]:
        return None
    pair = compare(sweep.questions[0], sweep.questions[index])
    return PairedChange(pair.difference, pair.low, pair.high)


def _loss_change(sweep: SweepResult, index: int) -> PairedChange | None:
    if index >= len(sweep.text_losses):
        return None
    first = sweep.text_losses[0]
    second = sweep.text_losses[index]
    if not first or len(first) != len(second):
        return None
    return PairedChange(*stats.compare_losses(first, second, sweep.text_tokens))


_WHICH = (
    Column("model"),
    Column("n_layers", "layers"),
    Column("precision"),
    Column("strategy", "chosen by"),
    Column("map_texts", "map of", missing=""),
    Column("questions", "questions of"),
    Column("texts", "loss on", missing=""),
)


_SCORES = (
    *interval_columns("acc", "accuracy"),
    Column("n_samples", "questions"),
    *interval_columns("acc_change", "change in accuracy", format="+.3f"),
    *interval_columns("loss", "loss", "nats/token"),
    Column("n_texts", "texts"),
    *interval_columns("loss_change", "change in loss", "nats/token", "+.3f"),
    Column("bits_per_byte", "bits per byte", format=".3f"),
)
_NO_LOSS = Column("no_loss_n", "no significant drop up to n")
_WALL = Column("wall_s", "time", "s", ".1f")


def every_cut(cells: list[GridCell], caption: str) -> Table:
    """Return a table with a row per removed block of every cell."""
    rows = [_row(cell, cut) for cell in cells for cut in cell.cuts]
    columns = (*_WHICH, Column("n"), *REMOVED, *_SCORES, _NO_LOSS, _WALL, Column("key", "curve"))
    return Table("All removed blocks of the grid", columns, rows, caption)


def each_cell(cells: list[GridCell], caption: str) -> Table:
    """Return a table with a row per cell: its largest n without a significant drop, and its scores
    there.
    """
    unpruned = interval_columns("unpruned_acc", "unpruned accuracy")
    columns = (
        *_WHICH,
        _NO_LOSS,
        *unpruned,
        *_SCORES,
        _WALL,
        Column("error", "not measured because", missing=""),
    )
    rows = []
    for cell in cells:
        no_loss = next((cut for cut in cell.cuts if cut.n == cell.no_loss_n), None)
        first_cut = next(iter(cell.cuts), None)
        ends = interval_values(
            "unpruned_acc",
            (first_cut.acc, first_cut.acc_low, first_cut.acc_high) if first_cut else None,
        )
        rows.append(
            (_row(cell, no_loss) if no_loss else _labels(cell))
            | ends
            | {"error": cell.error or None}
        )
    return Table(
        "Largest pruning of each curve without a significant drop, and its scores",
        columns,
        rows,
        caption,
    )


def _labels(cell: GridCell) -> dict[str, Any]:
    values = {column.name: getattr(cell, column.name) for column in (*_WHICH, _NO_LOSS, _WALL)}
    return {**values, "key": cell.key or None}


def _row(cell: GridCell, cut: CutScores) -> dict[str, Any]:
    row = _labels(cell) | {field.name: getattr(cut, field.name) for field in fields(cut)}
    for name in ("acc_change", "loss_change"):
        change: PairedChange | None = row.pop(name)
        row |= interval_values(
            name, (change.difference, change.low, change.high) if change else None
        )
    return row | {"size": cut.n or None}
