"""A comparison as a blind test: texts side by side without names, and the verdict on the reader's picks."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from analysis.core.stats import wilson_interval
from analysis.experiments.prompt.comparison_spec import CompareResult


@dataclass(frozen=True)
class Round:
    """One comparison, its columns in the order in which they are shown."""

    key: str
    """The fingerprint of the comparison."""
    result: CompareResult
    columns: tuple[int, ...]
    """Indices of its variants, left one first."""

    @property
    def pruned(self) -> int:
        """Return the place of the pruned, unhealed model, from 0."""
        return next(column for column, index in enumerate(self.columns) if self.result.spec.variants[index].label == "pruned")

    @property
    def texts(self) -> list[str]:
        """Return the texts to read, left one first."""
        return [self.result.writings[index].text for index in self.columns]


def as_round(key: str, result: CompareResult, seed: str) -> Round | None:
    """Return the unpruned, the pruned and a healed model, where there is one, in an order that depends on the seed alone.

    Args:
        key: the fingerprint of the comparison.
        result: the generated texts.
        seed: of one visitor's test; one that nobody else knows.

    Returns:
        None where nobody could find the pruned model. The comparison is unfinished, or one of the first two is missing, or
        another model wrote the very text of the pruned one.
    """
    labels = [variant.label for variant in result.spec.variants]
    if not result.complete or "unpruned" not in labels or labels.count("pruned") != 1:
        return None
    healed = next((label for label in ("healed", "instant") if label in labels), None)
    columns = [labels.index(label) for label in ("pruned", "unpruned", healed) if label]
    texts = [result.writings[index].text for index in columns]
    if texts[0] in texts[1:]:
        return None
    random.Random(f"{seed} {key}").shuffle(columns)
    return Round(key, result, tuple(columns))


@dataclass(frozen=True)
class Score:
    """How often the pruned model was found."""

    n_right: int
    n: int
    chance: float
    """The share that guessing gets right."""

    def describe(self) -> str:
        """In words: "7 of 10 right (95 % CI 40 to 89 %, guessing gives 33 %)"."""
        if not self.n:
            return "No pick yet"
        low, high = wilson_interval(self.n_right, self.n)
        ends = f"{100 * low:.0f} to {100 * high:.0f} %"
        return f"{self.n_right} of {self.n} right (95 % CI {ends}, guessing gives {100 * self.chance:.0f} %)"

    def verdict(self) -> str:
        """Return the conclusion in a sentence; "" without a pick."""
        if not self.n:
            return ""
        low, high = wilson_interval(self.n_right, self.n)
        if low > self.chance:
            return "You recognize the pruned model significantly more often than by guessing."
        if high < self.chance:
            return "You find it significantly less often than by guessing: another model looks pruned to you."
        return "Not significantly different from guessing so far."


def score(rounds: Sequence[Round], picks: Sequence[int]) -> Score:
    """Count the picks that were right.

    Args:
        rounds: those that were played.
        picks: the place that was picked in each.
    """
    right = sum(played.pruned == pick for played, pick in zip(rounds, picks, strict=True))
    return Score(right, len(rounds), fmean(1 / len(played.columns) for played in rounds) if rounds else 0.0)
