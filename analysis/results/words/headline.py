"""The verdict on removed layers in a few sentences, from their `Evidence`."""

import math

from analysis.core.units import number
from analysis.core.units import size as size_in_words
from analysis.results.compared import recovery
from analysis.results.evidence import ESTIMATED, RECOVERY, SIZE, SPEED, UNKNOWN, Evidence, Quantity
from analysis.results.score import changes
from analysis.results.score.changes import NOT_SEEN, Change
from analysis.results.score.score import ACCURACY, LOSS, Score

UNITS = {ACCURACY: (100, 1, "points"), LOSS: (1, 2, "nats/token"), SPEED: (100, 0, "%")}
"""Factor, decimals and unit of a change."""
UNUSABLE_NATS = math.log(100)
"""Loss increase of an unusable model: it gives each token a hundredth of the probability."""


def sentence(evidence: Evidence) -> str:
    """Return size, speed, accuracy, loss and recovery in three or four short sentences.

    A difference is stated only if its 95 % interval excludes zero. A quantity without a measurement
    says so.
    """
    size, speed, *rest = (
        clause(evidence.quantity(name)) for name in (SIZE, SPEED, ACCURACY, LOSS, RECOVERY)
    )
    speed = f" and {speed}" if speed.endswith(("faster", "slower")) else f". {capital(speed)}"
    parts = (f"Removing {evidence.removed.brief()} makes the model {size}{speed}", *rest)
    return " ".join(f"{capital(part)}." for part in parts)


def verdict(evidence: Evidence) -> str:
    """Return the change of accuracy and of loss in one sentence, without intervals and
    conditions.
    """
    quantities = [evidence.quantity(name) for name in (ACCURACY, LOSS)]
    if not any(quantity.change for quantity in quantities):
        return f"Accuracy and loss without {evidence.removed.brief()} are not measured."
    change = evidence.quantity(LOSS).change
    is_unusable = change is not None and change.is_significant and change.difference > UNUSABLE_NATS
    line = f"Without {evidence.removed.brief()}, {' and '.join(map(_brief, quantities))}"
    return f"{line}: unusable." if is_unusable else f"{line}."


def _brief(quantity: Quantity) -> str:
    if quantity.change is None:
        return unmeasured(quantity)
    source = (
        " on other texts" if quantity.state == ESTIMATED else ""
    )  # those of the loss-increase map
    return f"{_change(quantity.name, quantity.change)}{source}"


def measured_on(evidence: Evidence) -> list[str]:
    """Return the condition of each known number: "Accuracy: 200 ARC-Easy questions, float32"."""
    quantities = (evidence.quantity(name) for name in (SIZE, SPEED, ACCURACY, LOSS, RECOVERY))
    return [
        f"{quantity.name.capitalize()}: {quantity.on}" for quantity in quantities if quantity.on
    ]


def clause(quantity: Quantity) -> str:
    """Return a quantity in a clause without a full stop: "accuracy drops 8 points (95 % CI 0.1 to
    16, 200 questions)".
    """
    name = quantity.name
    change = quantity.change
    if name == RECOVERY:
        return (
            "no healing run of this block is measured"
            if quantity.result is None
            else recovery.clause(quantity.result)
        )
    if name == SIZE:
        return "smaller" if change is None else f"{-100 * change.difference:.0f} % smaller"
    if change is None:
        on = f" on {quantity.material}" if quantity.material else ""
        return "its speed is not measured" if name == SPEED else unmeasured(quantity, on)
    if name == SPEED:
        about = "about " if quantity.state == ESTIMATED else ""
        way = (
            f"{about}{100 * abs(change.difference):.0f} %"
            f" {'faster' if change.difference > 0 else 'slower'}"
        )
        return way if change.is_significant else f"its speed is {NOT_SEEN}"
    return _moved(name, change, quantity.material)


def unmeasured(quantity: Quantity, on: str = "") -> str:
    """Return what is missing for a change of accuracy or loss: the score, or that of the unpruned
    model.
    """
    if not isinstance(quantity.after, Score) or quantity.after.quantity != quantity.name:
        return f"{quantity.name} is not measured{on}"
    unit = " nats/token" if quantity.name == LOSS else ""
    value = f"{quantity.after.number()}{unit}"
    return f"{quantity.name} is {value}, but that of the unpruned model is not measured{on}"


def value_in_words(quantity: Quantity) -> str:
    """Return a change with its unit: "-8.0 points", "about +16 %" if it is estimated, or "26 %
    smaller, 5.2 GB" of a size.
    """
    if quantity.name == SIZE:
        return clause(quantity) + (
            f", {size_in_words(quantity.after)}" if isinstance(quantity.after, int) else ""
        )
    if quantity.change is None:
        return UNKNOWN
    size, digits, unit = UNITS[quantity.name]
    about = "about " if quantity.state == ESTIMATED else ""
    return f"{about}{number(size * quantity.change.difference, digits, '+')} {unit}"


def interval_in_words(quantity: Quantity) -> str:
    """Return the 95 % interval of a change; "" if nothing is measured, and for a size."""
    if quantity.change is None or quantity.name == SIZE:
        return ""
    if quantity.change.low is None:
        return "interval unknown"
    size, digits, _ = UNITS[quantity.name]
    interval = f"95 % CI {quantity.change.ends(digits, size)}"
    return interval + changes.remark(quantity.change, quantity.name)


def _moved(name: str, change: Change, material: str) -> str:
    """Return a change with its interval and its questions or texts."""
    size, digits, _ = UNITS[name]
    moved = _change(name, change)
    if change.low is None or change.high is None:
        return f"{moved}, interval unknown ({material})"
    material += "" if change.paired else ", not paired"
    material += changes.remark(change, name)
    if not change.is_significant:
        needed = changes.plan(change, name)
        return f"{moved} (95 % CI {change.ends(digits, size)}, {material}{needed})"
    low, high = sorted(abs(end) for end in (change.low, change.high))
    return (
        f"{moved} (95 % CI {number(size * low, digits)} to {number(size * high, digits)},"
        f" {material})"
    )


def _change(name: str, change: Change) -> str:
    """Return a change of accuracy in points, or of the loss in nats per token."""
    size, digits, unit = UNITS[name]
    if change.low is None or change.high is None:
        return f"{name} changes by {number(size * change.difference, digits, '+')} {unit}"
    if not change.is_significant:
        return f"{name} is {NOT_SEEN}"
    amount = number(size * abs(change.difference), digits)
    is_more = change.difference > 0
    verb = {
        (ACCURACY, True): "rises",
        (ACCURACY, False): "drops",
        (LOSS, True): "rises by",
        (LOSS, False): "falls by",
    }
    return f"{name} {verb[name, is_more]} {amount} {unit}"


def capital(text: str) -> str:
    """Return a sentence with a capital letter."""
    return f"{text[:1].upper()}{text[1:]}"
