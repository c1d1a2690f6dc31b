"""Recipes and their registry."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from analysis.core.blocks import Block, Removal
from analysis.core.errors import RecipeError
from analysis.core.registry import Registry
from analysis.experiments.heal.heal_spec import HealSpec, judged_by

SETTINGS = tuple(field.name for field in fields(HealSpec) if field.name not in ("block", "recipe"))
"""Names of the fields of `HealSpec` that a recipe may set."""
_SOME_BLOCK = Block(1, 1)


@dataclass(frozen=True)
class Recipe:
    """Named settings of a healing run; settings that it does not contain have the defaults of
    `HealSpec`.

    Every setting is available as an attribute, such as `recipe.r`.
    """

    name: str
    """Name on the command line."""
    title: str
    """Summary in a few words; "" if the name is enough."""
    why: str
    """Reason for the settings, in a few sentences."""
    values: dict[str, Any]
    """Values of fields of `HealSpec` by name. Only the quantization of `model` is used."""
    on_gpu: dict[str, Any] = field(default_factory=dict)
    """Values that replace those of `values` on a CUDA device."""
    quantize_small: bool = True
    """Whether models below `request.SMALL` parameters are quantized too."""
    of_model: "Callable[[str], Recipe | None] | None" = None
    """Function that returns the recipe to use instead for a model source or name, or None."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.values, *self.on_gpu} - set(SETTINGS))
        if unknown:
            raise RecipeError(
                f"The recipe {self.name} sets {', '.join(unknown)}, which is no setting of healing."
                f" Choose from {', '.join(SETTINGS)}."
            )

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"A recipe has no {name}.")
        return getattr(self.spec(), name)

    @property
    def label(self) -> str:
        """Return name and title for menus."""
        return f"{self.name}: {self.title}" if self.title else self.name

    def spec(self, block: Removal = _SOME_BLOCK) -> HealSpec:
        """Return the request with these settings.

        Args:
            block: Layers or sublayers to remove.

        Raises:
            SpecError: If a value is out of range.
        """
        spec = HealSpec(block=block, recipe=self.name, **self.values)
        return (
            spec
            if "validation" in self.values
            else replace(spec, validation=judged_by(spec.corpus))
        )

    def adapted(self, *, model: str, on_gpu: bool) -> "Recipe":
        """Return the recipe for a model and a device.

        Args:
            model: Source or name of the model.
            on_gpu: Whether it will run on a CUDA device.
        """
        model_values = self.of_model(model) if self.of_model else None
        recipe = replace(model_values, name=self.name, title=self.title) if model_values else self
        return replace(recipe, values=recipe.values | recipe.on_gpu) if on_gpu else recipe


RECIPES: Registry[Recipe] = Registry("recipe")
"""Recipes by name, without saved ones."""
NAMES: Collection[str] = RECIPES.keys()
"""Names of the recipes in the order of registration, a live view of the registry."""


def register(recipe: Recipe) -> Recipe:
    """Register a recipe.

    Raises:
        SpecError: If a value is out of range, or another recipe has the same name.
    """
    for on_gpu in (False, True):
        recipe.adapted(model="", on_gpu=on_gpu).spec()
    return RECIPES.add(recipe)


def get(name: str, *, model: str = "", on_gpu: bool = False) -> Recipe:
    """Return a recipe by name.

    Args:
        name: One of `NAMES`.
        model: Source or name of the model, for which `paper` has the settings of its row in the
            paper's table.
        on_gpu: Whether it will run on a CUDA device, for which timed recipes have larger batches.

    Raises:
        RecipeError: If the name is unknown.
    """
    if name not in RECIPES:
        raise RecipeError(f"There is no recipe {name!r}. The recipes are {', '.join(NAMES)}.")
    return RECIPES[name].adapted(model=model, on_gpu=on_gpu)
