"""Compare the change of accuracy or loss of a block with the worsening that is accepted, by its 95 % interval."""

import math
from dataclasses import dataclass

from analysis.core.errors import SpecError
from analysis.core.units import number
from analysis.results.compared.changes import Change
from analysis.results.stored.reading import ACCURACY, LOSS
from analysis.results.words import glossary
from analysis.results.words.headline import UNKNOWN

WITHIN, OUTSIDE, OPEN = "within the tolerance", "outside the tolerance", "not decided"
"""Position of a 95 % interval relative to the tolerance."""
_ROUNDING = 1e-9
_SHOWN = {ACCURACY: (100, 1, "points"), LOSS: (1, 2, "nats/token")}
"""Factor, decimals and unit of a change."""


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

    def in_words(self) -> str:
        """Both numbers in words."""
        return (
            f"an accuracy drop of up to {self.points:g} points and a loss rise of up to {self.nats:g} nats/token (each token "
            f"{glossary.times_as_surprising(self.nats)} as surprising)"
        )

    def rule(self) -> str:
        """The rule with this tolerance, in two sentences."""
        return (
            f"Tolerance: {self.in_words()}. Go if the 95 % intervals of both changes lie within it, don't if one interval lies "
            f"outside, else measure more."
        )


DEFAULT = Tolerance()


@dataclass(frozen=True)
class Judged:
    """The change of accuracy or loss, compared with the tolerance."""

    quantity: str
    """`reading.ACCURACY` or `reading.LOSS`."""
    change: Change | None
    """The judged model minus the unpruned model; None where it is not measured."""
    bound: float
    """The accepted worsening: a share of questions, or nats per token."""
    material: str = ""
    """Questions or texts: "200 ARC-Easy questions"; those of the selected condition where nothing is measured."""
    on: str = ""
    """The condition in words; "" where nothing is measured."""
    caveat: str = ""
    """The reason why this change never supports a go, as a sentence; "" where it does."""

    @property
    def worsening(self) -> tuple[float, float] | None:
        """The 95 % interval of the worsening, smaller end first; None without an interval."""
        if self.change is None or self.change.low is None or self.change.high is None:
            return None
        low, high = self.change.low, self.change.high
        return (-high, -low) if self.quantity == ACCURACY else (low, high)

    @property
    def worse(self) -> float:
        """The estimated worsening; 0 where nothing is measured."""
        if self.change is None:
            return 0.0
        return -self.change.difference if self.quantity == ACCURACY else self.change.difference

    @property
    def position(self) -> str:
        """WITHIN, OUTSIDE or OPEN."""
        if self.worsening is None:
            return OPEN
        low, high = self.worsening
        if low > self.bound + _ROUNDING:
            return OUTSIDE
        return WITHIN if high <= self.bound + _ROUNDING and not self.caveat else OPEN

    @property
    def needed(self) -> int | None:
        """Return the questions or texts that would decide, if the change stays the same; None where more do not help."""
        if self.worsening is None or self.change is None or self.position != OPEN or self.caveat:
            return None
        if abs(self.worse - self.bound) < _ROUNDING:
            return None
        return self.change.needed_for(self.worse - self.bound)

    @property
    def value(self) -> str:
        """The change with its unit: "-8.0 points"."""
        if self.change is None:
            return UNKNOWN
        size, digits, unit = _SHOWN[self.quantity]
        return f"{number(size * self.change.difference, digits, '+')} {unit}"

    @property
    def interval(self) -> str:
        """The 95 % interval in words; "" where nothing is measured."""
        if self.change is None:
            return ""
        if self.change.low is None or self.change.high is None:
            return "interval unknown"
        size, digits, _ = _SHOWN[self.quantity]
        return f"95 % CI {self.change.ends(digits, size)}"

    def sentence(self) -> str:
        """The position of this change in one sentence."""
        name = self.quantity.capitalize()
        size, _, unit = _SHOWN[self.quantity]
        worse = "drop" if self.quantity == ACCURACY else "rise"
        if self.change is None:
            on = f" on {self.material}" if self.material else ""
            return f"{name} is not measured{on}."
        text = f"{name} change {self.value} ({self.interval}, {self.material})"
        if self.position == OPEN and self.caveat:
            return f"{text}: {self.caveat}"
        if self.worsening is None:
            return f"{text}: without an interval, no decision is possible."
        bound = f"the accepted {worse} of {size * self.bound:g} {unit}"
        if self.position == OUTSIDE:
            return f"{text}: the whole interval is beyond {bound}."
        if self.position == WITHIN:
            return f"{text}: the whole interval is within {bound}."
        return f"{text}: the interval includes {bound}."
