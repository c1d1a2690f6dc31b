"""Closed-form compensations of a gap: the sums that each collects over the text, and the change that follows from them.

x[start] is the stream where the gap begins, and x[stop] the stream behind the removed layers of the unpruned model. Layers
behind the gap read x[start] and should read x[stop]. `projection` is ours. The others are applied in full, as their authors do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from analysis.experiments.heal import hadamard

RIDGE = 0.1
"""Ridge of the projection's regression, as a share of the mean squared feature: the best over cuts of 3 to 10 layers."""
GHOST_RIDGE = 1e-6
"""Of Ghosted Layers, as published: an absolute number, which only keeps the system solvable."""


@dataclass(frozen=True)
class GapStates:
    """States of a batch of texts at a gap, float32, all on one device."""

    features: Tensor
    """Input of the projection before the gap, (batch, seq, n_features); x[start] where no projection takes the change in."""
    before: Tensor
    """x[start], (batch, seq, hidden_size), in the model whose earlier gaps are compensated."""
    behind: Tensor
    """x[stop] of the unpruned model, same shape."""
    real: Tensor
    """(batch, seq), False for padding; the first position is never padding."""


class Fit(Protocol):
    """A fit in the making."""

    def add(self, states: GapStates) -> None:
        """Take in a batch."""

    def changes(self) -> list[Tensor]:
        """Return fitted changes, best estimate first: of the projection's weight or, as in `Bridge.change`, of the stream."""


@dataclass(frozen=True)
class Compensation:
    """A way of making up for a gap."""

    fit: Callable[[int, int], Fit]
    """Begins one, from the numbers of features and of the stream per token."""
    is_folded: bool = False
    """Whether it changes the projection before the gap, where that adds to the stream as it is."""
    is_chosen: bool = False
    """Whether a change and its strength are chosen on other text, none included. Otherwise the first is applied in full."""


@dataclass
class _Sums:
    """Weighted products of features and targets, from which a regression follows."""

    gram: Tensor
    """Features with features, (n_in, n_in), float64."""
    cross: Tensor
    """Features with targets, (n_in, n_out), float64."""

    @classmethod
    def none(cls, n_in: int, n_out: int) -> "_Sums":
        return cls(torch.zeros(n_in, n_in, dtype=torch.float64), torch.zeros(n_in, n_out, dtype=torch.float64))

    def add(self, features: Tensor, targets: Tensor) -> None:
        # Products of one batch as they come, float32 being fast; their sum in float64, in which many do not drown the last.
        self.gram += (features.T @ features).double().cpu()
        self.cross += (features.T @ targets).double().cpu()

    def solve(self, ridge: float) -> Tensor:
        """The (n_out, n_in) map, float32."""
        eye = torch.eye(len(self.gram), dtype=torch.float64)
        return torch.linalg.solve(self.gram + ridge * eye, self.cross).T.float()


class Projection:
    """Ours: the projection before the gap, or the stream, is made to add x[stop] - x[start], tokens weighted by 1/|x[start]|.

    The idea of a closed-form linear map in place of a block is ReplaceMe's (arXiv:2505.02819).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Begin with no text."""
        self._first, self._rest = _Sums.none(n_in, n_out), _Sums.none(n_in, n_out)

    def add(self, states: GapStates) -> None:
        """Take in a batch."""
        weight = 1 / states.before.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        features, targets, real = states.features * weight, (states.behind - states.before) * weight, states.real
        self._first.add(features[:, 0], targets[:, 0])
        self._rest.add(features[:, 1:][real[:, 1:]], targets[:, 1:][real[:, 1:]])

    def changes(self) -> list[Tensor]:
        """The first position holds the attention sink, unlike all others: to fit it too helps some cuts, and harms others."""
        total = _Sums(self._first.gram + self._rest.gram, self._first.cross + self._rest.cross)
        return [sums.solve(RIDGE * float(sums.gram.diagonal().mean()) + 1e-12) for sums in (self._rest, total)]


class Magnitude:
    """Prune&Comp (AAAI 2026): one factor for all of the stream, the mean over channels and texts of how much it grows.

    s = mean_k (1/N) Σ_texts mean_t |x[stop]|_k / mean_t |x[start]|_k. Layers read a stream through norms. So a factor at the
    gap is a factor of everything that earlier layers add to the stream, and it folds into weights (`models.scaling`).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Begin with no text."""
        self._ratios, self._n = torch.zeros(n_out, dtype=torch.float64), 0

    def add(self, states: GapStates) -> None:
        """Take in a batch."""
        self._ratios += growth(states.before, states.behind, states.real)
        self._n += len(states.real)

    def changes(self) -> list[Tensor]:
        """Return the single factor minus 1: the share of the stream that is added to it."""
        return [((self._ratios / self._n).mean() - 1).float()]


class Patch:
    """LinearPatch (NeurIPS 2025): a factor per channel of the stream turned by a Hadamard matrix, which spreads its outliers.

    x ← x Q diag(d) Qᵀ, d_k = (1/N) Σ_texts mean_t |x[stop] Q|_k / mean_t |x[start] Q|_k.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Begin with no text.

        Raises:
            RecipeError: where no Hadamard matrix of this size is known.
        """
        self._turn = hadamard.orthonormal(n_out)
        self._ratios, self._n = torch.zeros(n_out, dtype=torch.float64), 0

    def add(self, states: GapStates) -> None:
        """Take in a batch."""
        turn = self._turn.to(states.before)
        self._ratios += growth(states.before @ turn, states.behind @ turn, states.real)
        self._n += len(states.real)

    def changes(self) -> list[Tensor]:
        """Q diag(d - 1) Qᵀ, which is added to the stream."""
        return [(self._turn * (self._ratios / self._n - 1) @ self._turn.T).float()]


class Ghost:
    """Ghosted Layers (arXiv:2605.15491): the linear map of the stream that replaces the gap's change of it, by least squares.

    (XᵀX + εI) M = Xᵀ(x[stop] - x[start]) in float64 over all tokens, and x ← x + x M.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        """Begin with no text."""
        self._sums = _Sums.none(n_out, n_out)

    def add(self, states: GapStates) -> None:
        """Take in a batch; an Apple GPU has no float64."""
        before, behind = (stream[states.real].cpu().double() for stream in (states.before, states.behind))
        self._sums.add(before, behind - before)

    def changes(self) -> list[Tensor]:
        """Mᵀ."""
        return [self._sums.solve(GHOST_RIDGE)]


def growth(before: Tensor, behind: Tensor, real: Tensor) -> Tensor:
    """By how much channels are larger behind a gap, summed over texts.

    Args:
        before, behind: (batch, seq, n_channels).
        real: (batch, seq).

    Returns:
        Σ_texts mean_t |behind|_k / mean_t |before|_k, (n_channels,), float64, on the CPU; a channel that is 0 in a text grows
        by nothing there.
    """
    shares = real[..., None] / real.sum(-1)[:, None, None]
    means = [(stream.abs() * shares).sum(1).double().cpu() for stream in (before, behind)]
    return torch.where(means[0] > 0, means[1] / means[0].clamp(min=torch.finfo(torch.float64).tiny), 1.0).sum(0)


COMPENSATIONS: Mapping[str, Compensation] = {
    "projection": Compensation(Projection, is_folded=True, is_chosen=True),
    "magnitude": Compensation(Magnitude),
    "patch": Compensation(Patch),
    "ghost": Compensation(Ghost),
}
"""By their names in `HealSpec.compensation`."""
