"""Decide on the removal of a block: go, measure more or don't, by 95 % intervals and a tolerance that is printed.

The decision is a pure function of the evidence on the block, healed or not.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.record import Spec
from analysis.core.units import two_digits
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.compared import recovery, scores_of_block
from analysis.results.evidence import ESTIMATED, SIZE, SPEED, Evidence, Quantity
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Condition
from analysis.results.words import headline, risks
from analysis.results.words.tolerance import DEFAULT, OPEN, OUTSIDE, WITHIN, Judged, Tolerance

GO, MORE, STOP = "go", "measure more", "don't"
"""The three recommendations."""


@dataclass(frozen=True)
class Number:
    """One number of the sheet."""

    name: str
    value: str
    interval: str
    """"" for an exact number."""
    on: str
    """The condition in words; "" where nothing is measured."""
    state: str
    """`evidence.EXACT`, `MEASURED`, `ESTIMATED` or `UNKNOWN`."""
    position: str = ""
    """WITHIN, OUTSIDE or OPEN; "" for a number without a tolerance."""
    is_significant: bool = True
    """False for a change whose interval includes zero."""

    @classmethod
    def of(cls, quantity: Quantity, position: str = "") -> "Number":
        """Return the number of a quantity."""
        name = "Size" if quantity.name == SIZE else f"{quantity.name.capitalize()} change"
        is_significant = quantity.change is None or quantity.name == SIZE or quantity.change.is_significant
        value, interval = headline.value_in_words(quantity), headline.interval_in_words(quantity)
        return cls(name, value, interval, quantity.on, quantity.state, position, is_significant)

    @property
    def remark(self) -> str:
        """Significance, state and position in a few words; "" for an exact number."""
        parts = ["" if self.is_significant else "not significant", self.state if self.state == ESTIMATED else "", self.position]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Decision:
    """A recommendation on one removed block, with everything that it rests on."""

    recommendation: str
    """GO, MORE or STOP."""
    reasons: tuple[str, ...]
    """One sentence for each change that makes the recommendation."""
    rule: str
    removed: Removal
    healed: str
    """Recipe of the judged heal; "" for the pruned model without a heal."""
    summary: str
    """Size, speed, accuracy, loss and heal of the block in a few sentences."""
    numbers: tuple[Number, ...]
    """Accuracy change, loss change, speed and size."""
    next_steps: tuple[str, ...]
    costs: tuple[tuple[str, str], ...]
    """Name and amount of each cost, in words."""
    risks: tuple[str, ...]
    unknowns: tuple[str, ...]
    requests: tuple[Spec, ...]
    """Requests whose results the numbers come from, as measured."""
    judged: tuple[Judged, ...]
    """Accuracy, then loss."""


def judge(accuracy: Judged, loss: Judged) -> str:
    """The rule: GO, MORE or STOP."""
    positions = (accuracy.position, loss.position)
    if OUTSIDE in positions:
        return STOP
    return GO if positions == (WITHIN, WITHIN) else MORE


def decide(evidence: Evidence, *, tolerance: Tolerance = DEFAULT, available: int | None = None) -> Decision:
    """Decide on removed layers, or on the judged healed model of them.

    Args:
        evidence: on the removed layers.
        tolerance: the accepted worsening.
        available: number of questions in the selected dataset; None where that is not known.
    """
    both = _judged(evidence, tolerance)
    verdict = judge(*both)
    decisive = {STOP: OUTSIDE, GO: WITHIN, MORE: OPEN}[verdict]
    seconds = _seconds(both, evidence) if verdict == MORE else None
    speed = evidence.quantity(SPEED)
    sources = [result.quantity.result for result in both] + [speed.result]
    return Decision(
        recommendation=verdict,
        reasons=tuple(result.sentence() for result in both if result.position == decisive),
        rule=tolerance.rule(),
        removed=evidence.removed,
        healed=evidence.heal.spec.recipe if evidence.heal is not None else "",
        summary=headline.sentence(evidence),
        numbers=(
            *(Number.of(result.quantity, result.position) for result in both),
            Number.of(speed),
            Number.of(evidence.quantity(SIZE)),
        ),
        next_steps=tuple(_next_steps(verdict, both, evidence, seconds, tolerance, available)),
        costs=tuple(_costs(verdict, evidence, seconds)),
        risks=tuple(risks.of(evidence, tolerance)),
        unknowns=tuple(risks.unknown(evidence)),
        requests=tuple(dict.fromkeys(source.spec for source in sources if source is not None)),
        judged=both,
    )


def _judged(evidence: Evidence, tolerance: Tolerance) -> tuple[Judged, Judged]:
    accuracy, loss = (Judged(evidence.quantity(name), tolerance.bound(name)) for name in (ACCURACY, LOSS))
    return accuracy, loss


def _next_steps(
    verdict: str,
    judged: Sequence[Judged],
    evidence: Evidence,
    seconds: float | None,
    tolerance: Tolerance,
    available: int | None,
) -> list[str]:
    if verdict == GO:
        return ["Export the model, then repeat the measurement on your own questions."]
    if verdict == MORE:
        return [*(_measure(item, available) for item in judged if item.position == OPEN), _duration(seconds)]
    steps = ["Choose a smaller block or a longer healing run."]
    if evidence.heal is None:
        steps = _of_healed(evidence, tolerance) or ["Heal this block and judge the healed model, or choose another block."]
    if all(item.worsening is not None for item in judged):
        points, nats = (max(item.worsening[1], item.bound) if item.worsening else item.bound for item in judged)
        up_points, up_nats = (
            max(math.ceil(100 * points), tolerance.points),
            max(math.ceil(100 * nats) / 100, tolerance.nats),
        )
        steps.append(f"A go would need a tolerance of {up_points:g} points and {up_nats:g} nats/token.")
    return steps


def _of_healed(evidence: Evidence, tolerance: Tolerance) -> list[str]:
    """Return the recommendation on the healed model of each recipe, best evidence first: it is stored, so it is known."""
    strongest: dict[str, HealResult] = {}
    for heal in evidence.finished_heals:
        strongest.setdefault(heal.spec.recipe, heal)
    steps = []
    for recipe, heal in strongest.items():
        judged = _judged(replace(evidence, heal=heal), tolerance)
        verdict = judge(*judged)
        reasons = " ".join(item.sentence() for item in judged if item.position == OUTSIDE)
        advice = f"{reasons} Choose a smaller block." if verdict == STOP else "Judge that model instead."
        steps.append(f"Healed by recipe {recipe}: {verdict}. {advice}")
    return steps


def _measure(judged: Judged, available: int | None) -> str:
    """The measurement that brings this quantity nearer to a decision."""
    quantity = judged.quantity
    name, noun = quantity.name, "questions" if quantity.name == ACCURACY else "texts"
    if quantity.change is None:
        return f"Measure the {name}{f' on {quantity.material}' if quantity.material else ''}."
    if quantity.state == ESTIMATED:
        return "Measure the loss of this block on the selected texts."
    if quantity.caveat and name == ACCURACY:
        return "Choose a dataset on which the unpruned model is above chance."
    if quantity.caveat:
        return "Measure the healed model on another kind of text than it trained on."
    if judged.needed is None:
        return f"More {noun} cannot decide this if the {name} change stays at the tolerance. Change the tolerance."
    more = f"about {two_digits(judged.needed)} {noun} (now {quantity.change.n:,})"
    if name == ACCURACY and available is not None and judged.needed > available:
        return f"The dataset has {available:,} questions, but {more} would decide. Choose another dataset or tolerance."
    side = OUTSIDE if judged.worse > judged.bound else WITHIN
    return f"Measure with {more}. If the {name} change stays the same, its interval then lies {side}."


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "The duration is not known: no curve or evaluation of this condition was measured on this machine."
    return f"This takes up to about {recovery.duration(seconds)} on this machine, for the unpruned and the pruned model."


def _seconds(judged: Sequence[Judged], evidence: Evidence) -> float | None:
    """Upper estimate of the time that decides, from the slowest result of this condition on this machine; None without one."""
    changes = [(item.quantity.change, item.needed) for item in judged]
    if not any(change is None or needed is not None for change, needed in changes):
        return None
    factor = max(needed / change.n if change and needed else 1.0 for change, needed in changes)
    selection = evidence.selected.selection
    wanted = _both({ACCURACY: selection.questions, LOSS: selection.texts})
    rates = [
        result.wall_s / len(scores_of_block.points(result))
        for result in evidence.results
        if isinstance(result, SweepResult | EvaluateResult)
        and result.complete
        and result.is_from_this_machine
        and _both(reading.conditions_of(result)) == wanted
    ]
    return 2 * factor * max(rates) if rates else None


def _both(conditions: Mapping[str, Condition | None]) -> dict[str, Condition]:
    """The known conditions of accuracy and loss."""
    return {name: condition for name in (ACCURACY, LOSS) if (condition := conditions.get(name)) is not None}


def _costs(verdict: str, evidence: Evidence, seconds: float | None) -> list[tuple[str, str]]:
    costs, heal, speed = [], evidence.heal, evidence.quantity(SPEED).result
    sources = {id(source): source for name in (ACCURACY, LOSS) if (source := evidence.quantity(name).result) is not None}
    for source in sources.values():
        if source is heal:
            continue
        n = len(scores_of_block.points(source)) if isinstance(source, SweepResult | EvaluateResult) else 0
        models = f"a curve of {n} models" if n > 1 else "this block alone" if n else _whole_run(source)
        costs.append(("Scores, measured", f"{recovery.duration(source.wall_s)} for {models}{_machine(source)}"))
    if speed is not None:
        costs.append(("Speed, measured", f"{recovery.duration(speed.wall_s)}{_machine(speed)}"))
    if heal is not None:
        took = f"{recovery.course(heal)}, scoring {recovery.duration(heal.scoring_s)}"
        costs.append(("Heal, done", f"{took}, recipe {heal.spec.recipe}{_machine(heal)}"))
    else:
        costs.append(("Heal", "none in this decision"))
    if verdict == MORE:
        costs.append(("Decision, still to do", "not known" if seconds is None else f"up to about {recovery.duration(seconds)}"))
    return costs


def _whole_run(source: Any) -> str:
    """Return the run that measured a score next to other things: a healing run, or a map of all blocks."""
    recipe = getattr(source.spec, "recipe", "")
    return f"a healing run ({recipe})" if recipe else "a loss-increase map"


def _machine(result: Any) -> str:
    processor = result.versions.get("processor", "")
    return f", {processor.replace(', 1 threads', ', 1 thread')}" if processor else ""
