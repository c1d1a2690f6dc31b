"""How much is written into the stream between two depths, relative to the stream at the first of them."""

from typing import TYPE_CHECKING

from analysis.experiments.maps.metrics import LAST, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths


@metric("relative-l2", title="relative L2", unit="relative L2 distance", of=LAST)
def relative_l2(depths: "Depths") -> "Tensor":
    """|x[l+n] - x[l]| / |x[l]|, at least 0; 1 where only x[l] is all zero."""
    states = depths.states
    lengths = states.norm(dim=-1)[:, :, None]
    written = states.new_empty(*states.shape[:2], states.shape[1])
    for depth in range(states.shape[1]):
        # Differences are taken before their length is: from the matrix product a small one would be lost to rounding.
        written[:, depth] = (states - states[:, depth, None]).norm(dim=-1)
    return (written / lengths).where(lengths > 0, (written > 0).double())
