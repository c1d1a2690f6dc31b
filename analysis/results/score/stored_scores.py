"""Scores of stored results.

A score is made from one result by the functions here and in no other way, so that its value and its
condition belong together.
"""

import math
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.core import stats
from analysis.core.blocks import Block, Removal, removal
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.points import Point, QuestionScore, place
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.batch.methods_spec import MethodsResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.models.source import weights_format
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACC_NORM, ACCURACY, CONTROL, DAMAGE, LOSS, Score, Scores

SCORED = ("sweep", "evaluate", "heal", "methods")
"""Kinds of results that score models."""
Scored = SweepResult | EvaluateResult | HealResult
"""Results that score models by points."""


def of_map(result: DistanceResult | DamageResult) -> Condition:
    """Return the condition of a map of blocks: its texts, precision and weights format."""
    n = (
        result.n_texts
        if isinstance(result, DistanceResult)
        else max((n for row in result.n_measured for n in row), default=0)
    )
    return _condition(result.spec.model, result.model, replace(result.spec.corpus, n_texts=n), n)


def of_sweep(result: SweepResult, removed: Removal | None) -> Scores:
    """Return the scores of one block on a curve; empty if the curve has no point of exactly these
    layers.

    Args:
        result: the curve.
        removed: the removed layers; None for the unpruned model. Two curves may remove different
            layers at the same n.
    """
    places = (index for index, point in enumerate(result.points) if point.block == removed)
    return next((_of_place(result, index) for index in places), {})


def _of_place(result: SweepResult, index: int) -> Scores:
    answers = result.questions[index] if index < len(result.questions) else ()
    losses = result.text_losses[index] if index < len(result.text_losses) else ()
    tokens = result.text_tokens[: len(losses)]
    return _of_point(result, result.points[index], result.spec.loss_corpus, answers, losses, tokens)


def of_evaluate(result: EvaluateResult) -> Scores:
    """Return the scores of one model."""
    repair = Path(result.spec.adapter).name if result.spec.adapter else ""
    corpus = result.spec.loss_corpus
    losses = result.text_losses
    return _of_point(
        result, result.point, corpus, result.questions, losses, result.text_tokens, repair
    )


def of_heal(result: HealResult, model: str) -> Scores:
    """Return the scores of one of the three models of a heal.

    Args:
        result: the heal.
        model: "unpruned", "pruned" or "healed"; empty if that was not measured.
    """
    point = result.models.get(model)
    if point is None:
        return {}
    answers = result.questions.get(model, ())
    losses = result.text_losses.get(model, ())
    repair = repair_of(result) if model == "healed" else ""
    return _of_point(
        result, point, result.spec.validation, answers, losses, result.text_tokens, repair
    )


def of_all(result: Any) -> list[Scores]:
    """Return the scores of a curve, an evaluation, a heal or a table of methods, model by model;
    other kinds score none.

    They are cached as long as the result exists.
    """
    cached = _KEPT.get(id(result))
    if cached is None:
        cached = _KEPT[id(result)] = _all_of(result)
        weakref.finalize(result, _KEPT.pop, id(result), None).atexit = False
    return list(cached)


def conditions_of(result: Any) -> dict[str, Condition]:
    """Return by quantity the condition of a result's scores: that of its unpruned model, else of
    its first scored block.
    """
    conditions: dict[str, Condition] = {}
    for scores in sorted(
        of_all(result),
        key=lambda of_cut: any(score.cut is not None for score in of_cut.values()),
    ):
        for quantity, score in scores.items():
            conditions.setdefault(quantity, score.condition)
    return conditions


_KEPT: dict[int, list[Scores]] = {}
"""Scores by the identity of a result that still exists."""


def _all_of(result: Any) -> list[Scores]:
    if isinstance(result, SweepResult):
        firsts: dict[Removal | None, Scores] = {}
        removed = [point.block for point in result.points]
        for index, block in enumerate(removed):
            if block not in firsts:
                firsts[block] = _of_place(result, index)
        return [firsts[block] for block in removed]
    if isinstance(result, EvaluateResult):
        return [of_evaluate(result)]
    if isinstance(result, MethodsResult):
        return list(_of_methods(result))
    return (
        [of_heal(result, model) for model in result.models]
        if isinstance(result, HealResult)
        else []
    )


def points_of(result: Any) -> list[Point]:
    """Return the points of a result in the order of `of_all`, which reads them; empty for kinds
    that score no model.
    """
    if isinstance(result, SweepResult):
        return result.points
    if isinstance(result, EvaluateResult):
        return [result.point]
    if isinstance(result, HealResult):
        return list(result.models.values())
    if isinstance(result, MethodsResult):
        return [point for point, *_ in _points_of_methods(result)]
    return []


