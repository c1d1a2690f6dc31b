"""Start from a goal: the removal whose 95 % interval allows it, or the number of questions that would show one.

"At most 3 points" is reached by a removal if the lower end of the interval of its change of accuracy is above -3 points. A
point estimate alone reaches nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core import units
from analysis.core.blocks import Block
from analysis.core.units import number, two_digits
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import front
from analysis.results.compared.changes import Change
from analysis.results.compared.front import Front, Offer
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Condition, Reading
from analysis.results.words import glossary

POINTS, NATS, MEGABYTES, TIMES = "points", "nats", "megabytes", "times"
KINDS = (POINTS, NATS, MEGABYTES, TIMES)
"""Goals: accuracy points and nats per token that may be lost, size of the weights, times the unpruned model's speed."""


@dataclass(frozen=True)
class Goal:
    """A limit that a user accepts or needs."""

    kind: str
    """POINTS, NATS, MEGABYTES or TIMES."""
    value: float

    @property
    def quantity(self) -> str:
        """The quantity of the fronts that answer it."""
        return LOSS if self.kind == NATS else ACCURACY

    @property
    def n_bytes(self) -> int:
        """Return the limit of MEGABYTES in bytes; rounded, so that a model of exactly this size meets it."""
        return round(1e6 * self.value)

    @property
    def aim(self) -> str:
        """Return the goal in words that stand behind "to": "fit 165 MB"."""
        return {
            MEGABYTES: f"fit {units.exact_size(self.n_bytes)}",
            TIMES: f"be {self.value:.12g} times as fast",
            POINTS: f"lose less than {self.value:g} {'point' if self.value == 1 else 'points'} of accuracy",
            NATS: f"raise the loss by less than {self.value:g} nats/token",
        }[self.kind]


@dataclass(frozen=True)
class GoalAnswer:
    """The answer to a goal."""

    goal: Goal
    offer: Offer | None
    """The smallest removal that is allowed; for a size or a speed the one that removes least. None without any."""
    candidate: Offer | None
    """A smaller removal that the measured value allows and its interval does not; None without any."""
    needed: int | None
    """Questions or texts after which the interval of the candidate would allow it, if its measured change is the true one."""

    def sentences(self) -> list[str]:
        """The answer in words: the offer with accuracy and loss, then the candidate."""
        sentences = []
        if self.offer is not None:
            sentences += [f"Remove {in_words(self.offer)}.", *clauses(self.offer)]
        else:
            sentences.append(f"No measured removal is shown to {self.goal.aim}.")
        if self.candidate is not None and self.needed is not None and self.candidate.cut is not None:
            noun = "questions" if self.goal.quantity == ACCURACY else "texts"
            lead = "A smaller model" if self.offer is not None else "The nearest model"
            sentences.append(
                f"{lead}, without {self.candidate.cut.brief()}, may also meet the goal. "
                f"This needs about {two_digits(self.needed)} {noun} ({self.candidate.reading.condition.n:,} are measured)."
            )
        return sentences


def reach(goal: Goal, fronts: Sequence[Front], like: Condition | None = None, most: int | None = None) -> GoalAnswer:
    """The answer to a goal from everything measured.

    Args:
        goal: the goal.
        fronts: `front.fronts(goal.quantity, …)` of the model.
        like: the condition on screen: its dataset and precision count, with any number of questions; None for the first front.
        most: questions or texts of the dataset. A candidate that needs more is not named. None for no limit.

    Returns:
        Of a removal that was measured with several numbers of questions, the largest number decides.
    """
    offers = _strongest(fronts, like)
    if goal.kind in (MEGABYTES, TIMES):
        fits = [offer for offer in offers if _fits(goal, offer)]
        return GoalAnswer(
            goal,
            min(
                fits,
                key=lambda choice: (-choice.bytes, _rise(choice), -_gain(choice)),
                default=None,
            ),
            None,
            None,
        )
    limit = goal.value / 100 if goal.kind == POINTS else goal.value
    allowed = [offer for offer in offers if offer.change and _worst(offer.change, goal) < limit]
    offer = min(allowed, key=lambda choice: (choice.bytes, _rise(choice), -_gain(choice)), default=None)
    undecided = [
        (choice, n_needed)
        for choice in offers
        if choice.change is not None
        and not choice.reading.repair
        and choice not in allowed
        and _lost(choice.change, goal) < limit
        and (offer is None or choice.bytes < offer.bytes)
        and (n_needed := _needed(choice.change, goal, limit)) is not None
        and (most is None or n_needed <= most)
    ]
    candidate, needed = min(undecided, key=lambda pair: pair[1], default=(None, None))
    return GoalAnswer(goal, offer, candidate, needed)


def of_model(model: ModelSpec, goal: Goal) -> GoalAnswer:
    """The answer to a goal from everything stored of a model; without a stored score it has no offer.

    Args:
        model: the model, in the precision that counts.
        goal: the goal.
    """
    stored = [result for kind in ("sweep", "evaluate", "heal") for result in library.of(kind, model)]
    results, speeds = library.preferred(stored, model), library.of("speed", model)
    conditions = (reading.conditions_of(result).get(goal.quantity) for result in results)
    like = next((condition for condition in conditions if condition is not None), None)
    return reach(goal, front.fronts(goal.quantity, results, speeds[0] if speeds else None), like)


