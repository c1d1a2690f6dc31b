"""All candidates on one set of questions and one of texts; `results.verdict` chooses among them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from analysis.core.bounds import shown
from analysis.core.errors import SpecError
from analysis.data import gallery
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.speed.speed_spec import SpeedResult
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import candidates, files
from analysis.results.compared.candidates import Candidate, Chosen, is_on
from analysis.results.compared.material_filter import (
    ANY,
    Filter,
    Material,
    MaterialFilter,
    SameMaterial,
)
from analysis.results.compared.speed import Paces
from analysis.results.score import stored_scores
from analysis.results.score.condition import Condition
from analysis.results.score.score import ACCURACY, BITS, CONTROL, LOSS, Score

SIZE = "size"
SPEED = "speed"
"""Costs of a model: bytes of its weights, or how many times as fast as the reference it
generates."""


@dataclass(frozen=True)
class Front:
    """All candidates that have one quantity, on the same questions or texts."""

    quantity: str
    """ACCURACY, LOSS or BITS."""
    condition: Condition
    """Condition of the reference; that of another model differs in the model, of another precision
    in the precision."""
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Comparison:
    """All candidates on one set of questions and one of texts."""

    questions: Condition | None
    """Condition of the accuracies; None if no answers are stored."""
    texts: Condition | None
    reference: Candidate | None
    """The unpruned model in full precision; None if it is not measured."""
    candidates: tuple[Candidate, ...]
    """Forms of the requested model first, each from its strongest result."""
    curve: SweepResult | None
    """The strongest curve of the model on these questions and texts; None without one."""
    speeds: tuple[SpeedResult, ...]
    """Comparable measurements of speed: of one machine, with one prompt."""
    elsewhere: tuple[Condition, ...]
    """Other questions and texts that the model is measured on."""
    unlisted: tuple[str, ...] = ()
    """Sources of models on the same questions or texts that are neither of the gallery nor
    named."""

    @cached_property
    def forms(self) -> tuple[Candidate, ...]:
        """Return the forms of the requested model."""
        return tuple(candidate for candidate in self.candidates if not candidate.is_other)

    @property
    def quality(self) -> str:
        """Return the quantity to choose by: the loss, in bits per byte if every loss is known so,
        else the accuracy.
        """
        losses = [candidate for candidate in self.candidates if LOSS in candidate.scores]
        if not losses:
            return ACCURACY
        return BITS if all(BITS in candidate.scores for candidate in losses) else LOSS

    def front(self, quantity: str) -> Front | None:
        """Return the front of a quantity; None if no candidate has it.

        A loss per token of a model with another tokenizer is not on it. Bits per byte are.
        """
        having = [candidate for candidate in self.candidates if quantity in candidate.scores]
        if not having:
            return None
        if quantity == LOSS:
            having = [
                candidate
                for candidate in having
                if candidates.have_same_tokens(candidate, having[0], LOSS)
            ]
        first = (
            self.reference
            if self.reference is not None and quantity in self.reference.scores
            else having[0]
        )
        return Front(quantity, first.scores[quantity].condition, tuple(having))


def is_rival(model: ModelSpec, named: Collection[str]) -> bool:
    """Return whether a model is compared with the requested one: it is in the gallery, or named by
    source or identity.
    """
    return (
        gallery.is_exhibit(model.source, model.identity)
        or model.source in named
        or model.identity in named
    )


def compare(
    own_results: Sequence[Any],
    other_results: Sequence[Any] = (),
    speeds: Sequence[SpeedResult] = (),
    material_filter: Filter = ANY,
    *,
    named: Collection[str] = (),
) -> Comparison:
    """Make the comparison.

    Args:
        own_results: results of the requested weights that score models, in any precision, strongest
            first.
        other_results: the same of other weights. Variants of the same model count, and models that
            `is_rival` accepts.
        speeds: measured speeds of any of them, the preferred ones first.
        material_filter: the questions and texts. If it leaves them open, those count on which the
            most variants of the model are measured.
        named: sources or identities of other models.
    """
    facts = own_results[0].model if own_results else None
    siblings = [
        each
        for each in other_results
        if facts is not None and candidates.is_same_model(each.model, facts)
    ]
    family = [*own_results, *siblings]
    rivals = [
        result
        for result in other_results
        if result not in siblings and is_rival(result.spec.model, named)
    ]
    conditions = {quantity: _conditions(quantity, family) for quantity in (ACCURACY, LOSS)}
    chosen = {
        name: next(filter(material_filter.fits, listed), None)
        for name, listed in conditions.items()
    }
    forms = files.with_files(candidates.of_results(family, chosen, is_other=False), speeds)
    reference = candidates.reference_of(forms, family[0].spec.model.identity if family else "")
    paces = Paces.of(speeds, reference.model if reference else None)
    every = [candidates.placed(form, reference) for form in forms]
    every += files.with_files(candidates.of_results(rivals, chosen, is_other=True), speeds)
    compared = [
        replace(
            each,
            changes=candidates.changes_from(reference, each),
            pace=paces.pace(each.model, each.cut, each.runtime, each.adapter),
        )
        for each in every
    ]
    elsewhere = [
        condition
        for name, listed in conditions.items()
        for condition in listed
        if condition != chosen[name]
    ]
    return Comparison(
        chosen[ACCURACY],
        chosen[LOSS],
        next(
            (each for each in compared if reference is not None and each.id == reference.id), None
        ),
        tuple(compared),
        next(
            (
                each
                for each in own_results
                if isinstance(each, SweepResult) and _is_on_all(each, chosen)
            ),
            None,
        ),
        paces.results,
        tuple({condition.material_in_words(): condition for condition in elsewhere}.values()),
    )


def of_model(
    model: ModelSpec, material_filter: Filter = ANY, others: Sequence[str] = ()
) -> Comparison:
    """Make the comparison from everything stored of a model and of others on the same questions or
    texts.

    Args:
        model: its weights count, in any precision and at any path.
        material_filter: the questions and texts; `compare` chooses those that it leaves open.
        others: sources of other models, besides those of the gallery.

    Raises:
        SpecError: when nothing is stored on the questions or the texts that the filter names, or of
            a named model on the same.
    """
    own_results = library.read_all(library.in_each_precision(model, most=library.LISTED))
    alone = compare(own_results, material_filter=material_filter)
    if own_results and isinstance(material_filter, MaterialFilter):
        _check(material_filter, alone)
    conditions = [
        condition for condition in (alone.questions, alone.texts) if condition is not None
    ]
    form = alone.forms[0] if alone.forms else None
    alike = [
        (entry, entry.summary.model)
        for entry in library.measured_on(model, conditions)
        if form is not None
        and entry.summary.model
        and entry.summary.model.identity != form.model.identity
    ]
    named = {
        name for source in others for name in (source, library.identity(ModelSpec(source))) if name
    }
    chosen = [
        entry
        for entry, weights in alike
        if is_rival(weights, named)
        or (form is not None and candidates.has_same_name(entry.summary.name, form.facts.name))
    ]
    other_results = library.read_all(chosen)
    models = dict.fromkeys([model, *(result.spec.model for result in other_results)])
    speeds = {
        speed.spec.fingerprint(): speed
        for weights in models
        for speed in library.of("speed", weights)
    }
    compared = compare(
        own_results, other_results, list(speeds.values()), SameMaterial.of(conditions), named=named
    )
    for source in others:
        names = {source, library.identity(ModelSpec(source))}
        if not any(
            each.is_other and names & {each.model.source, each.model.identity}
            for each in compared.candidates
        ):
            raise SpecError(
                f"No scores of {shown(source)} are stored on the same questions or texts. Measure"
                " it with `evaluate`, or leave it out."
            )
    unlisted = {
        weights.source
        for _, weights in alike
        if not gallery.is_exhibit(weights.source, weights.identity)
    }
    return replace(compared, unlisted=tuple(sorted(unlisted - {model.source})))


def _check(material_filter: MaterialFilter, alone: Comparison) -> None:
    """Raise an error if no stored score passes a filter."""
    sides = (
        (material_filter.named_questions, alone.questions, BenchmarkSpec),
        (material_filter.named_texts, alone.texts, CorpusSpec),
    )
    for named, condition, kind in sides:
        if named and condition is None:
            stored = [
                each.material_in_words()
                for each in alone.elsewhere
                if isinstance(each.material, kind)
            ]
            raise SpecError(
                f"No scores of this model are stored for {' '.join(named)}. Stored:"
                f" {', '.join(stored) or 'none'}. Name one of these, or measure the model on it"
                " with `evaluate`."
            )


def _is_on_all(curve: SweepResult, chosen: Chosen) -> bool:
    measured = stored_scores.conditions_of(curve)
    pairs = [(measured.get(name), wanted) for name, wanted in chosen.items() if wanted is not None]
    return bool(pairs) and all(
        condition is not None and is_on(condition, wanted) for condition, wanted in pairs
    )


def _conditions(quantity: str, results: Sequence[Any]) -> list[Condition]:
    """Return one condition for each material of a quantity: the most forms first, then the most
    questions or texts.
    """
    by_material: dict[tuple[Material, int], list[Score]] = {}
    for scores in (scores for result in results for scores in stored_scores.of_all(result)):
        measured = scores.get(quantity)
        if measured is not None and measured.repair != CONTROL:
            by_material.setdefault((measured.condition.material, measured.condition.n), []).append(
                measured
            )

    def rank(measured: list[Score]) -> tuple[int, int]:
        forms = {
            (each.condition.model, each.condition.precision, each.cut, each.repair)
            for each in measured
        }
        return len(forms), measured[0].condition.n

    return [
        measured[0].condition for measured in sorted(by_material.values(), key=rank, reverse=True)
    ]
