"""Two claims of the paper, checked on models of several sizes: deeper layers matter less, and larger models tolerate more.

Each claim is a difference with its 95 % interval, paired by text. It holds where the interval excludes zero on the side of the
paper.

Source: Gromov et al., arXiv:2403.17887, sections 4.1 and 5.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.core import stats
from analysis.core.intervals import Interval
from analysis.core.units import number
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.results.stored import reading

HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
LAYERS_CLAIM = "Deeper layers matter less"
SIZES_CLAIM = "Larger models tolerate more"


@dataclass(frozen=True)
class LayerCost:
    """Loss increase of a model that lacks a single layer."""

    layer: int
    depth: float
    """Middle of the layer as a share of depth, in (0, 1)."""
    increase: float
    """Nats per token."""
    low: float
    """Lower end of its 95 % interval, paired by text."""
    high: float


@dataclass(frozen=True)
class DepthCosts(Interval):
    """Cost of each layer of one model, and the cost of the deeper half less that of the shallower half."""

    name: str
    precision: str
    n_texts: int
    layers: tuple[LayerCost, ...]
    shallow: float
    """Mean loss increase over the layers of the first half without layer 0, nats per token."""
    deep: float
    """Mean loss increase over the layers of the second half without the last layer."""
    difference: float
    """`deep` less `shallow`."""
    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """Return whether deeper layers matter less in this model: one of `HOLDS`, `FAILS`, `OPEN`."""
        return _verdict(self)

    def sentence(self) -> str:
        """Return both means and their difference, in a sentence."""
        return (
            f"{self.name}: without one layer, the loss rises by {number(self.deep, 3)} nats/token in the deeper half and by "
            f"{number(self.shallow, 3)} in the shallower half. The difference is {number(self.difference, 3, '+')} (95 % "
            f"{self.ends(3)}, {self.n_texts} texts, {self.precision})."
        )


@dataclass(frozen=True)
class ShareCost:
    """Loss increase of a model that lacks a share of its layers, chosen by similarity."""

    n: int
    share: float
    """Of all layers, in [0, 1)."""
    increase: float
    """Bits per byte, the unit that models with different tokenizers share."""
    low: float
    """Lower end of its 95 % interval, paired by text."""
    high: float


@dataclass(frozen=True)
class ToleranceCurve:
    """Loss increase of one model by the share of removed layers."""

    name: str
    precision: str
    n_layers: int
    n_parameters: int
    n_texts: int
    points: tuple[ShareCost, ...]
    """n = 0 first."""


@dataclass(frozen=True)
class SizePair(Interval):
    """A smaller and a larger model of one tokenizer that lost the same share of layers, on the same texts."""

    smaller: str
    larger: str
    share: float
    smaller_n: int
    larger_n: int
    smaller_increase: float
    """Nats per token."""
    larger_increase: float
    difference: float
    """Increase of the larger model less that of the smaller one."""
    low: float | None
    high: float | None
    n_texts: int

    @property
    def verdict(self) -> str:
        """Return whether the larger model loses less: one of `HOLDS`, `FAILS`, `OPEN`."""
        return _verdict(self)

    def sentence(self) -> str:
        """Return both increases and their difference, in a sentence."""
        return (
            f"Without {self.share:.0%} of the layers, the loss of {self.larger} rises by {number(self.larger_increase, 2)} "
            f"nats/token (n = {self.larger_n}), that of {self.smaller} by {number(self.smaller_increase, 2)} "
            f"(n = {self.smaller_n}). The difference is {number(self.difference, 2, '+')} (95 % {self.ends(2)}, {self.n_texts} "
            "texts)."
        )


def depth_costs(name: str, damage: DamageResult, losses: np.ndarray | None) -> DepthCosts | None:
    """Return the costs of each layer; None if a layer is not measured or losses per text give no interval.

    The first and the last layer are drawn, but are in neither half. The paper excepts the last one. The first one has no layer
    before it.

    Args:
        name: of the model.
        damage: with blocks of one layer.
        losses: `DamageResult.text_losses`.
    """
    n_layers = damage.n_layers
    if losses is None or n_layers < 4:
        return None
    rises = losses[1 : 1 + n_layers].astype(float) - losses[0].astype(float)
    if rises.shape[0] < n_layers or not np.isfinite(rises).all():
        return None
    weights = damage.text_tokens or [1] * rises.shape[1]
    nothing = [0.0] * rises.shape[1]
    layers = []
    for layer in range(n_layers):
        cost, low, high = stats.compare_losses(nothing, rises[layer].tolist(), weights)
        if low is None or high is None:
            return None
        layers.append(LayerCost(layer, (layer + 0.5) / n_layers, cost, low, high))
    shallow = rises[1 : n_layers // 2].mean(axis=0).tolist()
    deep = rises[n_layers - n_layers // 2 : n_layers - 1].mean(axis=0).tolist()
    difference, low, high = stats.compare_losses(shallow, deep, weights)
    return DepthCosts(
        name,
        damage.precision_in_words,
        damage.n_texts,
        tuple(layers),
        stats.weighted_mean_and_stderr(shallow, weights)[0],
        stats.weighted_mean_and_stderr(deep, weights)[0],
        difference,
        low,
        high,
    )


def tolerance(name: str, sweep: SweepResult) -> ToleranceCurve | None:
    """Return the loss increase by share of layers; None if losses per text are not stored or give no interval.

    Args:
        name: of the model.
        sweep: a curve by similarity, with losses.
    """
    first = sweep.points[0] if sweep.points else None
    if first is None or not first.loss or first.bits_per_byte is None or len(sweep.text_losses) != len(sweep.points):
        return None
    bits_per_nat = first.bits_per_byte / first.loss
    costs = []
    for point, losses in zip(sweep.points, sweep.text_losses, strict=True):
        if len(losses) != len(sweep.text_losses[0]) or not losses:
            break
        cost, low, high = stats.compare_losses(sweep.text_losses[0], losses, sweep.text_tokens)
        if low is None or high is None:
            return None
        costs.append(ShareCost(point.n, point.n / sweep.n_layers, *(bits_per_nat * end for end in (cost, low, high))))
    facts = sweep.model
    precision, n_texts = sweep.precision_in_words, first.n_texts
    return ToleranceCurve(name, precision, sweep.n_layers, facts.n_parameters, n_texts, tuple(costs))


def size_pairs(curves: Sequence[tuple[str, SweepResult]]) -> list[SizePair]:
    """Return every pair of models with one tokenizer at every share of layers that both lost, without the unpruned models.

    Args:
        curves: by similarity, each with the name of its model, on the same texts.
    """
    by_size = sorted(curves, key=lambda named: named[1].model.n_parameters)
    pairs = []
    for index, (smaller_name, smaller) in enumerate(by_size):
        for larger_name, larger in by_size[index + 1 :]:
            if not _share_texts(smaller, larger):
                continue
            for smaller_n, larger_n in _equal_shares(smaller, larger):
                weights = smaller.text_tokens
                rises = _rises(smaller, smaller_n), _rises(larger, larger_n)
                means = [stats.weighted_mean_and_stderr(rise, weights)[0] for rise in rises]
                difference = stats.compare_losses(rises[0], rises[1], weights)
                share, n_texts = smaller_n / smaller.n_layers, len(weights)
                pairs.append(
                    SizePair(smaller_name, larger_name, share, smaller_n, larger_n, means[0], means[1], *difference, n_texts)
                )
    return pairs


def conclusion(claim: str, verdicts: Sequence[str]) -> str:
    """Return a claim with the number of cases in which it holds, in a sentence; "" without a case."""
    if not verdicts:
        return ""
    counts = [f"{word} in {verdicts.count(word)}" for word in (HOLDS, FAILS, OPEN) if word in verdicts]
    return f"{claim}: {', '.join(counts)} of {len(verdicts)} {'case' if len(verdicts) == 1 else 'cases'}."


def _verdict(difference: DepthCosts | SizePair) -> str:
    if not difference.is_significant:
        return OPEN
    return HOLDS if difference.difference < 0 else FAILS


def _share_texts(one: SweepResult, other: SweepResult) -> bool:
    """Return whether both were read on the same tokens of the same texts; texts cut to one length hide a second tokenizer."""
    is_same_text = one.spec.loss_corpus is not None and one.spec.loss_corpus == other.spec.loss_corpus
    has_same_tokens = reading.have_same_tokens(*(reading.unpruned(sweep).get(reading.LOSS) for sweep in (one, other)))
    return is_same_text and len(one.text_tokens) > 1 and one.text_tokens == other.text_tokens and has_same_tokens


def _equal_shares(one: SweepResult, other: SweepResult) -> list[tuple[int, int]]:
    """Return the numbers of removed layers, above 0, that are the same share of both models."""
    step = math.gcd(one.n_layers, other.n_layers)
    measured = [{point.n for point in sweep.points} for sweep in (one, other)]
    shares = [(part * one.n_layers // step, part * other.n_layers // step) for part in range(1, step)]
    return [(n, other_n) for n, other_n in shares if n in measured[0] and other_n in measured[1]]


def _rises(sweep: SweepResult, n: int) -> list[float]:
    """Return the loss increase of each text without n layers, nats per token."""
    index = next(index for index, point in enumerate(sweep.points) if point.n == n)
    return [after - before for before, after in zip(sweep.text_losses[0], sweep.text_losses[index], strict=True)]
