"""Kullback-Leibler divergence of the unpruned model from the pruned one: KL(teacher || student)."""

from typing import TYPE_CHECKING

from analysis.experiments.heal.losses import loss

if TYPE_CHECKING:
    from torch import Tensor

    from analysis.experiments.heal.heal_spec import HealSpec

_MIN_REMAINDER = 1e-6
"""Minimum probability of the remainder, since rounded probabilities may add up to slightly more
than 1."""


@loss("divergence", is_taught=True)
def divergence(
    logs: "Tensor", targets: "Tensor", teacher: "Tensor | None", spec: "HealSpec"
) -> "Tensor":
    """Return the KL divergence over the vocabulary, or with `top_k` over the teacher's top tokens
    and their remainder.
    """
    assert teacher is not None
    if not spec.top_k:
        return (teacher.exp() * (teacher - logs)).sum(-1)
    top, tokens = teacher.topk(min(spec.top_k, teacher.shape[-1]))
    near = logs.gather(-1, tokens)
    rest, student_rest = (
        (1 - some.exp().sum(-1)).clamp(min=_MIN_REMAINDER) for some in (top, near)
    )
    return (top.exp() * (top - near)).sum(-1) + rest * (rest / student_rest).log()
