"""Recipes and their registry: each recipe registers itself from a file of its own."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from analysis.core.blocks import Block, Removal
from analysis.core.errors import RecipeError
from analysis.core.registry import Registry
from analysis.experiments.heal.heal_spec import HealSpec, judged_by

SETTINGS = tuple(field.name for field in fields(HealSpec) if field.name not in ("block", "recipe"))
"""Settings that a recipe may set."""
_SOME_BLOCK = Block(1, 1)


@dataclass(frozen=True)
class Recipe:
    """A partial `HealSpec` with a title and a reason; other settings have the defaults of `HealSpec`.

    Every setting reads as an attribute, `recipe.r`, whether the recipe sets it or not.
    """

    name: str
    """Name on the command line."""
    title: str
    """Summary in a few words to choose by; empty if the name is enough."""
    why: str
    """A sentence on where the numbers come from."""
    values: dict[str, Any]
    """Fields of `HealSpec` by name; of `model` only the quantization counts."""
    on_gpu: dict[str, Any] = field(default_factory=dict)
    """Settings with other values on a CUDA device."""
    quantize_small: bool = True
    """Whether models that are small enough for any machine are quantized too (`request.SMALL`)."""
    of_model: "Callable[[str], Recipe | None] | None" = None
    """The recipe whose reason and numbers take the place of its own for a model of this source or name, if there is one."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.values, *self.on_gpu} - set(SETTINGS))
        if unknown:
            raise RecipeError(
                f"The recipe {self.name} sets {', '.join(unknown)}, which is no setting of healing. Choose from "
                f"{', '.join(SETTINGS)}."
            )

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"A recipe has no {name}.")
        return getattr(self.spec(), name)

    @property
    def label(self) -> str:
        """Name and title in one line, as menus show them."""
        return f"{self.name}: {self.title}" if self.title else self.name

    def spec(self, block: Removal = _SOME_BLOCK) -> HealSpec:
        """The heal that it stands for, as it stands.

        Args:
            block: the layers, or parts of layers, to remove.

        Raises:
            SpecError: for a value out of range.
        """
        spec = HealSpec(block=block, recipe=self.name, **self.values)
        return spec if "validation" in self.values else replace(spec, validation=judged_by(spec.corpus))

    def adapted(self, *, model: str, on_gpu: bool) -> "Recipe":
        """The recipe as it is for a model and on a machine.

        Args:
            model: the model's source or name.
            on_gpu: whether it will run on a CUDA device.
        """
        model_values = self.of_model(model) if self.of_model else None
        recipe = replace(model_values, name=self.name, title=self.title) if model_values else self
        return replace(recipe, values=recipe.values | recipe.on_gpu) if on_gpu else recipe


RECIPES: Registry[Recipe] = Registry("recipe")
"""Every recipe but the saved ones, by name. The timed ones depend on the machine, `paper` on the model; the others are the same
everywhere."""
NAMES: Collection[str] = RECIPES.keys()
"""Their names in the order of registration, as live as the registry."""


def register(recipe: Recipe) -> Recipe:
    """Make a recipe known everywhere: command line, pages, saved names.

    Raises:
        SpecError: for a value out of range, or a name that another recipe has.
    """
    for on_gpu in (False, True):
        recipe.adapted(model="", on_gpu=on_gpu).spec()
    return RECIPES.add(recipe)


def get(name: str, *, model: str = "", on_gpu: bool = False) -> Recipe:
    """The recipe of this name.

    Args:
        name: one of `NAMES`.
        model: the model's source or name; `paper` takes its row if the table has one.
        on_gpu: whether it will run on a CUDA device; timed recipes take larger batches there.

    Raises:
        RecipeError: for an unknown name.
    """
    if name not in RECIPES:
        raise RecipeError(f"There is no recipe {name!r}. The recipes are {', '.join(NAMES)}.")
    return RECIPES[name].adapted(model=model, on_gpu=on_gpu)
