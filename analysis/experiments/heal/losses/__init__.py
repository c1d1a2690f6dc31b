"""Training losses of healing runs: one decorated function in one file adds a loss.

The file is in this folder or in an extension. The training loss is a mixture: `HealSpec.loss` has
the weight `HealSpec.distill`, and the cross-entropy with the text has the rest. `--set loss=reverse
--set distill=1` trains with this one:

    @loss("reverse", is_taught=True)
    def reverse(logs, targets, teacher, spec):
        return (logs.exp() * (logs - teacher)).sum(-1)

Requests are validated without importing torch, so files of this folder only use methods of tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.core.registry import Registry, first, modules_in

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.heal.heal_spec import HealSpec

CROSS_ENTROPY = "cross-entropy"
"""Name of the cross-entropy with the text."""

PerToken = Callable[["Tensor", "Tensor", "Tensor | None", "HealSpec"], "Tensor"]
"""Function of log-probabilities (tokens, vocabulary), next tokens (tokens, 1), the unpruned model's
log-probabilities or None, and the request. Returns the differentiable loss of every token in nats,
(tokens,)."""


@dataclass(frozen=True)
class Loss:
    """A training loss."""

    name: str
    """Value of `HealSpec.loss`."""
    per_token: PerToken
    is_taught: bool
    """Whether it needs the predictions of the unpruned model, whose forward pass then runs at each
    step."""


LOSSES: Registry[Loss] = Registry("loss", modules=modules_in(__name__), order=first(CROSS_ENTROPY))
"""Losses by name."""


def loss(name: str, *, is_taught: bool = False) -> Callable[[PerToken], PerToken]:
    """Register a function as a training loss.

    Args:
        name, is_taught: As in `Loss`.

    Raises:
        SpecError: If another loss has the same name.
    """

    def register(per_token: PerToken) -> PerToken:
        LOSSES.add(Loss(name, per_token, is_taught))
        return per_token

    return register


def mixture(
    spec: "HealSpec", logs: "Tensor", targets: "Tensor", teacher: "Tensor | None"
) -> "Tensor":
    """Return the training loss of every token, as in `PerToken`: the weighted sum of both
    losses.
    """
    weights = ((1 - spec.distill, CROSS_ENTROPY), (spec.distill, spec.loss))
    terms = [
        weight * LOSSES[name].per_token(logs, targets, teacher, spec)
        for weight, name in weights
        if weight
    ]
    return sum(terms[1:], terms[0])
