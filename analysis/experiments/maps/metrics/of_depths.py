"""The metrics of the program: angles and cosines between depths, and the relative change of the
stream.
"""

from typing import TYPE_CHECKING

from analysis.experiments.maps.metrics import LAST, TOKENS, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths


@metric(
    "angular",
    title="angular distance",
    unit="distance, share of 180°",
    of=LAST,
    source="arXiv:2403.17887, equation (7)",
    range=(0, 1),
)
@metric(
    "angular-tokens",
    title="angular, all tokens",
    unit="distance over all tokens, share of 180°",
    of=TOKENS,
    source="arXiv:2403.17887, equation (7), defined there on the last token",
    range=(0, 1),
)
def angular(depths: "Depths") -> "Tensor":
    """arccos(cos(x[l], x[l+n])) / pi, in [0, 1]; over all tokens the mean of their angles, not the
    angle of their mean.
    """
    return depths.angles


@metric(
    "cosine-tokens",
    title="cosine, all tokens",
    unit="cosine distance over all tokens",
    of=TOKENS,
    source="arXiv:2403.03853, equation (1), defined there on single layers",
    range=(0, 2),
)
def cosine_tokens(depths: "Depths") -> "Tensor":
    """1 - cos(x[l], x[l+n]), in [0, 2]; its row n = 1 is the block influence of ShortGPT."""
    return 1 - depths.cosines


@metric("relative-l2", title="relative L2", unit="relative L2 distance", of=LAST)
def relative_l2(depths: "Depths") -> "Tensor":
    """|x[l+n] - x[l]| / |x[l]|, at least 0; 1 if only x[l] is all zero."""
    states = depths.states
    lengths = states.norm(dim=-1)[:, :, None]
    written = states.new_empty(*states.shape[:2], states.shape[1])
    for depth in range(states.shape[1]):
        # Differences are taken before their length is: from the matrix product a small one would be
        # lost to rounding.
        written[:, depth] = (states - states[:, depth, None]).norm(dim=-1)
    return (written / lengths).where(lengths > 0, (written > 0).double())