def _of_methods(result: MethodsResult) -> Iterator[Scores]:
    """Yield the scores of the unpruned model and of each measured cell that removes whole
    layers.
    """
    corpus = result.spec.loss_corpus
    for point, right, losses, recipe in _points_of_methods(result):
        answers = [QuestionScore("", [], int(not is_right), 0) for is_right in right]
        yield _of_point(result, point, corpus, answers, losses, result.text_tokens, recipe)


def _points_of_methods(
    result: MethodsResult,
) -> Iterator[tuple[Point, Sequence[bool], Sequence[float], str]]:
    """Yield point, right answers, losses and healing recipe of each model of a table."""
    models = [(None, "", ""), *((cell.removed, cell.recipe, cell.error) for cell in result.cells)]
    for (removed, recipe, error), losses, right in zip(
        models, result.losses, result.right, strict=True
    ):
        # "layers 3, 5-6", also in tables that add "blocks [3, 4) [5, 7)".
        written = (removed or "").partition(" (")[0]
        if error or " of layer" in written or not losses:
            continue
        layers: list[int] = []
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", written):
            layers += range(int(first), int(last or first) + 1)
        loss, stderr = stats.weighted_mean_and_stderr(losses, result.text_tokens)
        acc, acc_stderr = stats.mean_and_stderr(list(map(float, right))) if right else (None, None)
        point = Point(
            **place(removal(layers) if layers else None),
            acc=acc,
            acc_stderr=acc_stderr,
            n_samples=len(right),
            loss=loss,
            loss_stderr=stderr,
            n_texts=len(losses),
        )
        yield point, right, losses, recipe


def of_same_kind(result: HealResult, model: str) -> Scores:
    """Return the loss of one of the three models of a heal on text of the kind that was trained on;
    arguments as `of_heal`.
    """
    point = result.same_kind.get(model)
    if point is None:
        return {}
    losses = result.same_kind_losses.get(model, ())
    repair = repair_of(result) if model == "healed" else ""
    return _of_point(
        result, point, result.same_kind_text, (), losses, result.same_kind_tokens, repair
    )


def repair_of(result: HealResult) -> str:
    """Return the recipe of a heal; `CONTROL` if it trained the unpruned model."""
    return CONTROL if result.spec.control else result.spec.recipe


def of_damage(result: DamageResult, block: Block) -> Score | None:
    """Return the measured loss increase without a block; None if it is not measured.

    Args:
        result: the damage map.
        block: the removed layers.
    """
    index = block.size - 1
    row = result.increase[index] if index < len(result.increase) else []
    value = row[block.start] if block.start < len(row) else None
    if value is None:
        return None
    n = result.n_measured[index][block.start]
    low, high = result.interval(block) or (None, None)
    condition = _condition(
        result.spec.model, result.model, replace(result.spec.corpus, n_texts=n), n
    )
    return Score(DAMAGE, block, "", value, low, high, condition)


def _of_point(
    result: Scored | MethodsResult,
    point: Point,
    corpus: CorpusSpec | None,
    answers: Sequence[QuestionScore],
    losses: Sequence[float],
    tokens: Sequence[int],
    repair: str = "",
) -> Scores:
    scores: Scores = {}
    model = result.spec.model
    facts = result.model
    benchmark = result.spec.benchmark
    is_file = bool(getattr(result.spec, "as_file", False))
    if benchmark is not None and point.n_samples:
        material = replace(benchmark, limit=point.n_samples)
        condition = _condition(model, facts, material, point.n_samples, is_file=is_file)
        for quantity, value in ((ACCURACY, point.acc), (ACC_NORM, point.acc_norm)):
            if value is not None:
                ends = stats.share_interval(value, point.n_samples)
                kept = tuple(answers) if quantity == ACCURACY else ()
                scores[quantity] = Score(
                    quantity, point.block, repair, value, *ends, condition, answers=kept
                )
    if corpus is not None and point.loss is not None and point.n_texts:
        condition = _condition(
            model, facts, replace(corpus, n_texts=point.n_texts), point.n_texts, is_file=is_file
        )
        low, high = point.loss_interval or (None, None)
        scores[LOSS] = Score(
            LOSS,
            point.block,
            repair,
            point.loss,
            low,
            high,
            condition,
            losses=tuple(losses),
            tokens=tuple(tokens),
            bits_per_byte=point.bits_per_byte,
            tokens_per_byte=(
                point.bits_per_byte * math.log(2) / point.loss
                if point.bits_per_byte and point.loss
                else None
            ),
        )
    return scores


def _condition(
    model: ModelSpec,
    facts: ModelFacts,
    material: BenchmarkSpec | CorpusSpec,
    n: int,
    *,
    is_file: bool = False,
) -> Condition:
    weights = model.identity or (
        f"{model.source} {model.revision}" if model.revision else model.source
    )
    precision = weights_format.IN_LLAMA_CPP if is_file else model.precision
    return Condition(weights, precision, material, n, facts.name, model.format_of_weights(facts))
