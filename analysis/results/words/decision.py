"""Decide on the removal of a block: go, measure more or don't, by 95 % intervals and a tolerance that is printed.

The decision is a pure function of stored results. It reads the selected block under the selected condition, or the healed
model of one heal of that block.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.core.blocks import Block, Removal
from analysis.core.errors import SpecError
from analysis.core.record import Spec
from analysis.core.units import number, two_digits
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.results.compared import changes, recovery, scores_of_block
from analysis.results.compared.changes import Change
from analysis.results.compared.scores_of_block import Selected
from analysis.results.stored import reading
from analysis.results.stored.reading import ACCURACY, DAMAGE, LOSS, Condition, Reading
from analysis.results.words import headline, risks
from analysis.results.words.headline import (
    ESTIMATED,
    EXACT,
    MEASURED,
    SIZE,
    SPEED,
    UNKNOWN,
    Headline,
)
from analysis.results.words.tolerance import (
    DEFAULT,
    OPEN,
    OUTSIDE,
    WITHIN,
    Judged,
    Tolerance,
)

GO, MORE, STOP = "go", "measure more", "don't"
"""The three recommendations."""
_MAP = "loss-increase map"


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
    """`headline.EXACT`, `MEASURED`, `ESTIMATED` or `UNKNOWN`."""
    position: str = ""
    """WITHIN, OUTSIDE or OPEN; "" for a number without a tolerance."""
    is_significant: bool = True
    """False for a change whose interval includes zero."""

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


def decide(
    selected: Selected,
    headline: Headline,
    *,
    tolerance: Tolerance = DEFAULT,
    results: Sequence[Any] = (),
    damage: Sequence[DamageResult] = (),
    speed: SpeedResult | None = None,
    heals: Sequence[HealResult] = (),
    heal: HealResult | None = None,
    available: int | None = None,
) -> Decision:
    """Decide on the selected block.

    Args:
        selected: its scores under the selected condition.
        headline: the verdict on the block in numbers.
        tolerance: the accepted worsening.
        results: curves, evaluations and heals of the model, as for `scores_of_block.select`.
        damage: loss-increase maps of the model, as for `scores_of_block.select`.
        speed: the measured speed of the model.
        heals: heals of the model; those of this block are offered as a next step.
        heal: the heal whose healed model is judged; None for the pruned model.
        available: number of questions in the selected dataset; None where that is not known.

    Raises:
        SpecError: for a heal of another block, or one that was not measured to its end.
    """
    if heal is not None and not (heal.is_of(headline.removed) and heal.healed is not None):
        raise SpecError(
            f"This result is not a finished healing run of {headline.removed.describe()}. Choose a finished one of this block."
        )
    sources = [_source(results, selected.measured(quantity).reading) for quantity in (ACCURACY, LOSS)]
    scores = next((source for source in sources if source is not None), None)
    accuracy, loss = (_judge(quantity, selected, heal, tolerance, sources[0]) for quantity in (ACCURACY, LOSS))
    verdict = judge(accuracy, loss)
    mapped = _map(damage, headline.removed) if _MAP in loss.material else None
    decisive = {STOP: (OUTSIDE,), GO: (WITHIN,), MORE: (OPEN,)}[verdict]
    both = (accuracy, loss)
    seconds = _seconds(both, results, selected) if verdict == MORE else None
    subject = risks.Subject(selected, headline, heal, results, scores)
    return Decision(
        recommendation=verdict,
        reasons=tuple(result.sentence() for result in both if result.position in decisive),
        rule=tolerance.rule(),
        removed=headline.removed,
        healed=heal.spec.recipe if heal is not None else "",
        summary=headline.sentence,
        numbers=(*(_number(result) for result in both), _speed(headline, speed), _size(headline)),
        next_steps=tuple(_next_steps(verdict, both, headline, seconds, heals, heal, tolerance, available)),
        costs=tuple(_costs(verdict, sources, heal, speed, seconds)),
        risks=tuple(risks.of(subject, {result.quantity: result.bound for result in both})),
        unknowns=tuple(risks.unknown(subject)),
        requests=tuple(dict.fromkeys(result.spec for result in (*sources, heal, mapped, speed) if result is not None)),
        judged=both,
    )


def _judge(quantity: str, selected: Selected, heal: HealResult | None, tolerance: Tolerance, scored: Any) -> Judged:
    bound = tolerance.bound(quantity)
    if heal is not None:
        after, before = (reading.of_heal(heal, model).get(quantity) for model in ("healed", "unpruned"))
        change, caveat, chance = changes.of_heal(heal, quantity), "", heal.lines.chance if heal.lines else None
        if quantity == LOSS and recovery.is_judged_by_its_own_kind(heal):
            caveat = "the healing run trained on this kind of text, so it never supports a go."
    else:
        measured = selected.measured(quantity)
        after, before, change = measured.reading, measured.unpruned, measured.change
        caveat, chance = "", scored.lines.chance if scored is not None and scored.lines else None
        estimate = selected.loss_map
        if quantity == LOSS and change is None and estimate is not None:
            after, change = estimate, Change(estimate.value, estimate.low, estimate.high, True, estimate.condition.n, None)
            caveat = "the loss-increase map uses other texts than the selected ones, so it never supports a go."
        if after is None:
            condition = measured.condition
            return Judged(quantity, None, bound, condition.material_in_words() if condition else "")
    if after is None or change is None:
        return Judged(quantity, None, bound)
    if quantity == ACCURACY and is_at_chance(before, chance):
        caveat = "the unpruned model is not significantly above chance there, so these questions cannot support a go."
    source = f"{_MAP}, " if after.quantity == DAMAGE else ""
    material = f"{source}{after.condition.material_in_words()}"
    return Judged(quantity, change, bound, material, f"{source}{after.on_what()}", caveat)


def _source(results: Sequence[Any], measured: Reading | None) -> Any:
    """The first result that holds this reading; None without one."""
    if measured is None:
        return None
    return next(
        (
            result
            for result in results
            if any(readings.get(measured.quantity) == measured for readings in reading.of_all(result))
        ),
        None,
    )


def _map(damage: Sequence[DamageResult], removed: Removal) -> DamageResult | None:
    """The loss-increase map that the estimate of a block comes from."""
    if not isinstance(removed, Block):
        return None
    return next((damage_map for damage_map in damage if reading.of_damage(damage_map, removed) is not None), None)


def is_at_chance(reading: Reading | None, chance: float | None) -> bool:
    """Return True if an accuracy is not significantly above that of guessing."""
    return reading is not None and chance is not None and reading.low is not None and reading.low <= chance


def _number(judged: Judged) -> Number:
    state = UNKNOWN if judged.change is None else ESTIMATED if _MAP in judged.material else MEASURED
    name = f"{judged.quantity.capitalize()} change"
    return Number(
        name,
        judged.value,
        judged.interval,
        judged.on,
        state,
        judged.position,
        judged.change is None or judged.change.is_significant,
    )


def _speed(verdict: Headline, speed: SpeedResult | None) -> Number:
    line = verdict.line(SPEED)
    gain = headline.speed_gain(speed, verdict.removed) if speed is not None else None
    if gain is None:
        return Number("Speed change", UNKNOWN, "", "", UNKNOWN)
    ends = f"95 % CI {gain.ends(0, 100)}"
    return Number("Speed change", f"{number(100 * gain.value, 0, '+')} %", ends, line.on, line.state, "", gain.is_significant)


def _size(headline: Headline) -> Number:
    line = headline.line(SIZE)
    return Number("Size", line.text, "", line.on, EXACT)


def _next_steps(
    verdict: str,
    judged: Sequence[Judged],
    headline: Headline,
    seconds: float | None,
    heals: Sequence[HealResult],
    heal: HealResult | None,
    tolerance: Tolerance,
    available: int | None,
) -> list[str]:
    if verdict == GO:
        return ["Export the model, then repeat the measurement on your own questions."]
    if verdict == MORE:
        return [*(_measure(item, available) for item in judged if item.position == OPEN), _duration(judged, seconds)]
    steps = []
    heals_of_block = [
        item for item in heals if item.is_of(headline.removed) and item.healed is not None and not item.spec.control
    ]
    recipes = list(dict.fromkeys(item.spec.recipe for item in heals_of_block))
    if recipes and heal is None:
        steps.append(f"Judge a healed model of this block instead (measured recipes: {', '.join(recipes)}).")
    elif heal is None:
        steps.append("Heal this block and judge the healed model, or choose another block.")
    else:
        steps.append("Choose a smaller block or a longer healing run.")
    if all(item.worsening is not None for item in judged):
        points, nats = (max(item.worsening[1], item.bound) if item.worsening else item.bound for item in judged)
        up_points, up_nats = (
            max(math.ceil(100 * points), tolerance.points),
            max(math.ceil(100 * nats) / 100, tolerance.nats),
        )
        steps.append(f"A go would need a tolerance of {up_points:g} points and {up_nats:g} nats/token.")
    return steps


def _measure(judged: Judged, available: int | None) -> str:
    """The measurement that brings this quantity nearer to a decision."""
    noun = "questions" if judged.quantity == ACCURACY else "texts"
    if judged.change is None:
        return f"Measure the {judged.quantity}{f' on {judged.material}' if judged.material else ''}."
    if _MAP in judged.material:
        return "Measure the loss of this block on the selected texts."
    if judged.caveat and judged.quantity == ACCURACY:
        return "Choose a dataset on which the unpruned model is above chance."
    if judged.caveat:
        return "Measure the healed model on another kind of text than it trained on."
    if judged.needed is None:
        return f"More {noun} cannot decide this if the {judged.quantity} change stays at the tolerance. Change the tolerance."
    more = f"about {two_digits(judged.needed)} {noun} (now {judged.change.n:,})"
    if judged.quantity == ACCURACY and available is not None and judged.needed > available:
        return f"The dataset has {available:,} questions, but {more} would decide. Choose another dataset or tolerance."
    side = OUTSIDE if judged.worse > judged.bound else WITHIN
    return f"Measure with {more}. If the {judged.quantity} change stays the same, its interval then lies {side}."


def _duration(judged: Sequence[Judged], seconds: float | None) -> str:
    if seconds is None:
        return "The duration is not known: no curve or evaluation of this condition was measured on this machine."
    return f"This takes up to about {recovery.duration(seconds)} on this machine, for the unpruned and the pruned model."


def _seconds(judged: Sequence[Judged], results: Sequence[Any], selected: Selected) -> float | None:
    """Upper estimate of the time that decides, from the slowest result of this condition on this machine; None without one."""
    if not any(item.change is None or item.needed is not None for item in judged):
        return None
    factor = max(item.needed / item.change.n if item.change and item.needed else 1.0 for item in judged)
    wanted = _both({ACCURACY: selected.selection.questions, LOSS: selected.selection.texts})
    rates = [
        result.wall_s / len(scores_of_block.points(result))
        for result in results
        if isinstance(result, SweepResult | EvaluateResult)
        and result.complete
        and result.is_from_this_machine
        and _both(reading.conditions_of(result)) == wanted
    ]
    return 2 * factor * max(rates) if rates else None


def _both(conditions: Mapping[str, Condition | None]) -> dict[str, Condition]:
    """The known conditions of accuracy and loss."""
    by_quantity = {quantity: conditions.get(quantity) for quantity in (ACCURACY, LOSS)}
    return {quantity: condition for quantity, condition in by_quantity.items() if condition is not None}


def _costs(
    verdict: str,
    sources: Sequence[Any],
    heal: HealResult | None,
    speed: SpeedResult | None,
    seconds: float | None,
) -> list[tuple[str, str]]:
    costs = []
    for source_id in dict.fromkeys(id(source) for source in sources if source is not None and source is not heal):
        source = next(candidate for candidate in sources if id(candidate) == source_id)
        n = len(scores_of_block.points(source)) if isinstance(source, SweepResult | EvaluateResult) else 0
        models = f"a curve of {n} models" if n > 1 else "this block alone" if n else f"a healing run ({source.spec.recipe})"
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


def _machine(result: Any) -> str:
    processor = result.versions.get("processor", "")
    return f", {processor.replace(', 1 threads', ', 1 thread')}" if processor else ""
