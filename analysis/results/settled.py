"""Conclusions from the difference of two readings: significant or not, and how much more data it would take."""

import math
from collections.abc import Sequence

from analysis.core.errors import MixedConditionsError
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results import reading
from analysis.results.reading import ACC_NORM, ACCURACY, Change, Readings

NOT_SEEN = "not significantly different"
_MOST_DECIMALS = 5


def not_seen(n: int, needed: int | None, unit: str) -> str:
    """Words for an interval that includes zero: "not significantly different (n = 200 questions, would need about 900)".

    Args:
        n: questions or texts it was looked for with.
        needed: as `stats.needed`; None where there is no difference to look for.
        unit: "questions" or "texts".
    """
    more = f", would need about {two_digits(needed)}" if needed is not None and needed > n else ""
    return f"{NOT_SEEN} (n = {n:,} {unit if n != 1 else unit.removesuffix('s')}{more})"


def two_digits(count: int) -> str:
    """Return a number of questions or texts with two digits, rounded up: 873 -> "880", 1565 -> "1,600"."""
    unit = 10 ** max(0, math.floor(math.log10(max(count, 1))) - 1)
    return f"{math.ceil(count / unit) * unit:,}"


def number(value: float, digits: int, sign: str = "") -> str:
    """Return a number with so many decimals, and with up to five where a number above or below zero would read as zero.

    The end of an interval that excludes zero so never reads as if it were zero: 0.1 to 16, not 0 to 16.

    Args:
        value: the number.
        digits: decimals.
        sign: "+" for one before numbers above zero.
    """
    while value and not round(value, digits) and digits < _MOST_DECIMALS:
        digits += 1
    return f"{value:{sign},.{digits}f}"


def said(change: Change, quantity: str, *, of: str = "the unpruned model") -> str:
    """A difference in words: how large, its interval, how it was taken, and whether it is one.

    Args:
        change: the difference.
        quantity: its quantity, as in `Reading.quantity`.
        of: the reference that it is taken from.
    """
    is_share = quantity in (ACCURACY, ACC_NORM)
    size, unit, digits = (100, "points", 1) if is_share else (1, "nats", 3)
    what = "questions" if is_share else "texts"
    how = f"{'paired' if change.paired else 'not paired'} with {of}: {number(size * change.difference, digits, '+')} {unit}"
    if change.low is None or change.high is None:
        return f"{how}, interval unknown"
    how += f", 95 % interval {number(size * change.low, digits, '+')} to {number(size * change.high, digits, '+')}"
    how += "" if change.p_value is None else f", McNemar p = {change.p_value:.2g}"
    return how if change.is_settled else f"{how}: {not_seen(change.n, change.needed, what)}"


def against_unpruned(sweep: SweepResult, quantity: str) -> list[Change | None]:
    """Return the change of each point of a curve against the unpruned model, paired where answers and losses are kept.

    Returns:
        One for each of `sweep.points`; None for the unpruned model itself, and where data are missing, as while a curve grows.
    """
    return [_change(_at(sweep, 0), _at(sweep, place), quantity) for place in range(len(sweep.points))]


def steps_apart(sweep: SweepResult, quantity: str, places: Sequence[int]) -> list[bool]:
    """Return, for the chosen points of a curve by place, True where one differs significantly from the one before it.

    Returns:
        One fewer than places.
    """
    found = [_at(sweep, place) for place in places]
    changes = (_change(before, after, quantity) for before, after in zip(found, found[1:], strict=False))
    return [change is not None and change.is_settled for change in changes]


def healed(heal: HealResult, quantity: str) -> Change | None:
    """Return the change of a healed model against the unpruned one; None where data are missing."""
    return _change(reading.of_heal(heal, "unpruned"), reading.of_heal(heal, "healed"), quantity)


def _at(sweep: SweepResult, place: int) -> Readings:
    if place >= len(sweep.points):
        return {}
    point = sweep.points[place]
    return reading.of_sweep(sweep, point.block)


def _change(reference: Readings, found: Readings, quantity: str) -> Change | None:
    if quantity not in reference or quantity not in found or reference[quantity] == found[quantity]:
        return None
    try:
        return reading.change(reference[quantity], found[quantity])
    except MixedConditionsError:  # a growing curve has asked some cuts more than others
        return None
