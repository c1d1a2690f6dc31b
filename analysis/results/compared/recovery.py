"""Share of the loss increase that a healing run recovers, and its change of accuracy, with 95 %
intervals.

The evaluation text is of another kind than the training text.
"""

from dataclasses import dataclass

from analysis.core import stats
from analysis.core.intervals import Interval
from analysis.core.units import duration, number
from analysis.data import corpora
from analysis.experiments.heal.heal_result import HealResult
from analysis.results.score import changes, stored_scores
from analysis.results.score.score import ACCURACY, LOSS


@dataclass(frozen=True)
class Recovery(Interval):
    """Share of the loss increase of removed layers that a healing run recovers."""

    share: float
    """1 is the unpruned model's loss, 0 the pruned model's, below 0 a higher loss than the pruned
    model's."""
    low: float | None
    """Lower end of the 95 % interval, paired by text; None if losses per text were not stored."""
    high: float | None
    n: int
    """Texts."""
    texts: str
    """Name of the text: "C4"."""

    @property
    def interval(self) -> str:
        """Return the interval in brackets: "(95 % CI 74 to 92)"."""
        if self.low is None or self.high is None:
            return "(no interval: losses per text were not stored)"
        return f"(95 % CI {number(100 * self.low, 0)} to {number(100 * self.high, 0)})"

    def in_words(self) -> str:
        """Return the effect on the loss as a verb phrase: "recovers 83 % (95 % CI 74 to 92) of the
        loss increase".
        """
        recovers = f"recovers {number(100 * self.share, 0)} % {self.interval} of the loss increase"
        if self.low is not None and not self.is_significant:
            return f"does not significantly change the loss: it {recovers}"
        if self.share < 0:
            ends = [f"{number(-100 * end, 0)}" for end in (self.high, self.low) if end is not None]
            interval = f"(95 % CI {' to '.join(ends)})" if ends else self.interval
            return (
                f"raises the loss further, by {number(-100 * self.share, 0)} % {interval} of the"
                " loss increase"
            )
        return recovers


def is_judged_by_its_own_kind(result: HealResult) -> bool:
    """Return whether the loss was measured on the kind of text that the run trained on, so that it
    shows no recovery.
    """
    return bool(result.spec.validation.subject == result.spec.corpus.subject)


def of(result: HealResult) -> Recovery | None:
    """Return the recovery of a finished healing run.

    Returns:
        None for a control, if one of the three losses is missing, or if the run was evaluated on
        the kind of text that it trained on. Also None with fewer than four texts, or without a
        significant loss increase of the pruned model.
    """
    scores = [
        stored_scores.of_heal(result, model).get(LOSS) for model in ("unpruned", "pruned", "healed")
    ]
    unpruned, pruned, healed = scores
    if (
        result.spec.control
        or is_judged_by_its_own_kind(result)
        or unpruned is None
        or pruned is None
        or healed is None
    ):
        return None
    increase = pruned.value - unpruned.value
    recovered = pruned.value - healed.value
    if increase <= 0 or healed.condition.n < stats.MIN_TEXTS:
        return None
    title = corpora.title(result.spec.validation)
    losses = [values.losses for values in (unpruned, pruned, healed)]
    if len({len(values) for values in losses}) > 1 or not losses[0]:
        return Recovery(recovered / increase, None, None, healed.condition.n, title)
    if not changes.change(unpruned, pruned).is_significant:
        return None
    gains, increases = (
        [b - a for a, b in zip(losses[index], losses[1], strict=True)] for index in (2, 0)
    )
    return Recovery(*stats.ratio_of_means(gains, increases, pruned.tokens), len(gains), title)


def accuracy_in_words(result: HealResult, reference: str = "pruned") -> str:
    """Return the change of accuracy in words, with its interval in points and n.

    "accuracy: not significantly different from the pruned model (95 % CI -4 to +15 points, n =
    200)".
    """
    change = changes.of_heal(result, ACCURACY, reference)
    if change is None:
        return "accuracy: not measured"
    if change.low is None or change.high is None:
        return (
            f"accuracy: {number(100 * change.difference, 0, '+')} points (no interval, n ="
            f" {change.n:,})"
        )
    ends = f"95 % CI {change.ends(0, 100)} points, n = {change.n:,}"
    if not change.is_significant:
        return f"accuracy: not significantly different from the {reference} model ({ends})"
    direction = "higher" if change.difference > 0 else "lower"
    points = number(abs(100 * change.difference), 0)
    return f"accuracy: {points} points {direction} than the {reference} model ({ends})"


def loss_in_words(result: HealResult) -> str:
    """Return the effect on the loss as a verb phrase, or the reason why it is not stated."""
    recovery = of(result)
    if recovery is not None:
        return f"{recovery.in_words()}, measured on {recovery.n} texts of {recovery.texts}"
    if is_judged_by_its_own_kind(result):
        return "was evaluated on the kind of text that it trained on, so no recovery is stated"
    if LOSS not in stored_scores.of_heal(result, "healed"):
        return "has no measured loss"
    n = stored_scores.of_heal(result, "healed")[LOSS].condition.n
    if n < stats.MIN_TEXTS:
        return f"has no stated recovery: fewer than {stats.MIN_TEXTS} texts give no interval"
    return f"has no loss increase to recover (not significant, n = {n} texts)"


def clause(result: HealResult) -> str:
    """Return loss and accuracy of a healing run for the verdict of a removed block, without the
    last full stop.

    "healing (fit 17 s, training 8 min) recovers 83 % (95 % CI 74 to 92) of the loss increase,
    measured on 32 texts of C4. Accuracy: ...".
    """
    accuracy = accuracy_in_words(result)
    return (
        f"healing ({course(result)}) {loss_in_words(result)}. {accuracy[:1].upper()}{accuracy[1:]}"
    )


def course(result: HealResult) -> str:
    """Return the durations of the fit and of the training: "fit 17 s, training 8 min"."""
    parts = [f"fit {duration(result.fit_s)}"] if result.fit_s else []
    if result.is_trained:
        parts.append(f"training {duration(result.training_s)}")
    elif result.spec.minutes is not None:
        parts.append(f"no training step in {result.spec.minutes:g} min")
    return ", ".join(parts) or "no training"
