"""Which of several results says most: how strong the evidence of each is, never which came last."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from analysis.core.record import Result
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.spec import EvaluateResult, SweepResult
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.maps.spec import DamageResult, DistanceResult

T = TypeVar("T")

_PRECISIONS = {"float32": 2, "bfloat16": 1, "float16": 1}


class Weight(NamedTuple):
    """How strong the evidence of a result is; the larger tuple says more."""

    is_complete: bool
    is_unquantized: bool
    precision: int
    """2 for float32, 1 for half precision, 0 where it is not known."""
    questions: int
    """Questions that every cut was asked; 0 of results that ask none."""
    texts: int
    """Texts that every cut's loss, or the map, was measured on."""
    tokens: int
    """The most tokens that these texts have."""
    cuts: int
    """Cuts that were measured: the longer curve, the larger map of damage."""


def weight(result: Result) -> Weight:
    """How strong the evidence of a result is.

    Complete before unfinished, unquantized before quantized, float32 before half precision, then the most questions, then the
    most texts and tokens. Of equal ones the newer says no more: whoever orders results puts it first, and `best` keeps it so.

    Args:
        result: of any kind; of one that this program does not know, what it says of its model and its `n_texts` counts.
    """
    model = getattr(result.spec, "model", None)
    quantization, dtype = getattr(model, "quantization", "none"), getattr(model, "dtype", "")
    questions, texts, length, cuts = _amount(result)
    return Weight(result.complete, quantization == "none", _PRECISIONS.get(dtype, 0), questions, texts, texts * length, cuts)


def ranked(found: Sequence[T], *, result: str = "") -> list[T]:
    """The same, strongest first; equal ones stay in the order they are in, which should be newest first.

    Args:
        found: results, or what holds one.
        result: the name of the attribute that holds it.
    """
    read = attrgetter(result) if result else lambda one: one
    return sorted(found, key=lambda one: weight(read(one)), reverse=True)


def best(found: Sequence[T], *, result: str = "") -> T | None:
    """The strongest of them, the first of equals; None without any. Arguments as `ranked`."""
    return next(iter(ranked(found, result=result)), None)


def _amount(result: Any) -> tuple[int, int, int, int]:
    """Questions, texts, tokens of a text at most, and cuts."""
    if isinstance(result, SweepResult):
        return *_of_points(result.points), _length(result.spec.loss_corpus), len(result.points)
    if isinstance(result, EvaluateResult):
        return *_of_points([result.point]), _length(result.spec.loss_corpus), 1
    if isinstance(result, HealResult):
        return *_of_points(list(result.models.values())), _length(result.spec.validation), len(result.models)
    if isinstance(result, DistanceResult):
        return 0, result.n_texts, _length(result.spec.corpus), 0
    if isinstance(result, DamageResult):
        return 0, result.n_texts, _length(result.spec.corpus), sum(map(len, result.increase))
    return 0, int(getattr(result, "n_texts", 0)), 1, 0


def _of_points(points: Sequence[Point]) -> tuple[int, int]:
    """Questions and texts that every point rests on; a curve is as sure as its weakest point."""
    return min((point.n_samples for point in points), default=0), min((point.n_texts for point in points), default=0)


def _length(corpus: Any) -> int:
    return corpus.seq_len if corpus is not None else 0
