"""Names of the weight matrices of attention and feed-forward sublayers, experts included.

Experts are separate modules or, as in transformers, one parameter (n_experts, …, …) per matrix. The
weights of routers are not included.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import nn
from transformers.pytorch_utils import Conv1D

from analysis.core.errors import RecipeError
from analysis.models.architecture.decoder import Absent, Decoder
from analysis.models.architecture.families import Family

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Matrices:
    """Full names of weight matrices in a model."""

    modules: list[str] = field(default_factory=list)
    """Linear modules."""
    experts: list[str] = field(default_factory=list)
    """Parameters with a matrix of each expert."""

    def __add__(self, more: "Matrices") -> "Matrices":
        return Matrices([*self.modules, *more.modules], [*self.experts, *more.experts])

    def __bool__(self) -> bool:
        return bool(self.modules or self.experts)

    @property
    def names(self) -> list[str]:
        """Names of modules and parameters."""
        return [*self.modules, *self.experts]


def feed_forward_matrices(decoder: Decoder) -> Matrices:
    """Return every feed-forward matrix of the remaining decoder layers, shared experts included.

    Names are matched inside the feed-forward part only: PEFT's usual matching by suffix would also
    adapt the attention output of families that call both `c_proj`.

    Returns:
        Names as in `model.named_modules()` and `named_parameters()`, first layer first.

    Raises:
        RecipeError: for layers without a recognized feed-forward part, and if the removal left
            none.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    family = decoder.family
    matrices = Matrices()
    for index, layer in enumerate(decoder.layers):
        parts = _parts(layer, family)
        matrices_of_layer = _all(_of_part(part, paths, family) for part in parts)
        if not matrices_of_layer and not any(isinstance(part, Absent) for part in parts):
            raise RecipeError(
                f"Layer {index} of this {decoder.config.model_type} model has no known feed-forward"
                f" part ({', '.join((*family.feed_forward, *family.feed_forward_linears))}), so"
                " LoRA has no target there. Choose a model of another family."
            )
        matrices += matrices_of_layer
    if not matrices:
        raise RecipeError(
            "No layer keeps its feed-forward part, so LoRA has no target modules. Set lora_on to"
            " attention, or keep some feed-forward parts."
        )
    return matrices


def attention_matrices(decoder: Decoder) -> Matrices:
    """Return every attention matrix of the remaining decoder layers.

    Raises:
        RecipeError: If no layer has one.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    family = decoder.family
    matrices = Matrices()
    for layer in decoder.layers:
        for name, child in layer.named_children():
            if name in family.attention:
                matrices += _of_other(child, paths, family)
    if not matrices:
        raise RecipeError(
            f"No remaining layer of this {decoder.config.model_type} model has a known attention"
            f" part ({', '.join(family.attention)}), so LoRA has no target modules. Set lora_on to"
            " feed_forward."
        )
    return matrices


def has_experts(decoder: Decoder) -> bool:
    """Return whether any remaining layer has experts."""
    return any(_is_mixture(layer, decoder.family) for layer in decoder.layers)


def mixture_of(decoder: Decoder, index: int) -> tuple[str, Matrices] | None:
    """Return name and matrices of a layer's feed-forward part if it is one module with experts,
    else None.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    parts = _parts(decoder.layers[index], decoder.family)
    if len(parts) != 1 or not _is_mixture(parts[0], decoder.family):
        return None
    return paths[parts[0]], _of_part(parts[0], paths, decoder.family)


def _parts(layer: nn.Module, family: Family) -> list[nn.Module]:
    children = list(layer.named_children())
    parts = [child for name, child in children if name in family.feed_forward]
    return parts + [child for name, child in children if name in family.feed_forward_linears]


def _all(parts: Iterable[Matrices]) -> Matrices:
    return sum(parts, Matrices())


def _of_part(part: nn.Module, paths: dict[nn.Module, str], family: Family) -> Matrices:
    """Return the matrices of a feed-forward part."""
    if not _is_mixture(part, family):
        return Matrices(
            [paths[module] for module in part.modules() if isinstance(module, nn.Linear | Conv1D)]
        )
    modules = list[str]()
    for module in _beside_routers(part, family):
        linear = [
            child
            for child in module.children()
            if isinstance(child, nn.Linear | Conv1D) and not _routes(child, family)
        ]
        # A single matrix weighs or selects experts.
        if len(linear) > 1 and len(linear) == len(_linears(module)) and not list(_stacked(module)):
            modules += [
                paths[child]
                for name, child in module.named_children()
                if child in linear and not _names_router(name, family)
            ]
    return Matrices(modules, _experts(part, paths, family))


def _of_other(child: nn.Module, paths: dict[nn.Module, str], family: Family) -> Matrices:
    """Return the matrices of a child other than the feed-forward part, such as attention."""
    modules = [
        paths[module]
        for module in _beside_routers(child, family)
        if isinstance(module, nn.Linear | Conv1D)
    ]
    return Matrices(modules, _experts(child, paths, family) if _is_mixture(child, family) else [])


def _experts(part: nn.Module, paths: dict[nn.Module, str], family: Family) -> list[str]:
    names = []
    for module in _beside_routers(part, family):
        if isinstance(module, CONVOLUTIONS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 3:
                names.append(f"{paths[module]}.{name}")
    return names


def _beside_routers(part: nn.Module, family: Family) -> Iterator[nn.Module]:
    """Yield the modules of a part, itself included, outside of routers."""
    inside = [
        name
        for name, module in part.named_modules()
        if _names_router(name, family) or _routes(module, family)
    ]
    for name, module in part.named_modules():
        if not any(name == router or name.startswith(f"{router}.") for router in inside):
            yield module


def _names_router(name: str, family: Family) -> bool:
    return any(word in name.rpartition(".")[2].lower() for word in family.routers)


def _routes(module: nn.Module, family: Family) -> bool:
    return any(word in type(module).__name__.lower() for word in family.routers)


def _linears(module: nn.Module) -> list[nn.Module]:
    return [inside for inside in module.modules() if isinstance(inside, nn.Linear | Conv1D)]


def _stacked(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters with a matrix of each expert."""
    for inside in module.modules():
        if not isinstance(inside, CONVOLUTIONS):
            yield from (
                parameter for parameter in inside.parameters(recurse=False) if parameter.dim() == 3
            )


def _is_mixture(part: nn.Module, family: Family) -> bool:
    return any(_names_experts(module, family) for module in part.modules())


def _names_experts(module: nn.Module, family: Family) -> bool:
    return any(word in type(module).__name__.lower() for word in family.experts)