def layers_needed(facts: ModelFacts, megabytes: float, held: str) -> int | None:
    """Return the smallest number of removed layers with which the weights take at most so many megabytes; None without one.

    Args:
        facts: the unpruned model.
        megabytes: 10^6 bytes.
        held: data type or quantization of the weights.
    """
    for n in range(1, facts.n_layers):
        block = Block(facts.n_layers - 1 - n, n)
        size = sizes.weight_bytes(facts, block, held) or sizes.savings(facts, block).kept_parameters * facts.bytes_per_parameter
        if size <= round(1e6 * megabytes):
            return n
    return None


def seconds_per_question(results: Sequence[SweepResult]) -> float | None:
    """Seconds that one question takes for one removal, from the sweeps of this machine; None without any.

    Args:
        results: sweeps of the model in the requested precision.
    """
    rates = [
        result.wall_s / (result.n_questions * len(result.points))
        for result in results
        if result.n_questions and result.points and result.wall_s > 0 and result.is_from_this_machine
    ]
    return sorted(rates)[len(rates) // 2] if rates else None


def duration(needed: int, per_question: float | None) -> float | None:
    """Seconds to ask so many questions of the unpruned and the pruned model; None without a measured rate."""
    return None if per_question is None else 2 * needed * per_question


def in_words(offer: Offer) -> str:
    """A removal with its size and speed: "layers 11-15: 16 % smaller (225 MB), 1.22 times as fast (95 % 1.18 to 1.26)"."""
    if offer.cut is None:
        return "nothing"
    healed = f", healed ({offer.reading.repair})" if offer.reading.repair else ""
    saved = sizes.savings(offer.facts, offer.cut).fraction
    text = f"{offer.cut.brief()}{healed}: {100 * saved:.0f} % smaller ({offer.bytes / 1e6:,.0f} MB)"
    if offer.gain is not None and offer.times is not None:
        text += f", {offer.times:.2f} times as fast (95 % {1 + offer.gain.low:.2f} to {1 + offer.gain.high:.2f})"
    return text


def clauses(offer: Offer) -> list[str]:
    """Return accuracy and loss of an offer against the unpruned model, each with its interval; a missing one is named."""
    pairs = {offer.reading.quantity: (offer.reading, offer.change)}
    if offer.beside is not None:
        pairs[offer.beside.quantity] = (offer.beside, offer.beside_change)
    parts = []
    for quantity in (ACCURACY, LOSS):
        reading, change = pairs.get(quantity, (None, None))
        name = quantity.capitalize()
        parts.append(f"{name}: not measured." if reading is None or change is None else _clause(name, reading, change))
    return parts


def _clause(name: str, reading: Reading, change: Change) -> str:
    size, digits, unit = (100, 1, "points") if reading.quantity == ACCURACY else (1, 2, "nats/token")
    material = reading.condition.material_in_words()
    if change.low is None or change.high is None:
        return f"{name} changes by {number(size * change.difference, digits, '+')} {unit}, interval unknown ({material})."
    ends = f"95 % CI {change.ends(digits, size)}, {material}"
    if not change.is_significant:
        return f"{name} is not significantly different ({ends})."
    verb = "rises" if change.difference > 0 else "drops"
    clause = f"{name} {verb} significantly by {number(size * abs(change.difference), digits)} {unit} ({ends})"
    if reading.quantity == LOSS and change.difference > 0:
        clause += f": each token is {glossary.times_as_surprising(change.difference)} as surprising"
    return f"{clause}."


def _strongest(fronts: Sequence[Front], like: Condition | None) -> list[Offer]:
    """The removals on the dataset and in the precision of a condition, each from the front with the most questions or texts."""
    if not fronts:
        return []
    matching = [candidate for candidate in fronts if like is not None and _dataset(candidate.condition) == _dataset(like)]
    wanted = _dataset((matching or list(fronts))[0].condition)
    same = sorted(
        (candidate for candidate in fronts if _dataset(candidate.condition) == wanted),
        key=lambda candidate: -candidate.condition.n,
    )
    offers: dict[tuple[Any, str], Offer] = {}
    for shown_front in same:
        for offer in shown_front.own():
            if offer.cut is not None:
                offers.setdefault((offer.cut, offer.reading.repair), offer)
    return list(offers.values())


def _dataset(condition: Condition) -> tuple[Any, ...]:
    material = condition.material
    fields = (
        replace(material, limit=None, seed=0, identity="")
        if isinstance(material, BenchmarkSpec)
        else replace(material, n_texts=1, seed=0, identity="")
    )
    return condition.model, condition.precision, fields


def _fits(goal: Goal, offer: Offer) -> bool:
    if goal.kind == MEGABYTES:
        return offer.bytes <= goal.n_bytes
    return offer.gain is not None and not offer.is_rival and 1 + offer.gain.low >= goal.value


def _lost(change: Change, goal: Goal) -> float:
    return change.difference if goal.kind == NATS else -change.difference


def _worst(change: Change, goal: Goal) -> float:
    """The end of the interval that loses most."""
    if change.low is None or change.high is None:
        return math.inf
    return change.high if goal.kind == NATS else -change.low


def _needed(change: Change, goal: Goal, limit: float) -> int | None:
    """Questions after which the interval would end within the limit, in `stats.POWER` of all draws."""
    return change.needed_for(limit - _lost(change, goal))


def _rise(offer: Offer) -> float:
    """Rise of the loss, for choosing among removals of one size; infinite where it is not measured."""
    pairs = ((offer.reading, offer.change), (offer.beside, offer.beside_change))
    return next((change.difference for reading, change in pairs if reading and change and reading.quantity == LOSS), math.inf)


def _gain(offer: Offer) -> float:
    return front.goodness(offer)
