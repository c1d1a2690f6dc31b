"""A quantity of one model with all that its meaning needs: interval, condition, removal and
repair.
"""

import math
from dataclasses import dataclass, field, replace

from analysis.core.blocks import Removal
from analysis.experiments.accuracy.points import QuestionScore
from analysis.results.score.condition import Condition

ACCURACY = "accuracy"
ACC_NORM = "normalised accuracy"
LOSS = "loss"
DAMAGE = "loss increase"
"""Quantities of a score: shares of questions, in [0, 1], and nats per token."""
BITS = "bits per byte"
"""A loss in a unit that models with different tokenizers share (`in_bits`)."""
CONTROL = "control"
"""The repair of an unpruned model that was trained on as a heal would be."""


@dataclass(frozen=True)
class Score:
    """One number of one result. Made by `stored_scores`, never by hand."""

    quantity: str
    """ACCURACY, ACC_NORM, LOSS or DAMAGE."""
    cut: Removal | None
    """The removed layers; None for the unpruned model."""
    repair: str
    """The recipe or adapter that repaired the pruned model; "" for none."""
    value: float
    low: float | None
    """Lower end of the 95 % interval: Wilson for accuracies, Student's t for losses; None if one
    text gives none."""
    high: float | None
    condition: Condition
    answers: tuple[QuestionScore, ...] = field(default=(), repr=False, compare=False)
    """Answers to the questions, if kept, so that changes are paired; those of a table of methods
    have no id."""
    losses: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """Loss, or its increase, on every text, if kept."""
    tokens: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """Predicted tokens of every text, by which its loss counts."""
    bits_per_byte: float | None = field(default=None, repr=False, compare=False)
    """A loss in bits per byte of the scored text; None for other quantities, and in results without
    it."""
    tokens_per_byte: float | None = field(default=None, repr=False, compare=False)
    """Predicted tokens for each byte of the scored texts; None if the bits per byte are not
    known."""

    def number(self) -> str:
        """Return the value alone: "46.0 %" or "3.10"."""
        return f"{100 * self.value:.1f} %" if self.is_share else f"{self.value:.2f}"

    def in_words(self) -> str:
        """Return quantity, value and interval: "accuracy 46.0 % (95 %: 36.6 to 55.7)"."""
        text = f"{self.quantity} {self.number()}"
        if self.low is None or self.high is None:
            return text
        size, digits = (100, ".1f") if self.is_share else (1, ".2f")
        return f"{text} (95 %: {size * self.low:{digits}} to {size * self.high:{digits}})"

    @property
    def is_share(self) -> bool:
        """Return True for a share of questions, False for nats."""
        return self.quantity in (ACCURACY, ACC_NORM)

    @property
    def is_pairable(self) -> bool:
        """Return whether its single answers or losses are kept, so that a change from it can be
        paired.
        """
        return bool(self.answers or self.losses)


Scores = dict[str, Score]
"""Measured scores by quantity; quantities that were not measured are missing."""


def measured_on(scores: Scores) -> str:
    """Return the data of several numbers of one model: "200 ARC-Easy questions and 32 texts of C4,
    float32"; "" without any.
    """
    conditions = [score.condition for score in scores.values()]
    materials = list(dict.fromkeys(condition.material_in_words() for condition in conditions))
    precisions = list(dict.fromkeys(condition.precision_in_words() for condition in conditions))
    return ", ".join([" and ".join(materials), *precisions]) if conditions else ""


def have_same_tokens(first: Score | None, second: Score | None) -> bool:
    """Return False if two losses on the same texts are known to have different tokens.

    Two tokenizers of equal vocabulary size divide the same bytes into different numbers of tokens.
    """
    if first is None or second is None:
        return True
    if len(first.tokens) == len(second.tokens) and first.tokens != second.tokens:
        return False
    rate = first.tokens_per_byte
    other_rate = second.tokens_per_byte
    return rate is None or other_rate is None or math.isclose(rate, other_rate, rel_tol=_SAME_RATE)


_SAME_RATE = 1e-6
"""Relative difference of tokens per byte below which they are equal: they are computed from rounded
losses."""


def in_bits(loss: Score) -> Score | None:
    """Return a loss in bits per byte; None if it is not known.

    The bytes per token are those of all texts, so that a comparison of two models with one
    tokenizer is the same in both units.
    """
    if loss.bits_per_byte is None or loss.value <= 0:
        return None
    factor = loss.bits_per_byte / loss.value
    low, high = (None if end is None else factor * end for end in (loss.low, loss.high))
    losses = tuple(factor * each for each in loss.losses)
    return replace(loss, quantity=BITS, value=loss.bits_per_byte, low=low, high=high, losses=losses)
