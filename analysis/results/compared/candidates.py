"""Candidates: every measured form of a model, and other models, on the same questions and the same texts.

A form is a precision, a removal and a repair. Each one has its size, its speed, and its accuracy and loss against one
reference: the unpruned model in full precision. A GGUF quantization of the model has weights of its own. It counts as a form
of the model where its architecture, its sizes and its name without the format are the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from analysis.core import index_sync
from analysis.core.blocks import Removal, written
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source import sizes
from analysis.models.source.model_spec import QUANTIZATIONS, ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.results import library
from analysis.results.compared import front
from analysis.results.compared.changes import Change
from analysis.results.compared.disk import Bytes, on_disk
from analysis.results.compared.front import Front, Offer
from analysis.results.compared.paces import DecodePace, Paces
from analysis.results.stored import evidence, reading
from analysis.results.stored.reading import ACCURACY, BITS, CONTROL, LOSS, Condition, Reading, Readings

UNPRUNED, QUANTIZED, PRUNED, BOTH, HEALED, OTHER = (
    "unpruned",
    "quantized",
    "pruned",
    "pruned and quantized",
    "healed",
    "other model",
)
KINDS = (UNPRUNED, QUANTIZED, PRUNED, BOTH, HEALED, OTHER)
"""Kinds of a candidate, from the fewest changes on. A healed one may be quantized, too."""
_FORMAT = re.compile(r"[-_. ](gguf|i?q\d\w*|tq\d\w*|mxfp4|b?f(p)?(16|32)|float(16|32)|bfloat16)$")
_DTYPES = ("float16", "bfloat16", "float32")
"""From the least to the most exact."""
SCORED = ("sweep", "evaluate", "heal")
"""Kinds of results that score models."""
_MOST = 400
"""Number of results of other models that are read at most."""
Material = BenchmarkSpec | CorpusSpec


@dataclass(frozen=True)
class Candidate:
    """One form of the model, or of another one."""

    model: ModelSpec
    """Weights and precision."""
    facts: ModelFacts
    """Sizes of its unpruned model."""
    weights: str
    """Format of the stored weights; "" where it is not known."""
    cut: Removal | None
    repair: str
    """Recipe or adapter; "" for none."""
    is_other: bool
    """Whether it is another model than the requested one."""
    is_quantized: bool
    """Whether its weights have fewer bits than those of the reference."""
    memory: int
    """Bytes of its weights in memory, computed exactly. An adapter counts as merged."""
    disk: Bytes | None
    """Bytes on disk; None where they are not known."""
    readings: Readings
    """Accuracy, loss, and the loss in bits per byte."""
    changes: Mapping[str, Change] = field(default_factory=dict)
    """By quantity, the change against the reference; missing where one of the two is not measured."""
    pace: DecodePace | None = None
    """Speed of generation; None where it is not measured."""

    @property
    def kind(self) -> str:
        """Return its kind: one of `KINDS`."""
        if self.is_other:
            return OTHER
        if self.repair:
            return HEALED
        if self.cut is not None:
            return BOTH if self.is_quantized else PRUNED
        return QUANTIZED if self.is_quantized else UNPRUNED

    @property
    def precision(self) -> str:
        """Return the precision with the format of the stored weights: "NF4, bfloat16 from Q4_1 weights"."""
        return next(iter(self.readings.values())).condition.precision_in_words()

    @property
    def id(self) -> str:
        """Return a name that no other candidate of a comparison has."""
        parts = [self.model.identity or self.model.source, self.model.precision.replace(", ", "-")]
        parts += [written(self.cut)] if self.cut else []
        return "/".join([*parts, *([f"healed:{self.repair}"] if self.repair else [])])

    def reading(self, quantity: str) -> Reading | None:
        """Return its value of a quantity; None where it is not measured."""
        return self.readings.get(quantity)


@dataclass(frozen=True)
class Asked:
    """Questions and texts that are asked for; an empty field stands for any."""

    task: str = ""
    limit: int | None = None
    """Scored questions."""
    shots: int | None = None
    texts: str = ""
    """Source of the texts."""
    samples: int | None = None
    """Scored texts."""

    def fits(self, condition: Condition) -> bool:
        """Return whether a reading under this condition is on these questions or texts."""
        own = condition.material
        wanted: list[tuple[object, object]] = [(self.texts, getattr(own, "source", "")), (self.samples, condition.n)]
        if isinstance(own, BenchmarkSpec):
            wanted = [(self.task, own.task), (self.limit, condition.n), (self.shots, own.shots or 0)]
        return all(one in ("", None) or one == other for one, other in wanted)


ANY = Asked()


def asked_as(condition: Condition) -> Asked:
    """Return the questions or texts of a condition; the other of the two stays open."""
    own = condition.material
    if isinstance(own, BenchmarkSpec):
        return Asked(task=own.task, limit=condition.n, shots=own.shots or 0)
    return Asked(texts=own.source, samples=condition.n)


@dataclass(frozen=True)
class Comparison:
    """All candidates on one set of questions and one of texts."""

    questions: Condition | None
    """Of the candidate with most of it; None where no answers are stored."""
    texts: Condition | None
    reference: Candidate | None
    """The unpruned model in full precision; None where it is not measured."""
    candidates: tuple[Candidate, ...]
    """The requested model first, and of each form the strongest result."""
    curve: SweepResult | None
    """The strongest curve of the model on these questions and texts; None without one."""
    speeds: tuple[SpeedResult, ...]
    """The measurements of speed that count: of one machine, with one prompt."""
    elsewhere: tuple[Condition, ...]
    """Other questions and texts that the model is measured on."""

    @cached_property
    def own(self) -> tuple[Candidate, ...]:
        """Return the forms of the requested model."""
        return tuple(one for one in self.candidates if not one.is_other)

    @property
    def quality(self) -> str:
        """Return the quantity to choose by: the loss, in bits per byte where every loss is known so, else the accuracy."""
        losses = [one for one in self.candidates if LOSS in one.readings]
        if not losses:
            return ACCURACY
        return BITS if all(BITS in one.readings for one in losses) else LOSS

    def front(self, quantity: str) -> Front | None:
        """Return the front of a quantity, with speeds against the reference; None where nobody has it.

        A loss per token of a model with another vocabulary is not on it. Bits per byte are.
        """
        pairs = self.offers(quantity)
        if not pairs:
            return None
        first = self.reference.reading(quantity) if self.reference else None
        condition = (first or pairs[0][1].reading).condition
        return Front(quantity, condition, [offer for _, offer in pairs])

    def offers(self, quantity: str) -> list[tuple[Candidate, Offer]]:
        """Return each candidate that has a quantity, with its offer on the front."""
        vocabulary = next((one.facts.vocab_size for one in self.candidates), 0)
        made = []
        for one in self.candidates:
            value = one.reading(quantity)
            if value is None or (quantity == LOSS and one.facts.vocab_size != vocabulary):
                continue
            beside = LOSS if quantity == ACCURACY else ACCURACY
            gain = None if one.pace is None else one.pace.gain
            offer = Offer(
                reading=value,
                change=one.changes.get(quantity),
                facts=one.facts,
                bytes=one.memory,
                gain=gain,
                is_rival=one.is_other,
                beside=one.reading(beside),
                beside_change=one.changes.get(beside),
            )
            made.append((one, offer))
        return made

    def best(self, quantity: str, by: str) -> list[Candidate]:
        """Return the candidates on the Pareto front of a quantity against size or speed, the cheapest first."""
        pairs, found = self.offers(quantity), self.front(quantity)
        kept = [] if found is None else found.best(by)
        return [one for offer in kept for one, each in pairs if each == offer]

    def not_worse(self, ones: Sequence[Candidate], than: Candidate, quantity: str) -> list[Candidate]:
        """Return the candidates whose difference from another has an interval that does not exclude zero against them."""
        offers = {candidate.id: offer for candidate, offer in self.offers(quantity)}
        other = offers.get(than.id)
        if other is None:
            return list(ones)
        return [one for one in ones if one.id not in offers or not front.is_better(other, offers[one.id])]


def is_same_model(one: ModelFacts, other: ModelFacts) -> bool:
    """Return whether two sets of weights are one model in two formats: equal architecture, sizes and name without the format.

    A fine-tuned model has the same sizes and another name, and is another model.
    """
    return _shape(one) == _shape(other) and _stem(one.name) == _stem(other.name)


def _shape(facts: ModelFacts) -> tuple[Any, ...]:
    layers = tuple(facts.layer_parameters)
    return facts.family, facts.n_layers, facts.hidden_size, facts.vocab_size, layers, facts.other_parameters


def _stem(name: str) -> str:
    plain = name.rstrip("/").rsplit("/", 1)[-1].lower()
    while (shorter := _FORMAT.sub("", plain)) != plain:
        plain = shorter
    return plain


def compare(
    own: Sequence[Any],
    others: Sequence[Any] = (),
    speeds: Sequence[SpeedResult] = (),
    asked: Asked = ANY,
) -> Comparison:
    """Make the comparison.

    Args:
        own: curves, evaluations and heals of the requested weights in any precision, newest first.
        others: the same of other weights.
        speeds: measured speeds of any of them, newest first.
        asked: the questions and texts; those with the most candidates where it leaves them open.
    """
    mine = evidence.ranked(own)
    facts = mine[0].model if mine else None
    siblings = [one for one in others if facts is not None and is_same_model(one.model, facts)]
    family = [*mine, *evidence.ranked(siblings)]
    strangers = evidence.ranked([one for one in others if one not in siblings])
    held = [(found, result) for result in family for found in reading.of_all(result)]
    conditions = {quantity: _conditions(quantity, held) for quantity in (ACCURACY, LOSS)}
    chosen = {name: next((one for one in found if asked.fits(one)), None) for name, found in conditions.items()}
    made = _candidates(family, chosen, is_other=False)
    identity = mine[0].spec.model.identity if mine else ""
    reference = _reference(made, identity)
    paces = Paces.of(speeds, reference.model if reference else None)
    every = [*(_placed(one, reference) for one in made), *_candidates(strangers, chosen, is_other=True)]
    compared = [replace(one, changes=_changes(one, reference), pace=paces.pace(one.model, one.cut)) for one in every]
    named = next((one for one in compared if reference is not None and one.id == reference.id), None)
    elsewhere = [one for name, found in conditions.items() for one in found if one != chosen[name]]
    curve = next((one for one in mine if isinstance(one, SweepResult) and _is_on(one, chosen)), None)
    return Comparison(chosen[ACCURACY], chosen[LOSS], named, tuple(compared), curve, paces.results, tuple(_unlike(elsewhere)))


@index_sync.once()
def of_model(model: ModelSpec, asked: Asked = ANY) -> Comparison:
    """Make the comparison from everything stored of a model and of others on the same questions or texts.

    Args:
        model: its weights count, in any precision and at any path.
        asked: the questions and texts; those with the most candidates where it leaves them open.
    """
    precisions = [(dtype, quantization) for dtype in _DTYPES for quantization in QUANTIZATIONS]
    own = [
        result
        for kind in SCORED
        for dtype, quantization in precisions
        for result in library.of(kind, model, most=library.LISTED, having=(("dtype", dtype), ("quantization", quantization)))
    ]
    alone = compare(own, asked=asked)
    conditions = [one for one in (alone.questions, alone.texts) if one is not None]
    keys = {result.spec.fingerprint() for result in own}
    alike = [entry for entry in library.measured_on(SCORED, conditions) if entry.key not in keys]
    own_weights = {alone.own[0].model.identity} if alone.own else set()
    of_others = [one for one in alike if one.summary.model and one.summary.model.identity not in own_weights]
    others = library.read_all(of_others[:_MOST])
    models = dict.fromkeys([model, *(result.spec.model for result in others)])
    speeds = {speed.spec.fingerprint(): speed for each in models for speed in library.of("speed", each)}
    return compare(own, others, list(speeds.values()), asked)


def _is_on(curve: SweepResult, chosen: Mapping[str, Condition | None]) -> bool:
    held = reading.conditions_of(curve)
    pairs = [(held.get(name), wanted) for name, wanted in chosen.items() if wanted is not None]
    return bool(pairs) and all(
        own is not None and (own.material, own.n) == (wanted.material, wanted.n) for own, wanted in pairs
    )


def _conditions(quantity: str, held: Sequence[tuple[Readings, Any]]) -> list[Condition]:
    """Return one condition for each material of a quantity: that with the most forms first, then that with the most of it."""
    forms: dict[tuple[Material, int], set[Any]] = {}
    firsts: dict[tuple[Material, int], Condition] = {}
    for found, _ in held:
        one = found.get(quantity)
        if one is not None and one.repair != CONTROL:
            key = (one.condition.material, one.condition.n)
            firsts.setdefault(key, one.condition)
            forms.setdefault(key, set()).add((one.condition.model, one.condition.precision, one.cut, one.repair))
    return [firsts[key] for key in sorted(forms, key=lambda key: (-len(forms[key]), -key[1]))]


def _unlike(conditions: Sequence[Condition]) -> list[Condition]:
    return list({one.material_in_words(): one for one in conditions}.values())


def _candidates(results: Sequence[Any], chosen: Mapping[str, Condition | None], *, is_other: bool) -> list[Candidate]:
    """Return one candidate for each form, with the readings of the strongest results on the chosen materials.

    A reading with its answers comes before one without them, so that changes are paired wherever they can be.
    """
    readings: dict[tuple[str, str, Removal | None, str], Readings] = {}
    sources: dict[tuple[str, str, Removal | None, str], Any] = {}
    for result in results:
        for found in reading.of_all(result):
            for quantity, wanted in chosen.items():
                one = found.get(quantity)
                if one is None or wanted is None or one.repair == CONTROL:
                    continue
                if (one.condition.material, one.condition.n) == (wanted.material, wanted.n):
                    key = (one.condition.model, one.condition.precision, one.cut, one.repair)
                    of_form = readings.setdefault(key, {})
                    if quantity not in of_form or _is_pairable(one) > _is_pairable(of_form[quantity]):
                        of_form[quantity] = one
                    sources.setdefault(key, result)
    return [_candidate(sources[key], found, is_other=is_other) for key, found in readings.items()]


def _is_pairable(one: Reading) -> bool:
    return bool(one.answers or one.losses)


def _candidate(result: Any, found: Readings, *, is_other: bool) -> Candidate:
    first = next(iter(found.values()))
    bits = reading.in_bits(found[LOSS]) if LOSS in found else None
    memory = front.weight_bytes(result, first.cut)
    is_whole = first.cut is None and not first.repair
    return Candidate(
        model=result.spec.model,
        facts=result.model,
        weights=first.condition.weights,
        cut=first.cut,
        repair=first.repair,
        is_other=is_other,
        is_quantized=result.spec.model.quantization != "none",
        memory=memory,
        disk=on_disk(result.spec.model, result.model, first.condition.weights, memory if not is_whole else None),
        readings=found | ({BITS: bits} if bits else {}),
    )


def _reference(candidates: Sequence[Candidate], identity: str) -> Candidate | None:
    """Return the unpruned model whose scores are complete, whose stored weights and whose dtype have the most bits."""

    def rank(one: Candidate) -> tuple[Any, ...]:
        full = one.weights in sizes.DTYPE_BYTES
        return (ACCURACY in one.readings) + (LOSS in one.readings), full, _exactness(one), one.model.identity == identity

    whole = [one for one in candidates if one.kind == UNPRUNED]
    return max(whole, key=rank, default=None)


def _exactness(candidate: Candidate) -> int:
    return _DTYPES.index(candidate.model.dtype) if candidate.model.dtype in _DTYPES else -1


def _placed(one: Candidate, reference: Candidate | None) -> Candidate:
    """Return a form with its weights told quantized where only its file is, and the reference's is not."""
    if reference is None or one.model.identity == reference.model.identity or one.is_quantized:
        return one
    return replace(one, is_quantized=one.weights not in sizes.DTYPE_BYTES)


def _changes(one: Candidate, reference: Candidate | None) -> dict[str, Change]:
    if reference is None or one.id == reference.id:
        return {}
    found: dict[str, Change] = {}
    same_tokens = one.facts.vocab_size == reference.facts.vocab_size
    for quantity, own in one.readings.items():
        other = reference.reading(quantity)
        if quantity == BITS and LOSS in found:
            found[BITS] = _scaled(found[LOSS], own.value / one.readings[LOSS].value)
        elif other is not None and (change := front.difference(own, other, same_tokens)) is not None:
            found[quantity] = change
    return found


def _scaled(change: Change, factor: float) -> Change:
    """Return a change in another unit, which a constant factor makes: equal tokens have equal bytes."""
    low, high = (None if end is None else factor * end for end in (change.low, change.high))
    return replace(change, difference=factor * change.difference, low=low, high=high)
