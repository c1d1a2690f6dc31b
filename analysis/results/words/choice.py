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
    "meets it with the lowest loss (without losses, the highest accuracy). Models that are not significantly worse at 95 % "
    "count as equal. Of equal ones the order is: unpruned, quantized, pruned, both, healed, another model, then the smaller "
    "one. For an accepted accuracy drop or loss rise, the smallest model is the answer. Sizes are exact. A speed, a drop and a "
    "rise meet the goal with their whole 95 % interval."
)
"""The rule that chooses."""


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


def usual_goals(found: Comparison) -> list[Goal]:
    """Return the goals that are answered unasked: half of the bytes, 1.3 times the speed, 3 points of accuracy."""
    whole = next((one for one in (found.reference, *found.own) if one is not None), None)
    size = [] if whole is None else [Goal(MEGABYTES, float(f"{whole.memory / 2e6:.3g}"))]
    return [*size, Goal(TIMES, 1.3), Goal(POINTS, 3.0)]


def answer(found: Comparison, goal: Goal) -> Answer:
    """Return the answer to a goal by `RULE`.

    Args:
        found: all candidates.
        goal: megabytes, times the speed of the reference, points or nats that may be lost.
    """
    fits = [one for one in found.candidates if meets(one, goal)]
    chosen = _chosen(found, fits, goal)
    best = {kind: _chosen(found, [one for one in fits if one.kind == kind], goal) for kind in KINDS}
    others = tuple(one for kind, one in best.items() if one is not None and (chosen is None or kind != chosen.kind))
    if chosen is not None and chosen.kind == UNPRUNED and goal.kind in (MEGABYTES, TIMES):
        others = ()
    first = _said(chosen, goal) if chosen is not None else _none(found, goal)
    said = [first, *_others(others, goal), *_quantizing(found, goal)]
    return Answer(goal, chosen, others, tuple(said))


def meets(one: Candidate, goal: Goal) -> bool:
    """Return whether a candidate meets a goal: by its exact size, or by the whole 95 % interval of its change."""
    if goal.kind == MEGABYTES:
        return one.memory <= 1e6 * goal.value
    if goal.kind == TIMES:
        return one.pace is not None and one.pace.gain is not None and 1 + one.pace.gain.low >= goal.value
    change = one.changes.get(ACCURACY if goal.kind == POINTS else LOSS)
    if change is None or change.low is None or change.high is None:
        return False
    return change.low > -goal.value / 100 if goal.kind == POINTS else change.high < goal.value


def _chosen(found: Comparison, fits: Sequence[Candidate], goal: Goal) -> Candidate | None:
    """Return the candidate that the rule names among those that meet the goal."""
    if goal.kind in (POINTS, NATS):
        return min(fits, key=lambda one: (one.memory, KINDS.index(one.kind)), default=None)
    if found.reference in fits:
        return found.reference
    quality = found.quality
    ranked = [one for one in fits if quality in one.readings]
    if not ranked:
        return None

    def badness(one: Candidate) -> float:
        return one.readings[quality].value * (-1 if quality == ACCURACY else 1)

    best = min(ranked, key=badness)
    equal = found.not_worse(ranked, best, quality)
    return min(equal, key=lambda one: (KINDS.index(one.kind), one.memory, badness(one)))


def action(one: Candidate) -> str:
    """Return the action that makes a candidate: "8-bit weights, no pruning", "remove layers 11-15"."""
    if one.kind == OTHER:
        removed = f" without {one.cut.brief()}" if one.cut else ""
        return f"take {one.facts.name} in {one.precision}{removed}"
    healed = f", healed ({one.repair})" if one.repair else ""
    held = held_as(one)
    if one.cut is None:
        return f"{held}, no pruning{healed}" if one.is_quantized else f"the unpruned model in {one.precision}{healed}"
    if one.is_quantized:
        return f"{held} without {one.cut.brief()}{healed}"
    return f"remove {one.cut.brief()} in {one.model.dtype}{healed}"


def held_as(one: Candidate) -> str:
    """Return the form of the weights: "8-bit weights", "NF4 weights", or the format of a GGUF file."""
    names = {"8bit": "8-bit weights", "4bit": "NF4 weights"}
    return names.get(one.model.quantization, f"{one.weights or one.model.precision} file, computed in {one.model.dtype}")


