"""Formatting of sizes, counts and durations, and parsing of sizes."""

import math
import re

from analysis.core.bounds import shown
from analysis.core.errors import SpecError

_UNITS = {
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}
_DECIMAL = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MAX_DECIMALS = 5
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([kmgt]i?b)", re.IGNORECASE | re.ASCII)


def read_size(text: str) -> int:
    """Parse an amount of memory such as "4GB", "512 MB" or "1.5 GiB" into bytes.

    Raises:
        SpecError: if the text is not an amount of memory.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise SpecError(
            f"{shown(text)} is not an amount of memory. Give a number with its unit, such as 4GB or"
            " 512MB."
        )
    return int(float(match[1]) * _UNITS[match[2].lower()])


def size(n_bytes: float, *, exact: bool = False) -> str:
    """Format bytes with a decimal unit: 269000000 -> "269 MB".

    Args:
        n_bytes: number of bytes, at least 0.
        exact: whether to keep all digits: 1060000000 -> "1.06 GB".
    """
    divisor, unit = next((scale for scale in _DECIMAL if n_bytes >= scale[0]), (1, "B"))
    amount = n_bytes / divisor
    return (
        f"{amount:.12g} {unit}"
        if exact
        else f"{amount:.{0 if amount >= 100 or divisor == 1 else 1}f} {unit}"
    )


def span(low: float, high: float) -> str:
    """Return a range of seconds in rounded words: 310, 395 -> "5-7 min"; 41, 58 -> "40-60 s"."""
    if high < 100:
        ends = [
            max(1, round(value)) if high < 10 else max(5, 5 * round(value / 5))
            for value in (low, high)
        ]
        unit = "s"
    elif high < 100 * 60:
        ends = [max(1, round(value / 60)) for value in (low, high)]
        unit = "min"
    else:
        ends = [max(1, round(value / 3600)) for value in (low, high)]
        unit = "h"
    return f"{ends[0]} {unit}" if ends[0] == ends[1] else f"{ends[0]}-{ends[1]} {unit}"


def two_digits(count: int) -> str:
    """Round a count up to two significant digits: 873 -> "880", 1565 -> "1,600"."""
    unit = 10 ** max(0, math.floor(math.log10(max(count, 1))) - 1)
    return f"{math.ceil(count / unit) * unit:,}"


def number(value: float, digits: int, sign: str = "") -> str:
    """Format a number, adding up to five decimals if a nonzero number would otherwise read as zero.

    The end of an interval that excludes zero therefore never reads as zero: 0.1 to 16, not 0 to 16.

    Args:
        value: the number.
        digits: number of decimals.
        sign: "+" to also write the sign of positive numbers.
    """
    while value and not round(value, digits) and digits < _MAX_DECIMALS:
        digits += 1
    return f"{value:{sign},.{digits}f}"


def duration(seconds: float) -> str:
    """Format seconds as "17 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
