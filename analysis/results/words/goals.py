"""The choice of a model for a goal in words (rules: `results.verdict`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core import units
from analysis.core.units import number, two_digits
from analysis.results import verdict
from analysis.results.compared import files
from analysis.results.compared.candidates import OTHER, UNPRUNED, Candidate
from analysis.results.compared.front import Comparison
from analysis.results.score.changes import NOT_SEEN, Change
from analysis.results.score.score import ACCURACY, BITS, LOSS
from analysis.results.verdict import BYTES, NATS, POINTS, SPEED, Choice, Goal


@dataclass(frozen=True)
class Answer(Choice):
    """The choice for one goal with its words."""

    sentences: tuple[str, ...]

    @property
    def said(self) -> str:
        """Return the answer as one text."""
        return " ".join(self.sentences)

    def __repr__(self) -> str:
        return f"<{self.said}>"


def answer(comparison: Comparison, goal: Goal) -> Answer:
    """Return the answer to a goal."""
    choice = verdict.choose(comparison, goal)
    sentences = [
        _said(choice.candidate, goal) if choice.candidate is not None else _none(comparison, goal)
    ]
    if choice.candidate is not None and choice.candidate.is_file:
        sentences.append(f"Command: {files.command(choice.candidate)}.")
    sentences += _others(choice.alternatives, goal)
    if choice.undecided is not None:
        amount = (
            f"about {two_digits(choice.needed)} {'questions' if goal.kind == POINTS else 'texts'}"
        )
        sentences.append(
            f"Not decided: {action(choice.undecided)}, {units.size(choice.undecided.memory)}."
            f" Measure {amount}."
        )
    return Answer(**vars(choice), sentences=tuple(sentences))


def aim(goal: Goal) -> str:
    """Return a goal in words that follow "to": "fit 165 MB"."""
    return {
        BYTES: f"fit {units.size(round(goal.value), exact=True)}",
        SPEED: f"be {goal.value:.12g} times as fast",
        POINTS: (
            f"lose less than {goal.value:g} {'point' if goal.value == 1 else 'points'} of accuracy"
        ),
        NATS: f"raise the loss by less than {goal.value:g} nats/token",
    }[goal.kind]


def action(candidate: Candidate) -> str:
    """Return the action that makes a candidate: "8-bit weights, no pruning", "remove layers
    11-15".
    """
    removed = f" without {candidate.cut.brief()}" if candidate.cut else ""
    healed = f", healed ({candidate.repair})" if candidate.repair else ""
    if candidate.kind == OTHER:
        return (
            f"take {candidate.name} {'as its' if candidate.is_file else 'in'}"
            f" {candidate.precision}{removed}{healed}"
        )
    if candidate.is_file:
        return f"{candidate.precision}{removed}{healed}"
    names = {
        "8bit": f"8-bit weights in {candidate.model.dtype}",
        "4bit": f"NF4 weights in {candidate.model.dtype}",
    }
    file = (
        f"{candidate.weights or candidate.model.precision} file, computed in"
        f" {candidate.model.dtype}"
    )
    weights = names.get(candidate.model.quantization, file)
    if candidate.cut is None:
        unpruned = (
            f"{weights}, no pruning"
            if candidate.is_quantized
            else f"the unpruned model in {candidate.precision}"
        )
        return f"{unpruned}{healed}"
    if candidate.is_quantized:
        return f"{weights}{removed}{healed}"
    return f"remove {candidate.cut.brief()} in {candidate.model.dtype}{healed}"


def effects(candidate: Candidate) -> list[str]:
    """Return loss, accuracy and speed against the reference; a difference only if its 95 % interval
    excludes zero.
    """
    accuracy = [] if _has_same_weights(candidate) else [effect(candidate, ACCURACY)]
    return [
        effect(candidate, LOSS if candidate.changes.get(LOSS) else BITS),
        *accuracy,
        _speed(candidate),
    ]


_UNITS = {
    ACCURACY: ("accuracy", "points", 100),
    LOSS: ("loss", "nats/token", 1),
    BITS: ("loss", "bits per byte", 1),
}


def effect(candidate: Candidate, quantity: str) -> str:
    """Return the change of a quantity against the reference, with its interval: "loss +0.21
    nats/token [+0.20 to +0.23]".

    Args:
        candidate: The model.
        quantity: ACCURACY, LOSS or BITS.
    """
    if _has_same_weights(candidate):
        return "the same weights"
    name, unit, size = _UNITS[quantity]
    return _difference(name, candidate.changes.get(quantity), unit, size)


def _has_same_weights(candidate: Candidate) -> bool:
    """Whether a candidate is the file of the reference."""
    loss = candidate.changes.get(LOSS)
    return candidate.is_file and loss is not None and loss.low == loss.high == 0


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
    """Return how many times as fast, with enough decimals that a gain other than 0 does not read as
    1.
    """
    digits = 2
    while gain and digits < _MOST_DECIMALS and float(f"{1 + gain:.{digits}f}") == 1:
        digits += 1
    return f"{1 + gain:.{digits}f}"


_MOST_DECIMALS = 5


def _said(chosen: Candidate, goal: Goal) -> str:
    if chosen.kind == UNPRUNED and not chosen.changes:
        return (
            f"To {aim(goal)}: {action(chosen)} meets this as it is ({units.size(chosen.memory)})."
        )
    return (
        f"To {aim(goal)}: {action(chosen)}, {units.size(chosen.memory)}"
        f" ({', '.join(effects(chosen))})."
    )


def _others(others: Sequence[Candidate], goal: Goal) -> list[str]:
    ways = []
    for candidate in others:
        loss, *_, speed = effects(candidate)
        ways.append(
            f"{action(candidate)} ({loss},"
            f" {speed if goal.kind != SPEED else units.size(candidate.memory)})"
        )
    return [f"Other ways: {'; '.join(ways)}."] if ways else []


def _none(comparison: Comparison, goal: Goal) -> str:
    """Return a sentence for a goal that no measured model meets, with the nearest one."""
    prefix = f"To {aim(goal)}:"
    if not comparison.candidates:
        return f"{prefix} nothing is measured."
    if goal.kind == BYTES:
        least = min(comparison.candidates, key=lambda candidate: candidate.memory)
        smallest = (
            f"{action(least)}, {units.size(least.memory)}, which is"
            f" {units.size(least.memory - round(goal.value))} too large"
        )
        return f"{prefix} no measured model is this small. The smallest: {smallest}."
    if comparison.reference is None:
        return f"{prefix} the unpruned model in full precision, the reference, is not measured."
    if goal.kind == SPEED:
        faster = (
            (each.gain.low, f"{action(each)} ({_speed(each)})")
            for each in comparison.candidates
            if each.gain
        )
        low, fastest = max(faster, default=(0.0, ""))
        if low > 0:
            return f"{prefix} no measured model is. The fastest: {fastest}."
    if goal.is_drop and not any(map(goal.change, comparison.candidates)):
        return f"{prefix} no {goal.quantity} is measured together with that of the reference."
    return f"{prefix} no measured {'smaller ' if goal.is_drop else ''}model meets this."
