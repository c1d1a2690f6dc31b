"""Goals: the measured model that meets a size, a speed or an accepted drop, chosen from the front by one rule, and its words.

A drop and a speed meet a goal with their whole 95 % interval. A point estimate alone meets nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import units
from analysis.core.errors import SpecError
from analysis.core.units import number, two_digits
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.results.compared.candidates import KINDS, OTHER, UNPRUNED, Candidate
from analysis.results.compared.changes import NOT_SEEN, Change
from analysis.results.compared.front import Comparison, is_better
from analysis.results.stored.reading import ACCURACY, BITS, LOSS

BYTES, SPEED, POINTS, NATS = ("bytes", "speed", "points", "nats")
"""Goals, by the options of the command: memory of the weights, times the speed of the reference, accuracy points and nats per
token that may be lost."""
_LIMITS = {BYTES: (0, math.inf), SPEED: (1, math.inf), POINTS: (0, 100), NATS: (0, math.inf)}
RULE = (
    "Rule: the lowest loss that meets the goal (without losses, the highest accuracy), or for an accepted drop the smallest "
    "model. Of statistically tied models the order is unpruned, quantized, pruned, both, healed, another model, then the "
    "smaller one. A speed, a drop and a rise meet the goal with their whole 95 % interval, which stands in brackets."
)
"""The rule that chooses."""
_MOST_TIMES = 10
"""A candidate that needs more than this many times the measured questions or texts is not named."""


@dataclass(frozen=True)
class Goal:
    """A limit that a user accepts or needs."""

    kind: str
    """BYTES, SPEED, POINTS or NATS."""
    value: float

    @property
    def aim(self) -> str:
        """Return the goal in words that stand behind "to": "fit 165 MB"."""
        return {
            BYTES: f"fit {units.size(round(self.value), exact=True)}",
            SPEED: f"be {self.value:.12g} times as fast",
            POINTS: f"lose less than {self.value:g} {'point' if self.value == 1 else 'points'} of accuracy",
            NATS: f"raise the loss by less than {self.value:g} nats/token",
        }[self.kind]

    @property
    def is_drop(self) -> bool:
        """Whether the goal is an accepted drop or rise."""
        return self.kind in (POINTS, NATS)

    @property
    def quantity(self) -> str:
        """Return the quantity that an accepted drop or rise limits."""
        return LOSS if self.kind == NATS else ACCURACY

    def change(self, candidate: Candidate) -> Change | None:
        """Return the change of a candidate that an accepted drop or rise limits."""
        return candidate.changes.get(self.quantity) if self.is_drop else None

    def room(self, value: float) -> float:
        """Return how far a change of accuracy or loss is within the accepted one; negative beyond it."""
        return self.value / 100 + value if self.kind == POINTS else self.value - value

    def is_met(self, candidate: Candidate) -> bool:
        """Return whether a candidate meets the goal: by its exact size, or by the whole 95 % interval of its change."""
        if self.kind == BYTES:
            return candidate.memory <= round(self.value)
        if self.kind == SPEED:
            return candidate.gain is not None and 1 + candidate.gain.low >= self.value
        change = self.change(candidate)
        if change is None or change.low is None or change.high is None:
            return False
        return self.room(change.low if self.kind == POINTS else change.high) > 0

    def is_missed(self, candidate: Candidate) -> bool:
        """Return whether the whole 95 % interval of a candidate's change is beyond the accepted drop or rise."""
        change = self.change(candidate)
        if change is None or change.low is None or change.high is None:
            return False
        return self.room(change.high if self.kind == POINTS else change.low) < 0


def of_limits(**limits: float | None) -> list[Goal]:
    """Return the goals of the limits that are given, by their kinds.

    Raises:
        SpecError: for one that no model can meet, or every one does.
    """
    for kind, value in limits.items():
        least, most = _LIMITS[kind]
        if value is not None and not least < value < most:
            upper = "finite" if most == math.inf else f"below {most}"
            raise SpecError(f"--{kind} must be above {least} and {upper}, not {value:g}. Give another number.")
    return [Goal(kind, float(value)) for kind, value in limits.items() if value is not None]


def usual(comparison: Comparison, points: float = 3.0) -> list[Goal]:
    """Return the goals that are answered unasked: half of the bytes, 1.3 times the speed, an accepted accuracy drop."""
    largest = comparison.reference or max(comparison.forms, key=lambda form: form.memory, default=None)
    size = [] if largest is None else [Goal(BYTES, round(1e6 * float(f"{largest.memory / 2e6:.3g}")))]
    return [*size, Goal(SPEED, 1.3), Goal(POINTS, points)]


