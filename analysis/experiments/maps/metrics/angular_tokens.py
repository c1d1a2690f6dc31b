"""The paper's distance over a whole text: the mean angle of its tokens, not the angle of their mean."""

from typing import TYPE_CHECKING

from analysis.experiments.maps.metrics import TOKENS, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths


@metric(
    "angular-tokens",
    title="angular, all tokens",
    unit="distance over all tokens, fraction of π",
    of=TOKENS,
    source="arXiv:2403.17887, equation (7), defined there on the last token",
)
def angular_tokens(depths: "Depths") -> "Tensor":
    """arccos(cos(x[l], x[l+n])) / pi, in [0, 1]."""
    return depths.angles