def effects(one: Candidate) -> str:
    """Return loss, accuracy and speed against the reference; a difference only where its 95 % interval excludes zero."""
    scores = [_loss(one), _accuracy(one)]
    if scores == [f"{name} {NOT_SEEN}" for name in ("loss", "accuracy")]:
        scores = [f"loss and accuracy {NOT_SEEN}"]
    return ", ".join([*scores, _speed(one)])


def _loss(one: Candidate) -> str:
    change, unit = one.changes.get(LOSS), "nats"
    if change is None:
        change, unit = one.changes.get(BITS), "bits per byte"
    return _difference("loss", change, unit, 1)


def _accuracy(one: Candidate) -> str:
    return _difference("accuracy", one.changes.get(ACCURACY), "points", 100)


def _difference(name: str, change: Change | None, unit: str, size: float) -> str:
    if change is None:
        return f"{name} not compared"
    if not change.is_significant:
        return f"{name} {NOT_SEEN if change.low is not None else 'without an interval'}"
    value = size * change.difference
    digits = 1 if size > 1 else 3 if abs(value) < 0.1 else 2
    return f"{name} {number(value, digits, '+')} {unit}"


def _speed(one: Candidate) -> str:
    if one.pace is None:
        return "speed not measured"
    where = "here" if one.pace.is_here else f"on {one.pace.machine}"
    gain = one.pace.gain
    if gain is None:
        return f"speed not compared {where}"
    if not gain.is_significant:
        return f"speed {NOT_SEEN} {where}"
    if gain.value < 0:
        return f"{-100 * gain.value:.0f} % slower {where}"
    return f"{1 + gain.value:.2f} times as fast {where}"


def _said(chosen: Candidate, goal: Goal) -> str:
    size = "" if goal.kind == MEGABYTES and chosen.kind == UNPRUNED else f", {units.size(chosen.memory)}"
    if chosen.kind == UNPRUNED and not chosen.changes:
        return f"To {goal.aim}: {action(chosen)} meets this as it is ({units.size(chosen.memory)})."
    return f"To {goal.aim}: {action(chosen)}{size} ({effects(chosen)})."


def _others(others: Sequence[Candidate], goal: Goal) -> list[str]:
    if not others:
        return []
    told = [f"{action(one)} ({_loss(one)}, {_speed(one) if goal.kind != TIMES else units.size(one.memory)})" for one in others]
    return [f"Other ways: {'; '.join(told)}."]


def _none(found: Comparison, goal: Goal) -> str:
    """Say that no measured model meets a goal, and which one is nearest."""
    if not found.candidates:
        return f"To {goal.aim}: nothing is measured."
    if goal.kind == MEGABYTES:
        least = min(found.candidates, key=lambda one: one.memory)
        size = units.size(least.memory)
        return f"To {goal.aim}: no measured model is this small. The smallest: {action(least)}, {size}."
    if goal.kind == TIMES:
        timed = [one for one in found.candidates if one.pace is not None and one.pace.gain is not None]
        if not timed:
            return f"To {goal.aim}: no speed is measured together with that of the reference."
        fastest = max(timed, key=lambda one: one.pace.gain.low if one.pace and one.pace.gain else 0.0)
        return f"To {goal.aim}: no measured model is shown to be. The fastest: {action(fastest)} ({_speed(fastest)})."
    if found.reference is None:
        return f"To {goal.aim}: the unpruned model in full precision, the reference, is not measured."
    return f"To {goal.aim}: no smaller model is shown to meet this."


def _quantizing(found: Comparison, goal: Goal) -> list[str]:
    """Say for a goal of speed whether quantized weights alone are faster; never assumed, only measured."""
    if goal.kind != TIMES:
        return []
    alone = {one.model.quantization: one for one in found.own if one.kind == QUANTIZED and one.model.quantization != "none"}
    timed = {held_as(one): one.pace for one in alone.values() if one.pace is not None and one.pace.gain is not None}
    if not timed:
        return ["The speed of quantized weights is not measured."]
    told = ", ".join(f"{name} {1 + pace.gain.value:.2f} times" for name, pace in timed.items() if pace.gain is not None)
    gains = [pace.gain for pace in timed.values() if pace.gain is not None]
    pace = next(iter(timed.values()))
    where = "here" if pace.is_here else f"on {pace.machine}"
    if any(gain.low > 0 for gain in gains):
        return [f"Quantizing alone is faster {where}: {told}."]
    if all(gain.high < 0 for gain in gains):
        return [f"Quantizing does not help speed {where}: {told} as fast."]
    return [f"Quantizing alone is {NOT_SEEN} in speed {where}: {told}."]
