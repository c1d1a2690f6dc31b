"""Risks of removing a block that stored results show, and quantities that nobody has measured for it."""

from collections.abc import Iterator

from analysis.core.units import number
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import changes, cliff, generations
from analysis.results.compared.changes import Change
from analysis.results.compared.cliff import Cliff
from analysis.results.compared.scores_of_block import QuantityScores
from analysis.results.evidence import RECOVERY, SPEED, Evidence
from analysis.results.stored.reading import ACCURACY, LOSS, Reading
from analysis.results.words import heals
from analysis.results.words.headline import UNITS
from analysis.results.words.tolerance import Tolerance

_NEAR = 1
"""A block this many layers before the earliest n of the cliff is next to it."""


def of(evidence: Evidence, tolerance: Tolerance) -> list[str]:
    """Return the risks, a sentence each.

    Args:
        evidence: on the judged model.
        tolerance: the accepted worsening.
    """
    risks = [_repetition(evidence), *_small(evidence, tolerance), _baseline(evidence), _cliff(evidence), _precision(evidence)]
    risks += heals.remarks(evidence.heal) if evidence.heal is not None else []
    return [risk for risk in risks if risk]


def unknown(evidence: Evidence) -> list[str]:
    """Return the quantities that are not measured for the judged model under its condition, a sentence each."""
    unknowns = []
    for name in (ACCURACY, LOSS):
        if name in evidence.missing and evidence.heal is not None:
            unknowns.append(f"{name.capitalize()} of the healed model is not measured.")
        elif name in evidence.missing:
            unknowns.append(_unmeasured(evidence.selected.measured(name)))
    if SPEED in evidence.missing:
        unknowns.append("Speed without this block is not measured.")
    if RECOVERY in evidence.missing:
        unknowns.append("No healing run of this block is measured.")
    if _generated(evidence) is None:
        unknowns.append(f"Generated text of the {evidence.name} is not measured, nor its repetition.")
    located = _located(evidence)
    if located is None:
        unknowns.append("The distance of this block to the accuracy cliff is not known: no curve with a cliff includes it.")
    elif not located.is_located:
        unknowns.append(located.sentence())
    dataset = "this dataset" if evidence.reading(ACCURACY) else "any dataset"
    return [*unknowns, f"Tasks beyond {dataset}, other languages and long texts are not measured."]


def _unmeasured(measured: QuantityScores) -> str:
    on = f" on {measured.condition.material_in_words()}" if measured.condition else ""
    elsewhere = list(dict.fromkeys(cost.condition.on_what() for cost in measured.elsewhere))[:2]
    also = f", only on {' and on '.join(elsewhere)}" if elsewhere else ""
    return f"{measured.quantity.capitalize()} is not measured{on}{also}."


def _generated(evidence: Evidence) -> tuple[float, float | None, Change | None] | None:
    """Repetition of the judged model and of the unpruned model, and their difference; None without the first."""
    if evidence.heal is not None:
        before, after = (evidence.heal.writings.get(model) for model in ("unpruned", "healed"))
        if after is None:
            return None
        return after.repetition_rate, before.repetition_rate if before else None, changes.of_repetition(before, after)
    if evidence.scored is None:
        return None
    stored = generations.collect(evidence.scored.spec.model, evidence.results)
    pruned, unpruned = stored.of(evidence.removed), stored.of(None)
    if pruned is None or pruned.point.repetition_rate is None:
        return None
    rate = unpruned.point.repetition_rate if unpruned else None
    return pruned.point.repetition_rate, rate, changes.of_repetition(unpruned.check if unpruned else None, pruned.check)


def _repetition(evidence: Evidence) -> str:
    rates = _generated(evidence)
    if rates is None:
        return ""
    rate, unpruned, change = rates
    of_unpruned = "" if unpruned is None else f", {100 * unpruned:.0f} % for the unpruned model"
    text = f"{100 * rate:.0f} % of the 4-grams that the {evidence.name} generates are repetitions{of_unpruned}"
    if change is None or change.low is None or change.high is None:
        return f"{text} (no interval)."
    ends = f"95 % CI {change.ends(0, 100)} points, {change.n} prompts"
    if not change.is_significant:
        return f"{text}: not significantly different ({ends})."
    side = "more" if change.difference > 0 else "less"
    return f"Generated text repeats itself {side}: {text} ({ends})."


def _small(evidence: Evidence, tolerance: Tolerance) -> Iterator[str]:
    """Too few questions or texts for the tolerance."""
    for name in (ACCURACY, LOSS):
        change, reading = evidence.quantity(name).change, evidence.reading(name)
        if change is None or reading is None or change.low is None or change.high is None:
            continue
        half, bound, (size, digits, unit) = (change.high - change.low) / 2, tolerance.bound(name), UNITS[name]
        if half > bound:
            while float(f"{size * half:.{digits}f}") <= size * bound:  # an amount above the tolerance never reads as equal
                digits += 1
            yield (
                f"{reading.condition.material_in_words()} leave an interval of ±{number(size * half, digits)} {unit}, wider "
                f"than the tolerance of {size * bound:g}."
            )


def _baseline(evidence: Evidence) -> str:
    reading, baseline = evidence.reading(ACCURACY), evidence.baseline
    if reading is None or baseline is None or reading.low is None or reading.low > baseline[0]:
        return ""
    return (
        f"Accuracy of the {evidence.name} is not significantly above {baseline[1]}: "
        f"{reading.in_words().removeprefix('accuracy ')} against {100 * baseline[0]:.0f} %."
    )


def _located(evidence: Evidence) -> Cliff | None:
    """The cliff of the curve that scores this block under the selected condition."""
    questions = evidence.selected.selection.questions
    for result in evidence.results:
        if isinstance(result, SweepResult) and any(point.block == evidence.removed for point in result.points):
            located = cliff.locate(result)
            if located is not None and located.condition == questions:
                return located
    return None


def _cliff(evidence: Evidence) -> str:
    located = _located(evidence)
    n = len(evidence.removed.layers)
    if located is None or not located.is_located or n < located.earliest - _NEAR:
        return ""
    side = "at or beyond" if n >= located.earliest else "next to"
    return f"The block is {side} the cliff. {located.sentence()}"


def _precision(evidence: Evidence) -> str:
    reading = evidence.reading(ACCURACY) or evidence.quantity(LOSS).after
    if not isinstance(reading, Reading):
        return ""
    words = reading.condition.precision_in_words()
    return f"All scores hold for {words}. Another precision or a second rounding of the weights may score differently."
