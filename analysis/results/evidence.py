"""The evidence on removed layers: each quantity under the selected condition, or the reason why it
is not measured.

Verdict, decision sheet, report, model card, Export, command line and MCP server render the same
`Evidence`, so that a quantity has one value, one interval and one condition everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.core.blocks import Block, PartSet, Removal, written
from analysis.core.errors import SpecError
from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.heal.heal_result import HealResult
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.speed.speed_spec import SpeedResult, SpeedSpec
from analysis.experiments.strategies import USUAL
from analysis.models.source import sizes
from analysis.models.source.model_spec import AUTO, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import recovery, scores_of_block
from analysis.results.compared.scores_of_block import Selected
from analysis.results.compared.speed import decode_speed, timed, timed_instead
from analysis.results.score import changes, stored_scores
from analysis.results.score.changes import Change
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, LOSS, Score
from analysis.results.stored import summaries
from analysis.results.stored.result import FoundResult

SIZE = "size"
SPEED = "speed"
RECOVERY = "recovery"
"""Quantities besides ACCURACY and LOSS."""
EXACT = "exact"
MEASURED = "measured"
ESTIMATED = "estimated"
UNKNOWN = "not measured"
"""Sources of a quantity."""
LOSS_MAP = "loss-increase map"


@dataclass(frozen=True)
class Quantity:
    """One quantity of the judged model, compared with the unpruned model."""

    name: str
    """ACCURACY, LOSS, SPEED, SIZE or RECOVERY."""
    state: str = UNKNOWN
    """EXACT, MEASURED, ESTIMATED or UNKNOWN."""
    change: Change | None = None
    """Judged minus unpruned: a share of questions, nats per token, a share of the unpruned model's
    bytes or tokens per second.

    Of a recovery the share of the loss increase. None if it is not measured.
    """
    before: Score | float | None = None
    """Value of the unpruned model: also bytes or tokens per second."""
    after: Score | float | None = None
    """Value of the judged model."""
    material: str = ""
    """Questions or texts in words, the selected ones if nothing is measured."""
    on: str = ""
    """The full condition in words; "" if nothing is measured."""
    result: Any = None
    """Stored result that holds it; None for a size."""
    request: Spec | None = None
    """Request that measures it, if it is not measured."""


@dataclass(frozen=True)
class Evidence:
    """All stored evidence on one removal of a model, healed or not, under the selected
    condition.
    """

    removed: Removal
    """The removed layers."""
    model: ModelSpec
    """Model of new requests."""
    facts: ModelFacts
    """Sizes of the unpruned model."""
    shown: Any = None
    """Result whose questions, texts and precision are selected; None for the strongest one that
    scores the layers."""
    results: Sequence[Any] = ()
    """Curves, evaluations and healing runs of the model, strongest first."""
    damage: Sequence[DamageResult] = ()
    """Loss-increase maps, the one on screen first."""
    speed: SpeedResult | None = None
    """Measured speed of the model."""
    heals: Sequence[HealResult] = ()
    """Healing runs, strongest first."""
    heal: HealResult | None = None
    """Healing run whose healed model is judged; None for the pruned model."""

    def __post_init__(self) -> None:
        """Check the judged healing run.

        Raises:
            SpecError: if it is of other layers, or not finished.
        """
        if self.heal is not None and not (
            self.heal.is_of(self.removed) and self.heal.healed is not None
        ):
            raise SpecError(
                f"This result is not a finished healing run of {self.removed.describe()}. Choose a"
                " finished one of this block."
            )

    @cached_property
    def selected(self) -> Selected:
        """Scores of the removed layers under the selected condition."""
        return scores_of_block.select(self.removed, self.results, shown=self.shown)

    @property
    def name(self) -> str:
        """Return the judged model: "healed model" or "pruned model"."""
        return "pruned model" if self.heal is None else "healed model"

    def quantity(self, name: str) -> Quantity:
        """Return one quantity by its name."""
        return self._quantities[name]

    def score(self, name: str) -> Score | None:
        """Return the accuracy or loss of the judged model under the condition; None if it is not
        measured.
        """
        if self.heal is not None:
            return stored_scores.of_heal(self.heal, "healed").get(name)
        return self.selected.measured(name).score

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Names of the quantities that are not measured under the selected condition; a
        loss-increase map has other texts.
        """
        states = {UNKNOWN: tuple(self._quantities), ESTIMATED: (LOSS,)}
        return tuple(
            name
            for name, quantity in self._quantities.items()
            if name in states.get(quantity.state, ())
        )

    @property
    def requests(self) -> list[Spec]:
        """Requests that measure the missing quantities."""
        wanted = (self.quantity(name).request for name in self.missing)
        return list(dict.fromkeys(request for request in wanted if request is not None))

    @cached_property
    def _quantities(self) -> Mapping[str, Quantity]:
        scores = {name: self._score(name) for name in (ACCURACY, LOSS)}
        return {SIZE: self._size(), SPEED: self._speed(), **scores, RECOVERY: self._recovery()}

    @cached_property
    def finished_heals(self) -> list[HealResult]:
        """Finished healing runs of these layers, in the order of `heals`."""
        finished = [
            heal
            for heal in self.heals
            if heal.is_of(self.removed) and len(heal.models) == len(_MODELS)
        ]
        return [heal for heal in finished if stored_scores.of_heal(heal, "healed")]

    @property
    def scored(self) -> Any:
        """Return the result that scores the judged model; None without one."""
        return self.heal or next(
            (result for name in (ACCURACY, LOSS) if (result := self._source(name))), None
        )

    @property
    def baseline(self) -> tuple[float, str] | None:
        """Accuracy of the better baseline with its name: chance, or the most frequent answer."""
        lines = getattr(self.scored, "lines", None)
        questions = self.selected.accuracy.condition
        for result in (
            self.results if lines is None else ()
        ):  # a table of methods has none, a curve on its questions may
            condition = stored_scores.conditions_of(result).get(ACCURACY)
            if (
                condition
                and questions
                and (condition.material, condition.n) == (questions.material, questions.n)
            ):
                lines = lines or getattr(result, "lines", None)
        if lines is None:
            return None
        return max(
            (lines.chance, "chance"),
            (lines.majority, "the most frequent answer"),
            key=lambda level: level[0],
        )

    def _source(self, name: str) -> Any:
        """Return the first result that holds the score of the pruned model."""
        measured = self.selected.measured(name).score
        if measured is None:
            return None
        holding = (
            result
            for result in self.results
            if any(scores.get(name) == measured for scores in stored_scores.of_all(result))
        )
        return next(holding, None)

    def _score(self, name: str) -> Quantity:
        measured = self.selected.measured(name)
        if self.heal is not None:
            before, after = (
                stored_scores.of_heal(self.heal, model).get(name)
                for model in ("unpruned", "healed")
            )
            change = changes.of_heal(self.heal, name)
            result = self.heal
        else:
            before = measured.unpruned
            after = measured.score
            change = measured.change
            result = self._source(name)
        if change is None or after is None:
            return (
                self._mapped()
                if name == LOSS and self._map is not None
                else self._unmeasured(name, measured.condition, after)
            )
        material = after.condition.material_in_words()
        on = after.condition.on_what()
        return Quantity(name, MEASURED, change, before, after, material, on, result)

    @cached_property
    def _map(self) -> tuple[DamageResult, Score] | None:
        """Return the loss-increase map that estimates the loss of the pruned model, and its
        value.
        """
        if self.heal is not None or not isinstance(self.removed, Block):
            return None
        values = ((damage, stored_scores.of_damage(damage, self.removed)) for damage in self.damage)
        return next(((damage, value) for damage, value in values if value is not None), None)

    def _mapped(self) -> Quantity:
        assert self._map is not None
        damage, value = self._map
        change = Change(value.value, value.low, value.high, True, value.condition.n, None)
        material, on = (
            f"{LOSS_MAP}, {words}"
            for words in (value.condition.material_in_words(), value.condition.on_what())
        )
        return Quantity(LOSS, ESTIMATED, change, None, value, material, on, damage, self._request())

    def _unmeasured(self, name: str, condition: Condition | None, after: Score | None) -> Quantity:
        if self.heal is not None:
            return Quantity(name, request=self.heal.spec)
        return Quantity(
            name,
            after=after,
            material=condition.material_in_words() if condition else "",
            request=self._request(),
        )

    def _request(self) -> Spec:
        """Return the request that scores the pruned model under the selected condition."""
        materials = [
            each.material
            for each in (self.selected.accuracy.condition, self.selected.loss.condition)
            if each
        ]
        return EvaluateSpec(
            self.model,
            self.removed,
            benchmark=next(
                (each for each in materials if isinstance(each, BenchmarkSpec)),
                EvaluateSpec().benchmark,
            ),
            loss_corpus=next(
                (each for each in materials if isinstance(each, CorpusSpec)),
                EvaluateSpec().loss_corpus,
            ),
        )

    def _speed(self) -> Quantity:
        gain = None if self.speed is None else timed(self.speed, self.removed).gain
        if self.speed is None or gain is None:
            is_parts = isinstance(self.removed, PartSet)
            ns, blocks = ((0,), (self.removed,)) if is_parts else ((0, self.removed.size), ())
            return Quantity(SPEED, request=SpeedSpec(model=self.model, ns=ns, blocks=blocks))
        speed = self.speed
        instead = timed_instead(self.speed, self.removed)
        before, after = decode_speed(speed, self.removed) or (None, None)
        remark = "" if gain.is_measured else "estimated from other numbers of layers, "
        if instead is not None:
            remark = f"timed without {instead.brief()}, the same number of layers, "
        on = (
            f"decode in transformers, {remark}{speed.rounds} rounds, {speed.precision_in_words},"
            f" {speed.machine}"
        )
        return Quantity(
            SPEED,
            MEASURED if gain.is_measured else ESTIMATED,
            Change(gain.value, gain.low, gain.high, True, speed.rounds, None),
            before,
            after,
            on=on,
            result=speed,
        )

    def _size(self) -> Quantity:
        if not sizes.knows(self.facts, self.removed):
            return Quantity(SIZE)
        model = self._sized_model
        before, after = (self._bytes(model, removed) for removed in (None, self.removed))
        change = Change(
            -sizes.savings(self.facts, self.removed).fraction, None, None, True, 1, None
        )
        on = "exact, of all parameters" if after is None else f"exact, weights in {model.precision}"
        return Quantity(SIZE, EXACT, change, before, after, on=on)

    @property
    def _sized_model(self) -> ModelSpec:
        """Return the model in the precision of its size: of the healing run, the requested one, or
        that of the scores.
        """
        if self.heal is not None:
            return self.heal.spec.model
        results = (each for each in (self.scored, self.shown, *self.results) if each is not None)
        first = next(results, None) if self.model.dtype == AUTO else None
        return self.model if first is None else first.spec.model

    def _bytes(self, model: ModelSpec, removed: Removal | None) -> int | None:
        return (
            None
            if model.dtype == AUTO
            else sizes.weight_bytes(self.facts, removed, model.dtype, model.quantization)
        )

    def _recovery(self) -> Quantity:
        heal = self.heal or next(iter(self.finished_heals), None)
        if heal is None:
            return Quantity(RECOVERY)
        share = recovery.of(heal)
        change = (
            None
            if share is None
            else Change(share.share, share.low, share.high, True, share.n, None)
        )
        condition = next(iter(stored_scores.of_heal(heal, "healed").values())).condition
        on = f"recipe {heal.spec.recipe}, {condition.precision_in_words()}"
        return Quantity(RECOVERY, MEASURED, change, on=on, result=heal)


