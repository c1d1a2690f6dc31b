"""The trade-off: models with their quality, size and speed, and the offers that dominate others.

A healed model stands beside a pruned, unhealed one, and another model beside a smaller version of this one. All of them
answered the same questions or read the same texts. `fronts` holds one precision each, and `candidates` makes a front of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.core.blocks import Removal
from analysis.data import gallery
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import changes
from analysis.results.compared.changes import Change
from analysis.results.compared.speed import MEASURED, SpeedGain, timed
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Condition, Reading

BEST, TIED, DOMINATED = "best measured", "statistically tied", "dominated"
"""Standing of an offer: none that costs no more is measured better; one is, but not significantly; one is significantly."""
SIZE, SPEED = "size", "speed"
"""Costs of a model: bytes of its weights, or how many times as fast as the unpruned model it generates."""


@dataclass(frozen=True)
class Offer:
    """One model that could be taken."""

    reading: Reading
    """Measured quality."""
    change: Change | None
    """Change against the unpruned model of its own family; None for that model itself, and where their conditions differ."""
    name: str
    """Name of its model, to show."""
    facts: ModelFacts
    """Facts of its unpruned model."""
    bytes: int
    """Bytes of the weights, as they were held when it was measured."""
    gain: SpeedGain | None
    """Measured speed gain over its unpruned model in generation; None where it was not timed. The unpruned one gains 0."""
    is_rival: bool
    """Whether it is another model than the requested one."""
    beside: Reading | None = None
    """Its other quantity: the loss beside an accuracy, the accuracy beside a loss; None where it is not measured."""
    beside_change: Change | None = None
    """Change of that quantity against the unpruned model, under the same condition."""

    @property
    def cut(self) -> Removal | None:
        """The removed layers."""
        return self.reading.cut

    @property
    def times(self) -> float | None:
        """Return how many times as fast as the unpruned model it generates."""
        return None if self.gain is None else 1 + self.gain.value


@dataclass(frozen=True)
class Front:
    """All offers on the same questions or texts."""

    quantity: str
    """ACCURACY, LOSS or BITS."""
    condition: Condition
    """Condition of the requested model; of a front of `fronts`, a rival's differs in the model alone."""
    offers: list[Offer]
    _standing: dict[str, list[tuple[Offer, str]]] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Answers of `standing`, each the comparison of many pairs of models."""

    def best(self, by: str) -> list[Offer]:
        """Return the offers that no other one beats, from the cheapest to the most expensive.

        An offer is beaten by one that costs no more and is better, or is as good and costs less, by the measured values.
        Whether the difference is significant is for the intervals to say.

        Args:
            by: SIZE or SPEED; offers without a speed are not on the latter front.
        """
        priced = sorted((o for o in self.offers if _price(o, by) is not None), key=lambda o: (_price(o, by), _badness(o)))
        kept: list[Offer] = []
        for offer in priced:
            if not kept or _badness(offer) < _badness(kept[-1]):
                kept.append(offer)
        return kept

    def standing(self, by: str) -> list[tuple[Offer, str]]:
        """Return every offer that has a price with its standing: BEST, TIED or DOMINATED.

        An offer is dominated only if a best measured one costs no more and the paired 95 % interval of their difference
        excludes zero. Point estimates alone dominate nothing.

        Args:
            by: SIZE or SPEED.
        """
        if by not in self._standing:
            best = self.best(by)
            self._standing[by] = [
                (offer, BEST if offer in best else DOMINATED if self._is_dominated(offer, best, by) else TIED)
                for offer in self.offers
                if _price(offer, by) is not None
            ]
        return self._standing[by]

    def _is_dominated(self, offer: Offer, best: Sequence[Offer], by: str) -> bool:
        price = _price(offer, by)
        return any(
            price is not None and cost <= price and is_better(other, offer)
            for other in reversed(best)
            if (cost := _price(other, by)) is not None
        )

    def own(self) -> list[Offer]:
        """Return the offers of the requested model."""
        return [offer for offer in self.offers if not offer.is_rival]


def is_better(one: Offer, other: Offer) -> bool:
    """True if the 95 % interval of the difference of two offers excludes zero in favour of the first."""
    found = difference(one.reading, other.reading, one.facts.vocab_size == other.facts.vocab_size)
    if found is None or found.low is None or found.high is None:
        return False
    return found.low > 0 if one.reading.quantity == ACCURACY else found.high < 0


def difference(one: Reading, reference: Reading, same_vocabulary: bool = True) -> Change | None:
    """Return the change of a reading against one of any precision and model; None where questions or texts differ.

    It is paired by question. It is paired by text only where both models have the same tokens: others read other parts of it.

    Args:
        one, reference: two readings of one quantity.
        same_vocabulary: whether the vocabularies of the two are equally large.
    """
    own, other = one.condition, reference.condition
    same_tokens = same_vocabulary and reading.have_same_tokens(one, reference)
    if (own.material, own.n) != (other.material, other.n) or (one.quantity == LOSS and not same_tokens):
        return None
    alone = () if not same_tokens and one.quantity != ACCURACY else one.losses
    return changes.change(reference, replace(one, condition=other, losses=alone))


def fronts(quantity: str, results: Sequence[Any], speed: SpeedResult | None = None) -> list[Front]:
    """Return everything measured of a model, condition by condition.

    Args:
        quantity: ACCURACY or LOSS.
        results: curves, evaluations and heals of the model, strongest evidence first.
        speed: the measured speed of the model.

    Returns:
        The front with the most offers first, then in the order of the results. Those with one offer alone are left out.
    """
    pairs = [pair for result in results for pair in _readings(result, quantity)]
    other_pairs = [pair for result in results for pair in _readings(result, LOSS if quantity == ACCURACY else ACCURACY)]
    conditions = dict.fromkeys(measured.condition for measured, _ in pairs)
    every = [Front(quantity, condition, _offers(condition, pairs, other_pairs, speed)) for condition in conditions]
    return sorted((front for front in every if len(front.offers) > 1), key=lambda front: -len(front.offers))


def _offers(
    condition: Condition,
    pairs: Sequence[tuple[Reading, Any]],
    other_pairs: Sequence[tuple[Reading, Any]],
    speed: SpeedResult | None,
) -> list[Offer]:
    """Return one offer for each removal and repair: the first of them, which comes from the strongest result."""
    firsts: dict[tuple[Removal | None, str], tuple[Reading, Any]] = {}
    for measured, result in pairs:
        if measured.condition == condition:
            firsts.setdefault((measured.cut, measured.repair), (measured, result))
    unpruned = next((measured for measured, _ in firsts.values() if measured.cut is None and not measured.repair), None)
    other_quantity = _OtherQuantity.of(condition, other_pairs)
    offers = []
    for measured, result in firsts.values():
        beside, beside_change = other_quantity.at(measured, result)
        offers.append(
            Offer(
                reading=measured,
                change=None if unpruned is None or measured is unpruned else changes.change(unpruned, measured),
                name=gallery.name_of(result.spec.model.source, result.model.name),
                facts=result.model,
                bytes=weight_bytes(result, measured.cut),
                gain=_gain(speed, measured.cut),
                is_rival=False,
                beside=beside,
                beside_change=beside_change,
            )
        )
    return offers


@dataclass(frozen=True)
class _OtherQuantity:
    """The other quantity of the same weights in the same precision."""

    by_form: dict[tuple[Removal | None, str], list[tuple[Reading, Any]]]
    unpruned: dict[Condition, Reading]

    @classmethod
    def of(cls, condition: Condition, pairs: Sequence[tuple[Reading, Any]]) -> "_OtherQuantity":
        """Keep the readings of the weights and the precision of a condition, on any questions or texts."""
        by_form: dict[tuple[Removal | None, str], list[tuple[Reading, Any]]] = {}
        unpruned: dict[Condition, Reading] = {}
        for measured, result in pairs:
            if (measured.condition.model, measured.condition.precision) == (condition.model, condition.precision):
                by_form.setdefault((measured.cut, measured.repair), []).append((measured, result))
                if measured.cut is None and not measured.repair:
                    unpruned.setdefault(measured.condition, measured)
        return cls(by_form, unpruned)

    def at(self, form: Reading, result: Any) -> tuple[Reading | None, Change | None]:
        """Return the reading of a form with its change against the unpruned model, a reading that has one first.

        Two heals by one recipe are two models: of a healed form only its own run counts.
        """
        first: tuple[Reading | None, Change | None] = (None, None)
        for measured, source in self.by_form.get((form.cut, form.repair), ()):
            before = self.unpruned.get(measured.condition)
            if form.repair and source is not result:
                continue
            if before is not None and measured.cut is not None:
                return measured, changes.change(before, measured)
            first = (measured, None) if first[0] is None else first
        return first


def _readings(result: Any, quantity: str) -> list[tuple[Reading, Any]]:
    """Return all readings of the quantity in a result; a control is no offer, it is the unpruned model trained on."""
    matching = [readings[quantity] for readings in reading.of_all(result) if quantity in readings]
    return [(measured, result) for measured in matching if measured.repair != reading.CONTROL]


def weight_bytes(result: Any, cut: Removal | None) -> int:
    """Return the bytes of the weights as held: quantized layers by their facts, if known, else by bytes per weight."""
    model = result.spec.model
    weights_format = model.dtype if model.quantization == "none" else model.quantization
    n_bytes = sizes.weight_bytes(
        result.model, cut, weights_format, rest=model.dtype if model.dtype in sizes.DTYPE_BYTES else "bfloat16"
    )
    return (
        n_bytes
        if n_bytes is not None
        else int(sizes.savings(result.model, cut).kept_parameters * result.model.bytes_per_parameter)
    )


def _gain(speed: SpeedResult | None, cut: Removal | None) -> SpeedGain | None:
    if speed is None:
        return None
    if cut is None:
        return SpeedGain(0.0, 0.0, 0.0, is_measured=True)
    times = timed(speed, cut)
    return times.gain if times.how == MEASURED else None


def _price(offer: Offer, by: str) -> float | None:
    if by == SIZE:
        return float(offer.bytes)
    return None if offer.times is None else -offer.times


def goodness(offer: Offer) -> float:
    """Return the value of an offer so that more is better, for any quantity."""
    return -_badness(offer)


def _badness(offer: Offer) -> float:
    return _worse(offer.reading.quantity, offer.reading.value)


def _worse(quantity: str, value: float) -> float:
    """The value, or the difference, so that more is worse."""
    return -value if quantity == ACCURACY else value
