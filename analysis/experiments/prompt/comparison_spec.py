"""The request to continue a prompt by several variants of a model, and the texts that they wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import zip_longest
from statistics import fmean
from typing import Annotated, Any, ClassVar

from analysis.core.blocks import Removal
from analysis.core.bounds import SEED, Bound, one_of
from analysis.core.experiment import Experiment, register
from analysis.core.options import Option, Part
from analysis.core.record import Result, Spec, require, spec_dataclass
from analysis.core.table import Column, Table
from analysis.experiments.prompt.microscope_spec import check_prompt
from analysis.experiments.scoring.repetition import repetition_rate
from analysis.models.source.model_spec import ModelSpec

MOST_NEW_TOKENS = 512
"""Tokens that a model may be asked to write."""
MOST_VARIANTS = 8
"""Models that write side by side."""
LOOPS_FROM = 0.25
"""Repeated share of 4-grams from which on a text counts as a loop."""
LABELS = ("unpruned", "pruned", "instant", "healed")
"""States of a model: unpruned, pruned, pruned and healed in closed form, pruned and healed by training."""


@spec_dataclass
class Variant(Spec):
    """One of the models that are compared: the model of the request, cut or not, healed or not."""

    kind: ClassVar[str] = "variant"

    label: str = "unpruned"
    """One of `LABELS`: the state of the model, as shown to people."""
    block: Annotated[Removal | None, Option()] = None
    """Removed layers or sublayers (default: none)."""
    adapter: Annotated[str | None, Option(metavar="DIR")] = None
    """Folder of a PEFT adapter for the pruned model, or `adapters/ID` in the cache folder (default: none)."""
    identity: str = ""
    """Identity of the adapter's weights, independent of the path; filled in by `comparison.resolve`."""

    def __post_init__(self) -> None:
        one_of("label", self.label, LABELS)
        require(
            self.label != "unpruned" or (self.block is None and self.adapter is None),
            "The unpruned model has no removed layers and no adapter. Call this variant pruned or healed.",
        )

    @property
    def is_unpruned(self) -> bool:
        """Return whether the model is unpruned and without an adapter."""
        return self.block is None and self.adapter is None


@spec_dataclass
class CompareSpec(Spec):
    """Several variants of a model that continue the same prompt, with the same seed."""

    kind: ClassVar[str] = "compare"
    asked_by: ClassVar[str] = "analysis.experiments.prompt.comparison_spec:comparison_from_options"

    model: ModelSpec = field(default_factory=ModelSpec)
    prompt: Annotated[str, Option(metavar="TEXT", required=True)] = "The capital of France is"
    """Beginning of the text, without a chat template."""
    variants: Annotated[tuple[Variant, ...], Part(only=("block", "adapter"))] = (Variant(),)
    """Variants that generate, in order."""
    max_new_tokens: Annotated[int, Option("--tokens"), Bound(1, MOST_NEW_TOKENS)] = 48
    """Largest number of new tokens."""
    temperature: Annotated[float, Option(metavar="T"), Bound(0, 5)] = 0.0
    """Temperature. 0 takes the most likely token each time (greedy), above 0 samples."""
    seed: Annotated[int, Option(), SEED] = 0
    """Seed of the sampling, the same for every model. Has no effect at temperature 0."""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        require(
            1 <= len(self.variants) <= MOST_VARIANTS,
            f"Between 1 and {MOST_VARIANTS} variants can be compared, not {len(self.variants)}.",
        )