_MODELS = ("unpruned", "pruned", "healed")


_MAPS = 20
"""Maximum number of loss-increase maps that are read."""


def stored(
    removed: Removal,
    model: ModelSpec,
    *,
    shown: FoundResult | None = None,
    chosen: Sequence[str] = (),
    heal: HealResult | None = None,
    facts: ModelFacts | None = None,
) -> Evidence:
    """Return the evidence on removed layers in everything that is stored of a model.

    Args:
        removed: the removed layers.
        model: results of its weights count, at any path.
        shown: the curve whose questions, texts and precision are selected.
        chosen: fingerprints of results that come before others.
        heal: the healing run whose healed model is judged; None for the pruned model.
        facts: sizes of the unpruned model; by default those of a stored result.

    Raises:
        SpecError: if nothing is stored of the model and its sizes are not given.
        BlockRangeError: if the layers do not fit the model.
    """
    usual = "" if shown else USUAL
    results = library.read_all(
        library.scores_of(removed, model, shown, usual=usual, most=library.LISTED)
    )
    damage, maps = (
        library.of(kind, model, most=_MAPS, chosen=chosen) for kind in ("damage", "distances")
    )
    speeds = library.of("speed", model, most=_MAPS, having=summaries.timed_in(), chosen=chosen)
    of_block = (("is_score", 1), ("block", written(removed)))
    heals = library.of("heal", model, most=library.LISTED, having=of_block, chosen=chosen)
    facts = facts or next(
        (result.model for result in (*results, *damage, *speeds, *heals, *maps)), None
    )
    if facts is None:
        raise SpecError(
            f"{model.source} has no stored results. Measure the block first: "
            f"`python -m analysis evaluate {model.source} --block START:SIZE`."
        )
    removed.check_depth(facts.n_layers)
    on_screen = shown.result if shown else None
    speed = next(iter(speeds), None)
    return Evidence(removed, model, facts, on_screen, results, damage, speed, heals, heal)