@dataclass(frozen=True)
class Answer:
    """The answer to one goal."""

    goal: Goal
    candidate: Candidate | None
    """The chosen model; None if no measured one meets the goal."""
    alternatives: tuple[Candidate, ...]
    """The best of each other kind that meets the goal, in the order of `KINDS`."""
    undecided: Candidate | None
    """A smaller pruned model whose measured change meets an accepted drop and whose interval does not; None without any."""
    needed: int
    """Questions or texts after which its interval would meet the goal, if its measured change is the true one."""
    sentences: tuple[str, ...]

    @property
    def said(self) -> str:
        """Return the answer as one text."""
        return " ".join(self.sentences)

    def __repr__(self) -> str:
        return f"<{self.said}>"


def answer(comparison: Comparison, goal: Goal) -> Answer:
    """Return the answer to a goal by `RULE`."""
    reference = comparison.reference
    fits = [one for one in comparison.candidates if goal.is_met(one)]
    if goal.is_drop and reference is not None:
        fits = [candidate for candidate in fits if candidate.memory < reference.memory]
    chosen = _chosen(comparison, fits, goal)
    best = [_chosen(comparison, [candidate for candidate in fits if candidate.kind == kind], goal) for kind in KINDS]
    others = tuple(one for one in best if one is not None and (chosen is None or one.kind != chosen.kind))
    if chosen is not None and chosen.kind == UNPRUNED and not goal.is_drop:
        others = ()
    undecided, needed = _undecided(comparison, goal, chosen or reference)
    said = [_said(chosen, goal) if chosen is not None else _none(comparison, goal), *_others(others, goal)]
    if undecided is not None:
        noun = "questions" if goal.kind == POINTS else "texts"
        said.append(
            f"Not decided: {action(undecided)}, {units.size(undecided.memory)}. Measure about {two_digits(needed)} {noun}."
        )
    return Answer(goal, chosen, others, undecided, needed, tuple(said))


def _undecided(comparison: Comparison, goal: Goal, than: Candidate | None) -> tuple[Candidate | None, int]:
    """Return the pruned model that the fewest questions or texts would decide, with their number."""
    needed = {}
    for candidate in comparison.forms if than is not None else ():
        change = goal.change(candidate)
        is_smaller = candidate.cut is not None and not candidate.repair and than is not None and candidate.memory < than.memory
        if change is not None and is_smaller and not goal.is_met(candidate) and (room := goal.room(change.difference)) > 0:
            n = change.needed_for(room)
            if n is not None and n <= _MOST_TIMES * change.n:
                needed[candidate.id] = (n, candidate)
    n, first = min(needed.values(), key=lambda pair: pair[0], default=(0, None))
    material = None if first is None else first.readings[goal.quantity].condition.material
    if isinstance(material, BenchmarkSpec) and not material.is_file and n > (questions.size(material) or n):
        return None, 0
    return first, n


def _chosen(comparison: Comparison, fits: Sequence[Candidate], goal: Goal) -> Candidate | None:
    """Return the candidate that the rule names among those that meet the goal.

    None if no loss and no accuracy of them may be compared with that of the reference, as with another tokenizer.
    """
    if goal.is_drop:
        least = min((candidate.memory for candidate in fits), default=0)
        fits = [candidate for candidate in fits if candidate.memory == least]
    elif comparison.reference in fits:
        return comparison.reference
    for quality in dict.fromkeys((comparison.quality, ACCURACY)):
        front = comparison.front(quality)
        on_front = {candidate.id for candidate in front.candidates} if front else ()
        if ranked := [candidate for candidate in fits if candidate.id in on_front]:
            return _best(ranked, quality)
    return None


def _best(ranked: Sequence[Candidate], quality: str) -> Candidate:
    """Return the first by `KINDS` of the candidates that are not significantly worse by a quantity than any other.

    The best one may be another model, with so wide an interval that a pruned model ties with it which a healed one beats.
    """

    def badness(candidate: Candidate) -> float:
        return candidate.readings[quality].value * (-1 if quality == ACCURACY else 1)

    lowest = min(ranked, key=badness)
    equal = [candidate for candidate in ranked if not is_better(lowest, candidate, quality)]
    equal.sort(key=lambda candidate: (KINDS.index(candidate.kind), candidate.memory, badness(candidate)))
    return next(one for one in equal if not any(is_better(other, one, quality) for other in equal))


