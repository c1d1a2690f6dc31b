"""The verdict on the selected block: size, speed, accuracy, loss and heal, each measured, estimated or not measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core.blocks import Removal
from analysis.core.units import number, two_digits
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.models.source.sizes import ModelFacts
from analysis.results.compared import recovery
from analysis.results.compared.changes import Change
from analysis.results.compared.scores_of_block import QuantityScores, Selected
from analysis.results.compared.speed import speed_gain, timed_instead
from analysis.results.stored import evidence, reading
from analysis.results.stored.reading import LOSS, Condition, Reading
from analysis.results.words import glossary

SIZE, ANSWERS, TEXT, SPEED, HEAL = "size", "answers", "text", "speed", "heal"
"""The quantities of a verdict, in its order but for the speed, which follows the size."""
EXACT, MEASURED, ESTIMATED, UNKNOWN = "exact", "measured", "estimated", "not measured"
"""Sources of a quantity."""


@dataclass(frozen=True)
class VerdictLine:
    """One quantity of a verdict."""

    quantity: str
    """SIZE, SPEED, ANSWERS, TEXT or HEAL."""
    state: str
    """EXACT, MEASURED, ESTIMATED or UNKNOWN."""
    text: str
    """A clause in plain words, without a full stop: "accuracy drops 8 points (95 % CI 0.1 to 16, 200 ARC-Easy questions)"."""
    on: str
    """Condition in words; "" where nothing is known."""


@dataclass(frozen=True)
class Headline:
    """A verdict, for a reader who decides."""

    lines: tuple[VerdictLine, ...]
    """One for each quantity: size, speed, accuracy, loss, heal."""
    removed: Removal

    @property
    def sentence(self) -> str:
        """Return all lines in three or four short sentences."""
        by = {line.quantity: line for line in self.lines}
        first = f"Removing {self.removed.brief()} makes the model {by[SIZE].text}{_with_speed(by[SPEED])}"
        rest = [by[quantity].text for quantity in (ANSWERS, TEXT, HEAL)]
        return " ".join(f"{part[:1].upper()}{part[1:]}." for part in (first, *rest))

    @property
    def measured_on(self) -> tuple[str, ...]:
        """Return the condition of each known number: "Accuracy: 200 ARC-Easy questions, float32"."""
        return tuple(f"{_TITLES[line.quantity]}: {line.on}" for line in self.lines if line.on)

    @property
    def missing(self) -> tuple[str, ...]:
        """The quantities that are not measured under the selected condition: some of ANSWERS, TEXT, SPEED, HEAL."""
        return tuple(line.quantity for line in self.lines if line.state == UNKNOWN or line == self._estimated_loss)

    @property
    def _estimated_loss(self) -> VerdictLine | None:
        """The loss where the loss-increase map alone has it: it is not measured on the selected texts."""
        return next((line for line in self.lines if (line.quantity, line.state) == (TEXT, ESTIMATED)), None)

    def line(self, quantity: str) -> VerdictLine:
        """The line of one quantity."""
        return next(line for line in self.lines if line.quantity == quantity)


_TITLES = {SIZE: "Size", SPEED: "Speed", ANSWERS: "Accuracy", TEXT: "Loss", HEAL: "Heal"}


def headline(
    selected: Selected, model: ModelFacts, *, speed: SpeedResult | None = None, heals: Sequence[HealResult] = ()
) -> Headline:
    """The verdict on the selected block.

    Args:
        selected: its scores under the selected condition (`scores_of_block.select`); it removes something.
        model: the unpruned model.
        speed: the measured speed of the model.
        heals: its heals; the strongest of this block is named.

    Returns:
        A line for each quantity. A difference is stated only where its 95 % interval excludes zero. A quantity without a
        measurement says so.

    Raises:
        ValueError: for a selection that removes nothing.
    """
    cut = selected.selection.removed
    if cut is None:
        raise ValueError("A verdict needs a removed block.")
    smaller = f"{100 * sizes.savings(model, cut).fraction:.0f} % smaller" if sizes.knows(model, cut) else "smaller"
    size = VerdictLine(SIZE, EXACT, smaller, "exact, of all parameters" if sizes.knows(model, cut) else "")
    healed = _healed(cut, heals)
    heal_line = VerdictLine(HEAL, UNKNOWN, "no healing run of this block is measured", "")
    if healed is not None:
        heal_line = VerdictLine(
            HEAL, MEASURED, recovery.clause(healed), f"recipe {healed.spec.recipe}, {_condition(healed).precision_in_words()}"
        )
    return Headline((size, _speed(speed, cut), _accuracy(selected.accuracy), _loss(selected), heal_line), cut)


def _speed(speed: SpeedResult | None, cut: Removal) -> VerdictLine:
    gain = speed_gain(speed, cut) if speed is not None else None
    if speed is None or gain is None:
        return VerdictLine(SPEED, UNKNOWN, "its speed is not measured", "")
    state = MEASURED if gain.is_measured else ESTIMATED
    if not gain.is_significant:
        return VerdictLine(SPEED, state, "its speed is not significantly different", _timed(speed, cut))
    about = "" if gain.is_measured else "about "
    text = f"{about}{100 * abs(gain.value):.0f} % {'faster' if gain.value > 0 else 'slower'}"
    return VerdictLine(SPEED, state, text, _timed(speed, cut))


def _with_speed(line: VerdictLine) -> str:
    return f" and {line.text}" if line.text.endswith(("faster", "slower")) else f". {line.text[:1].upper()}{line.text[1:]}"


def _timed(speed: SpeedResult, cut: Removal) -> str:
    instead = timed_instead(speed, cut)
    remark = "" if instead is None else f"timed without {instead.brief()}, the same number of layers, "
    return f"decode, {remark}{speed.rounds} rounds, {speed.precision_in_words}, {speed.machine}"


def _accuracy(measured: QuantityScores) -> VerdictLine:
    change = measured.change
    if change is None or measured.reading is None:
        return VerdictLine(ANSWERS, UNKNOWN, f"accuracy is not measured{_asked(measured.condition)}", "")
    text = _moved(change, measured.reading.condition.material_in_words())
    return VerdictLine(ANSWERS, MEASURED, text, measured.reading.on_what())


def _moved(change: Change, material: str) -> str:
    """A change of accuracy in points."""
    if change.low is None or change.high is None:
        return f"accuracy changes by {number(100 * change.difference, 0, '+')} points, interval unknown ({material})"
    if not change.is_significant:
        ends = f"95 % CI {change.ends(0, 100)}"
        return f"accuracy is not significantly different ({ends}, {material}{_would_need(change)})"
    verb, low, high = _ends(change, "drops" if change.difference < 0 else "rises")
    ends = f"95 % CI {number(100 * low, 0)} to {number(100 * high, 0)}"
    return f"accuracy {verb} {number(100 * abs(change.difference), 0)} points ({ends}, {material})"


def _loss(selected: Selected) -> VerdictLine:
    measured = selected.loss
    change, estimate = measured.change, selected.loss_map
    if change is not None and measured.reading is not None:
        return VerdictLine(TEXT, MEASURED, _nats(change, measured.reading.condition), measured.reading.on_what())
    if estimate is not None:
        return VerdictLine(TEXT, ESTIMATED, _mapped(estimate), f"loss-increase map, {estimate.on_what()}")
    return VerdictLine(TEXT, UNKNOWN, f"loss is not measured{_asked(measured.condition)}", "")


def _mapped(measured: Reading) -> str:
    """The loss increase of a block on the loss-increase map."""
    change = Change(measured.value, measured.low, measured.high, True, measured.condition.n, None)
    return _nats(change, measured.condition, source="loss-increase map, ")


def _asked(condition: Condition | None) -> str:
    return "" if condition is None else f" on {condition.material_in_words()}"


def _ends(change: Change, verb: str) -> tuple[str, float, float]:
    """The verb with the ends of the interval of the size of a change, the smaller first."""
    low, high = change.low or 0.0, change.high or 0.0
    return (verb, low, high) if change.difference > 0 else (verb, -high, -low)


def _nats(change: Change, condition: Condition, source: str = "") -> str:
    material = f"{source}{condition.material_in_words()}"
    if change.low is None or change.high is None:
        return f"loss changes by {number(change.difference, 2, '+')} nats/token, interval unknown ({material})"
    if not change.is_significant:
        ends = f"95 % CI {change.ends(2)}"
        return f"loss is not significantly different ({ends}, {material}{_would_need(change)})"
    verb, low, high = _ends(change, "rises" if change.difference > 0 else "falls")
    ends = f"95 % CI {number(low, 2)} to {number(high, 2)}, {material}"
    text = f"loss {verb} by {number(abs(change.difference), 2)} nats/token ({ends})"
    return f"{text}: each token is {glossary.times_as_surprising(change.difference)} as surprising"


def _would_need(change: Change) -> str:
    return "" if change.needed is None or change.needed <= change.n else f", would need about {two_digits(change.needed)}"


def _condition(heal: HealResult) -> Condition:
    return next(iter(reading.of_heal(heal, "healed").values())).condition


def _healed(cut: Removal, heals: Sequence[HealResult]) -> HealResult | None:
    """Return the completed healing run with the least loss among the strongest ones of a block."""
    heals_of_block = [heal for heal in heals if heal.is_of(cut) and heal.unpruned and heal.pruned and heal.healed]
    ranked = evidence.ranked([heal for heal in heals_of_block if reading.of_heal(heal, "healed")])
    strongest = [heal for heal in ranked if evidence.weight(heal)[:-1] == evidence.weight(ranked[0])[:-1]]
    return min(
        strongest, key=lambda heal: reading.of_heal(heal, "healed")[LOSS].value if _has_loss(heal) else 0.0, default=None
    )


def _has_loss(heal: HealResult) -> bool:
    return LOSS in reading.of_heal(heal, "healed")
