"""Rules of every verdict, by 95 % intervals: what is accepted, worse and best. `words` and `charts`
render them.

A change is significant if its interval excludes zero (`core.intervals`). It is accepted if the
whole interval is within the accepted worsening. A point estimate alone accepts and refuses nothing.
Of several results of one quantity the first by `core.index.Ranking` counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.core.bounds import MOST_EXACT, shown
from analysis.core.errors import SpecError
from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.compared import candidates, recovery
from analysis.results.compared.candidates import (
    BOTH,
    HEALED,
    KINDS,
    OTHER,
    PRUNED,
    QUANTIZED,
    UNPRUNED,
    Candidate,
)
from analysis.results.compared.front import SIZE, Comparison, Front
from analysis.results.evidence import ESTIMATED, Evidence, Quantity
from analysis.results.score import changes
from analysis.results.score.changes import Change
from analysis.results.score.score import ACCURACY, LOSS, Score

WITHIN = "within the tolerance"
OUTSIDE = "outside the tolerance"
OPEN = "not decided"
"""Position of a 95 % interval relative to the accepted worsening."""
GO = "go"
MORE = "measure more"
STOP = "don't"
"""The three recommendations."""
_ROUNDING = 1e-9


def position(quantity: str, change: Change | None, bound: float) -> str:
    """Return WITHIN, OUTSIDE or OPEN for a change of accuracy or loss.

    Args:
        quantity: ACCURACY or LOSS.
        change: None if it is not measured.
        bound: the accepted worsening, a share of questions or nats per token.
    """
    interval = worsening(quantity, change)
    if interval is None:
        return OPEN
    low, high = interval
    if low > bound + _ROUNDING:
        return OUTSIDE
    return WITHIN if high <= bound + _ROUNDING else OPEN


def worsening(quantity: str, change: Change | None) -> tuple[float, float] | None:
    """Return the 95 % interval of the worsening, smaller end first; None without an interval."""
    if change is None or change.low is None or change.high is None:
        return None
    return (-change.high, -change.low) if quantity == ACCURACY else (change.low, change.high)


def _measured_worsening(quantity: str, change: Change) -> float:
    return -change.difference if quantity == ACCURACY else change.difference


def needed(quantity: str, change: Change, bound: float) -> int | None:
    """Return the questions or texts that would decide, if the change stays the same; None if more
    do not help, or if too few are measured for a plan.
    """
    if change.n < changes.least_planned(quantity):
        return None
    distance = _measured_worsening(quantity, change) - bound
    return None if abs(distance) < _ROUNDING else change.needed_for(distance)


# Removed layers


@dataclass(frozen=True)
class Tolerance:
    """The worsening that is accepted."""

    points: float = 3.0
    """Accuracy drop, percentage points."""
    nats: float = 0.1
    """Loss rise, nats per token."""

    def __post_init__(self) -> None:
        """Check both numbers.

        Raises:
            SpecError: for a negative or infinite number.
        """
        for name, value in (("accuracy drop", self.points), ("loss rise", self.nats)):
            if not (math.isfinite(value) and value >= 0):
                raise SpecError(
                    f"The accepted {name} is {value:g}. It must be a number of at least 0 (default:"
                    f" {DEFAULT.points if name == 'accuracy drop' else DEFAULT.nats:g})."
                )

    def bound(self, quantity: str) -> float:
        """Return the accepted worsening of a quantity: a share of questions, or nats per token."""
        return self.points / 100 if quantity == ACCURACY else self.nats

    def rule(self) -> str:
        """Return the rule with this tolerance, in two sentences."""
        return (
            f"Tolerance: an accuracy drop of up to {self.points:g} points and a loss rise of up to"
            f" {self.nats:g} nats/token. Go if the 95 % intervals of both changes lie within it,"
            " don't if one lies outside, else measure more."
        )


DEFAULT = Tolerance()


@dataclass(frozen=True)
class Judged:
    """The change of accuracy or loss, compared with the tolerance."""

    quantity: Quantity
    """Accuracy or loss of the judged model."""
    bound: float
    """The accepted worsening: a share of questions, or nats per token."""
    caveat: str = ""
    """Reason why this change cannot support a go, as a sentence; "" if it can."""

    @property
    def position(self) -> str:
        """Return WITHIN, OUTSIDE or OPEN."""
        measured = position(self.quantity.name, self.quantity.change, self.bound)
        return OPEN if measured == WITHIN and self.caveat else measured

    @property
    def needed(self) -> int | None:
        """Return the questions or texts that would decide, if the change stays the same; None if
        more do not help.
        """
        name = self.quantity.name
        change = self.quantity.change
        return (
            None
            if change is None or self.position != OPEN or self.caveat
            else needed(name, change, self.bound)
        )


def judged(evidence: Evidence, tolerance: Tolerance) -> tuple[Judged, Judged]:
    """Return the change of accuracy and that of loss, compared with the tolerance."""
    accuracy, loss = (
        Judged(evidence.quantity(name), tolerance.bound(name), _caveat(evidence, name))
        for name in (ACCURACY, LOSS)
    )
    return accuracy, loss


def recommended(accuracy: Judged, loss: Judged) -> str:
    """Return GO, MORE or STOP."""
    positions = (accuracy.position, loss.position)
    if OUTSIDE in positions:
        return STOP
    return GO if positions == (WITHIN, WITHIN) else MORE


def of_healed(
    evidence: Evidence, tolerance: Tolerance
) -> list[tuple[HealResult, tuple[Judged, Judged]]]:
    """Return the strongest finished healing run of each recipe with its judged model."""
    strongest: dict[str, HealResult] = {}
    for heal in evidence.finished_heals:
        strongest.setdefault(heal.spec.recipe, heal)
    return [(heal, judged(replace(evidence, heal=heal), tolerance)) for heal in strongest.values()]


def _caveat(evidence: Evidence, name: str) -> str:
    quantity = evidence.quantity(name)
    heal = evidence.heal
    baseline = evidence.baseline
    if quantity.state == ESTIMATED:
        return "the loss-increase map was measured on other texts, so it cannot support a go."
    if quantity.change is None:
        return ""
    if name == LOSS and heal is not None and recovery.is_judged_by_its_own_kind(heal):
        return "the healing run trained on this kind of text, so its loss cannot support a go."
    low = quantity.before.low if isinstance(quantity.before, Score) else None
    if name == ACCURACY and baseline is not None and low is not None and low <= baseline[0]:
        return (
            f"the unpruned model is not significantly above {baseline[1]}, so these questions"
            " cannot support a go."
        )
    return ""


# Candidates next to each other


def is_better(candidate: Candidate, other: Candidate, quantity: str) -> bool:
    """Return whether the 95 % interval of the difference of two candidates excludes zero in favour
    of the first.
    """
    interval = worsening(quantity, candidates.difference(candidate, other, quantity))
    return interval is not None and interval[1] < 0


ROUTES = {"Quantize": (QUANTIZED,), "Prune": (PRUNED, BOTH, HEALED), "Smaller model": (OTHER,)}
"""Ways to a cheaper model, with the kinds of candidates that take them."""


def routes(comparison: Comparison, limits: Sequence["Goal"]) -> dict[str, Candidate | None]:
    """Return the choice of each way among the candidates that meet all limits, by `RULE`; None if
    none does.
    """
    n_parameters = max((form.facts.n_parameters for form in comparison.forms), default=0)
    allowed = (
        each
        for each in comparison.candidates
        if not each.is_other or each.facts.n_parameters < n_parameters
    )
    fits = [each for each in allowed if all(limit.is_met(each) for limit in limits)]
    return {
        name: _of_lowest_loss(
            comparison, [candidate for candidate in fits if candidate.kind in kinds]
        )
        for name, kinds in ROUTES.items()
    }


def best(front: Front, by: str) -> list[Candidate]:
    """Return the candidates that no other one beats, from the cheapest to the most expensive.

    A candidate is beaten by one that costs no more and is better, or is as good and costs less, by
    the measured values. Whether the difference is significant is for the intervals to say.

    Args:
        front: the candidates.
        by: SIZE or SPEED; candidates without a speed are not on the latter front.
    """
    priced = [
        (cost, badness(each, front.quantity), each)
        for each in front.candidates
        if (cost := price(each, by)) is not None
    ]
    kept: list[tuple[float, Candidate]] = []
    for _, value, candidate in sorted(priced, key=lambda each: each[:2]):
        if not kept or value < kept[-1][0]:
            kept.append((value, candidate))
    return [candidate for _, candidate in kept]


def price(candidate: Candidate, by: str) -> float | None:
    """Return the cost of a candidate, so that more is worse; None if its speed is not measured."""
    if by == SIZE:
        return float(candidate.memory)
    return None if candidate.times is None else -candidate.times


def badness(candidate: Candidate, quantity: str) -> float:
    """Return the value of a candidate so that more is worse, for any quantity."""
    return candidate.scores[quantity].value * (-1 if quantity == ACCURACY else 1)


# Goals

BYTES = "bytes"
SPEED = "speed"
POINTS = "points"
NATS = "nats"
"""Goals, by the options of the command: memory of the weights, times the speed of the reference,
accuracy points and nats per token that may be lost."""
_LIMITS = {BYTES: (0, MOST_EXACT), SPEED: (1, math.inf), POINTS: (0, 100), NATS: (0, math.inf)}
RULE = (
    "Rule: the lowest loss that meets the goal (without losses, the highest accuracy), or for an"
    " accepted drop the smallest model. Of statistically tied models the order is unpruned,"
    " quantized, pruned, both, healed, another model, then the smaller one. A speed, a drop and a"
    " rise meet the goal with their whole 95 % interval, which stands in brackets."
)
"""The rule that chooses a model for a goal."""
_MOST_TIMES = 10
"""Maximum ratio of needed to measured questions or texts of a candidate that is named."""


@dataclass(frozen=True)
class Goal:
    """A limit that a user accepts or needs."""

    kind: str
    """BYTES, SPEED, POINTS or NATS."""
    value: float

    @property
    def is_drop(self) -> bool:
        """Return whether the goal is an accepted drop or rise."""
        return self.kind in (POINTS, NATS)

    @property
    def quantity(self) -> str:
        """Return the quantity that an accepted drop or rise limits."""
        return LOSS if self.kind == NATS else ACCURACY

    @property
    def bound(self) -> float:
        """Return the accepted worsening of that quantity: a share of questions, or nats per
        token.
        """
        return self.value / 100 if self.kind == POINTS else self.value

    def change(self, candidate: Candidate) -> Change | None:
        """Return the change of a candidate that an accepted drop or rise limits."""
        return candidate.changes.get(self.quantity) if self.is_drop else None

    def is_met(self, candidate: Candidate) -> bool:
        """Return whether a candidate meets the goal: by its exact size, or by the whole 95 %
        interval of its change.
        """
        if self.kind == BYTES:
            return candidate.memory <= round(self.value)
        if self.kind == SPEED:
            return candidate.gain is not None and 1 + candidate.gain.low >= self.value
        return position(self.quantity, self.change(candidate), self.bound) == WITHIN

    def is_missed(self, candidate: Candidate) -> bool:
        """Return whether the whole 95 % interval of a candidate's change is beyond the accepted
        drop or rise.
        """
        return position(self.quantity, self.change(candidate), self.bound) == OUTSIDE


def of_limits(**limits: float | None) -> list[Goal]:
    """Return the goals of the limits that are given, by their kinds.

    Raises:
        SpecError: for one that no model can meet, or every one does.
    """
    for kind, value in limits.items():
        least, most = _LIMITS[kind]
        if value is not None and not least < value < most:
            upper = "finite" if most == math.inf else f"below {most:,}"
            given = shown(value) if isinstance(value, int) else f"{value:g}"
            raise SpecError(
                f"--{kind} must be above {least} and {upper}, not {given}. Give another number."
            )
    return [Goal(kind, float(value)) for kind, value in limits.items() if value is not None]


def usual_goals(comparison: Comparison, points: float = DEFAULT.points) -> list[Goal]:
    """Return the default goals: half of the bytes, 1.3 times the speed, an accepted accuracy
    drop.
    """
    largest = comparison.reference or max(
        comparison.forms, key=lambda form: form.memory, default=None
    )
    size = (
        [] if largest is None else [Goal(BYTES, round(1e6 * float(f"{largest.memory / 2e6:.3g}")))]
    )
    return [*size, Goal(SPEED, 1.3), Goal(POINTS, points)]


def within(comparison: Comparison, tolerance: Tolerance) -> Comparison:
    """Return a comparison without the candidates significantly beyond a tolerance."""
    accepted = (Goal(POINTS, tolerance.points), Goal(NATS, tolerance.nats))
    kept = (
        each for each in comparison.candidates if not any(goal.is_missed(each) for goal in accepted)
    )
    return replace(comparison, candidates=tuple(kept))


@dataclass(frozen=True)
class Choice:
    """The choice of a model for one goal."""

    goal: Goal
    candidate: Candidate | None
    """The chosen model; None if no measured one meets the goal."""
    alternatives: tuple[Candidate, ...]
    """The best of each other kind that meets the goal, in the order of `KINDS`."""
    undecided: Candidate | None
    """A smaller pruned model whose measured change meets an accepted drop and whose interval does
    not; None without any."""
    needed: int
    """Questions or texts after which its interval would meet the goal, if its measured change is
    the true one."""


def choose(comparison: Comparison, goal: Goal) -> Choice:
    """Return the choice for a goal by `RULE`."""
    reference = comparison.reference
    fits = [each for each in comparison.candidates if goal.is_met(each)]
    if goal.is_drop and reference is not None:
        fits = [candidate for candidate in fits if candidate.memory < reference.memory]
    chosen = _chosen(comparison, fits, goal)
    by_kind = [
        _chosen(comparison, [candidate for candidate in fits if candidate.kind == kind], goal)
        for kind in KINDS
    ]
    others = tuple(
        each
        for each in by_kind
        if each is not None and (chosen is None or each.kind != chosen.kind)
    )
    if chosen is not None and chosen.kind == UNPRUNED and not goal.is_drop:
        others = ()
    return Choice(goal, chosen, others, *_undecided(comparison, goal, chosen or reference))


def _undecided(
    comparison: Comparison, goal: Goal, than: Candidate | None
) -> tuple[Candidate | None, int]:
    """Return the pruned model that needs the fewest questions or texts for a decision, with their
    number.
    """
    decidable = []
    for candidate in comparison.forms if than is not None else ():
        change = goal.change(candidate)
        is_smaller = (
            candidate.cut is not None
            and not candidate.repair
            and than is not None
            and candidate.memory < than.memory
        )
        if change is not None and is_smaller and not goal.is_met(candidate):
            is_below = _measured_worsening(goal.quantity, change) < goal.bound
            n = needed(goal.quantity, change, goal.bound) if is_below else None
            if n is not None and n <= _MOST_TIMES * change.n:
                decidable.append((n, candidate))
    n, first = min(decidable, key=lambda pair: pair[0], default=(0, None))
    material = None if first is None else first.scores[goal.quantity].condition.material
    if (
        isinstance(material, BenchmarkSpec)
        and not material.is_file
        and n > (questions.size(material) or n)
    ):
        return None, 0
    return first, n


def _chosen(comparison: Comparison, fits: Sequence[Candidate], goal: Goal) -> Candidate | None:
    """Return the candidate that the rule names among those that meet the goal.

    None if no loss and no accuracy of them may be compared with that of the reference, as with
    another tokenizer.
    """
    if goal.is_drop:
        least = min((candidate.memory for candidate in fits), default=0)
        fits = [candidate for candidate in fits if candidate.memory == least]
    elif comparison.reference is not None:
        same = [
            each
            for each in fits
            if each.cut is None and not each.repair and each.model == comparison.reference.model
        ]
        if same:  # the reference, or its file in llama.cpp, which has the same weights
            return max(same, key=lambda candidate: candidate.memory)
    return _of_lowest_loss(comparison, fits)


def _of_lowest_loss(comparison: Comparison, fits: Sequence[Candidate]) -> Candidate | None:
    """Return the first of the tied candidates with the lowest loss, without losses with the highest
    accuracy.
    """
    for quality in dict.fromkeys((comparison.quality, ACCURACY)):
        front = comparison.front(quality)
        on_front = {candidate.id for candidate in front.candidates} if front else ()
        if ranked := [candidate for candidate in fits if candidate.id in on_front]:
            return first_of_tied(ranked, quality)
    return None


def first_of_tied(fits: Sequence[Candidate], quality: str) -> Candidate:
    """Return the first by `KINDS` of the candidates that are not significantly worse by a quantity
    than any other.

    A model that ties with the best one may still be worse than a third one.
    """
    lowest = min(fits, key=lambda candidate: badness(candidate, quality))
    equal = [candidate for candidate in fits if not is_better(lowest, candidate, quality)]
    equal.sort(
        key=lambda candidate: (
            KINDS.index(candidate.kind),
            candidate.memory,
            badness(candidate, quality),
        )
    )
    return next(
        each for each in equal if not any(is_better(other, each, quality) for other in equal)
    )
