"""Angular distances between depths of the residual stream: pure maths on last-token states."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor


def angular_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle between hidden states, as a fraction of pi.

    Computed in float64: bfloat16 cannot tell apart angles below about 0.03.

    Args:
        a: states, (..., hidden_size), any float dtype.
        b: states of the same shape.

    Returns:
        float64, (...), in [0, 1]; 0 = same direction, 0.5 = orthogonal; 0.5 where a state is all zero.

    Source: Gromov et al., arXiv:2403.17887, equation (7).
    """
    a, b = (torch.nn.functional.normalize(x.double(), dim=-1, eps=1e-300) for x in (a, b))
    return torch.arccos((a * b).sum(-1).clamp(-1, 1)) / pi


def pairwise_angular_distances(states: Tensor) -> Tensor:
    """Angular distance of every pair of depths, per text, from one matrix product.

    Args:
        states: x[0..L] at the last token, (n_texts, L+1, hidden_size).

    Returns:
        float64, (n_texts, L+1, L+1), symmetric, zero on the diagonal, in [0, 1].
    """
    directions = torch.nn.functional.normalize(states.double(), dim=-1, eps=1e-300)
    angles = torch.arccos((directions @ directions.transpose(1, 2)).clamp(-1, 1)) / pi
    # A unit vector's product with itself may round to just under 1, whose angle is 1e-8 and not 0.
    return angles * (1 - torch.eye(angles.shape[-1], dtype=angles.dtype))


@dataclass(frozen=True)
class DistanceSums:
    """Sums over texts from which mean and standard error follow; sums of two shards of the texts may be added."""

    total: Tensor
    """Sum of distances, float64, (L+1, L+1)."""
    total_squares: Tensor
    """Sum of squared distances, float64, (L+1, L+1)."""
    n_texts: int

    @classmethod
    def of(cls, states: Tensor, chunk: int = 64) -> "DistanceSums":
        """Sum over the texts of `states`, (n_texts, L+1, hidden_size), a chunk at a time to bound memory."""
        depths = states.shape[1]
        total, squares = (torch.zeros(depths, depths, dtype=torch.float64) for _ in range(2))
        for part in states.split(chunk):
            angles = pairwise_angular_distances(part)
            total += angles.sum(0)
            squares += angles.square().sum(0)
        return cls(total, squares, states.shape[0])

    def __add__(self, other: "DistanceSums") -> "DistanceSums":
        return DistanceSums(self.total + other.total, self.total_squares + other.total_squares, self.n_texts + other.n_texts)

    @property
    def mean(self) -> Tensor:
        """Mean distance, (L+1, L+1)."""
        return self.total / self.n_texts

    @property
    def stderr(self) -> Tensor:
        """Standard error of the mean over texts, (L+1, L+1); 0 with one text."""
        if self.n_texts < 2:
            return torch.zeros_like(self.total)
        variance = (self.total_squares - self.total.square() / self.n_texts).clamp(min=0) / (self.n_texts - 1)
        return (variance / self.n_texts).sqrt()


def rows_by_size(matrix: Tensor) -> list[list[float]]:
    """The upper triangle of an (L+1, L+1) matrix of depths as rows of block size.

    Returns:
        Row n-1 holds block size n = 1..L; its entry l, l = 0..L-n, is matrix[l, l+n].
    """
    return [torch.diagonal(matrix, offset=n).tolist() for n in range(1, matrix.shape[0])]
