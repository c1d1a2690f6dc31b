"""Cosine distance over a whole text; its row n = 1 is the block influence of ShortGPT."""

from typing import TYPE_CHECKING

from analysis.experiments.maps.metrics import TOKENS, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths


@metric(
    "cosine-tokens",
    title="cosine, all tokens",
    unit="cosine distance over all tokens",
    of=TOKENS,
    source="arXiv:2403.03853, equation (1), defined there on single layers",
)
def cosine_tokens(depths: "Depths") -> "Tensor":
    """1 - cos(x[l], x[l+n]), in [0, 2]."""
    return 1 - depths.cosines
