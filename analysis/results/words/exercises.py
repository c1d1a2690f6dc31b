"""Exercises with numbers and solutions computed from stored results."""

from dataclasses import dataclass

from analysis.experiments.accuracy import pairs
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_result import HealResult
from analysis.models.source.sizes import ModelFacts

WANTED = 3
"""Number of exercises if nothing is missing."""


@dataclass(frozen=True)
class Exercise:
    """A question with a number for an answer."""

    title: str
    asked: str
    """Question with all numbers that it needs, in plain text."""
    unit: str
    answer: float
    tolerance: float
    """Accepted error of an answer, which covers the rounding of the given numbers."""
    solution: str
    """Calculation of the answer, in plain text."""

    def is_right(self, answer: float) -> bool:
        """Return whether an answer is right, up to rounding."""
        return abs(answer - self.answer) <= self.tolerance


def of(
    size: int,
    facts: ModelFacts | None = None,
    sweep: SweepResult | None = None,
    heal: HealResult | None = None,
) -> list[Exercise]:
    """Return the exercises that the results allow, at most `WANTED`.

    Args:
        size: layers of the block that the exercises are about.
        facts: sizes of the model.
        sweep: the curve of the most similar blocks.
        heal: a healing run.
    """
    exercises = (_smaller(size, facts), _flipped(size, sweep), _repaired(heal))
    return [exercise for exercise in exercises if exercise is not None]


def _smaller(size: int, facts: ModelFacts | None) -> Exercise | None:
    if facts is None or size > len(facts.layer_parameters):
        return None
    removed = sum(facts.layer_parameters[:size])
    total = facts.n_parameters
    share = 100 * removed / total
    return Exercise(
        "How much smaller?",
        f"The model has {total:,} parameters, {facts.other_parameters:,} of them in embeddings, the"
        f" final norm and the head. Its first {size} of {facts.n_layers} layers hold {removed:,}."
        " Which percentage of all parameters do you remove with them?",
        "%",
        share,
        0.15,
        f"{removed:,} / {total:,} = {share:.1f} %. Not {size} / {facts.n_layers} = "
        f"{100 * size / facts.n_layers:.1f} %, because embeddings and head stay.",
    )


def _flipped(size: int, sweep: SweepResult | None) -> Exercise | None:
    if sweep is None:
        return None
    answers = {
        point.n: scores
        for point, scores in zip(sweep.points, sweep.questions, strict=False)
        if scores
    }
    if 0 not in answers or size not in answers:
        return None
    comparison = pairs.compare(answers[0], answers[size])
    change = 100 * comparison.difference
    settled = (
        "It excludes 0: the change is significant."
        if comparison.is_significant
        else "It includes 0: the change is not significant."
    )
    return Exercise(
        "Right answers lost and gained",
        f"You remove the most similar {size} layers and ask {comparison.n} questions."
        f" {comparison.lost} right answers become wrong, and {comparison.gained} wrong answers"
        " become right. By how many percentage points does the accuracy change? (Mind the sign.)",
        "points",
        change,
        0.06,
        f"({comparison.gained} − {comparison.lost}) / {comparison.n} = {change:+.1f} points."
        f" Question by question the 95 % interval is {100 * comparison.low:+.1f} to"
        f" {100 * comparison.high:+.1f}. {settled}",
    )


def _repaired(heal: HealResult | None) -> Exercise | None:
    points = [heal.unpruned, heal.pruned, heal.healed] if heal else []
    losses = [
        round(point.loss, 2) for point in points if point is not None and point.loss is not None
    ]
    if heal is None or len(losses) < 3 or losses[1] <= losses[0]:
        return None
    unpruned, pruned, healed = losses
    share = 100 * (pruned - healed) / (pruned - unpruned)
    return Exercise(
        "How much does healing recover?",
        f"The loss is {unpruned:.2f} nats/token unpruned, {pruned:.2f} without"
        f" {heal.spec.block.describe()}, and {healed:.2f} after healing. Which percentage of the"
        " loss increase does healing recover?",
        "%",
        share,
        1.0,
        f"({pruned:.2f} − {healed:.2f}) / ({pruned:.2f} − {unpruned:.2f}) = {share:.0f} %.",
    )
