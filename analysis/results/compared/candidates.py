"""Candidates: every measured form of the model, and other models, on the same questions and the
same texts.

A form is a precision, a removal and a repair. Each one has its size, its speed, and its accuracy
and loss against one reference: the unpruned model in full precision. A GGUF quantization of the
model is a form of it if its architecture, sizes and name without the format are equal.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from analysis.core.blocks import Removal, written
from analysis.data import gallery
from analysis.experiments.speed.speed_spec import LLAMA_CPP, TRANSFORMERS
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from analysis.models.source.weights_format import IN_LLAMA_CPP
from analysis.results.compared.disk import Bytes, on_disk
from analysis.results.compared.speed import DecodePace, SpeedGain
from analysis.results.score import changes, score, stored_scores
from analysis.results.score.changes import Change
from analysis.results.score.condition import Condition
from analysis.results.score.score import (
    ACCURACY,
    BITS,
    CONTROL,
    LOSS,
    Scores,
    in_bits,
)

KINDS = ("unpruned", "quantized", "pruned", "pruned and quantized", "healed", "other model")
"""Kinds of a candidate, from the fewest changes on. A healed one may be quantized, too."""
UNPRUNED, QUANTIZED, PRUNED, BOTH, HEALED, OTHER = KINDS
_FORMAT = re.compile(r"[-_. ](gguf|i?q\d\w*|tq\d\w*|mxfp4|b?f(p)?(16|32)|float(16|32)|bfloat16)$")
DTYPES = ("float16", "bfloat16", "float32")
"""Dtypes in increasing precision."""
Chosen = Mapping[str, Condition | None]
"""The questions and texts of a comparison, by quantity."""


@dataclass(frozen=True)
class Candidate:
    """One form of a model."""

    model: ModelSpec
    """Weights and precision."""
    facts: ModelFacts
    """Sizes of its unpruned model."""
    weights: str
    """Format of the stored weights; "" if it is not known."""
    cut: Removal | None
    repair: str
    """Recipe or adapter; "" for none."""
    is_other: bool
    """Whether it is another model than the requested one."""
    is_quantized: bool
    """Whether its weights have fewer bits than those of the reference."""
    memory: int
    """Bytes of its weights in memory (`sizes.COUNTED`), or of its file in llama.cpp. An adapter
    counts as merged."""
    disk: Bytes | None
    """Bytes on disk; None if they are not known."""
    scores: Scores
    """Accuracy, loss, and the loss in bits per byte."""
    changes: Mapping[str, Change] = field(default_factory=dict)
    """Changes against the reference by quantity, without those that are not measured."""
    pace: DecodePace | None = None
    """Speed of generation; None if it is not measured."""
    adapter: str = ""
    """Adapter of a healed file that was evaluated."""

    @property
    def name(self) -> str:
        """Return the name of its model, to show."""
        return gallery.name_of(self.model.source, self.facts.name)

    @property
    def kind(self) -> str:
        """Return its kind: one of `KINDS`."""
        return OTHER if self.is_other else self.variant

    @property
    def variant(self) -> str:
        """Return the variant of its model: one of `KINDS` except `OTHER`."""
        if self.repair:
            return HEALED
        if self.cut is not None:
            return BOTH if self.is_quantized else PRUNED
        return QUANTIZED if self.is_quantized else UNPRUNED

    @property
    def runtime(self) -> str:
        """Return the program that runs it."""
        return LLAMA_CPP if self.is_file else TRANSFORMERS

    @property
    def is_file(self) -> bool:
        """Return whether it is a GGUF file in llama.cpp."""
        return self.condition.precision == IN_LLAMA_CPP

    @property
    def condition(self) -> Condition:
        """Return the condition of its first quantity."""
        return next(iter(self.scores.values())).condition

    @property
    def precision(self) -> str:
        """Return the precision with the format of the stored weights: "NF4, bfloat16 from Q4_1
        weights".
        """
        return self.condition.precision_in_words()

    @property
    def description(self) -> str:
        """Return the variant in words: "NF4, bfloat16, without layers 11-15, healed (instant)"."""
        name = [self.name] if self.is_other else []
        removed = [f"without {self.cut.brief()}"] if self.cut else []
        healed = [f"healed ({self.repair})"] if self.repair else []
        return ", ".join([*name, self.precision, *removed, *healed])

    @cached_property
    def id(self) -> str:
        """Return a name that is unique within a comparison."""
        parts = [self.condition.model, self.condition.precision.replace(", ", "-")]
        parts += [written(self.cut)] if self.cut else []
        return "/".join([*parts, *([f"healed:{self.repair}"] if self.repair else [])])

    @property
    def gain(self) -> SpeedGain | None:
        """Return the measured speed gain over the reference in generation; None if it was not
        timed.
        """
        return None if self.pace is None else self.pace.gain

    @property
    def times(self) -> float | None:
        """Return how many times as fast as the reference it generates."""
        return None if self.gain is None else 1 + self.gain.value


def is_same_model(first: ModelFacts, second: ModelFacts) -> bool:
    """Return whether two sets of weights are one model in two formats: equal architecture, sizes
    and name without format.
    """
    return _shape(first) == _shape(second) and has_same_name(first.name, second.name)


def has_same_name(first: str, second: str) -> bool:
    """Return whether the names of two models are equal without the format of their weights."""
    return _stem(first) == _stem(second)


def _shape(facts: ModelFacts) -> tuple[Any, ...]:
    layers = tuple(facts.layer_parameters)
    return (
        facts.family,
        facts.n_layers,
        facts.hidden_size,
        facts.vocab_size,
        layers,
        facts.other_parameters,
    )


def _stem(name: str) -> str:
    plain = name.rstrip("/").rsplit("/", 1)[-1].lower()
    while (shorter := _FORMAT.sub("", plain)) != plain:
        plain = shorter
    return plain


def of_results(results: Sequence[Any], chosen: Chosen, *, is_other: bool) -> list[Candidate]:
    """Return one candidate for each form, with the scores of the strongest results on the chosen
    materials.

    A score with its answers is preferred, so that changes are paired if possible. A healed form
    has the scores of one run, that with the most quantities. An evaluation of an adapter counts
    as a run of the healing run that made it.

    Args:
        results: curves, evaluations, heals and tables of methods, strongest first.
        chosen: the questions and texts.
        is_other: whether they are of another model than the requested one.
    """
    heals = [result for result in results if result.spec.kind == "heal"]
    recipes = {heal.spec.fingerprint(): stored_scores.repair_of(heal) for heal in heals}
    runs: dict[tuple[str, str, Removal | None, str], list[tuple[Any, Scores]]] = {}
    for result in results:
        for form_scores in stored_scores.of_all(result):
            on_chosen = {
                quantity: replace(
                    measured := form_scores[quantity],
                    repair=recipes.get(measured.repair, measured.repair),
                )
                for quantity, wanted in chosen.items()
                if wanted is not None
                and quantity in form_scores
                and is_on(form_scores[quantity].condition, wanted)
            }
            first = next(iter(on_chosen.values()), None)
            if first is not None and first.repair != CONTROL:
                key = (first.condition.model, first.condition.precision, first.cut, first.repair)
                runs.setdefault(key, []).append((result, on_chosen))
    forms = [_form(of_key, is_healed=bool(key[-1])) for key, of_key in runs.items()]
    losses = [(result.model.vocab_size, scores[LOSS]) for result, scores in forms if LOSS in scores]
    rates = {
        (size, loss.tokens): loss.tokens_per_byte
        for size, loss in losses
        if loss.tokens and loss.tokens_per_byte
    }
    return [_candidate(result, scores, rates, is_other=is_other) for result, scores in forms]


def is_on(condition: Condition, wanted: Condition) -> bool:
    """Return whether a condition has the questions or texts of another one, and as many."""
    return (condition.material, condition.n) == (wanted.material, wanted.n)


def _form(runs: Sequence[tuple[Any, Scores]], *, is_healed: bool) -> tuple[Any, Scores]:
    """Return the scores of one form with the result that they come from first, from all runs of
    it, strongest first.
    """
    if is_healed:
        return max(runs, key=lambda run: len(run[1]))
    merged: Scores = {}
    for result, scores in sorted(runs, key=lambda run: run[0].spec.kind == "methods"):
        # Tables of methods count last, so that other panels show the same value.
        is_table = result.spec.kind == "methods"
        for quantity, measured in scores.items():
            if quantity not in merged or (
                not is_table and measured.is_pairable > merged[quantity].is_pairable
            ):
                merged[quantity] = measured
    return runs[0][0], merged


def _candidate(
    result: Any,
    scores: Scores,
    rates: Mapping[tuple[int, tuple[int, ...]], float],
    *,
    is_other: bool,
) -> Candidate:
    """Return the candidate of a form.

    Args:
        result: the strongest result of the form.
        scores: of the form.
        rates: tokens per byte by the size of the vocabulary and the tokens of the texts, for losses
            without bits per byte.
        is_other: whether it is another model than the requested one.
    """
    first = next(iter(scores.values()))
    model = result.spec.model
    loss = scores.get(LOSS)
    if (
        loss is not None
        and loss.bits_per_byte is None
        and (rate := rates.get((result.model.vocab_size, loss.tokens)))
    ):
        loss = replace(loss, bits_per_byte=loss.value * rate / math.log(2), tokens_per_byte=rate)
    bits = None if loss is None else in_bits(loss)
    memory = sizes.weight_bytes(result.model, first.cut, model.dtype, model.quantization)
    if memory is None:  # results of older versions lack the sizes of quantized layers
        memory = int(
            sizes.savings(result.model, first.cut).kept_parameters
            * result.model.bytes_per_parameter
        )
    is_whole = first.cut is None and not first.repair
    return Candidate(
        model=model,
        facts=result.model,
        weights=first.condition.weights,
        cut=first.cut,
        repair=first.repair,
        is_other=is_other,
        is_quantized=model.quantization != "none",
        memory=memory,
        disk=on_disk(
            model, result.model, first.condition.weights, memory if not is_whole else None
        ),
        scores=scores | ({BITS: bits} if bits else {}),
        adapter=(result.spec.adapter or "") if getattr(result.spec, "as_file", False) else "",
    )


def reference_of(forms: Sequence[Candidate], identity: str) -> Candidate | None:
    """Return the unpruned model with the most complete scores, then the most precise stored weights
    and dtype.

    Args:
        forms: of the requested model.
        identity: of its weights, which are preferred among equal forms.
    """

    def rank(candidate: Candidate) -> tuple[Any, ...]:
        return (
            (ACCURACY in candidate.scores) + (LOSS in candidate.scores),
            candidate.weights in sizes.DTYPE_BYTES,
            DTYPES.index(candidate.model.dtype) if candidate.model.dtype in DTYPES else -1,
            candidate.model.identity == identity,
        )

    return max((form for form in forms if form.kind == UNPRUNED), key=rank, default=None)


def placed(candidate: Candidate, reference: Candidate | None) -> Candidate:
    """Return a form with its weights marked as quantized if only its file is, and the reference's
    is not.
    """
    if (
        reference is None
        or candidate.model.identity == reference.model.identity
        or candidate.is_quantized
    ):
        return candidate
    return replace(candidate, is_quantized=candidate.weights not in sizes.DTYPE_BYTES)


def changes_from(reference: Candidate | None, candidate: Candidate) -> dict[str, Change]:
    """Return the change of each quantity of a candidate against the reference, for those that both
    have.
    """
    if reference is None or candidate.id == reference.id:
        return {}
    by_quantity: dict[str, Change] = {}
    for quantity, measured in candidate.scores.items():
        if quantity == BITS and LOSS in by_quantity:
            by_quantity[BITS] = _scaled(
                by_quantity[LOSS], measured.value / candidate.scores[LOSS].value
            )
        elif (change := difference(candidate, reference, quantity)) is not None:
            by_quantity[quantity] = change
    return by_quantity


def difference(candidate: Candidate, reference: Candidate, quantity: str) -> Change | None:
    """Return the change of a candidate against one of any precision and model; None if questions or
    texts differ.

    It is paired by question, and by text only if both models have the same tokens.
    """
    if quantity not in candidate.scores or quantity not in reference.scores:
        return None
    after = candidate.scores[quantity]
    before = reference.scores[quantity]
    same_tokens = have_same_tokens(candidate, reference, quantity)
    if not is_on(after.condition, before.condition) or (quantity == LOSS and not same_tokens):
        return None
    losses = () if not same_tokens and quantity != ACCURACY else after.losses
    return changes.change(before, replace(after, condition=before.condition, losses=losses))


def have_same_tokens(first: Candidate, second: Candidate, quantity: str) -> bool:
    """Return whether two candidates have the same vocabulary size and divide the texts into the
    same tokens.
    """
    same_vocabulary = first.facts.vocab_size == second.facts.vocab_size
    return same_vocabulary and score.have_same_tokens(
        first.scores[quantity], second.scores[quantity]
    )


def _scaled(change: Change, factor: float) -> Change:
    """Return a change multiplied by a factor."""
    low, high = (None if end is None else factor * end for end in (change.low, change.high))
    return replace(change, difference=factor * change.difference, low=low, high=high)
