"""The projection in front of a gap: the last module before it whose output is added to the stream unchanged."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from analysis.core import blocks
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Removal
from analysis.core.errors import RecipeError
from analysis.models.architecture.decoder import Decoder, output_stream, part_names
from analysis.models.architecture.matrices import feed_forward_matrices, mixture_of

_ADDING = (
    *("AddBackward0", "ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "TransposeBackward0"),
    *("ToCopyBackward0", "CloneBackward0", "AliasBackward0", "SqueezeBackward0", "UnsqueezeBackward0", "SliceBackward0"),
)
"""Operations of autograd that add a tensor, or only change its shape or dtype."""


def holds_change(skeleton: Decoder, removed: Removal) -> bool:
    """Return whether weights can hold the instant heal's change, from the operations of a pass without weights.

    A factor counts as a scale, even a factor of one. A pass that does not run without weights is taken as yes, since
    `output_projection` tries the loaded model out.

    Args:
        skeleton: the model on the meta device.
        removed: the layers, or parts of layers, that are to be removed; not from the first layer on.
    """
    firsts = [min(gap.parts, key=lambda part: (part[0], part[1] == FEED_FORWARD)) for gap in blocks.gaps(removed)]
    return all(
        _reaches_stream(skeleton, layer if part == FEED_FORWARD else layer - 1, is_whole=part == ATTENTION)
        for layer, part in firsts
    )


def _reaches_stream(skeleton: Decoder, index: int, *, is_whole: bool) -> bool:
    """Return whether the output of a projection of a layer, or of its attention alone, is added to the stream unchanged."""
    layer, outputs, streams = skeleton.layers[index], list[Any](), list[Any]()
    mixture = _mixture(skeleton, index) if is_whole else None
    names = [*([mixture] if mixture else []), *_projections(skeleton, layer, is_whole=is_whole)]
    handles = [
        skeleton.model.get_submodule(name).register_forward_hook(
            lambda _, args, output: outputs.append(output_stream(output).grad_fn)
        )
        for name in names
    ]
    handles.append(layer.register_forward_hook(lambda _, args, output: streams.append(output_stream(output).grad_fn)))
    ids = _trial_ids(skeleton)
    # A mask of four dimensions is taken as it is. Others would be looked into, which have no values without weights.
    mask = torch.ones(1, 1, *[ids.shape[1]] * 2, dtype=torch.bool, device=ids.device)
    try:
        with torch.enable_grad():
            skeleton.body(input_ids=ids, attention_mask=mask, use_cache=False)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        return True
    finally:
        for handle in handles:
            handle.remove()
    reached, waiting = set[Any](), list(streams)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in reached:
            reached.add(node)
            waiting += [before for before, _ in node.next_functions] if node.name() in _ADDING else []
    return any(node in reached for node in outputs)


def check_start(cut: Removal) -> None:
    """See to it that there is a layer, or a part of one, before every gap.

    Raises:
        RecipeError: If there is none.
    """
    if (0, ATTENTION) in cut.parts:
        raise RecipeError(
            "An instant heal changes the layer before the removed block, and there is none before layer 0. Choose another "
            "block, or heal without it (instant=false)."
        )


def output_projection(decoder: Decoder, depth: int) -> tuple[str, nn.Module]:
    """Return the last module that adds to the stream before a depth, with its name: a linear module or a mixture of experts.

    The output of a mixture is a sum over its experts, so a linear map of it is one of each expert's last matrix (`spread`).

    Args:
        decoder: the model in its present state; in a layer without its feed-forward module the result is of the attention.
        depth: 1..L.

    Raises:
        RecipeError: If no such module's output is added unchanged.
    """
    layer = decoder.layers[depth - 1]
    if (name := _mixture(decoder, depth - 1)) is not None:
        mixture = decoder.model.get_submodule(name)
        if _adds_to_stream(decoder, layer, mixture) and _takes_in(decoder, mixture):
            return name, mixture
    for name in reversed(_projections(decoder, layer, is_whole=True)):
        module = decoder.model.get_submodule(name)
        if _adds_to_stream(decoder, layer, module):
            return name, module
    raise RecipeError(
        f"No projection of this {decoder.config.model_type} model adds directly to the residual stream before the gap: a norm "
        f"or a scale stands between. Heal without the instant heal, by a recipe that trains (`--set instant=false`)."
    )


def _projections(decoder: Decoder, layer: nn.Module, *, is_whole: bool) -> list[str]:
    """Return the linear modules of the feed-forward part of a layer, or else of its attention, by name.

    Args:
        decoder: the model.
        layer: one of its layers.
        is_whole: whether the feed-forward part counts.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    inside = [paths[module] for module in layer.modules() if is_linear(module)]
    fed = set(feed_forward_matrices(decoder).modules) if is_whole else set()
    attending = tuple(f"{paths[layer]}.{name}." for name in part_names(layer, decoder.family).get(ATTENTION, ()))
    return [name for name in inside if name in fed] or [name for name in inside if name.startswith(attending)]


