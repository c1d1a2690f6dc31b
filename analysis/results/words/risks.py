"""Risks of removing a block that stored results show, and quantities that are not measured."""

from analysis.core.units import number
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.results.compared import cliff, generations
from analysis.results.compared.scores_of_block import QuantityScores
from analysis.results.evidence import RECOVERY, SPEED, Evidence, Quantity
from analysis.results.score import changes
from analysis.results.score.changes import Change
from analysis.results.score.score import ACCURACY, LOSS
from analysis.results.words import headline, heals

_NEAR = 1
"""Maximum distance of a block from the cliff, in layers, that counts as next to it."""


def of(evidence: Evidence) -> list[str]:
    """Return the risks of the judged model, a sentence each."""
    risks = [_repetition(evidence), _baseline(evidence), _cliff(evidence)]
    risks += heals.remarks(evidence.heal) if evidence.heal is not None else []
    return [risk for risk in risks if risk]


def unknown(evidence: Evidence) -> list[str]:
    """Return the quantities that are not measured for the judged model under its condition, a
    sentence each.
    """
    unknowns = []
    for name in (ACCURACY, LOSS):
        if name in evidence.missing and evidence.heal is not None:
            unknowns.append(f"{name.capitalize()} of the healed model is not measured.")
        elif name in evidence.missing:
            unknowns.append(_unmeasured(evidence.quantity(name), evidence.selected.measured(name)))
    if SPEED in evidence.missing:
        unknowns.append("Speed without this block is not measured.")
    if RECOVERY in evidence.missing:
        unknowns.append("No healing run of this block is measured.")
    if _generated(evidence) is None:
        unknowns.append(f"Generated text of the {evidence.name} is not measured.")
    return [*unknowns, "Other tasks, other languages and long texts are not measured."]


def _unmeasured(quantity: Quantity, measured: QuantityScores) -> str:
    on = f" on {measured.condition.material_in_words()}" if measured.condition else ""
    elsewhere = list(dict.fromkeys(cost.condition.on_what() for cost in measured.elsewhere))[:2]
    also = f", only on {' and on '.join(elsewhere)}" if elsewhere else ""
    return f"{headline.capital(headline.unmeasured(quantity, on))}{also}."


def _generated(evidence: Evidence) -> tuple[float, Change | None] | None:
    """Return the repetition of the judged model, and its change from the unpruned one; None without
    the first.
    """
    if evidence.heal is not None:
        before, after = (evidence.heal.writings.get(model) for model in ("unpruned", "healed"))
        return (
            None if after is None else (after.repetition_rate, changes.of_repetition(before, after))
        )
    if evidence.scored is None:
        return None
    stored = generations.collect(evidence.scored.spec.model, evidence.results)
    pruned = stored.of(evidence.removed)
    unpruned = stored.of(None)
    if pruned is None or pruned.point.repetition_rate is None:
        return None
    return pruned.point.repetition_rate, changes.of_repetition(
        unpruned.check if unpruned else None, pruned.check
    )


def _repetition(evidence: Evidence) -> str:
    rate, change = _generated(evidence) or (0.0, None)
    if change is None or not change.is_significant or change.difference < 0:
        return ""
    points = (
        f"{number(100 * change.difference, 0, '+')} points (95 % CI {change.ends(0, 100)},"
        f" {change.n} prompts)"
    )
    return (
        f"Generated text repeats itself: {100 * rate:.0f} % of its 4-grams, {points} against the"
        " unpruned model."
    )


def _baseline(evidence: Evidence) -> str:
    score = evidence.score(ACCURACY)
    baseline = evidence.baseline
    if score is None or baseline is None or score.low is None or score.low > baseline[0]:
        return ""
    return (
        f"Accuracy of the {evidence.name} is not significantly above {baseline[1]}"
        f" ({100 * baseline[0]:.0f} %)."
    )


def _cliff(evidence: Evidence) -> str:
    """Return a sentence if the block is near the cliff of the curve that scores it under the
    selected condition.
    """
    curves = (result for result in evidence.results if isinstance(result, SweepResult))
    scoring = (
        curve for curve in curves if any(point.block == evidence.removed for point in curve.points)
    )
    located = next((each for each in map(cliff.locate, scoring) if each and each.is_located), None)
    n = len(evidence.removed.layers)
    if (
        located is None
        or located.condition != evidence.selected.accuracy.condition
        or n < located.earliest - _NEAR
    ):
        return ""
    return (
        f"The block is {'at or beyond' if n >= located.earliest else 'next to'} the cliff."
        f" {located.sentence()}"
    )
