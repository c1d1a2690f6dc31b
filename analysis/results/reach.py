"""Recovery that healing runs of a kind have reached, on text of another kind than they trained on: of one block, or of several.

Only blocks of whole layers count, since a summary over blocks names their sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core.blocks import PartSet, Removal
from analysis.experiments.heal.heal_result import HealResult
from analysis.results import evidence, recovery
from analysis.results.recovery import Recovery

_NEAR = 1.25
"""A heal of twelve minutes still counts as one of ten."""


@dataclass(frozen=True)
class Reach:
    """Recoveries of one kind of heal over the blocks that it was measured on."""

    least: Recovery
    """The smallest share, with its interval."""
    most: Recovery
    """The largest share, with its interval."""
    sizes: tuple[int, int]
    """Layers of the smallest and of the largest block."""
    n: int
    """Blocks, each with its strongest evidence."""
    model: str
    """Name of the model."""
    accuracy: str
    """The change of accuracy in words."""

    def in_words(self) -> str:
        """Recovery, then accuracy: "recovers 83 % (95 % CI 74 to 92) of the loss increase on C4; accuracy: ..."."""
        of = f"the loss increase on {self.least.texts}"
        if self.n == 1:
            return f"{self.least.in_words(of)}, {self.accuracy}"
        low, high = self.sizes
        sizes = f"{low} layer{'s' * (low > 1)}" if low == high else f"{low} to {high} layers"
        return f"recovers {self.least.percent()} to {self.most.percent()} of {of}, {self.n} blocks of {sizes}, {self.accuracy}"

    def in_brief(self) -> str:
        """One short line on several blocks: "4 other blocks: 23 % (20 to 25) to 67 % (65 to 69)", then accuracy."""
        ends = [self.least] if self.n == 1 else [self.least, self.most]
        shares = " to ".join(found.percent().replace("95 % CI ", "") for found in ends)
        return f"{self.n} other block{'s' * (self.n > 1)}: recovers {shares}, {self.accuracy}"


def of(heals: Sequence[HealResult], recipe: str, minutes: float | None, block: Removal | None = None) -> Reach | None:
    """Recoveries by a recipe in a time; None where none was measured on text of another kind.

    Args:
        heals: of one model, finished or not.
        recipe: name of the recipe.
        minutes: its time; None for a recipe that names none.
        block: only heals of this block; None for all blocks.
    """
    strongest: dict[Removal, HealResult] = {}
    for heal in evidence.ranked([heal for heal in heals if _counts(heal, recipe, minutes, block)]):
        strongest.setdefault(heal.spec.block, heal)
    text = next((heal.spec.validation.source for heal in strongest.values()), "")
    same = [heal for heal in strongest.values() if heal.spec.validation.source == text]
    pairs = [(heal, share) for heal in same if (share := recovery.of(heal)) is not None]
    if not pairs:
        return None
    shares, sizes = [share for _, share in pairs], [heal.spec.block.size for heal, _ in pairs]
    ends = [pick(shares, key=lambda found: found.share) for pick in (min, max)]
    accuracy = _accuracy([heal for heal, _ in pairs])
    return Reach(ends[0], ends[1], (min(sizes), max(sizes)), len(pairs), pairs[0][0].model.name, accuracy)


def _accuracy(heals: Sequence[HealResult]) -> str:
    """The change of accuracy of one heal, or the number of significant changes among several."""
    if len(heals) == 1:
        return recovery.accuracy_in_words(heals[0])
    changes = [change for heal in heals if (change := recovery.accuracy_change(heal)) is not None]
    if not changes:
        return "accuracy: not measured"
    higher, lower = (sum(change.is_settled and sign * change.difference > 0 for change in changes) for sign in (1, -1))
    if not higher and not lower:
        return f"accuracy: no significant change on any of {len(changes)} blocks"
    return f"accuracy: significantly higher on {higher}, lower on {lower} of {len(changes)} blocks"


def _counts(heal: HealResult, recipe: str, minutes: float | None, block: Removal | None) -> bool:
    spec = heal.spec
    if spec.control or isinstance(spec.block, PartSet) or not heal.complete or spec.recipe != recipe:
        return False
    if recovery.is_judged_by_its_own_kind(heal) or block not in (None, spec.block):
        return False
    if minutes is None or spec.minutes is None:
        return minutes is spec.minutes
    return 1 / _NEAR <= spec.minutes / minutes <= _NEAR
