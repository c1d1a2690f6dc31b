"""Compare the change of accuracy or loss of a block with the worsening that is accepted, by its 95 % interval."""

import math
from dataclasses import dataclass

from analysis.core.errors import SpecError
from analysis.results.evidence import Quantity
from analysis.results.stored.reading import ACCURACY
from analysis.results.words.headline import UNITS, interval_in_words, value_in_words

WITHIN, OUTSIDE, OPEN = "within the tolerance", "outside the tolerance", "not decided"
"""Position of a 95 % interval relative to the tolerance."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Tolerance:
    """The worsening that is accepted."""

    points: float = 3.0
    """Accuracy drop, percentage points."""
    nats: float = 0.1
    """Loss rise, nats per token."""

    def __post_init__(self) -> None:
        """Check both numbers.

        Raises:
            SpecError: for a negative or infinite number.
        """
        for name, value in (("accuracy drop", self.points), ("loss rise", self.nats)):
            if not (math.isfinite(value) and value >= 0):
                raise SpecError(
                    f"The accepted {name} is {value:g}. It must be a number of at least 0 (default: "
                    f"{DEFAULT.points if name == 'accuracy drop' else DEFAULT.nats:g})."
                )

    def bound(self, quantity: str) -> float:
        """The accepted worsening of one quantity: a share of questions, or nats per token."""
        return self.points / 100 if quantity == ACCURACY else self.nats

    def rule(self) -> str:
        """The rule with this tolerance, in two sentences."""
        return (
            f"Tolerance: an accuracy drop of up to {self.points:g} points and a loss rise of up to {self.nats:g} nats/token. "
            "Go if the 95 % intervals of both changes lie within it, don't if one lies outside, else measure more."
        )


DEFAULT = Tolerance()


@dataclass(frozen=True)
class Judged:
    """The change of accuracy or loss, compared with the tolerance."""

    quantity: Quantity
    """Accuracy or loss of the judged model."""
    bound: float
    """The accepted worsening: a share of questions, or nats per token."""

    @property
    def worsening(self) -> tuple[float, float] | None:
        """The 95 % interval of the worsening, smaller end first; None without an interval."""
        change = self.quantity.change
        if change is None or change.low is None or change.high is None:
            return None
        return (-change.high, -change.low) if self.quantity.name == ACCURACY else (change.low, change.high)

    @property
    def worse(self) -> float:
        """The estimated worsening; 0 if nothing is measured."""
        difference = self.quantity.change.difference if self.quantity.change else 0.0
        return -difference if self.quantity.name == ACCURACY else difference

    @property
    def position(self) -> str:
        """WITHIN, OUTSIDE or OPEN."""
        if self.worsening is None:
            return OPEN
        low, high = self.worsening
        if low > self.bound + _ROUNDING:
            return OUTSIDE
        return WITHIN if high <= self.bound + _ROUNDING and not self.quantity.caveat else OPEN

    @property
    def needed(self) -> int | None:
        """Return the questions or texts that would decide, if the change stays the same; None if more do not help."""
        change, distance = self.quantity.change, self.worse - self.bound
        if change is None or self.position != OPEN or self.quantity.caveat or abs(distance) < _ROUNDING:
            return None
        return change.needed_for(distance)

    def sentence(self) -> str:
        """The position of this change in one sentence."""
        quantity = self.quantity
        name = quantity.name.capitalize()
        if quantity.change is None:
            return f"{name} is not measured{f' on {quantity.material}' if quantity.material else ''}."
        text = f"{name} change {value_in_words(quantity)} ({interval_in_words(quantity)}, {quantity.material})"
        if self.position == OPEN and quantity.caveat:
            return f"{text}: {quantity.caveat}"
        if self.worsening is None:
            return f"{text}: without an interval, no decision is possible."
        size, _, unit = UNITS[quantity.name]
        bound = f"the accepted {'drop' if quantity.name == ACCURACY else 'rise'} of {size * self.bound:g} {unit}"
        relation = {OUTSIDE: "the whole interval is beyond", WITHIN: "the whole interval is within"}
        return f"{text}: {relation.get(self.position, 'the interval includes')} {bound}."
