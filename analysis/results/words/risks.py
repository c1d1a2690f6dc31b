"""Risks of removing a block that stored results show, and quantities that nobody has measured for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.units import number
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.compared import changes, cliff, generations
from analysis.results.compared.changes import Change
from analysis.results.compared.cliff import Cliff
from analysis.results.compared.scores_of_block import QuantityScores, Selected
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, LOSS, Reading
from analysis.results.words import heals
from analysis.results.words.headline import ANSWERS, HEAL, SPEED, TEXT, Headline

_NEAR = 1
"""A block this many layers before the earliest n of the cliff is next to it."""


@dataclass(frozen=True)
class Subject:
    """The judged model, and the stored results about it."""

    selected: Selected
    headline: Headline
    heal: HealResult | None
    """The heal whose healed model is judged; None for the pruned model."""
    results: Sequence[Any]
    scored: Any
    """The result that scores the block under the selected condition; None without one."""

    @property
    def name(self) -> str:
        """The judged model: "healed model" or "pruned model"."""
        return "pruned model" if self.heal is None else "healed model"

    def reading(self, quantity: str) -> Reading | None:
        """The score of the judged model."""
        if self.heal is not None:
            return reading.of_heal(self.heal, "healed").get(quantity)
        return self.selected.measured(quantity).reading

    def change(self, quantity: str) -> Change | None:
        """The judged model minus the unpruned model."""
        if self.heal is None:
            return self.selected.measured(quantity).change
        before = reading.of_heal(self.heal, "unpruned").get(quantity)
        after = self.reading(quantity)
        return changes.change(before, after) if before and after else None

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing on the questions of the judged model."""
        source = self.heal if self.heal is not None else self.scored
        return source.lines.chance if source is not None and source.lines else None


def of(subject: Subject, tolerance: Mapping[str, float]) -> list[str]:
    """The risks, a sentence each.

    Args:
        subject: the judged model.
        tolerance: by quantity, the accepted worsening: a share of questions, or nats per token.
    """
    risks = [_repetition(subject), *_small(subject, tolerance), _chance(subject), _cliff(subject), _precision(subject)]
    risks += heals.remarks(subject.heal) if subject.heal is not None else []
    return [risk for risk in risks if risk]


def unknown(subject: Subject) -> list[str]:
    """The quantities that are not measured for the judged model under its condition, a sentence each."""
    missing, unknowns = set(subject.headline.missing), []
    for quantity, name in ((ACCURACY, ANSWERS), (LOSS, TEXT)):
        if subject.heal is not None:
            unknowns += [] if subject.reading(quantity) else [f"{quantity.capitalize()} of the healed model is not measured."]
        elif name in missing:
            unknowns.append(_unmeasured(subject.selected.measured(quantity)))
    if SPEED in missing:
        unknowns.append("Speed without this block is not measured.")
    if HEAL in missing:
        unknowns.append("No healing run of this block is measured.")
    if _generated(subject) is None:
        unknowns.append(f"Generated text of the {subject.name} is not measured, nor its repetition.")
    located = _located(subject)
    if located is None:
        unknowns.append("The distance of this block to the accuracy cliff is not known: no curve includes it.")
    elif not located.is_located:
        unknowns.append(located.sentence())
    dataset = "this dataset" if subject.reading(ACCURACY) else "any dataset"
    return [*unknowns, f"Tasks beyond {dataset}, other languages and long texts are not measured."]


def _unmeasured(measured: QuantityScores) -> str:
    on = f" on {measured.condition.material_in_words()}" if measured.condition else ""
    elsewhere = list(dict.fromkeys(cost.condition.on_what() for cost in measured.elsewhere))[:2]
    also = f", only on {' and on '.join(elsewhere)}" if elsewhere else ""
    return f"{measured.quantity.capitalize()} is not measured{on}{also}."


def _generated(subject: Subject) -> tuple[float, float | None, Change | None] | None:
    """Repetition of the judged model and of the unpruned model, and their difference; None without the first."""
    if subject.heal is not None:
        before, after = (subject.heal.writings.get(model) for model in ("unpruned", "healed"))
        if after is None:
            return None
        return after.repetition_rate, before.repetition_rate if before else None, changes.of_repetition(before, after)
    if subject.scored is None:
        return None
    stored = generations.collect(subject.scored.spec.model, subject.results)
    pruned, unpruned = stored.of(subject.headline.removed), stored.of(None)
    if pruned is None or pruned.point.repetition_rate is None:
        return None
    rate = unpruned.point.repetition_rate if unpruned else None
    return pruned.point.repetition_rate, rate, changes.of_repetition(unpruned.check if unpruned else None, pruned.check)


def _repetition(subject: Subject) -> str:
    rates = _generated(subject)
    if rates is None:
        return ""
    rate, unpruned, change = rates
    of_unpruned = "" if unpruned is None else f", {100 * unpruned:.0f} % for the unpruned model"
    text = f"{100 * rate:.0f} % of the 4-grams that the {subject.name} generates are repetitions{of_unpruned}"
    if change is None or change.low is None or change.high is None:
        return f"{text} (no interval)."
    ends = f"95 % CI {change.ends(0, 100)} points, {change.n} prompts"
    if not change.is_significant:
        return f"{text}: not significantly different ({ends})."
    side = "more" if change.difference > 0 else "less"
    return f"Generated text repeats itself {side}: {text} ({ends})."


def _small(subject: Subject, tolerance: Mapping[str, float]) -> Iterator[str]:
    """Too few questions or texts for the tolerance."""
    for quantity, size, unit, digits in ((ACCURACY, 100, "points", 1), (LOSS, 1, "nats/token", 2)):
        change, reading = subject.change(quantity), subject.reading(quantity)
        if change is None or reading is None or change.low is None or change.high is None:
            continue
        half = (change.high - change.low) / 2
        if half > tolerance[quantity]:
            yield (
                f"{reading.condition.material_in_words()} leave an interval of ±{number(size * half, digits)} {unit}, wider "
                f"than the tolerance of {size * tolerance[quantity]:g}."
            )


def _chance(subject: Subject) -> str:
    reading, chance = subject.reading(ACCURACY), subject.chance
    if reading is None or chance is None or reading.low is None or reading.low > chance:
        return ""
    return (
        f"Accuracy of the {subject.name} is not significantly above chance: {reading.in_words().removeprefix('accuracy ')}, "
        f"chance {100 * chance:.0f} %."
    )


def _located(subject: Subject) -> Cliff | None:
    """The cliff of the curve that scores this block under the selected condition."""
    questions = subject.selected.selection.questions
    for result in subject.results:
        if isinstance(result, SweepResult) and any(point.block == subject.headline.removed for point in result.points):
            located = cliff.locate(result)
            if located is not None and located.condition == questions:
                return located
    return None


def _cliff(subject: Subject) -> str:
    located = _located(subject)
    n = len(subject.headline.removed.layers)
    if located is None or not located.is_located or n < located.earliest - _NEAR:
        return ""
    side = "at or beyond" if n >= located.earliest else "next to"
    return f"The block is {side} the cliff. {located.sentence()}"


def _precision(subject: Subject) -> str:
    reading = subject.reading(ACCURACY) or subject.reading(LOSS) or subject.selected.loss_map
    if reading is None:
        return ""
    words = reading.condition.precision_in_words()
    return f"All scores hold for {words}. Another precision or a second rounding of the weights may score differently."