def _mixture(decoder: Decoder, index: int) -> str | None:
    """Name of the feed-forward part of a layer if that is one mixture of experts kept in tensors."""
    mixture = mixture_of(decoder, index)
    return mixture[0] if mixture is not None and mixture[1].experts else None


def _adds_to_stream(decoder: Decoder, layer: nn.Module, module: nn.Module) -> bool:
    """Try out whether a change of the module's output changes the stream behind the layer by exactly as much."""
    outputs, parts = list[Tensor](), list[Tensor]()
    handles = [
        layer.register_forward_hook(lambda _, args, output: outputs.append(output_stream(output))),
        module.register_forward_hook(lambda _, args, output: parts.append(output_stream(output))),
    ]
    ids = _trial_ids(decoder)
    try:
        decoder.body(input_ids=ids, use_cache=False)
        # As large as the stream itself, so that it is not lost in the rounding of a half-precision model.
        scale = outputs[0].float().abs().mean()
        bump = scale * torch.linspace(-1, 1, decoder.config.hidden_size, device=scale.device)
        with added(module, lambda features: bump.expand(*features.shape[:-1], -1)):
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not fit: this projection does not lead into the stream
        return False
    finally:
        for handle in handles:
            handle.remove()
    before, after = (stream.float() for stream in outputs)
    # The output of the module may be much larger than the sum, and is rounded as well.
    added_to = [part.float().reshape(before.shape) for part in parts if part.numel() == before.numel()]
    largest = torch.stack([before, after, *added_to]).abs().amax(0)
    rounding = 4 * torch.finfo(outputs[0].dtype).eps * largest
    return bool(((after - before - bump).abs() <= 2e-2 * scale + rounding).all())


def _takes_in(decoder: Decoder, mixture: nn.Module) -> bool:
    """Try out, with a random map, whether a linear map of a mixture's output is one of its experts' last matrices."""
    hidden = decoder.config.hidden_size
    change = torch.randn(hidden, hidden, generator=torch.Generator().manual_seed(0)) / hidden**0.5
    ids, inputs = _trial_ids(decoder), list[Tensor]()
    written = _last_tensors(decoder, mixture)
    if not written or any(type(tensor) is not nn.Parameter for tensor in written.values()):
        return False
    backup = {name: tensor.detach().clone() for name, tensor in written.items()}
    handle = mixture.register_forward_hook(lambda _, args, output: inputs.append(output_stream(output)))
    try:
        decoder.body(input_ids=ids, use_cache=False)
        with contextlib.ExitStack() as mapped:
            for name, tensor in written.items():
                tensor.detach().add_(_mapped(tensor, change, mixture, name).to(tensor))
            for module in _last_modules(decoder, mixture).values():
                mapped.enter_context(_mapping(module, change))
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not fit
        return False
    finally:
        handle.remove()
        for name, tensor in written.items():
            tensor.detach().copy_(backup[name])
    before, after = (output.reshape(-1, hidden).float() for output in inputs)
    return decoder.agree(after, before + before @ change.to(before.device).T)


