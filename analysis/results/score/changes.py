"""Changes: the difference of two scores of one condition, its significance, and how much more
data it would take.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.core import stats
from analysis.core.errors import MixedConditionsError
from analysis.core.intervals import Interval
from analysis.core.units import number, two_digits
from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.points import GenerationCheck
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.score import stored_scores
from analysis.results.score.score import (
    ACC_NORM,
    ACCURACY,
    BITS,
    DAMAGE,
    LOSS,
    Score,
    Scores,
)

NOT_SEEN = "not significantly different"
MIN_PLANNED = {True: 20, False: 8}
"""Smallest number of questions (True) or texts (False) from which more are planned; the spread of
fewer is not known well enough."""


@dataclass(frozen=True)
class Change(Interval):
    """Difference of two scores of the same condition."""

    difference: float
    """The score minus the reference."""
    low: float | None
    """Lower end of its 95 % interval; None if no interval is known."""
    high: float | None
    paired: bool
    """Whether it is paired by question or text; otherwise both are treated as independent."""
    n: int
    """Questions or texts."""
    needed: int | None
    """Questions or texts that make a difference of this size significant; None if it is already, or
    if it is zero."""
    p_value: float | None = None
    """Exact McNemar test of answers to the same questions; None for losses, and if answers are not
    kept."""

    def needed_for(self, distance: float) -> int | None:
        """Return the questions or texts after which the interval ends nearer than a distance; None
        if more do not help.

        Args:
            distance: of the difference from a limit. The measured difference counts as the true one
                (power: `stats.POWER`).
        """
        if self.low is None or self.high is None:
            return None
        n_needed = stats.needed(distance, (self.high - self.low) / 2 / stats.Z * math.sqrt(self.n))
        return None if n_needed is None else max(n_needed, self.n + 1)


def change(reference: Score, result: Score) -> Change:
    """Return the change of a reading against its reference: paired by question or text if both kept
    theirs.

    Losses that are not stored per text give no interval. Accuracies without answers, loss
    increases, and losses in bits per byte of two tokenizers have that of independent numbers.

    Raises:
        MixedConditionsError: when their conditions differ.
    """
    if (reference.quantity, reference.condition) != (result.quantity, result.condition):
        raise MixedConditionsError(
            f"These two numbers have different conditions: {reference.quantity} on"
            f" {reference.condition.on_what()}, and {result.quantity} on"
            f" {result.condition.on_what()}. Measure both under the same conditions."
        )
    n = result.condition.n
    if _share_questions(reference, result):
        pair = pairs.compare(reference.answers, result.answers)
        spread = math.sqrt(max(0.0, (pair.gained + pair.lost) / pair.n - pair.difference**2))
        n_needed = stats.needed(pair.difference, spread)
        return _drop_needed(
            Change(pair.difference, pair.low, pair.high, True, pair.n, n_needed, pair.p_value)
        )
    if len(reference.losses) == len(result.losses) > 0:
        mean, low, high = stats.compare_losses(reference.losses, result.losses, reference.tokens)
        if low is None:
            return Change(mean, None, None, True, n, None)
        per_text = [
            after - before for before, after in zip(reference.losses, result.losses, strict=True)
        ]
        _, stderr = stats.weighted_mean_and_stderr(
            per_text, reference.tokens or [1] * len(per_text)
        )
        return _drop_needed(
            Change(mean, low, high, True, n, stats.needed(mean, stderr * math.sqrt(len(per_text))))
        )
    difference = result.value - reference.value
    error = _error(result)
    reference_error = _error(reference)
    low, high = stats.independent(result.value, error, reference.value, reference_error)
    if error is None or reference_error is None:
        return Change(difference, None, None, False, n, None)
    spread = math.hypot(error, reference_error) * math.sqrt(n)
    return _drop_needed(Change(difference, low, high, False, n, stats.needed(difference, spread)))


def _share_questions(reference: Score, result: Score) -> bool:
    """Return whether both asked a common question; answers without ids, of tables of methods, need
    the same questions.
    """
    first = reference.answers
    second = result.answers
    if all(answer.id for answer in (*first[:1], *second[:1])):
        return bool({answer.id for answer in first} & {answer.id for answer in second})
    return len(first) == len(second) and reference.condition.material == result.condition.material


def _error(result: Score) -> float | None:
    """Return one standard error of a share, a loss increase or bits per byte; None for a loss,
    which is compared by text.
    """
    if result.is_share:
        return math.sqrt(result.value * (1 - result.value) / max(1, result.condition.n - 1))
    if result.quantity not in (BITS, DAMAGE) or result.low is None or result.high is None:
        return None
    return (result.high - result.low) / 2 / stats.t_quantile(result.condition.n - 1)


def _drop_needed(change: Change) -> Change:
    """Return the change without a needed amount if it is significant."""
    return replace(change, needed=None) if change.is_significant else change


def remark(change: Change, quantity: str) -> str:
    """Return what to know of an interval of few texts, to put behind it; "" for any other.

    Args:
        change: the difference.
        quantity: its quantity, as in `Score.quantity`.
    """
    has_interval = change.paired and change.low is not None
    if quantity == LOSS and has_interval and change.n < stats.FEW_TEXTS:
        return ", few texts: rather 90 %"
    return ""


def least_planned(quantity: str) -> int:
    """Return the number of questions or texts from which the needed number is stated."""
    return MIN_PLANNED[quantity in (ACCURACY, ACC_NORM)]


def plan(change: Change, quantity: str) -> str:
    """Return how many questions or texts a change that is not significant needs, to put behind it;
    "" if more do not help or too few are measured for a plan.
    """
    if change.needed is None or change.n < least_planned(quantity) or change.needed <= change.n:
        return ""
    return f", would need about {two_digits(change.needed)}"


def describe(change: Change, quantity: str, *, of: str = "the unpruned model") -> str:
    """Describe a difference: its size, interval, pairing and significance.

    Args:
        change: the difference.
        quantity: its quantity, as in `Score.quantity`.
        of: the reference that it is taken from.
    """
    is_share = quantity in (ACCURACY, ACC_NORM)
    size, unit, digits = (100, "points", 1) if is_share else (1, "nats", 3)
    material = "questions" if is_share else "texts"
    evidence = (
        f"{'paired' if change.paired else 'not paired'} with {of}:"
        f" {number(size * change.difference, digits, '+')} {unit}"
    )
    if change.low is None or change.high is None:
        reason = (
            f"fewer than {stats.MIN_TEXTS} texts"
            if change.paired
            else "losses per text were not stored"
        )
        return f"{evidence}, no interval: {reason}"
    evidence += f", 95 % interval {change.ends(digits, size)}{remark(change, quantity)}"
    evidence += "" if change.p_value is None else f", McNemar p = {change.p_value:.2g}"
    if change.is_significant:
        return evidence
    needed = plan(change, quantity)
    return f"{evidence}: {NOT_SEEN} (n = {change.n:,} {material}{needed})"


def against_unpruned(sweep: SweepResult, quantity: str) -> list[Change | None]:
    """Return the change of each point of a curve against the unpruned model, paired if answers and
    losses are kept.

    Returns:
        One for each of `sweep.points`; None for the unpruned model itself, and if data are missing,
        as while a curve grows.
    """
    return [
        _change(_at(sweep, 0), _at(sweep, index), quantity) for index in range(len(sweep.points))
    ]


def significant_steps(sweep: SweepResult, quantity: str, places: Sequence[int]) -> list[bool]:
    """Return whether each chosen point of a curve differs significantly from the one before it.

    Returns:
        One fewer than places.
    """
    scores = [_at(sweep, index) for index in places]
    changes = (
        _change(before, after, quantity) for before, after in zip(scores, scores[1:], strict=False)
    )
    return [change is not None and change.is_significant for change in changes]


def of_heal(heal: HealResult, quantity: str, reference: str = "unpruned") -> Change | None:
    """Return the change of a healed model against another one of the run; None if data are missing.

    Args:
        heal: the run.
        quantity: of the change.
        reference: "unpruned" or "pruned".
    """
    return _change(
        stored_scores.of_heal(heal, reference), stored_scores.of_heal(heal, "healed"), quantity
    )


def of_repetition(before: GenerationCheck | None, after: GenerationCheck | None) -> Change | None:
    """Return the change of the share of repeated 4-grams, paired by prompt; None if texts of the
    same prompts were not kept.
    """
    if before is None or after is None:
        return None
    rates = [
        [continuation.repetition_rate for continuation in check.continuations]
        for check in (before, after)
    ]
    if len(rates[0]) != len(rates[1]) or not rates[0]:
        return None
    mean, stderr = stats.mean_and_stderr(
        [after - before for before, after in zip(*rates, strict=True)]
    )
    low, high = stats.mean_interval(mean, stderr, len(rates[0])) or (None, None)
    return Change(mean, low, high, True, len(rates[0]), None)


def _at(sweep: SweepResult, index: int) -> Scores:
    if index >= len(sweep.points):
        return {}
    point = sweep.points[index]
    return stored_scores.of_sweep(sweep, point.block)


def _change(reference: Scores, scores: Scores, quantity: str) -> Change | None:
    if (
        quantity not in reference
        or quantity not in scores
        or reference[quantity] == scores[quantity]
    ):
        return None
    try:
        return change(reference[quantity], scores[quantity])
    except MixedConditionsError:  # a growing curve has asked some cuts more than others
        return None
