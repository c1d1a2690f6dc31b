"""The verdict on a cut in one sentence: what it saves and loses, and the share that a heal recovers, as far as measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

from analysis.core import stats
from analysis.core.blocks import PartSet, Removal
from analysis.experiments.heal.spec import HealResult
from analysis.experiments.speed.spec import SpeedResult
from analysis.models import spec
from analysis.models.spec import ModelFacts
from analysis.reading import costs, evidence, reading, recovery
from analysis.reading.costs import Cost
from analysis.reading.reading import ACCURACY, LOSS, Change, Condition
from analysis.reading.settled import number, two_digits

ANSWERS, TEXT, SPEED, HEAL = "answers", "text", "speed", "heal"
"""What a verdict can miss."""


@dataclass(frozen=True)
class Headline:
    """What is known of a cut, for somebody who decides."""

    sentence: str
    """One sentence; numbers with their 95 % interval and what they were measured on."""
    measured_on: tuple[str, ...]
    """For each number, what it is and in which condition it holds."""
    missing: tuple[str, ...]
    """What was not measured: some of ANSWERS, TEXT, SPEED, HEAL."""


def headline(
    cut: Removal,
    model: ModelFacts,
    results: Sequence[Any],
    *,
    speed: SpeedResult | None = None,
    heals: Sequence[HealResult] = (),
) -> Headline:
    """The verdict on a cut.

    Args:
        cut: the removed layers.
        model: the unpruned model.
        results: curves, evaluations and heals of it; a number is taken from the first that has it, so the strongest, or those
            on screen, come first.
        speed: its measured speed.
        heals: its heals; the strongest of this cut speaks.

    Returns:
        The sentence. A clause is there only where it was measured, and says a difference only where its interval excludes
        zero; else that none was seen, with how many questions or texts it would take.
    """
    answers, text = (next((c for c in costs.of_cuts(results, q, cut) if c.cut == cut), None) for q in (ACCURACY, LOSS))
    faster = speed_gain(speed, cut) if speed is not None else None
    healed = _healed(cut, heals)
    smaller = f"{spec.savings(model, cut).fraction:.0%} smaller" if spec.knows(model, cut) else "smaller"
    parts = [f"Removing {cut.brief()} makes the model {smaller}{_faster(faster)}"]
    parts += _lost(answers, text)
    parts += [recovery.clause(healed).replace(" %", "%")] if healed is not None else []
    found = {ANSWERS: answers, TEXT: text, SPEED: faster, HEAL: healed}
    said = [f"Answers: {answers.reading.on_what()}"] if answers else []
    said += [f"Loss: {text.reading.on_what()}"] if text else []
    said += [_timed(speed)] if speed is not None and faster is not None else []
    said += [f"Heal: recipe {healed.spec.recipe}, {_condition(healed).precision_in_words()}"] if healed is not None else []
    return Headline(
        "; ".join(parts).replace("%", " %") + ".", tuple(said), tuple(name for name, known in found.items() if known is None)
    )


@dataclass(frozen=True)
class SpeedGain:
    """How much faster a cut model writes: tokens per second over those of the unpruned one, less 1."""

    value: float
    low: float
    """Lower end of its 95 % interval."""
    high: float
    is_measured: bool
    """Whether this n was timed; else it is read from the line through those that were."""

    @property
    def is_settled(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def speed_gain(speed: SpeedResult, removed: int | Removal) -> SpeedGain | None:
    """How much faster the model writes without n layers, or without a cut.

    Args:
        speed: the measurement.
        removed: layers, at least 1; of a cut of whole layers, which are alike in time, their number counts.

    Returns:
        Where so many layers, or these very parts, were timed, the geometric mean over rounds of unpruned over cut time of a
        token, paired by round, with its interval by Student's t; else the ratio on the fitted line, which says nothing of
        parts, with that of its slope. None where neither is there, or where too few rounds or points give no interval.
    """
    n = removed if isinstance(removed, int) else len(removed.layers)
    own = removed if isinstance(removed, PartSet) else n
    times = {point.block if point.parts else point.n: point.decode.repeats_s for point in speed.points}
    logs = [log(whole / less) for whole, less in zip(times.get(0, []), times.get(own, []), strict=False)]
    ends = stats.mean_interval(*stats.mean_and_stderr(logs), len(logs)) if logs else None
    if ends is not None:
        value, low, high = (exp(ratio) - 1 for ratio in (sum(logs) / len(logs), *ends))
        return SpeedGain(value, low, high, is_measured=True)
    line = speed.decode
    slopes = None if line is None else line.slope_interval(len(speed.of_layers))
    if line is None or slopes is None or isinstance(removed, PartSet) or line.at(speed.n_layers - n) <= 0:
        return None
    left = line.at(speed.n_layers - n)
    value, low, high = (n * slope / left for slope in (line.slope_s, *slopes))
    return SpeedGain(value, low, high, is_measured=False)


def _faster(gain: SpeedGain | None) -> str:
    if gain is None:
        return ""
    if not gain.is_settled:
        return ", and no difference in speed was seen"
    about = "" if gain.is_measured else "about "
    return f" and {about}{abs(gain.value):.0%} {'faster' if gain.value > 0 else 'slower'}"


def _timed(speed: SpeedResult) -> str:
    return f"Speed: writing a token, {speed.rounds} rounds, {speed.precision_in_words}, {speed.machine}"


def _lost(answers: Cost | None, text: Cost | None) -> list[str]:
    """What the cut costs in answers and in loss, one clause where it loses both."""
    said = [_answers(answers.change, answers.condition)] if answers else []
    said += [_nats(text.change, text.condition)] if text else []
    if answers and text and said[0].startswith("it loses") and said[1].startswith("it loses"):
        return [f"{said[0]} and {said[1].removeprefix('it loses ')}"]
    return said


def _answers(change: Change, condition: Condition) -> str:
    where = condition.material_in_words()
    if change.low is None or change.high is None:
        return f"the interval of its answers is not known on {where}"
    if not change.is_settled:
        return f"no difference in its answers was seen with {where}{_would_need(change)}"
    verb, low, high = ("loses", -change.high, -change.low) if change.difference < 0 else ("gains", change.low, change.high)
    ends = f"95%: {number(100 * low, 0)} to {number(100 * high, 0)}, {where}"
    return f"it {verb} {number(100 * abs(change.difference), 0)} of 100 answers ({ends})"


def _nats(change: Change, condition: Condition) -> str:
    where = condition.material_in_words()
    if change.low is None or change.high is None:
        return f"the interval of its loss is not known on {where}"
    if not change.is_settled:
        return f"no difference in its loss was seen with {where}{_would_need(change)}"
    verb, low, high = ("loses", change.low, change.high) if change.difference > 0 else ("gains", -change.high, -change.low)
    return f"it {verb} {number(abs(change.difference), 2)} nats a token (95%: {number(low, 2)} to {number(high, 2)}, {where})"


def _would_need(change: Change) -> str:
    return "" if change.needed is None or change.needed <= change.n else f" (would need about {two_digits(change.needed)})"


def _condition(heal: HealResult) -> Condition:
    return next(iter(reading.of_heal(heal, "healed").values())).condition


def _healed(cut: Removal, heals: Sequence[HealResult]) -> HealResult | None:
    """Of the strongest heals of a cut that were measured to the end, the one with the least loss."""
    own = [heal for heal in heals if heal.is_of(cut) and heal.unpruned and heal.pruned and heal.healed]
    ranked = evidence.ranked([heal for heal in own if reading.of_heal(heal, "healed")])
    strongest = [heal for heal in ranked if evidence.weight(heal)[:-1] == evidence.weight(ranked[0])[:-1]]
    return min(
        strongest, key=lambda heal: reading.of_heal(heal, "healed")[LOSS].value if _has_loss(heal) else 0.0, default=None
    )


def _has_loss(heal: HealResult) -> bool:
    return LOSS in reading.of_heal(heal, "healed")
