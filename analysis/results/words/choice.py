"""Prune, quantize, both, or take a smaller model: the answer to a goal in words, from everything measured, by one rule."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import units
from analysis.core.units import number
from analysis.results.compared.candidates import (
    KINDS,
    OTHER,
    QUANTIZED,
    UNPRUNED,
    Candidate,
    Comparison,
)
from analysis.results.compared.changes import NOT_SEEN, Change
from analysis.results.stored.reading import ACCURACY, BITS, LOSS
from analysis.results.words.goals import MEGABYTES, NATS, POINTS, TIMES, Goal

RULE = (
    "Rule: the unpruned model in full precision is the answer where it meets the goal. Otherwise it is the measured model that "
    "meets it with the lowest loss (without losses, the highest accuracy). Models that none of the others beats significantly "
    "at 95 % count as equal. Of equal ones the order is: unpruned, quantized, pruned, both, healed, another model, then the "
    "smaller one. For an accepted accuracy drop or loss rise, the smallest model is the answer, and it is smaller than the "
    "reference. A size is the exact memory of the weights. A speed, a drop and a rise meet the goal with their whole 95 % "
    "interval. Brackets hold 95 % intervals."
)
"""The rule that chooses."""
SHORT_RULE = (
    "Rule: the lowest loss that meets the goal, or for an accepted drop the smallest model. Of statistically tied ones the "
    "order is unpruned, quantized, pruned, both, healed, another model. Brackets hold 95 % intervals."
)
"""The rule on a page with little space."""


@dataclass(frozen=True)
class Answer:
    """The answer to one goal."""

    goal: Goal
    candidate: Candidate | None
    """The chosen model; None where no measured one meets the goal."""
    alternatives: tuple[Candidate, ...]
    """The best of each other kind that meets the goal, in the order of `KINDS`."""
    sentences: tuple[str, ...]

    @property
    def said(self) -> str:
        """Return the answer as one text."""
        return " ".join(self.sentences)


def usual_goals(comparison: Comparison) -> list[Goal]:
    """Return the goals that are answered unasked: half of the bytes, 1.3 times the speed, 3 points of accuracy."""
    whole = comparison.reference or max(comparison.forms, key=lambda form: form.memory, default=None)
    size = [] if whole is None else [Goal(MEGABYTES, float(f"{whole.memory / 2e6:.3g}"))]
    return [*size, Goal(TIMES, 1.3), Goal(POINTS, 3.0)]


def answer(comparison: Comparison, goal: Goal) -> Answer:
    """Return the answer to a goal by `RULE`.

    Args:
        comparison: all candidates.
        goal: megabytes, times the speed of the reference, points or nats that may be lost.
    """
    fits = [candidate for candidate in comparison.candidates if answers(goal, candidate, comparison.reference)]
    chosen = _chosen(comparison, fits, goal)
    best = {kind: _chosen(comparison, [candidate for candidate in fits if candidate.kind == kind], goal) for kind in KINDS}
    others = tuple(
        candidate for kind, candidate in best.items() if candidate is not None and (chosen is None or kind != chosen.kind)
    )
    if chosen is not None and chosen.kind == UNPRUNED and goal.kind in (MEGABYTES, TIMES):
        others = ()
    first = _said(chosen, goal) if chosen is not None else _none(comparison, goal)
    said = [first, *_others(others, goal), *_quantizing(comparison, goal)]
    return Answer(goal, chosen, others, tuple(said))


def answers(goal: Goal, candidate: Candidate, reference: Candidate | None) -> bool:
    """Return whether a candidate meets a goal, and is smaller than the reference if the goal is an accepted drop or rise."""
    is_small = goal.kind not in (POINTS, NATS) or reference is None or candidate.memory < reference.memory
    return is_small and meets(candidate, goal)


def meets(candidate: Candidate, goal: Goal) -> bool:
    """Return whether a candidate meets a goal: by its exact size, or by the whole 95 % interval of its change."""
    if goal.kind == MEGABYTES:
        return candidate.memory <= goal.n_bytes
    if goal.kind == TIMES:
        return candidate.pace is not None and candidate.pace.gain is not None and 1 + candidate.pace.gain.low >= goal.value
    change = candidate.changes.get(ACCURACY if goal.kind == POINTS else LOSS)
    if change is None or change.low is None or change.high is None:
        return False
    return change.low > -goal.value / 100 if goal.kind == POINTS else change.high < goal.value


def _chosen(comparison: Comparison, fits: Sequence[Candidate], goal: Goal) -> Candidate | None:
    """Return the candidate that the rule names among those that meet the goal.

    None where no loss and no accuracy of them may be compared with that of the reference, as with another tokenizer.
    """
    if goal.kind in (POINTS, NATS):
        least = min((candidate.memory for candidate in fits), default=0)
        fits = [candidate for candidate in fits if candidate.memory == least]
    elif comparison.reference in fits:
        return comparison.reference
    for quality in dict.fromkeys((comparison.quality, ACCURACY)):
        on_front = {candidate.id for candidate, _ in comparison.offers(quality)}
        if ranked := [candidate for candidate in fits if candidate.id in on_front]:
            return _best(comparison, ranked, quality)
    return None


def _best(comparison: Comparison, ranked: Sequence[Candidate], quality: str) -> Candidate:
    """Return the first by `KINDS` of the candidates that are not significantly worse by a quantity than any other.

    The best one may be another model, with so wide an interval that a pruned model ties with it which a healed one beats.
    """

    def badness(candidate: Candidate) -> float:
        return candidate.readings[quality].value * (-1 if quality == ACCURACY else 1)

    equal = comparison.not_worse(ranked, min(ranked, key=badness), quality)
    equal.sort(key=lambda candidate: (KINDS.index(candidate.kind), candidate.memory, badness(candidate)))
    return next(one for one in equal if all(comparison.not_worse([one], than, quality) for than in equal))


def action(candidate: Candidate) -> str:
    """Return the action that makes a candidate: "8-bit weights, no pruning", "remove layers 11-15"."""
    if candidate.kind == OTHER:
        removed = f" without {candidate.cut.brief()}" if candidate.cut else ""
        return f"take {candidate.name} in {candidate.precision}{removed}"
    healed = f", healed ({candidate.repair})" if candidate.repair else ""
    weights = held_as(candidate)
    if candidate.cut is None:
        return (
            f"{weights}, no pruning{healed}"
            if candidate.is_quantized
            else f"the unpruned model in {candidate.precision}{healed}"
        )
    if candidate.is_quantized:
        return f"{weights} without {candidate.cut.brief()}{healed}"
    return f"remove {candidate.cut.brief()} in {candidate.model.dtype}{healed}"


def held_as(candidate: Candidate) -> str:
    """Return the form of the weights: "8-bit weights", "NF4 weights", or the format of a GGUF file."""
    names = {"8bit": "8-bit weights", "4bit": "NF4 weights"}
    return names.get(
        candidate.model.quantization,
        f"{candidate.weights or candidate.model.precision} file, computed in {candidate.model.dtype}",
    )


def effects(candidate: Candidate) -> str:
    """Return loss, accuracy and speed against the reference; a difference only where its 95 % interval excludes zero."""
    return ", ".join([_loss(candidate), _accuracy(candidate), _speed(candidate)])


def _loss(candidate: Candidate) -> str:
    change, unit = candidate.changes.get(LOSS), "nats/token"
    if change is None:
        change, unit = candidate.changes.get(BITS), "bits per byte"
    return _difference("loss", change, unit, 1)


def _accuracy(candidate: Candidate) -> str:
    return _difference("accuracy", candidate.changes.get(ACCURACY), "points", 100)


def _difference(name: str, change: Change | None, unit: str, size: float) -> str:
    if change is None:
        return f"{name} not compared"
    if change.low is None:
        return f"{name} without an interval"
    value = size * change.difference
    digits = 1 if size > 1 else 3 if abs(value) < 0.1 else 2
    if not change.is_significant:
        return f"{name} {NOT_SEEN} [{change.ends(digits, size)} {unit}]"
    return f"{name} {number(value, digits, '+')} {unit} [{change.ends(digits, size)}]"


def _speed(candidate: Candidate) -> str:
    if candidate.pace is None:
        return "speed not measured"
    where = "here" if candidate.pace.is_here else f"on {candidate.pace.machine}"
    gain = candidate.pace.gain
    if gain is None:
        return f"speed not compared {where}"
    if gain.is_significant and gain.value < 0:
        value, low, high = (number(-100 * each, 0) for each in (gain.value, gain.high, gain.low))
        return f"{value} % slower {where} [{low} to {high} %]"
    if not gain.is_significant:
        return f"speed {NOT_SEEN} {where} [{_times(gain.low)} to {_times(gain.high)} times]"
    return f"{_times(gain.value)} times as fast {where} [{_times(gain.low)} to {_times(gain.high)}]"


def _times(gain: float) -> str:
    """Return how many times as fast; never 1 where the gain is not 0, so that an end that excludes no change reads so."""
    digits = 2
    while gain and digits < _MOST_DECIMALS and float(f"{1 + gain:.{digits}f}") == 1:
        digits += 1
    return f"{1 + gain:.{digits}f}"


_MOST_DECIMALS = 5


def _said(chosen: Candidate, goal: Goal) -> str:
    size = "" if goal.kind == MEGABYTES and chosen.kind == UNPRUNED else f", {units.size(chosen.memory)}"
    if chosen.kind == UNPRUNED and not chosen.changes:
        return f"To {goal.aim}: {action(chosen)} meets this as it is ({units.size(chosen.memory)})."
    return f"To {goal.aim}: {action(chosen)}{size} ({effects(chosen)})."


def _others(others: Sequence[Candidate], goal: Goal) -> list[str]:
    if not others:
        return []
    ways = [
        f"{action(candidate)} ({_loss(candidate)}, {_speed(candidate) if goal.kind != TIMES else units.size(candidate.memory)})"
        for candidate in others
    ]
    return [f"Other ways: {'; '.join(ways)}."]


def _none(comparison: Comparison, goal: Goal) -> str:
    """Say that no measured model meets a goal, and which one is nearest."""
    if not comparison.candidates:
        return f"To {goal.aim}: nothing is measured."
    if any(meets(candidate, goal) for candidate in comparison.candidates) and goal.kind in (MEGABYTES, TIMES):
        return f"To {goal.aim}: the models that meet this have no score that compares with the others."
    if goal.kind == MEGABYTES:
        least = min(comparison.candidates, key=lambda candidate: candidate.memory)
        size, excess = units.size(least.memory), units.size(least.memory - goal.n_bytes)
        smallest = f"{action(least)}, {size}, which is {excess} too large"
        return f"To {goal.aim}: no measured model is this small. The smallest: {smallest}."
    if comparison.reference is None:
        return f"To {goal.aim}: the unpruned model in full precision, the reference, is not measured."
    compared = [candidate for candidate in comparison.candidates if candidate.id != comparison.reference.id]
    if goal.kind == TIMES:
        timed = [candidate for candidate in compared if candidate.pace is not None and candidate.pace.gain is not None]
        if not timed:
            return f"To {goal.aim}: no speed is measured together with that of the reference."
        fastest = max(timed, key=lambda candidate: candidate.pace.gain.low if candidate.pace and candidate.pace.gain else 0.0)
        return f"To {goal.aim}: no measured model is shown to be. The fastest: {action(fastest)} ({_speed(fastest)})."
    quantity = ACCURACY if goal.kind == POINTS else LOSS
    if not any(quantity in candidate.changes for candidate in compared):
        return f"To {goal.aim}: no {quantity} is measured together with that of the reference."
    return f"To {goal.aim}: no smaller model is shown to meet this."


def _quantizing(comparison: Comparison, goal: Goal) -> list[str]:
    """Say for a goal of speed whether quantized weights alone are faster; never assumed, only measured."""
    if goal.kind != TIMES:
        return []
    factors: dict[str, list[str]] = {}
    where = "here"
    for candidate in comparison.forms:
        pace = candidate.pace
        is_converted = candidate.kind == QUANTIZED and candidate.model.quantization != "none"
        if is_converted and pace is not None and (gain := pace.gain) is not None:
            verdict = "faster" if gain.low > 0 else "slower" if gain.high < 0 else f"{NOT_SEEN} in speed"
            times = f"{_times(gain.value)} times [{_times(gain.low)} to {_times(gain.high)}]"
            factors.setdefault(verdict, []).append(f"{held_as(candidate)} in {candidate.model.dtype} {times}")
            where = "here" if pace.is_here else f"on {pace.machine}"
    if not factors:
        return ["The speed of quantized weights is not measured."]
    if list(factors) == ["slower"]:
        return [f"Quantizing does not help speed {where}: {', '.join(factors['slower'])} as fast."]
    return [f"Quantizing alone is {verdict} {where}: {', '.join(parts)}." for verdict, parts in factors.items()]
