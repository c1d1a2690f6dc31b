"""Distances between depths of the residual stream: one decorated function in one file adds a
metric.

The file is in this folder or in a package of yours.

Every metric measures how much the layers l .. l+n-1 change the stream. Every map contains all
metrics by name, so a new metric does not affect stored results:

    @metric("chord", title="chord distance", unit="chord, 0 to 2", range=(0, 2))
    def chord(depths: "Depths") -> "Tensor":
        return (2 - 2 * depths.cosines).sqrt()

Pages, charts and the command line read a metric's description without loading torch. A file of this
folder therefore imports nothing heavy: a tensor's own methods are enough.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.core.record import require
from analysis.core.registry import Registry, first, modules_in

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths

LAST = "last"
"""A metric of a text's last token."""
TOKENS = "tokens"
"""A metric that is averaged over all tokens of a text."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Measure = Callable[["Depths"], "Tensor"]
"""Function from residual streams to the distances of all pairs of depths: float64, (n, L+1, L+1), 0
on the diagonal. Entry [l, m] with l < m is that of the block [l, m)."""


@dataclass(frozen=True)
class Metric:
    """A distance between two depths."""

    name: str
    """Name on the command line and in results."""
    title: str
    """Displayed name."""
    unit: str
    """Label of colour scales and axes."""
    measure: Measure
    of: str = LAST
    """Tokens that count: `LAST` or `TOKENS`."""
    source: str = ""
    """Paper that proposed the metric, with section."""
    range: tuple[float, float] = (0.0, math.inf)
    """Smallest and largest possible distance."""

    def __post_init__(self) -> None:
        require(
            _NAME.fullmatch(self.name) is not None,
            "The name of a metric must be lowercase letters and digits, joined by hyphens, not"
            f" {self.name!r}.",
        )
        require(
            self.of in (LAST, TOKENS), f"A metric must be of {LAST} or {TOKENS}, not {self.of!r}."
        )


METRICS: Registry[Metric] = Registry(
    "metric",
    modules=modules_in(__name__),
    order=first("angular", "angular-tokens", "cosine-tokens", "relative-l2"),
)
"""Every metric by name."""


def title(name: str) -> str:
    """Return the title of a metric; its name if it is not registered, as of a stored map."""
    return METRICS[name].title if name in METRICS else name


def unit(name: str) -> str:
    """Return the label of the numbers of a metric; its name if it is not registered."""
    return METRICS[name].unit if name in METRICS else name


def possible(name: str) -> tuple[float, float]:
    """Return the smallest and largest possible distance of a metric; any number if it is not
    registered.
    """
    return METRICS[name].range if name in METRICS else (-math.inf, math.inf)


def metric(
    name: str,
    *,
    title: str,
    unit: str,
    of: str = LAST,
    source: str = "",
    range: tuple[float, float] = (0.0, math.inf),
) -> Callable[[Measure], Measure]:
    """Register a function as a metric.

    Args:
        name, title, unit, of, source, range: as in `Metric`.

    Raises:
        SpecError: for a name that cannot be written everywhere, and for other tokens than those
            there are.
    """

    def register(measure: Measure) -> Measure:
        METRICS.add(Metric(name, title, unit, measure, of, source, range))
        return measure

    return register