def action(candidate: Candidate) -> str:
    """Return the action that makes a candidate: "8-bit weights, no pruning", "remove layers 11-15"."""
    if candidate.kind == OTHER:
        removed = f" without {candidate.cut.brief()}" if candidate.cut else ""
        return f"take {candidate.name} in {candidate.precision}{removed}"
    healed = f", healed ({candidate.repair})" if candidate.repair else ""
    names = {"8bit": f"8-bit weights in {candidate.model.dtype}", "4bit": f"NF4 weights in {candidate.model.dtype}"}
    file = f"{candidate.weights or candidate.model.precision} file, computed in {candidate.model.dtype}"
    weights = names.get(candidate.model.quantization, file)
    if candidate.cut is None:
        unpruned = f"{weights}, no pruning" if candidate.is_quantized else f"the unpruned model in {candidate.precision}"
        return f"{unpruned}{healed}"
    if candidate.is_quantized:
        return f"{weights} without {candidate.cut.brief()}{healed}"
    return f"remove {candidate.cut.brief()} in {candidate.model.dtype}{healed}"


def effects(candidate: Candidate) -> list[str]:
    """Return loss, accuracy and speed against the reference; a difference only if its 95 % interval excludes zero."""
    accuracy = _difference("accuracy", candidate.changes.get(ACCURACY), "points", 100)
    return [_loss(candidate), accuracy, _speed(candidate)]


def _loss(candidate: Candidate) -> str:
    change, unit = candidate.changes.get(LOSS), "nats/token"
    if change is None:
        change, unit = candidate.changes.get(BITS), "bits per byte"
    return _difference("loss", change, unit, 1)


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
    gain = candidate.gain
    if gain is None:
        return "speed not compared"
    if gain.is_significant and gain.value < 0:
        value, low, high = (number(-100 * each, 0) for each in (gain.value, gain.high, gain.low))
        return f"{value} % slower [{low} to {high} %]"
    if not gain.is_significant:
        return f"speed {NOT_SEEN} [{_times(gain.low)} to {_times(gain.high)} times]"
    return f"{_times(gain.value)} times as fast [{_times(gain.low)} to {_times(gain.high)}]"


def _times(gain: float) -> str:
    """Return how many times as fast; never 1 if the gain is not 0, so that an end that excludes no change reads so."""
    digits = 2
    while gain and digits < _MOST_DECIMALS and float(f"{1 + gain:.{digits}f}") == 1:
        digits += 1
    return f"{1 + gain:.{digits}f}"


_MOST_DECIMALS = 5


def _said(chosen: Candidate, goal: Goal) -> str:
    if chosen.kind == UNPRUNED and not chosen.changes:
        return f"To {goal.aim}: {action(chosen)} meets this as it is ({units.size(chosen.memory)})."
    return f"To {goal.aim}: {action(chosen)}, {units.size(chosen.memory)} ({', '.join(effects(chosen))})."


def _others(others: Sequence[Candidate], goal: Goal) -> list[str]:
    ways = [
        f"{action(candidate)} ({_loss(candidate)}, {_speed(candidate) if goal.kind != SPEED else units.size(candidate.memory)})"
        for candidate in others
    ]
    return [f"Other ways: {'; '.join(ways)}."] if ways else []


def _none(comparison: Comparison, goal: Goal) -> str:
    """Say that no measured model meets a goal, and which one is nearest."""
    said = f"To {goal.aim}:"
    if not comparison.candidates:
        return f"{said} nothing is measured."
    if goal.kind == BYTES:
        least = min(comparison.candidates, key=lambda candidate: candidate.memory)
        smallest = (
            f"{action(least)}, {units.size(least.memory)}, which is {units.size(least.memory - round(goal.value))} too large"
        )
        return f"{said} no measured model is this small. The smallest: {smallest}."
    if comparison.reference is None:
        return f"{said} the unpruned model in full precision, the reference, is not measured."
    if goal.kind == SPEED:
        timed = [(one.gain.low, one) for one in comparison.candidates if one.gain and one.id != comparison.reference.id]
        if timed:
            _, fastest = max(timed, key=lambda pair: pair[0])
            return f"{said} no measured model is shown to be. The fastest: {action(fastest)} ({_speed(fastest)})."
    if goal.is_drop and not any(map(goal.change, comparison.candidates)):
        return f"{said} no {goal.quantity} is measured together with that of the reference."
    return f"{said} no {'smaller' if goal.is_drop else 'measured'} model is shown to meet this."
