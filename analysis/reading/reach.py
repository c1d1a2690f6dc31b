"""What heals of a kind have reached: the share of the lost loss that they got back, on text of another kind.

Only those of whole layers tell, since reach is told by how many layers are gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.core.blocks import PartSet, Removal
from analysis.data import corpora
from analysis.experiments.heal.spec import HealResult
from analysis.reading import differences, evidence
from analysis.reading.heals import is_flattered

_NEAR = 1.25
"""A heal of twelve minutes still tells of those of ten."""


@dataclass(frozen=True)
class Reach:
    """The shares of the loss that pruning added and heals took away again, over several cuts."""

    low: float
    """The least; below 0 where a heal made it worse."""
    high: float
    sizes: tuple[int, int]
    """Layers of the smallest and the largest cut."""
    n: int
    """Cuts, each with its best evidence."""
    text: str
    """What the text is called that it was measured on, of another kind than the healing text."""
    model: str
    """Name of the model."""


def of(heals: Sequence[HealResult], recipe: str, minutes: float | None) -> Reach | None:
    """What heals by a recipe in a time have reached; None where none was measured on text of another kind.

    Args:
        heals: of one model, finished or not.
        recipe: the recipe's name.
        minutes: the named time; None for one that names none.
    """
    found: dict[Removal, HealResult] = {}
    for heal in evidence.ranked([heal for heal in heals if _tells(heal, recipe, minutes)]):
        found.setdefault(heal.spec.block, heal)
    text = next((heal.spec.validation.source for heal in found.values()), "")
    same = {block: heal for block, heal in found.items() if heal.spec.validation.source == text}
    shares = [share for heal in same.values() if (share := differences.recovered(heal)) is not None]
    if not shares:
        return None
    sizes, first = [block.size for block in same], next(iter(same.values()))
    ends = (min(shares), max(shares))
    return Reach(*ends, (min(sizes), max(sizes)), len(shares), corpora.title(first.spec.validation), first.model.name)


def _tells(heal: HealResult, recipe: str, minutes: float | None) -> bool:
    spec = heal.spec
    if spec.control or isinstance(spec.block, PartSet) or not heal.complete or spec.recipe != recipe or is_flattered(heal):
        return False
    if minutes is None or spec.minutes is None:
        return minutes is spec.minutes
    return 1 / _NEAR <= spec.minutes / minutes <= _NEAR