def spread(decoder: Decoder, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the changes of weights that are equivalent to changes of projections; only those of mixtures of experts differ.

    (I + M) Σ w_e D_e h_e = Σ w_e (I + M) D_e h_e. So M D_e, added to the last matrix of each expert, has the effect of M behind
    the mixture, for any weights of the router. The same holds for their biases, and for shared experts.

    Args:
        decoder: the model in its present state, without an adapter.
        changes: by name, as in `output_projection`.

    Returns:
        By name of a module or a parameter, float32, shaped as its weight.
    """
    tensors: dict[str, Tensor] = {}
    for name, change in changes.items():
        module = decoder.model.get_submodule(name)
        if is_linear(module):
            tensors[name] = change
            continue
        for inner_name, tensor in _last_tensors(decoder, module).items():
            tensors[f"{name}.{inner_name}"] = _mapped(tensor, change, module, inner_name)
        for inner_name, last in _last_modules(decoder, module).items():
            tensors[f"{name}.{inner_name}"] = change.to(last.weight.device) @ dequantize_module_weight(last).detach().float()
    return tensors


def _last_tensors(decoder: Decoder, mixture: nn.Module) -> dict[str, nn.Parameter]:
    """The last matrices of experts that are kept in one tensor, and their biases, by name within the mixture."""
    writers = decoder.family.writers
    tensors = {}
    for name, tensor in mixture.named_parameters():
        of_module = name.removesuffix(".weight").rpartition(".")[2]
        attribute = name.rpartition(".")[2]
        is_matrix = tensor.dim() == 3 and (attribute in writers or of_module in writers)
        if is_matrix or (tensor.dim() == 2 and attribute.removesuffix("_bias") in writers and attribute.endswith("_bias")):
            tensors[name] = tensor
    return tensors


def _last_modules(decoder: Decoder, mixture: nn.Module) -> dict[str, Any]:
    """The last matrices of the experts that all share."""
    return {
        name: module
        for name, module in mixture.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in decoder.family.writers
    }


def _mapped(tensor: Tensor, change: Tensor, mixture: nn.Module, name: str) -> Tensor:
    """Return the change of experts' matrices, (n_experts, out, in) or as they are kept, or biases, by a map of their output."""
    change, wide = change.to(tensor.device), tensor.detach().float()
    owner = mixture.get_submodule(name.rpartition(".")[0])
    if tensor.dim() == 2 or getattr(owner, "is_transposed", False):
        return wide @ change.T
    return change @ wide


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _mapping(module: Any, change: Tensor) -> Iterator[None]:
    """Add a map of a linear module's product to its output; its bias is left out, for an adapter cannot change one."""

    def add(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        product = output if module.bias is None else output - module.bias
        return output + (product.float() @ change.to(product.device).T).to(output.dtype)

    with _hooked(module, add):
        yield


def _trial_ids(decoder: Decoder) -> Tensor:
    return torch.arange(3, 11, device=decoder.device)[None] % max(4, decoder.config.vocab_size)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is linear: its change applies to its input. A change of a mixture applies to its output."""
    return isinstance(module, nn.Linear | Conv1D)


@contextlib.contextmanager
def added(module: nn.Module, extra: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Add `extra(features)` to a module's output: features are the input of a linear module, or the output of a mixture."""

    def add(_: nn.Module, args: Any, output: Any) -> Any:
        stream = output_stream(output)
        moved = stream + extra(args[0] if is_linear(module) else stream).to(stream.dtype)
        return moved if isinstance(output, Tensor) else (moved, *output[1:])

    with _hooked(module, add):
        yield


def watched(module: nn.Module, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """Pass on the features of a module at every call, as in `added`."""
    if is_linear(module):
        return module.register_forward_pre_hook(lambda _, args: keep(args[0]))
    return module.register_forward_hook(lambda _, args, output: keep(output_stream(output)))


def n_features(module: Any, hidden_size: int) -> int:
    """Return the numbers per token that a change of a module reads, as in `added`."""
    if not is_linear(module):
        return hidden_size
    return int(module.weight.shape[0] if isinstance(module, Conv1D) else module.in_features)
