"""Cross-entropy with the next token of the text."""

from typing import TYPE_CHECKING

from analysis.experiments.heal.losses import CROSS_ENTROPY, loss

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.heal.heal_spec import HealSpec


@loss(CROSS_ENTROPY)
def cross_entropy(
    logs: "Tensor", targets: "Tensor", teacher: "Tensor | None", spec: "HealSpec"
) -> "Tensor":
    """Return the cross-entropy with the next token."""
    return -logs.gather(-1, targets).squeeze(-1)
