"""The ends of a 95 % interval of a difference: its significance, and its words."""

from analysis.core.units import number


class Interval:
    """A difference with the ends of its 95 % interval; both are None where no interval is known."""

    low: float | None
    high: float | None

    @property
    def is_significant(self) -> bool:
        """Return True where the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def ends(self, digits: int, size: float = 1.0) -> str:
        """Return both ends with their signs, times `size`: "-4 to +15"; "unknown" without an interval."""
        if self.low is None or self.high is None:
            return "unknown"
        return f"{number(size * self.low, digits, '+')} to {number(size * self.high, digits, '+')}"
