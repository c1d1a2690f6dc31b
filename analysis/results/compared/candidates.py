"""Candidates: every measured form of a model, and other models, on the same questions and the same texts.

A form is a precision, a removal and a repair. Each one has its size, its speed, and its accuracy and loss against one
reference: the unpruned model in full precision. A GGUF quantization of the model has weights of its own. It counts as a form
of the model where its architecture, its sizes and its name without the format are the same.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.core.blocks import Removal, written
from analysis.core.bounds import shown
from analysis.core.errors import SpecError
from analysis.data import gallery
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
from analysis.results.compared.material_filter import ANY, Filter, Material, MaterialFilter, SameMaterial
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
    def name(self) -> str:
        """Return the name of its model, to show."""
        return gallery.name_of(self.model.source, self.facts.name)

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

    @cached_property
    def id(self) -> str:
        """Return a name that no other candidate of a comparison has."""
        condition = next(iter(self.readings.values())).condition
        parts = [condition.model, condition.precision.replace(", ", "-")]
        parts += [written(self.cut)] if self.cut else []
        return "/".join([*parts, *([f"healed:{self.repair}"] if self.repair else [])])

    def reading(self, quantity: str) -> Reading | None:
        """Return its value of a quantity; None where it is not measured."""
        return self.readings.get(quantity)


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
    def forms(self) -> tuple[Candidate, ...]:
        """Return the forms of the requested model."""
        return tuple(candidate for candidate in self.candidates if not candidate.is_other)

    @property
    def quality(self) -> str:
        """Return the quantity to choose by: the loss, in bits per byte where every loss is known so, else the accuracy."""
        losses = [candidate for candidate in self.candidates if LOSS in candidate.readings]
        if not losses:
            return ACCURACY
        return BITS if all(BITS in candidate.readings for candidate in losses) else LOSS

    def front(self, quantity: str) -> Front | None:
        """Return the front of a quantity, with speeds against the reference; None where nobody has it.

        A loss per token of a model with another tokenizer is not on it. Bits per byte are.
        """
        return self._fronts[quantity]

    def offers(self, quantity: str) -> list[tuple[Candidate, Offer]]:
        """Return each candidate that has a quantity, with its offer on the front."""
        return self._offers[quantity]

    @cached_property
    def _fronts(self) -> dict[str, Front | None]:
        return {quantity: self._front(quantity) for quantity in (ACCURACY, LOSS, BITS)}

    @cached_property
    def _offers(self) -> dict[str, list[tuple[Candidate, Offer]]]:
        return {quantity: self._list_offers(quantity) for quantity in (ACCURACY, LOSS, BITS)}

    def _front(self, quantity: str) -> Front | None:
        pairs = self.offers(quantity)
        if not pairs:
            return None
        first = self.reference.reading(quantity) if self.reference else None
        condition = (first or pairs[0][1].reading).condition
        return Front(quantity, condition, [offer for _, offer in pairs])

    def _list_offers(self, quantity: str) -> list[tuple[Candidate, Offer]]:
        first = next((candidate for candidate in self.candidates if LOSS in candidate.readings), None)
        pairs = []
        for candidate in self.candidates:
            value = candidate.reading(quantity)
            if value is None or (quantity == LOSS and first is not None and not _have_same_tokens(candidate, first)):
                continue
            beside = LOSS if quantity == ACCURACY else ACCURACY
            gain = None if candidate.pace is None else candidate.pace.gain
            offer = Offer(
                reading=value,
                change=candidate.changes.get(quantity),
                name=candidate.name,
                facts=candidate.facts,
                bytes=candidate.memory,
                gain=gain,
                is_rival=candidate.is_other,
                beside=candidate.reading(beside),
                beside_change=candidate.changes.get(beside),
            )
            pairs.append((candidate, offer))
        return pairs

    def best(self, quantity: str, by: str) -> list[Candidate]:
        """Return the candidates on the Pareto front of a quantity against size or speed, the cheapest first."""
        pairs, pareto = self.offers(quantity), self.front(quantity)
        kept = [] if pareto is None else pareto.best(by)
        return [candidate for offer in kept for candidate, candidate_offer in pairs if candidate_offer == offer]

    def not_worse(self, compared: Sequence[Candidate], than: Candidate, quantity: str) -> list[Candidate]:
        """Return the candidates whose difference from another has an interval that does not exclude zero against them."""
        offers = {candidate.id: offer for candidate, offer in self.offers(quantity)}
        than_offer = offers.get(than.id)
        if than_offer is None:
            return list(compared)
        return [
            candidate
            for candidate in compared
            if candidate.id not in offers or not front.is_better(than_offer, offers[candidate.id])
        ]


def _have_same_tokens(first: Candidate, second: Candidate) -> bool:
    """Return whether two candidates with a loss have the same vocabulary size and divide the texts into the same tokens."""
    return first.facts.vocab_size == second.facts.vocab_size and reading.have_same_tokens(
        first.readings[LOSS], second.readings[LOSS]
    )


def is_same_model(first: ModelFacts, second: ModelFacts) -> bool:
    """Return whether two sets of weights are one model in two formats: equal architecture, sizes and name without the format.

    A fine-tuned model has the same sizes and another name, and is another model.
    """
    return _shape(first) == _shape(second) and _stem(first.name) == _stem(second.name)


def _shape(facts: ModelFacts) -> tuple[Any, ...]:
    layers = tuple(facts.layer_parameters)
    return facts.family, facts.n_layers, facts.hidden_size, facts.vocab_size, layers, facts.other_parameters


def _stem(name: str) -> str:
    plain = name.rstrip("/").rsplit("/", 1)[-1].lower()
    while (shorter := _FORMAT.sub("", plain)) != plain:
        plain = shorter
    return plain


Meets = Callable[[Candidate, Candidate | None], bool]
"""Whether a candidate meets a goal, given the reference."""


def is_rival(model: ModelSpec, named: Collection[str]) -> bool:
    """Return whether a model competes with the requested one: it is in the gallery, or its source or identity is named."""
    return gallery.is_exhibit(model.source, model.identity) or model.source in named or model.identity in named


def compare(
    own_results: Sequence[Any],
    other_results: Sequence[Any] = (),
    speeds: Sequence[SpeedResult] = (),
    material_filter: Filter = ANY,
    *,
    named: Collection[str] = (),
    goals: Sequence[Meets] = (),
) -> Comparison:
    """Make the comparison.

    Args:
        own_results: curves, evaluations and heals of the requested weights in any precision, newest first.
        other_results: the same of other weights. Variants of the same model count, and models that `is_rival` accepts.
        speeds: measured speeds of any of them, the preferred ones first.
        material_filter: the questions and texts. If it leaves them open, those count on which the most variants of the model
            meet the goals, then those with the most variants.
        named: sources or identities of other models.
        goals: the goals.
    """
    own_ranked = evidence.ranked(own_results)
    facts = own_ranked[0].model if own_ranked else None
    siblings = [result for result in other_results if facts is not None and is_same_model(result.model, facts)]
    family = [*own_ranked, *evidence.ranked(siblings)]
    rivals = [result for result in other_results if result not in siblings and is_rival(result.spec.model, named)]
    scored = [(readings, result) for result in family for readings in reading.of_all(result)]
    conditions = {quantity: _conditions(quantity, scored) for quantity in (ACCURACY, LOSS)}
    chosen: dict[str, Condition | None] = {}
    for name, listed in conditions.items():
        fitting = [condition for condition in listed if material_filter.fits(condition)]
        met = [_met(family, {name: condition}, speeds, goals) if goals else (0, 0) for condition in fitting]
        chosen[name] = fitting[met.index(max(met))] if fitting else None
    compared, compared_reference, paces = _compared(family, evidence.ranked(rivals), chosen, speeds)
    elsewhere = [condition for name, listed in conditions.items() for condition in listed if condition != chosen[name]]
    curve = next((each for each in own_ranked if isinstance(each, SweepResult) and _is_on(each, chosen)), None)
    return Comparison(
        chosen[ACCURACY], chosen[LOSS], compared_reference, tuple(compared), curve, paces.results, tuple(_unlike(elsewhere))
    )


def _compared(
    family: Sequence[Any], rivals: Sequence[Any], chosen: Mapping[str, Condition | None], speeds: Sequence[SpeedResult]
) -> tuple[list[Candidate], Candidate | None, Paces]:
    """Return the candidates on the chosen materials with their changes and speeds, the reference, and the speeds that count.

    Args:
        family: results of the requested model, the strongest first.
        rivals: results of other models.
        chosen: the questions and texts, by quantity.
        speeds: measured speeds, the preferred ones first.
    """
    forms = _candidates(family, chosen, is_other=False)
    reference = _reference(forms, family[0].spec.model.identity if family else "")
    paces = Paces.of(speeds, reference.model if reference else None)
    placed = [_placed(form, reference) for form in forms]
    compared = [
        replace(each, changes=_changes(each, reference), pace=paces.pace(each.model, each.cut))
        for each in [*placed, *_candidates(rivals, chosen, is_other=True)]
    ]
    return compared, next((each for each in compared if reference is not None and each.id == reference.id), None), paces


def _met(
    family: Sequence[Any], chosen: Mapping[str, Condition | None], speeds: Sequence[SpeedResult], goals: Sequence[Meets]
) -> tuple[int, int]:
    """Return the number of goals that a variant meets on a material, and the number of pairs of a goal and such a variant."""
    candidates, reference, _ = _compared(family, (), chosen, speeds)
    counts = [sum(meets(candidate, reference) for candidate in candidates) for meets in goals]
    return sum(map(bool, counts)), sum(counts)


def of_model(
    model: ModelSpec,
    material_filter: Filter = ANY,
    others: Sequence[str] = (),
    goals: Callable[[Comparison], Sequence[Meets]] | None = None,
) -> Comparison:
    """Make the comparison from everything stored of a model and of others on the same questions or texts.

    Args:
        model: its weights count, in any precision and at any path.
        material_filter: the questions and texts; `compare` chooses where it leaves them open.
        others: sources of other models, besides those of the gallery.
        goals: returns the goals, given the variants of the model; None for no goal.

    Raises:
        SpecError: when nothing is stored on the questions or the texts that the filter names, or of a named model on the same.
    """
    precisions = [(dtype, quantization) for dtype in _DTYPES for quantization in QUANTIZATIONS]
    own_results = [
        result
        for kind in SCORED
        for dtype, quantization in precisions
        for result in library.of(kind, model, most=library.LISTED, having=(("dtype", dtype), ("quantization", quantization)))
    ]
    own_speeds = library.of("speed", model)
    alone = compare(own_results, (), own_speeds, material_filter)
    if goals is not None:
        alone = compare(own_results, (), own_speeds, material_filter, goals=goals(alone))
    if own_results and isinstance(material_filter, MaterialFilter):
        _check(material_filter, alone)
    conditions = [condition for condition in (alone.questions, alone.texts) if condition is not None]
    keys = {result.spec.fingerprint() for result in own_results}
    alike = [entry for entry in library.measured_on(SCORED, conditions) if entry.key not in keys]
    own_weights = {alone.forms[0].model.identity} if alone.forms else set()
    of_others = [entry for entry in alike if entry.summary.model and entry.summary.model.identity not in own_weights]
    named = {name for source in others for name in (source, library.identity(ModelSpec(source))) if name}
    of_others.sort(key=lambda entry: not (entry.summary.model and is_rival(entry.summary.model, named)))
    other_results = library.read_all(of_others[:_MOST])
    models = dict.fromkeys([model, *(result.spec.model for result in other_results)])
    speeds = {speed.spec.fingerprint(): speed for weights in models for speed in library.of("speed", weights)}
    compared = compare(own_results, other_results, list(speeds.values()), SameMaterial.of(conditions), named=named)
    for source in others:
        names = {source, library.identity(ModelSpec(source))}
        if not any(each.is_other and names & {each.model.source, each.model.identity} for each in compared.candidates):
            raise SpecError(
                f"No scores of {shown(source)} are stored on the same questions or texts. Measure it with `evaluate`, or leave "
                "it out."
            )
    return compared


def _check(material_filter: MaterialFilter, alone: Comparison) -> None:
    """Refuse a filter that no stored score passes: without it, scores on other data alone would be the answer."""
    sides = (
        (material_filter.named_questions, alone.questions, BenchmarkSpec),
        (material_filter.named_texts, alone.texts, CorpusSpec),
    )
    for named, condition, kind in sides:
        if named and condition is None:
            stored = [each.material_in_words() for each in alone.elsewhere if isinstance(each.material, kind)]
            raise SpecError(
                f"No scores of this model are stored for {' '.join(named)}. Stored: {', '.join(stored) or 'none'}. Name one of "
                "these, or measure the model on it with `evaluate`."
            )


def _is_on(curve: SweepResult, chosen: Mapping[str, Condition | None]) -> bool:
    measured = reading.conditions_of(curve)
    pairs = [(measured.get(name), wanted) for name, wanted in chosen.items() if wanted is not None]
    return bool(pairs) and all(
        condition is not None and (condition.material, condition.n) == (wanted.material, wanted.n)
        for condition, wanted in pairs
    )


def _conditions(quantity: str, scored: Sequence[tuple[Readings, Any]]) -> list[Condition]:
    """Return one condition for each material of a quantity: that with the most forms first, then that with the most of it."""
    forms: dict[tuple[Material, int], set[Any]] = {}
    firsts: dict[tuple[Material, int], Condition] = {}
    for readings, _ in scored:
        quantity_reading = readings.get(quantity)
        if quantity_reading is not None and quantity_reading.repair != CONTROL:
            key = (quantity_reading.condition.material, quantity_reading.condition.n)
            firsts.setdefault(key, quantity_reading.condition)
            forms.setdefault(key, set()).add(
                (
                    quantity_reading.condition.model,
                    quantity_reading.condition.precision,
                    quantity_reading.cut,
                    quantity_reading.repair,
                )
            )
    return [firsts[key] for key in sorted(forms, key=lambda key: (-len(forms[key]), -key[1]))]


def _unlike(conditions: Sequence[Condition]) -> list[Condition]:
    return list({condition.material_in_words(): condition for condition in conditions}.values())


def _candidates(results: Sequence[Any], chosen: Mapping[str, Condition | None], *, is_other: bool) -> list[Candidate]:
    """Return one candidate for each form, with the readings of the strongest results on the chosen materials.

    A reading with its answers comes before one without them, so that changes are paired wherever they can be. Two heals by one
    recipe are two models: a healed form has the readings of one run, that with the most of the two quantities. An evaluation of
    an adapter is a run of the heal that made it, where that heal is among the results.
    """
    recipes = {Path(adapter).name: reading.repair_of(result) for result in results if (adapter := _adapter_made(result))}
    runs: dict[tuple[str, str, Removal | None, str], list[tuple[Readings, Any]]] = {}
    for result in results:
        for form_readings in reading.of_all(result):
            on_chosen = {
                quantity: replace(found := form_readings[quantity], repair=recipes.get(found.repair, found.repair))
                for quantity, wanted in chosen.items()
                if wanted is not None and quantity in form_readings and _is_on_material(form_readings[quantity], wanted)
            }
            first = next(iter(on_chosen.values()), None)
            if first is not None and first.repair != CONTROL:
                key = (first.condition.model, first.condition.precision, first.cut, first.repair)
                runs.setdefault(key, []).append((on_chosen, result))
    return [_candidate(*_form(of_key, is_healed=bool(key[-1])), is_other=is_other) for key, of_key in runs.items()]


def _adapter_made(result: Any) -> str:
    """Return the folder of the adapter that a heal made; "" for other results."""
    return (result.adapter or "") if result.spec.kind == "heal" else ""


def _form(runs: Sequence[tuple[Readings, Any]], *, is_healed: bool) -> tuple[Any, Readings]:
    """Return the readings of one form with the result that they come from first, from all runs of it, strongest first."""
    if is_healed:
        readings, result = max(runs, key=lambda run: len(run[0]))
        return result, readings
    merged: Readings = {}
    for readings, _ in runs:
        for quantity, quantity_reading in readings.items():
            if quantity not in merged or _is_pairable(quantity_reading) > _is_pairable(merged[quantity]):
                merged[quantity] = quantity_reading
    return runs[0][1], merged


def _is_on_material(quantity_reading: Reading, wanted: Condition) -> bool:
    return (quantity_reading.condition.material, quantity_reading.condition.n) == (wanted.material, wanted.n)


def _is_pairable(quantity_reading: Reading) -> bool:
    return bool(quantity_reading.answers or quantity_reading.losses)


def _candidate(result: Any, readings: Readings, *, is_other: bool) -> Candidate:
    first = next(iter(readings.values()))
    bits = reading.in_bits(readings[LOSS]) if LOSS in readings else None
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
        readings=readings | ({BITS: bits} if bits else {}),
    )


def _reference(candidates: Sequence[Candidate], identity: str) -> Candidate | None:
    """Return the unpruned model whose scores are complete, whose stored weights and whose dtype have the most bits."""

    def rank(candidate: Candidate) -> tuple[Any, ...]:
        full = candidate.weights in sizes.DTYPE_BYTES
        return (
            (ACCURACY in candidate.readings) + (LOSS in candidate.readings),
            full,
            _exactness(candidate),
            candidate.model.identity == identity,
        )

    whole = [candidate for candidate in candidates if candidate.kind == UNPRUNED]
    return max(whole, key=rank, default=None)


def _exactness(candidate: Candidate) -> int:
    return _DTYPES.index(candidate.model.dtype) if candidate.model.dtype in _DTYPES else -1


def _placed(candidate: Candidate, reference: Candidate | None) -> Candidate:
    """Return a form with its weights told quantized where only its file is, and the reference's is not."""
    if reference is None or candidate.model.identity == reference.model.identity or candidate.is_quantized:
        return candidate
    return replace(candidate, is_quantized=candidate.weights not in sizes.DTYPE_BYTES)


def _changes(candidate: Candidate, reference: Candidate | None) -> dict[str, Change]:
    if reference is None or candidate.id == reference.id:
        return {}
    changes: dict[str, Change] = {}
    same_vocabulary = candidate.facts.vocab_size == reference.facts.vocab_size
    for quantity, quantity_reading in candidate.readings.items():
        reference_reading = reference.reading(quantity)
        if quantity == BITS and LOSS in changes:
            changes[BITS] = _scaled(changes[LOSS], quantity_reading.value / candidate.readings[LOSS].value)
        elif (
            reference_reading is not None
            and (change := front.difference(quantity_reading, reference_reading, same_vocabulary)) is not None
        ):
            changes[quantity] = change
    return changes


def _scaled(change: Change, factor: float) -> Change:
    """Return a change in another unit, which a constant factor makes: equal tokens have equal bytes."""
    low, high = (None if end is None else factor * end for end in (change.low, change.high))
    return replace(change, difference=factor * change.difference, low=low, high=high)