def comparison_from_options(options: Mapping[str, Any], settings: Mapping[str, Any]) -> CompareSpec:
    """Return the comparison of the unpruned with the pruned and the healed model, if a removal and an adapter are given."""
    block, adapter = (options.get("variants", {}).get(name) for name in ("block", "adapter"))
    variants = [Variant()]
    if block is not None:
        variants.append(Variant("pruned", block))
    if adapter is not None:
        variants.append(Variant("healed", block, adapter))
    return CompareSpec(**{**options, "model": ModelSpec(**options["model"]), "variants": tuple(variants)})


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Return the first index at which two sequences differ or only one continues; None when they are equal."""
    common = next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return None if common == len(a) == len(b) else common


def differing(a: Sequence[int], b: Sequence[int]) -> set[int]:
    """Return the places of `a` that `b` does not have, after an alignment of the two.

    A text with one extra word and the same words after it differs in that word, and not in all that follows.
    """
    same = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return set(range(len(a))) - {index for match in same for index in range(match.a, match.a + match.size)}


@dataclass(frozen=True)
class Writing:
    """Text that one variant has generated so far."""

    token_ids: list[int]
    """Without the token that ended the text, if one did."""
    pieces: list[str]
    """The text of each token; joined they are the text. Empty if a letter needs a further token."""
    own_surprise: list[float]
    """Per token, -log of its probability under the model that wrote it, at temperature 1; nats, at least 0."""
    unpruned_surprise: list[float]
    """Surprisal under the unpruned model, which reads the generated text; empty until generation ends."""
    n_layers: int
    """Layers that this variant runs."""
    prefill_s: float
    """Seconds from the prompt to the first token."""
    decode_s: float
    """Seconds of all further tokens."""
    ended: bool
    """Whether the model ended the text by itself."""
    complete: bool

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self.pieces)

    @property
    def decode_rate(self) -> float | None:
        """Tokens per second after the first; None while there is no second one."""
        steps = len(self.token_ids) + self.ended - 1
        return steps / self.decode_s if steps > 0 and self.decode_s > 0 else None

    @property
    def repetition(self) -> float | None:
        """Share of the 4-grams of tokens that repeat an earlier one; None for fewer than four tokens."""
        return repetition_rate(self.token_ids) if len(self.token_ids) >= 4 else None

    @property
    def loops(self) -> bool:
        """Return whether the text repeats itself so much that a low surprisal says nothing for it."""
        return (self.repetition or 0.0) >= LOOPS_FROM

    def prefill_rate(self, n_prompt_tokens: int) -> float | None:
        """Prompt tokens read per second; None before the first token."""
        return n_prompt_tokens / self.prefill_s if self.prefill_s > 0 else None


def mean_surprise(surprise: Sequence[float]) -> float | None:
    """Mean nats per token; None for no tokens."""
    return fmean(surprise) if surprise else None


@dataclass(frozen=True)
class CompareResult(Result):
    """The same prompt, continued by several variants of a model."""

    kind: ClassVar[str] = "compare"
    spec_type: ClassVar[type[Spec]] = CompareSpec

    model_name: str
    n_layers: int
    """L of the unpruned model."""
    n_prompt_tokens: int
    writings: list[Writing] = field(default_factory=list)
    """One for each of `spec.variants` that has begun, in their order."""

    @property
    def written(self) -> list[tuple[Variant, Writing]]:
        """Return every variant that has begun, with its text."""
        return list(zip(self.spec.variants, self.writings, strict=False))

    def tables(self) -> dict[str, Table]:
        """Every token that a variant wrote with its surprisal, then each text with its mean surprisal and its repetition."""
        columns = (
            Column("model"),
            Column("token"),
            Column("text"),
            Column("surprise_own", "surprisal to itself", "nats", ".2f"),
            Column("surprise_unpruned", "surprisal to the unpruned model", "nats", ".2f"),
        )
        rows = [
            {"model": variant.label, "token": number, "text": piece, "surprise_own": token, "surprise_unpruned": unpruned}
            for variant, text in self.written
            for number, (piece, token, unpruned) in enumerate(
                zip_longest(text.pieces, text.own_surprise, text.unpruned_surprise), start=1
            )
        ]
        texts = [
            {
                "model": variant.label,
                "tokens": len(text.token_ids),
                "prefill_rate": text.prefill_rate(self.n_prompt_tokens),
                "decode_rate": text.decode_rate,
                "differs_from": None if parts is None else parts + 1,
                "repetition_rate": text.repetition,
                "surprise_unpruned": mean_surprise(text.unpruned_surprise),
                "surprise_own": mean_surprise(text.own_surprise),
            }
            for index, (variant, text) in enumerate(self.written)
            for parts in (self.parts_at(index),)
        ]
        rates = (Column("prefill_rate", "prefill", "tokens/s", ".0f"), Column("decode_rate", "decode", "tokens/s", ".1f"))
        differs = Column("differs_from", "differs from token")
        repeated = Column("repetition_rate", "repeated 4-grams", format=".0%")
        return {
            "tokens": Table("Every token of each text", columns, rows, self.measured_on()),
            "texts": Table(
                "Each text",
                (columns[0], Column("tokens"), *rates, differs, repeated, columns[4], columns[3]),
                texts,
                self.measured_on(),
            ),
        }

    def parts_at(self, index: int) -> int | None:
        """The first token in which a variant differs from the unpruned model's text; None if it does not (yet).

        Args:
            index: of the variant.
        """
        unpruned, text = self._unpruned(), self.writings[index]
        if unpruned is None or unpruned is text:
            return None
        position = first_difference(text.token_ids, unpruned.token_ids)
        is_behind = position is not None and position in (len(text.token_ids), len(unpruned.token_ids))
        if is_behind and not (text.complete and unpruned.complete):
            return None
        return position

    def differs_at(self, index: int) -> set[int]:
        """The tokens of a variant that the unpruned model's text does not have, as far as both have come.

        Args:
            index: of the variant.
        """
        unpruned, text = self._unpruned(), self.writings[index]
        if unpruned is None or unpruned is text:
            return set()
        is_complete = text.complete and unpruned.complete
        reach = (
            max(len(text.token_ids), len(unpruned.token_ids))
            if is_complete
            else min(len(text.token_ids), len(unpruned.token_ids))
        )
        return differing(text.token_ids[:reach], unpruned.token_ids[:reach])

    def _unpruned(self) -> Writing | None:
        return next((writing for variant, writing in self.written if variant.is_unpruned), None)


register(Experiment(CompareSpec, CompareResult, run="analysis.experiments.prompt.comparison:run", title="Comparison", place=7))
