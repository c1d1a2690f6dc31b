"""Values of every block for the strip of layers, which runs in the browser."""

from dataclasses import dataclass

from analysis.core import stats
from analysis.core.blocks import Block
from analysis.data import corpora
from analysis.experiments.maps import metrics
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.results.score import stored_scores
from analysis.results.score.score import Score

_DIGITS = 4
"""Decimals of all numbers, which keep the data of a hundred layers small."""
Rows = list[list[float | None]]
"""Row n-1 holds the blocks of n layers, entry l of it the one that starts at layer l; None if
nothing is known."""


@dataclass(frozen=True)
class OverBlocks:
    """One measured quantity of every block under one condition."""

    name: str
    """Name of the quantity within a sentence."""
    unit: str
    values: Rows
    halves: Rows
    """Half the width of the 95 % interval; None if no interval is known."""
    on: str
    """Texts and precision, in words."""


@dataclass(frozen=True)
class BlockValues:
    """Values of every block that the strip of layers shows."""

    n_layers: int
    shares: list[float]
    """Share of all parameters in each layer, in [0, 1]."""
    distance: OverBlocks
    """Distance of the residual stream across each block."""
    damage: OverBlocks | None
    """Measured loss increase without each block."""


def of_results(distances: DistanceResult, damage: DamageResult | None) -> BlockValues:
    """Return the values of every block from a distance map, and from a loss-increase map if there
    is one.

    Args:
        distances: the map on screen.
        damage: of the same model. Only blocks on which the most texts were read are included, so
            that all numbers compare.
    """
    facts = distances.model
    spec = distances.spec
    has_error = distances.n_texts > 1
    half = stats.t_quantile(distances.n_texts - 1) if has_error else 0.0
    texts = (
        f"{distances.n_texts} {'text' if distances.n_texts == 1 else 'texts'} of"
        f" {corpora.title(spec.corpus)}"
    )
    return BlockValues(
        n_layers=distances.n_layers,
        shares=[
            round(n_parameters / facts.n_parameters, 6) for n_parameters in facts.layer_parameters
        ],
        distance=OverBlocks(
            name="angle" if spec.metric == "angular" else metrics.title(spec.metric),
            unit="",
            values=[[round(value, _DIGITS) for value in row] for row in distances.mean],
            halves=[
                [round(half * error, _DIGITS) if has_error else None for error in row]
                for row in distances.stderr
            ],
            on=f"{texts}, {distances.precision_in_words}",
        ),
        damage=_of_damage(damage) if damage else None,
    )


def _of_damage(damage: DamageResult) -> OverBlocks | None:
    max_texts = max((n for row in damage.n_measured for n in row if n), default=None)
    read = [
        [
            stored_scores.of_damage(damage, Block(start, size)) if n == max_texts else None
            for start, n in enumerate(row)
        ]
        for size, row in enumerate(damage.n_measured, start=1)
    ]
    first = next((entry for row in read for entry in row if entry), None)
    if first is None:
        return None
    return OverBlocks(
        name="loss",
        unit="nats",
        values=[[round(entry.value, _DIGITS) if entry else None for entry in row] for row in read],
        halves=[[_half(entry) for entry in row] for row in read],
        on=first.condition.on_what(),
    )


def _half(measured: Score | None) -> float | None:
    if measured is None or measured.low is None or measured.high is None:
        return None
    return round((measured.high - measured.low) / 2, _DIGITS)
