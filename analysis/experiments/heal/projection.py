"""The projection before a gap: the last module whose output is added to the residual stream
unchanged.
"""

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
    *(
        "AddBackward0",
        "ViewBackward0",
        "UnsafeViewBackward0",
        "ReshapeAliasBackward0",
        "TransposeBackward0",
    ),
    *(
        "ToCopyBackward0",
        "CloneBackward0",
        "AliasBackward0",
        "SqueezeBackward0",
        "UnsqueezeBackward0",
        "SliceBackward0",
    ),
)
"""Autograd nodes of additions and of changes of shape or dtype."""


def holds_change(skeleton: Decoder, removed: Removal) -> bool:
    """Return whether weights can hold the change of the instant heal, by the operations of a
    forward pass without weights.

    A multiplication counts as a scale, even by one. If the pass does not run without weights, the
    answer is True, since `output_projection` tests the loaded model.

    Args:
        skeleton: The model on the meta device.
        removed: Layers or sublayers to remove, which must not begin with the first layer.
    """
    firsts = [
        min(gap.parts, key=lambda part: (part[0], part[1] == FEED_FORWARD))
        for gap in blocks.gaps(removed)
    ]
    return all(
        _reaches_stream(
            skeleton, layer if part == FEED_FORWARD else layer - 1, is_whole=part == ATTENTION
        )
        for layer, part in firsts
    )


def _reaches_stream(skeleton: Decoder, index: int, *, is_whole: bool) -> bool:
    """Return whether the output of a projection of a layer, or of its attention only, is added to
    the stream unchanged.
    """
    layer = skeleton.layers[index]
    outputs = list[Any]()
    streams = list[Any]()
    mixture = _mixture(skeleton, index) if is_whole else None
    names = [*([mixture] if mixture else []), *_projections(skeleton, layer, is_whole=is_whole)]
    handles = [
        skeleton.model.get_submodule(name).register_forward_hook(
            lambda _, args, output: outputs.append(output_stream(output).grad_fn)
        )
        for name in names
    ]
    handles.append(
        layer.register_forward_hook(
            lambda _, args, output: streams.append(output_stream(output).grad_fn)
        )
    )
    ids = _trial_ids(skeleton)
    # A four-dimensional mask is used as it is. transformers reads the values of other masks, which
    # the meta device lacks.
    mask = torch.ones(1, 1, *[ids.shape[1]] * 2, dtype=torch.bool, device=ids.device)
    try:
        with torch.enable_grad():
            skeleton.body(input_ids=ids, attention_mask=mask, use_cache=False)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        return True
    finally:
        for handle in handles:
            handle.remove()
    reached = set[Any]()
    waiting = list(streams)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in reached:
            reached.add(node)
            waiting += (
                [before for before, _ in node.next_functions] if node.name() in _ADDING else []
            )
    return any(node in reached for node in outputs)


def check_start(cut: Removal) -> None:
    """Check that there is a module before every gap.

    Raises:
        RecipeError: If there is none.
    """
    if (0, ATTENTION) in cut.parts:
        raise RecipeError(
            "An instant heal changes the layer before the removed block, and there is none before"
            " layer 0. Choose another block, or heal without it (instant=false)."
        )


def output_projection(decoder: Decoder, depth: int) -> tuple[str, nn.Module]:
    """Return name and module of the last linear module or mixture of experts that adds to the
    stream before a depth.

    The output of a mixture is a sum over its experts, so a linear map of it equals one of each
    expert's last matrix (`spread`).

    Args:
        decoder: The model in its current state. In a layer without its feed-forward module, the
            attention's projection is returned.
        depth: 1..L.

    Raises:
        RecipeError: If no module's output is added unchanged.
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
        f"No projection of this {decoder.config.model_type} model adds directly to the residual"
        " stream before the gap: a norm or a scale stands between. Heal without the instant heal,"
        " by a recipe that trains (`--set instant=false`)."
    )


def _projections(decoder: Decoder, layer: nn.Module, *, is_whole: bool) -> list[str]:
    """Return the names of the linear modules of a layer's feed-forward part, or of its attention if
    there are none.

    Args:
        decoder: The model.
        layer: One of its layers.
        is_whole: Whether to include the feed-forward part.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    inside = [paths[module] for module in layer.modules() if is_linear(module)]
    fed = set(feed_forward_matrices(decoder).modules) if is_whole else set()
    attending = tuple(
        f"{paths[layer]}.{name}." for name in part_names(layer, decoder.family).get(ATTENTION, ())
    )
    return [name for name in inside if name in fed] or [
        name for name in inside if name.startswith(attending)
    ]


def _mixture(decoder: Decoder, index: int) -> str | None:
    """Return the name of the feed-forward part of a layer if it is a mixture of experts stored as
    tensors, otherwise None.
    """
    mixture = mixture_of(decoder, index)
    return mixture[0] if mixture is not None and mixture[1].experts else None


def _adds_to_stream(decoder: Decoder, layer: nn.Module, module: nn.Module) -> bool:
    """Return whether a change of the module's output changes the output of the layer by the same
    amount, by a trial.
    """
    outputs = list[Tensor]()
    parts = list[Tensor]()
    handles = [
        layer.register_forward_hook(lambda _, args, output: outputs.append(output_stream(output))),
        module.register_forward_hook(lambda _, args, output: parts.append(output_stream(output))),
    ]
    ids = _trial_ids(decoder)
    try:
        decoder.body(input_ids=ids, use_cache=False)
        # As large as the stream, so that rounding in half precision does not hide it.
        scale = outputs[0].float().abs().mean()
        bump = scale * torch.linspace(-1, 1, decoder.config.hidden_size, device=scale.device)
        with added(module, lambda features: bump.expand(*features.shape[:-1], -1)):
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not match, so this projection does not write to the stream
        return False
    finally:
        for handle in handles:
            handle.remove()
    before, after = (stream.float() for stream in outputs)
    # The module's output may be much larger than the sum, and rounding errors are proportional to
    # the larger one.
    added_to = [
        part.float().reshape(before.shape) for part in parts if part.numel() == before.numel()
    ]
    largest = torch.stack([before, after, *added_to]).abs().amax(0)
    rounding = 4 * torch.finfo(outputs[0].dtype).eps * largest
    return bool(((after - before - bump).abs() <= 2e-2 * scale + rounding).all())


