"""Cells of a grid: the points of each finished curve, compared with the unpruned model on the same material."""

from dataclasses import dataclass, field
from typing import Any

from analysis.core import stats
from analysis.core.table import Column, Table
from analysis.data import corpora, questions
from analysis.experiments.accuracy.pairs import compare, is_above
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.strategies import DRAW, INFLUENCE, MAP, needs

NO_LOSS = (
    "No significant drop up to n: the largest n up to which no block's 95 % interval of the change in accuracy lies below "
    "zero. Changes are from the unpruned model, paired by question (Bonett and Price) or by text (bootstrap). Each n is tested "
    "alone, because a correction over n would only raise this n. The lower end of the change is the largest drop that may be "
    "missed"
)
"""Definition of `Cell.no_loss_n`, in sentences without the last full stop."""


@dataclass(frozen=True)
class Change:
    """Difference of a pruned model from the unpruned model."""

    difference: float
    """The cut minus the unpruned model: a share of questions, or nats per token."""
    low: float
    """Lower end of the 95 % interval, paired by question or by text."""
    high: float

    @property
    def is_settled(self) -> bool:
        """Return whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class CutScores:
    """Scores of the model without one block."""

    n: int
    """Removed layers; 0 is the unpruned model."""
    removed: str
    """Removed layers, in both index forms."""
    acc: float | None
    acc_low: float | None
    """The ends of the 95 % interval (Wilson)."""
    acc_high: float | None
    n_samples: int
    """Questions."""
    loss: float | None
    """Nats per token."""
    loss_low: float | None
    """The ends of the 95 % interval over texts (Student's t); None for a single text."""
    loss_high: float | None
    n_texts: int
    bits_per_byte: float | None
    """The loss where vocabularies differ."""
    acc_change: Change | None
    """None of the unpruned model, and where no question was asked."""
    loss_change: Change | None
    """None of the unpruned model, and with fewer than two texts."""


@dataclass(frozen=True)
class Cell:
    """One curve of a grid, or why it could not be measured."""

    model: str
    """Name of the model."""
    n_layers: int | None
    """None where the model could not be looked at."""
    precision: str
    """dtype, with the quantization where there is one and the format of the stored weights."""
    strategy: str
    """Strategy that chose the layers to remove, with the draw of a random one."""
    map_texts: str
    """The texts whose distance map it chose from; "" where it reads none."""
    questions: str
    texts: str
    """The texts of the loss."""
    key: str
    """Fingerprint of the curve, under which it is stored as any other; "" where there is none."""
    wall_s: float
    """Seconds of computing, without scores that another curve had measured before."""
    error: str = ""
    """Reason why it could not be measured, in a sentence."""
    chance: float | None = None
    """Expected accuracy of guessing."""
    no_loss_n: int | None = None
    """The largest n up to which no significant drop of accuracy is measured. None without questions, and where the unpruned
    model does not differ significantly from chance, so that it has nothing to lose."""
    cuts: list[CutScores] = field(default_factory=list)
    """n = 0 first."""

    @property
    def name(self) -> str:
        """Return model, strategy, questions and texts of the curve, in a line."""
        return ", ".join(part for part in (self.model, self.strategy, self.questions, self.texts) if part)

    @property
    def at_no_loss(self) -> CutScores | None:
        """The cut with the most layers up to which no loss is seen."""
        return next((cut for cut in self.cuts if cut.n == self.no_loss_n), None)


def _of(spec: SweepSpec) -> dict[str, Any]:
    """Return the values that distinguish a cell from the others, as far as its request has them."""
    model, corpus, strategy = spec.model, spec.loss_corpus, spec.strategy
    short = model.source.rstrip("/").rsplit("/", 1)[-1]
    return {
        "model": short,
        "precision": model.precision_in_words(),
        "strategy": f"{strategy}, draw {spec.draw}" if needs(strategy, DRAW) else strategy,
        "map_texts": corpora.title(spec.distances.corpus) if needs(strategy, MAP, INFLUENCE) else "",
        "questions": questions.title(spec.benchmark),
        "texts": "" if corpus is None else corpora.title(corpus),
    }


def without_numbers(spec: SweepSpec, why: str = "") -> Cell:
    """Return a cell that is not measured yet, or cannot be, with the reason in a sentence."""
    return Cell(**_of(spec), n_layers=None, key="", wall_s=0.0, error=why)


def measured(sweep: SweepResult) -> Cell:
    """Return the cell of a finished curve."""
    cuts = [_cut(sweep, place) for place in range(len(sweep.points))]
    return Cell(
        **{**_of(sweep.spec), "model": sweep.model.name, "precision": sweep.precision_in_words},
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
        if cut.acc_change is None or cut.acc_change.high < 0:
            break
        reached = cut.n
    return reached


def _cut(sweep: SweepResult, place: int) -> CutScores:
    point = sweep.points[place]
    acc, loss = point.interval or (None, None), point.loss_interval or (None, None)
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
        acc_change=_acc_change(sweep, place) if place else None,
        loss_change=_loss_change(sweep, place) if place else None,
    )


def _acc_change(sweep: SweepResult, place: int) -> Change | None:
    if place >= len(sweep.questions) or not sweep.questions[0] or not sweep.questions[place]:
        return None
    pair = compare(sweep.questions[0], sweep.questions[place])
    return Change(pair.difference, pair.low, pair.high)


def _loss_change(sweep: SweepResult, place: int) -> Change | None:
    if place >= len(sweep.text_losses):
        return None
    first, second = sweep.text_losses[0], sweep.text_losses[place]
    if len(first) < 2 or len(first) != len(second):
        return None
    return Change(*stats.compare_losses(first, second, sweep.text_tokens))


_WHICH = (
    Column("model"),
    Column("n_layers", "layers"),
    Column("precision"),
    Column("strategy", "chosen by"),
    Column("map_texts", "map of", missing=""),
    Column("questions", "questions of"),
    Column("texts", "loss on", missing=""),
)


def _number(name: str, title: str, unit: str = "", format: str = ".3f") -> tuple[Column, ...]:
    """A number that people read with its 95 % interval."""
    low, high = f"{name}_low", f"{name}_high"
    return Column(name, title, unit, format, low=low, high=high), Column(low), Column(high)


_SCORES = (
    *_number("acc", "accuracy"),
    Column("n_samples", "questions"),
    *_number("acc_change", "change in accuracy", format="+.3f"),
    *_number("loss", "loss", "nats per token"),
    Column("n_texts", "texts"),
    *_number("loss_change", "change in loss", "nats per token", "+.3f"),
    Column("bits_per_byte", "bits per byte", format=".3f"),
)
_NO_LOSS = Column("no_loss_n", "no significant drop up to n")
_WALL = Column("wall_s", "time", "s", ".1f")


def every_cut(cells: list[Cell], caption: str) -> Table:
    """Every cut of every cell, a row each."""
    rows = [_row(cell, cut) for cell in cells for cut in cell.cuts]
    columns = (*_WHICH, Column("n"), Column("removed"), *_SCORES, _NO_LOSS, _WALL, Column("key", "curve"))
    return Table("All removed blocks of the grid", columns, rows, caption)


def each_cell(cells: list[Cell], caption: str) -> Table:
    """Return a table with a row per cell: its largest n without a significant drop, and its scores there."""
    unpruned = _number("unpruned_acc", "unpruned accuracy")
    columns = (*_WHICH, _NO_LOSS, *unpruned, *_SCORES, _WALL, Column("error", "not measured because", missing=""))
    rows = []
    for cell in cells:
        at, whole = cell.at_no_loss, next(iter(cell.cuts), None)
        ends = {} if whole is None else _ends("unpruned_acc", whole.acc, whole.acc_low, whole.acc_high)
        rows.append((_row(cell, at) if at else _which(cell)) | ends | {"error": cell.error or None})
    return Table("Largest pruning of each curve without a significant drop, and its scores", columns, rows, caption)


def _which(cell: Cell) -> dict[str, Any]:
    told = {column.name: getattr(cell, column.name) for column in (*_WHICH, _NO_LOSS, _WALL)}
    return {**told, "key": cell.key or None}


def _row(cell: Cell, cut: CutScores) -> dict[str, Any]:
    row = _which(cell) | {
        name: getattr(cut, name)
        for name in (
            "n", "removed", "acc", "acc_low", "acc_high", "n_samples", "loss", "loss_low", "loss_high", "n_texts",
            "bits_per_byte",
        )
    }  # fmt: skip
    for name, change in (("acc_change", cut.acc_change), ("loss_change", cut.loss_change)):
        row |= _ends(name, change.difference, change.low, change.high) if change else {}
    return row


def _ends(name: str, value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}
