"""The decision on removed layers in words: reasons, numbers, next steps, costs and risks (rules:
`results.verdict`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Removal
from analysis.core.record import Spec
from analysis.core.units import duration, two_digits
from analysis.results import verdict
from analysis.results.compared import recovery
from analysis.results.evidence import ESTIMATED, SIZE, SPEED, Evidence, Quantity
from analysis.results.score import changes
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.verdict import (
    DEFAULT,
    GO,
    MORE,
    OPEN,
    OUTSIDE,
    STOP,
    WITHIN,
    Judged,
    Tolerance,
)
from analysis.results.words import headline, risks
from analysis.results.words.headline import UNITS, interval_in_words, value_in_words


@dataclass(frozen=True)
class Number:
    """One number of the sheet."""

    name: str
    value: str
    interval: str
    """"" for an exact number."""
    on: str
    """The condition in words; "" if nothing is measured."""
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
        is_significant = (
            quantity.change is None or quantity.name == SIZE or quantity.change.is_significant
        )
        value = value_in_words(quantity)
        interval = interval_in_words(quantity)
        return cls(name, value, interval, quantity.on, quantity.state, position, is_significant)

    @property
    def remark(self) -> str:
        """Return significance, state and position in a few words; "" for an exact number."""
        parts = [
            "" if self.is_significant else "not significant",
            self.state if self.state == ESTIMATED else "",
            self.position,
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Decision:
    """A recommendation on removed layers, with its evidence."""

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


def decide(
    evidence: Evidence, *, tolerance: Tolerance = DEFAULT, available: int | None = None
) -> Decision:
    """Decide on removed layers, or on the judged healed model of them.

    Args:
        evidence: on the removed layers.
        tolerance: the accepted worsening.
        available: number of questions in the selected dataset; None if that is not known.
    """
    both = verdict.judged(evidence, tolerance)
    recommendation = verdict.recommended(*both)
    decisive = {STOP: OUTSIDE, GO: WITHIN, MORE: OPEN}[recommendation]
    speed = evidence.quantity(SPEED)
    sources = [result.quantity.result for result in both] + [speed.result]
    return Decision(
        recommendation=recommendation,
        reasons=tuple(_sentence(result) for result in both if result.position == decisive),
        rule=tolerance.rule(),
        removed=evidence.removed,
        healed=evidence.heal.spec.recipe if evidence.heal is not None else "",
        summary=headline.sentence(evidence),
        numbers=(
            *(Number.of(result.quantity, result.position) for result in both),
            Number.of(speed),
            Number.of(evidence.quantity(SIZE)),
        ),
        next_steps=tuple(_next_steps(recommendation, both, evidence, tolerance, available)),
        costs=tuple(_costs(evidence)),
        risks=tuple(risks.of(evidence)),
        unknowns=tuple(risks.unknown(evidence)),
        requests=tuple(dict.fromkeys(source.spec for source in sources if source is not None)),
        judged=both,
    )


def _sentence(judged: Judged) -> str:
    """Return the position of a change in a sentence."""
    quantity = judged.quantity
    name = quantity.name.capitalize()
    if quantity.change is None:
        return f"{headline.capital(headline.clause(quantity))}."
    text = (
        f"{name} change {value_in_words(quantity)} ({interval_in_words(quantity)},"
        f" {quantity.material})"
    )
    if judged.position == OPEN and judged.caveat:
        return f"{text}: {judged.caveat}"
    if verdict.worsening(quantity.name, quantity.change) is None:
        return f"{text}: without an interval, no decision is possible."
    size, _, unit = UNITS[quantity.name]
    bound = (
        f"the accepted {'drop' if quantity.name == ACCURACY else 'rise'} of {size * judged.bound:g}"
        f" {unit}"
    )
    relation = {OUTSIDE: "the whole interval is beyond", WITHIN: "the whole interval is within"}
    return f"{text}: {relation.get(judged.position, 'the interval includes')} {bound}."


def _next_steps(
    recommendation: str,
    judged: Sequence[Judged],
    evidence: Evidence,
    tolerance: Tolerance,
    available: int | None,
) -> list[str]:
    if recommendation == GO:
        return ["Export the model, then repeat the measurement on your own questions."]
    if recommendation == MORE:
        return [_measure(item, available) for item in judged if item.position == OPEN]
    if evidence.heal is not None:
        return ["Choose a smaller block or a longer healing run."]
    steps = []
    order = (GO, MORE, STOP)
    of_heals = sorted(
        verdict.of_healed(evidence, tolerance),
        key=lambda pair: order.index(verdict.recommended(*pair[1])),
    )
    for heal, of_healed in of_heals:
        advice = "Judge that model instead."
        if (healed := verdict.recommended(*of_healed)) == STOP:
            reasons = " ".join(_sentence(item) for item in of_healed if item.position == OUTSIDE)
            advice = f"{reasons} Choose a smaller block."
        steps.append(f"Healed by recipe {heal.spec.recipe}: {healed}. {advice}")
    return steps or ["Heal this block and judge the healed model, or choose another block."]


def _measure(judged: Judged, available: int | None) -> str:
    """Return the measurement that would help to decide on a quantity."""
    quantity = judged.quantity
    name = quantity.name
    noun = "questions" if quantity.name == ACCURACY else "texts"
    if quantity.change is None:
        whose = "" if quantity.after is None else " of the unpruned model"
        on = f" on {quantity.material}" if quantity.material else ""
        return f"Measure the {name}{whose}{on}."
    if quantity.state == ESTIMATED:
        return "Measure the loss of this block on the selected texts."
    if judged.caveat and name == ACCURACY:
        return "Choose a dataset on which the unpruned model is above chance."
    if judged.caveat:
        return "Measure the healed model on another kind of text than it trained on."
    least = changes.least_planned(name)
    if quantity.change.n < least:
        return (
            f"Measure at least {least} {noun} (now {quantity.change.n}); fewer decide too little."
        )
    if judged.needed is None:
        return (
            f"More {noun} cannot decide this if the {name} change stays at the tolerance. Change"
            " the tolerance."
        )
    more = f"about {two_digits(judged.needed)} {noun} (now {quantity.change.n:,})"
    if name == ACCURACY and available is not None and judged.needed > available:
        return (
            f"The dataset has {available:,} questions, but {more} would decide. Choose another"
            " dataset or tolerance."
        )
    return f"Measure with {more}."


def _costs(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the time that each stored measurement took, with its machine."""
    heal = evidence.heal
    quantities = ((name, evidence.quantity(name)) for name in (ACCURACY, LOSS, SPEED))
    sources = {
        id(quantity.result): (name, quantity.result)
        for name, quantity in quantities
        if quantity.result is not None
    }
    names = {SPEED: "Speed, measured"}
    costs = [
        (names.get(name, "Scores, measured"), f"{duration(source.wall_s)}{_machine(source)}")
        for name, source in sources.values()
        if source is not heal
    ]
    if heal is not None:
        costs.append(
            (
                "Heal, done",
                (
                    f"{recovery.course(heal)}, scoring {duration(heal.scoring_s)}, recipe"
                    f" {heal.spec.recipe}{_machine(heal)}"
                ),
            )
        )
    return costs


def _machine(result: Any) -> str:
    processor = result.versions.get("processor", "")
    return f", {processor.replace(', 1 threads', ', 1 thread')}" if processor else ""
