"""The residual stream of some tokens at every depth, with the intermediate values that metrics
share.
"""

from functools import cached_property
from math import pi

import torch
from torch import Tensor

_SMALLEST = 1e-300
"""Minimum norm of a state, so that an all-zero state has cosine 0 and angle 0.5."""


def angular_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between hidden states as a fraction of pi.

    Computed in float64: bfloat16 cannot tell apart angles below about 0.03.

    Args:
        a: states, (..., hidden_size), any float dtype.
        b: states of the same shape.

    Returns:
        float64, (...), in [0, 1]; 0 = same direction, 0.5 = orthogonal; 0.5 if a state is all zero.

    Source: Gromov et al., arXiv:2403.17887, equation (7).
    """
    a, b = (torch.nn.functional.normalize(x.double(), dim=-1, eps=_SMALLEST) for x in (a, b))
    return torch.arccos((a * b).sum(-1).clamp(-1, 1)) / pi


class Depths:
    """The stream of some tokens at every depth, and intermediate values that metrics share,
    computed once on first use.
    """

    def __init__(self, states: Tensor) -> None:
        """Take the states x[0..L], (n, L+1, hidden_size), of any float dtype; n counts texts or
        tokens.
        """
        self.states = states.double()
        """x[0..L] of n tokens, float64, (n, L+1, hidden_size); not to be changed."""

    @cached_property
    def cosines(self) -> Tensor:
        """Cosine of every pair of depths, from one matrix product; not to be changed.

        Float64, (n, L+1, L+1), symmetric, exactly 1 on the diagonal, in [-1, 1]; 0 if one state is
        all zero.
        """
        products = self.states @ self.states.transpose(1, 2)
        lengths = products.diagonal(dim1=1, dim2=2).sqrt().clamp(min=_SMALLEST)
        cosines = products.div_(lengths[:, :, None]).div_(lengths[:, None, :]).clamp_(-1, 1)
        # A unit vector's product with itself may round to just under 1, whose angle is 1e-8 and not
        # 0.
        cosines.diagonal(dim1=1, dim2=2).fill_(1)
        return cosines

    @cached_property
    def angles(self) -> Tensor:
        """Angular distance of every pair of depths; not to be changed.

        Float64, (n, L+1, L+1), symmetric, zero on the diagonal, in [0, 1].

        Source: Gromov et al., arXiv:2403.17887, equation (7).
        """
        return torch.arccos(self.cosines) / pi
