"""Stored generations of one model by removed block, with the same weights, precision and
prompts.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from analysis.core.blocks import Removal
from analysis.data.spec import GenerationSpec
from analysis.experiments.accuracy.points import GenerationCheck, Point
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, SweepResult
from analysis.models.source.model_spec import ModelSpec

_ENGLISH = re.compile(
    r"\b(?:a|an|and|are|as|by|for|from|he|in|is|it|of|on|she|that|the|to|was|who)\b"
)
"""Frequent words of English."""
_MIN_ENGLISH_WORDS = 3
"""Minimum number of distinct frequent words in an English text."""


@dataclass(frozen=True)
class Generation:
    """Generated texts of the unpruned model or of one pruned model."""

    removed: Removal | None
    """The removed layers; None for the unpruned model."""
    point: Point
    check: GenerationCheck | None
    """Generated texts; None if only the rates are stored."""


@dataclass(frozen=True)
class Generations:
    """Stored generations of one model under one condition."""

    model: ModelSpec
    """Weights and precision."""
    spec: GenerationSpec
    """Prompts and arithmetic problems."""
    by_block: dict[Removal | None, Generation] = field(default_factory=dict)

    def of(self, removed: Removal | None) -> Generation | None:
        """Return the generation of a block; None if it is not measured under this condition."""
        return self.by_block.get(removed)

    def ordered(self) -> list[Generation]:
        """Return all generations by number of removed layers and first layer, the unpruned model
        first.
        """
        return sorted(
            self.by_block.values(),
            key=lambda generation: (generation.point.n, generation.point.start or 0),
        )

    def prompts(self) -> list[str]:
        """Return the prompts in their stored order; empty if no texts are stored."""
        check = next((generation.check for generation in self.ordered() if generation.check), None)
        return [continuation.prompt for continuation in check.continuations] if check else []

    def condition(self) -> str:
        """Return the condition in words: "8 Wikipedia articles of 64 tokens each, 24 arithmetic
        problems, seed 0, float32".
        """
        spec = self.spec
        return (
            f"{spec.n_prompts} Wikipedia articles of {spec.max_new_tokens} tokens each,"
            f" {spec.n_sums} arithmetic problems, seed {spec.seed},"
            f" {self.model.precision_in_words()}"
        )


def collect(
    model: ModelSpec, results: Sequence[Any], spec: GenerationSpec | None = None
) -> Generations:
    """Collect the stored generations of a model.

    Args:
        model: resolved; only results of its weights in its precision count.
        results: curves and evaluations, strongest evidence first; healed models are ignored.
        spec: prompts and arithmetic problems (default: those of the first result with generated
            text).
    """
    comparable = [result for result in results if _is_alike(result, model)]
    spec = (
        spec
        or next((result.spec.generation for result in comparable if result.spec.generation), None)
        or GenerationSpec()
    )
    by_block: dict[Removal | None, Generation] = {}
    for result in comparable:
        for point, check in _generated(result) if result.spec.generation == spec else ():
            previous = by_block.get(point.block)
            if previous is None or (previous.check is None and check is not None):
                by_block[point.block] = Generation(point.block, point, check)
    return Generations(model, spec, by_block)


def _is_alike(result: Any, model: ModelSpec) -> bool:
    if not isinstance(result, SweepResult | EvaluateResult):
        return False
    if isinstance(result, EvaluateResult) and result.spec.adapter is not None:
        return False
    measured = result.spec.model
    weights = (
        measured.identity == model.identity
        if measured.identity and model.identity
        else measured.source == model.source
    )
    return weights and measured.precision == model.precision


def _generated(
    result: SweepResult | EvaluateResult,
) -> Iterator[tuple[Point, GenerationCheck | None]]:
    if isinstance(result, EvaluateResult):
        pairs = [(result.point, result.writing)]
    else:
        missing = [None] * (len(result.points) - len(result.writings))
        pairs = list(zip(result.points, [*result.writings, *missing], strict=False))
    for point, check in pairs:
        if check is not None or point.repetition_rate is not None:
            yield point, check


def first_english(texts: Sequence[str]) -> int:
    """Return the position of the first English text; 0 if there is none.

    Args:
        texts: prompts, in their stored order.
    """
    is_english = (len(set(_ENGLISH.findall(text.lower()))) >= _MIN_ENGLISH_WORDS for text in texts)
    return next((position for position, english in enumerate(is_english) if english), 0)


def differing(reference: str, text: str) -> list[tuple[str, bool]]:
    """Split a text into runs of words, each with whether it differs from the reference.

    Args:
        reference: the text of the unpruned model.
        text: the text to split; its words are joined by single spaces.
    """
    before = reference.split()
    after = text.split()
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    runs = [
        (" ".join(after[begin:end]), kind != "equal")
        for kind, _, _, begin, end in matcher.get_opcodes()
    ]
    return [run for run in runs if run[0]]