def _takes_in(decoder: Decoder, mixture: nn.Module) -> bool:
    """Return whether a linear map of a mixture's output equals one of its experts' last matrices,
    by a trial.
    """
    hidden = decoder.config.hidden_size
    change = torch.randn(hidden, hidden, generator=torch.Generator().manual_seed(0)) / hidden**0.5
    ids = _trial_ids(decoder)
    inputs = list[Tensor]()
    written = _last_tensors(decoder, mixture)
    if not written or any(type(tensor) is not nn.Parameter for tensor in written.values()):
        return False
    backup = {name: tensor.detach().clone() for name, tensor in written.items()}
    handle = mixture.register_forward_hook(
        lambda _, args, output: inputs.append(output_stream(output))
    )
    try:
        decoder.body(input_ids=ids, use_cache=False)
        with contextlib.ExitStack() as mapped:
            for name, tensor in written.items():
                tensor.detach().add_(_mapped(tensor, change, mixture, name).to(tensor))
            for module in _last_modules(decoder, mixture).values():
                mapped.enter_context(_mapping(module, change))
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not match
        return False
    finally:
        handle.remove()
        for name, tensor in written.items():
            tensor.detach().copy_(backup[name])
    before, after = (output.reshape(-1, hidden).float() for output in inputs)
    return decoder.agree(after, before + before @ change.to(before.device).T)


def spread(decoder: Decoder, changes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return changes of projections as changes of weights. Only those of mixtures of experts
    differ.

    (I + M) Σ w_e D_e h_e = Σ w_e (I + M) D_e h_e. So adding M D_e to the last matrix of each expert
    has the effect of M on the output of the mixture, for any router weights. The same holds for
    biases and shared experts.

    Args:
        decoder: The model in its current state, without an adapter.
        changes: Changes by name of the module, as in `Junction.changes`.

    Returns:
        Float32 changes by name of a module or a parameter, in the shape of its weight.
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
            tensors[f"{name}.{inner_name}"] = (
                change.to(last.weight.device) @ dequantize_module_weight(last).detach().float()
            )
    return tensors


def _last_tensors(decoder: Decoder, mixture: nn.Module) -> dict[str, nn.Parameter]:
    """Return the stacked last matrices of the experts and their biases, by name within the
    mixture.
    """
    writers = decoder.family.writers
    tensors = {}
    for name, tensor in mixture.named_parameters():
        of_module = name.removesuffix(".weight").rpartition(".")[2]
        attribute = name.rpartition(".")[2]
        is_matrix = tensor.dim() == 3 and (attribute in writers or of_module in writers)
        if is_matrix or (
            tensor.dim() == 2
            and attribute.removesuffix("_bias") in writers
            and attribute.endswith("_bias")
        ):
            tensors[name] = tensor
    return tensors


def _last_modules(decoder: Decoder, mixture: nn.Module) -> dict[str, Any]:
    """Return the last linear modules of shared experts, by name within the mixture."""
    return {
        name: module
        for name, module in mixture.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in decoder.family.writers
    }


def _mapped(tensor: Tensor, change: Tensor, mixture: nn.Module, name: str) -> Tensor:
    """Return the change of stacked matrices, (n_experts, out, in) or transposed, or of biases by a
    map of their output.
    """
    change = change.to(tensor.device)
    wide = tensor.detach().float()
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
    """Add a map of a linear module's output without bias to the output, since an adapter cannot
    change biases.
    """

    def add(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        product = output if module.bias is None else output - module.bias
        return output + (product.float() @ change.to(product.device).T).to(output.dtype)

    with _hooked(module, add):
        yield


def _trial_ids(decoder: Decoder) -> Tensor:
    return torch.arange(3, 11, device=decoder.device)[None] % max(4, decoder.config.vocab_size)


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is linear. Changes of linear modules apply to inputs, changes of
    mixtures to outputs.
    """
    return isinstance(module, nn.Linear | Conv1D)


@contextlib.contextmanager
def added(module: nn.Module, extra: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Add `extra(features)` to a module's output. Features are the input of a linear module or the
    output of a mixture.
    """

    def add(_: nn.Module, args: Any, output: Any) -> Any:
        stream = output_stream(output)
        moved = stream + extra(args[0] if is_linear(module) else stream).to(stream.dtype)
        return moved if isinstance(output, Tensor) else (moved, *output[1:])

    with _hooked(module, add):
        yield


def watched(module: nn.Module, keep: Callable[[Tensor], None]) -> RemovableHandle:
    """Register a hook that receives the features of a module at every call, as in `added`."""
    if is_linear(module):
        return module.register_forward_pre_hook(lambda _, args: keep(args[0]))
    return module.register_forward_hook(lambda _, args, output: keep(output_stream(output)))


def n_features(module: Any, hidden_size: int) -> int:
    """Return the number of features of a module per token, as in `added`."""
    if not is_linear(module):
        return hidden_size
    return int(module.weight.shape[0] if isinstance(module, Conv1D) else module.in_features)
