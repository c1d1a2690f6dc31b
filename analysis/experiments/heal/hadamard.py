"""Orthonormal Hadamard matrices of the sizes that models have: powers of two, and their multiples of Paley's orders."""

import math

import torch
from torch import Tensor

from analysis.core.errors import RecipeError


def orthonormal(n: int) -> Tensor:
    """Return a matrix Q of +-1/sqrt(n) with Q Qᵀ = I, (n, n), float64.

    Sylvester's doubling of a matrix of Paley's two kinds over the integers modulo a prime. So 576 = 16 x 36, 768 = 64 x 12 and
    896 = 32 x 28 have one too.

    Raises:
        RecipeError: for a size that none of these constructions reaches.
    """
    core = check(n)
    matrix = _core(core)
    while len(matrix) < n:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(n)


def check(n: int) -> int:
    """See to it that there is one of n rows, and tell the size of the one that it is doubled from.

    Raises:
        RecipeError: as `orthonormal`.
    """
    core = n
    while not (core == 1 or _is_first_kind(core) or _is_second_kind(core)):
        if core % 2:
            raise RecipeError(
                f"The recipe linear-patch needs a Hadamard matrix of {n} rows, and none is known for this size. Choose the "
                f"recipe ghosted, prune-comp or instant."
            )
        core //= 2
    return core


def _is_first_kind(n: int) -> bool:
    return n % 4 == 0 and _is_prime(n - 1)  # which is 3 modulo 4


def _is_second_kind(n: int) -> bool:
    return n % 4 == 0 and (n // 2 - 1) % 4 == 1 and _is_prime(n // 2 - 1)


def _core(n: int) -> Tensor:
    """One of n rows that no doubling is needed for, of one row or of Paley's two kinds."""
    if n == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if _is_first_kind(n):
        return torch.eye(n, dtype=torch.float64) + _bordered(n - 1, below=-1.0)
    sign_block = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    diagonal_block = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    signs = _bordered(n // 2 - 1, below=1.0)
    return torch.kron(signs, sign_block) + torch.kron(torch.eye(n // 2, dtype=torch.float64), diagonal_block)


def _bordered(q: int, *, below: float) -> Tensor:
    """Return +-1 by whether differences of numbers are squares modulo a prime, with a row of ones above and a column left."""
    character = torch.full((q,), -1.0, dtype=torch.float64)
    character[[number * number % q for number in range(q)]] = 1.0
    character[0] = 0.0
    numbers = torch.arange(q)
    bordered = torch.zeros(q + 1, q + 1, dtype=torch.float64)
    bordered[0, 1:], bordered[1:, 0] = 1.0, below
    bordered[1:, 1:] = character[(numbers[:, None] - numbers[None, :]) % q]
    return bordered


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, math.isqrt(n) + 1))
