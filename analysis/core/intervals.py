"""Significance and text form of the 95 % interval of a difference."""

from analysis.core.units import number


class Interval:
    """Mixin for a difference with a 95 % interval; both ends are None if the interval is
    unknown.
    """

    low: float | None
    high: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def ends(self, digits: int, size: float = 1.0) -> str:
        """Return both ends times `size`, with signs: "-4 to +15"; "unknown" without an interval.

        Ends that would read the same get one or two more decimals: +9.8 to +10.3, not +10 to +10.
        """
        if self.low is None or self.high is None:
            return "unknown"
        low = size * self.low
        high = size * self.high
        digits = next(
            (n for n in range(digits, digits + 3) if round(low, n) != round(high, n)), digits
        )
        return f"{number(low, digits, '+')} to {number(high, digits, '+')}"
