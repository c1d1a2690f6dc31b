"""The paper's distance: the angle between two depths at a text's last token."""

from typing import TYPE_CHECKING

from analysis.experiments.maps.metrics import LAST, metric

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.maps.depths import Depths


@metric("angular", title="angular distance", unit="distance, fraction of π", of=LAST, source="arXiv:2403.17887, equation (7)")
def angular(depths: "Depths") -> "Tensor":
    """arccos(cos(x[l], x[l+n])) / pi, in [0, 1]."""
    return depths.angles
