"""Share of a block's loss increase that a heal recovers, with its 95 % interval, and the change of accuracy beside it."""

from dataclasses import dataclass

from analysis.core import stats
from analysis.data import corpora
from analysis.experiments.heal.heal_result import HealResult
from analysis.results import reading
from analysis.results.reading import ACCURACY, LOSS, Change
from analysis.results.settled import number


@dataclass(frozen=True)
class Recovery:
    """Share of the loss increase of a removed block that a heal recovers, on text of another kind than it trained on."""

    share: float
    """1 is the unpruned model's loss, 0 the pruned model's, below 0 a higher loss than the pruned model's."""
    low: float | None
    """Lower end of the 95 % interval, paired by text; None where losses per text were not stored."""
    high: float | None
    n: int
    """Texts."""
    texts: str
    """Name of the text: "C4"."""

    @property
    def is_significant(self) -> bool:
        """Return True where the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def interval(self) -> str:
        """The interval in brackets: "(95 % CI 74 to 92)"."""
        if self.low is None or self.high is None:
            return "(no interval: losses per text were not stored)"
        return f"(95 % CI {number(100 * self.low, 0)} to {number(100 * self.high, 0)})"

    def percent(self) -> str:
        """The share with its interval: "83 % (95 % CI 74 to 92)"."""
        return f"{number(100 * self.share, 0)} % {self.interval}"

    def in_words(self, of: str = "the loss increase") -> str:
        """The effect on the loss as a verb phrase: "recovers 83 % (95 % CI 74 to 92) of the loss increase".

        Args:
            of: the quantity that the share is of.
        """
        if self.low is not None and not self.is_significant:
            return f"does not significantly change the loss: it recovers {self.percent()} of {of}"
        if self.share < 0:
            ends = [f"{number(-100 * end, 0)}" for end in (self.high, self.low) if end is not None]
            interval = f"(95 % CI {' to '.join(ends)})" if ends else self.interval
            return f"raises the loss further, by {number(-100 * self.share, 0)} % {interval} of {of}"
        return f"recovers {self.percent()} of {of}"


def is_judged_by_its_own_kind(result: HealResult) -> bool:
    """Return True where the loss was measured on the kind of text that the heal trained on, which shows no recovery."""
    return bool(result.spec.validation.subject == result.spec.corpus.subject)


def of(result: HealResult) -> Recovery | None:
    """The recovery of a finished heal.

    Returns:
        None for a control, while one of three losses is missing, and for a heal judged by the kind of text that it trained
        on. Also None where the loss increase of the block is not above zero or not significant: no share is defined.
    """
    found = [reading.of_heal(result, which).get(LOSS) for which in ("unpruned", "pruned", "healed")]
    unpruned, pruned, healed = found
    if result.spec.control or is_judged_by_its_own_kind(result) or unpruned is None or pruned is None or healed is None:
        return None
    increase, recovered = pruned.value - unpruned.value, pruned.value - healed.value
    if increase <= 0:
        return None
    title = corpora.title(result.spec.validation)
    losses = [one.losses for one in (unpruned, pruned, healed)]
    if len({len(one) for one in losses}) > 1 or len(losses[0]) < 2:
        return Recovery(recovered / increase, None, None, healed.condition.n, title)
    if not reading.change(unpruned, pruned).is_settled:
        return None
    gains, increases = ([b - a for a, b in zip(losses[place], losses[1], strict=True)] for place in (2, 0))
    return Recovery(*stats.ratio_of_means(gains, increases, pruned.tokens), len(gains), title)


def accuracy_change(result: HealResult, reference: str = "pruned") -> Change | None:
    """Accuracy of the healed model minus that of another model of the same run, paired by question; None without both.

    Args:
        result: the heal.
        reference: "pruned" or "unpruned".
    """
    before, after = (reading.of_heal(result, which).get(ACCURACY) for which in (reference, "healed"))
    return None if before is None or after is None else reading.change(before, after)


def accuracy_in_words(result: HealResult, reference: str = "pruned") -> str:
    """The change of accuracy in words, significant or not, with its interval in points and n.

    "accuracy: not significantly different from the pruned model (95 % CI -4 to +15 points, n = 200)".
    """
    change = accuracy_change(result, reference)
    if change is None:
        return "accuracy: not measured"
    if change.low is None or change.high is None:
        return f"accuracy: {number(100 * change.difference, 0, '+')} points (no interval, n = {change.n:,})"
    ends = f"95 % CI {number(100 * change.low, 0, '+')} to {number(100 * change.high, 0, '+')} points, n = {change.n:,}"
    if not change.is_settled:
        return f"accuracy: not significantly different from the {reference} model ({ends})"
    direction = "higher" if change.difference > 0 else "lower"
    points = number(abs(100 * change.difference), 0)
    return f"accuracy: {points} points {direction} than the {reference} model ({ends})"


def loss_in_words(result: HealResult) -> str:
    """The effect on the loss as a verb phrase, or the reason why no share can be stated."""
    found = of(result)
    if found is not None:
        return f"{found.in_words()}, measured on {found.n} texts of {found.texts}"
    if is_judged_by_its_own_kind(result):
        return "was judged by the kind of text that it trained on, which shows no recovery"
    if LOSS not in reading.of_heal(result, "healed"):
        return "has no measured loss"
    n = reading.of_heal(result, "healed")[LOSS].condition.n
    return f"has no loss increase to recover (not significant, n = {n} texts)"


def clause(result: HealResult) -> str:
    """Loss and accuracy of a heal in one clause, for the verdict of a removed block.

    "healing for 10 min recovers 83 % (95 % CI 74 to 92) of the loss increase, measured on 32 texts of C4, accuracy: ...".
    """
    return f"healing for {duration(result.wall_s)} {loss_in_words(result)}, {accuracy_in_words(result)}"


def duration(seconds: float) -> str:
    """Seconds as "17 s", "12 min" or "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
