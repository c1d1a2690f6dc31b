"""Strength of the evidence of results, by which several results of one quantity are ordered."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from analysis.core.record import Result
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point
from analysis.experiments.accuracy.sweep_spec import (
    EvaluateResult,
    EvaluateSpec,
    SweepResult,
    SweepSpec,
)
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.speed.speed_spec import SpeedResult, SpeedSpec
from analysis.models.source.model_spec import ModelSpec

_PRECISIONS = {"float32": 2, "bfloat16": 1, "float16": 1}


class Weight(NamedTuple):
    """Strength of the evidence of a result; the larger tuple is stronger."""

    is_complete: bool
    is_judged_apart: bool
    """False of a heal whose headline loss is on the kind of text that it trained on, which flatters
    it."""
    is_unquantized: bool
    precision: int
    """2 for float32, 1 for half precision, 0 if it is not known."""
    questions: int
    """Questions that every pruned model was asked; 0 of results that ask none."""
    texts: int
    """Texts that every pruned model's loss, or the map, was measured on; rounds of a speed."""
    tokens: int
    """The most tokens that these texts have."""
    cuts: int
    """Number of measured removals: the longer curve, the larger map of damage."""

    def sortable(self) -> str:
        """Return a text that sorts as the tuple does."""
        return "".join(
            f"{min(int(value), _LARGEST):0{width}x}"
            for value, width in zip(self, _WIDTHS, strict=True)
        )


_WIDTHS = (1, 1, 1, 1, 10, 10, 10, 10)
_LARGEST = 16**10 - 1

NO_EVIDENCE = Weight(True, True, True, 0, 0, 0, 0, 0)
"""Weight of results without amounts, such as checks, generated texts and exports: the newest one
counts."""


def weight(result: Result) -> Weight:
    """Return the strength of a result's evidence.

    Complete before unfinished, a heal judged by other text than it trained on before one that is
    not. Then unquantized before quantized, float32 before half precision, the most questions, then
    the most texts and tokens. Of equal ones `core.index.Ranking` puts the newest first.

    Args:
        result: of any kind; of an added kind its `model` and `n_texts` count.
    """
    amount = _amount(result)
    if amount is None:
        return NO_EVIDENCE
    model = getattr(result.spec, "model", None)
    quantization = getattr(model, "quantization", "none")
    dtype = getattr(model, "dtype", "")
    questions, texts, length, cuts = amount
    is_apart = (
        not isinstance(result, HealResult)
        or result.spec.validation.subject != result.spec.corpus.subject
    )
    precision = (quantization == "none", _PRECISIONS.get(dtype, 0))
    return Weight(result.complete, is_apart, *precision, questions, texts, texts * length, cuts)


def request_key(result: Result) -> str:
    """Return the fingerprint of a result's request without amount, seed and precision.

    Results with equal keys are alternatives.

    A curve is requested by its strategy and its question set, a map by its metric and its text. A
    heal is requested by its block and its training. The key of a result without amounts is that of
    its own request.
    """
    spec: Any = result.spec
    if isinstance(spec, SweepSpec):
        spec = replace(
            spec,
            loss_corpus=None,
            max_n=None,
            damage=None,
            search=None,
            distances=DistanceSpec(metric=spec.distances.metric),
        )
    if isinstance(spec, EvaluateSpec | HealSpec | SweepSpec):
        spec = replace(spec, generation=None, benchmark=_questions(spec.benchmark))
    if isinstance(spec, EvaluateSpec):
        spec = replace(spec, loss_corpus=_texts(spec.loss_corpus))
    if isinstance(spec, HealSpec):
        spec = replace(spec, check_questions=0, validation=_texts(spec.validation))
    if isinstance(spec, DamageSpec):
        spec = replace(spec, max_size=None, distances=DistanceSpec())
    if isinstance(spec, DamageSpec | DistanceSpec):
        spec = replace(spec, corpus=_texts(spec.corpus))
    if isinstance(spec, SpeedSpec):
        spec = replace(spec, ns=(), repeats=1, seed=0)
    is_scored = isinstance(
        spec, SweepSpec | EvaluateSpec | HealSpec | DamageSpec | DistanceSpec | SpeedSpec
    )
    return str((replace(spec, model=ModelSpec()) if is_scored else spec).fingerprint())


def _questions(benchmark: BenchmarkSpec | None) -> Any:
    return None if benchmark is None else replace(benchmark, limit=None, seed=0, identity="")


def _texts(corpus: CorpusSpec | None) -> Any:
    return None if corpus is None else CorpusSpec(source=corpus.source, split=corpus.split)


def _amount(result: Any) -> tuple[int, int, int, int] | None:
    """Return questions, texts, tokens of a text at most, and removals; None if a result does not
    name its amounts.
    """
    if isinstance(result, SweepResult):
        return *_of_points(result.points), _length(result.spec.loss_corpus), len(result.points)
    if isinstance(result, EvaluateResult):
        return *_of_points([result.point]), _length(result.spec.loss_corpus), 1
    if isinstance(result, HealResult):
        return (
            *_of_points(list(result.models.values())),
            _length(result.spec.validation),
            len(result.models),
        )
    if isinstance(result, DistanceResult):
        return 0, result.n_texts, _length(result.spec.corpus), 0
    if isinstance(result, DamageResult):
        return 0, result.n_texts, _length(result.spec.corpus), sum(map(len, result.increase))
    if isinstance(result, SpeedResult):
        return (
            0,
            result.rounds,
            result.spec.prompt_tokens + result.spec.new_tokens,
            len(result.points),
        )
    return (0, int(result.n_texts), 1, 0) if hasattr(result, "n_texts") else None


def _of_points(points: Sequence[Point]) -> tuple[int, int]:
    """Return the questions and texts of the weakest point."""
    return min((point.n_samples for point in points), default=0), min(
        (point.n_texts for point in points), default=0
    )


def _length(corpus: Any) -> int:
    return corpus.seq_len if corpus is not None else 0
