"""The projection in front of a gap: the last weight before it whose output is added to the stream as it is."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.core.blocks import ATTENTION, Removal
from analysis.core.errors import RecipeError
from analysis.models.decoder import Decoder, output_stream, part_names
from analysis.models.feed_forward import feed_forward_matrices


class NothingAdds(RecipeError):
    """No projection of this family adds to the stream as it is."""


def check_start(cut: Removal) -> None:
    """See to it that there is a layer, or a part of one, before every gap.

    Raises:
        RecipeError: when there is none.
    """
    if (0, ATTENTION) in cut.parts:
        raise RecipeError(
            "An instant heal changes the layer before the cut, and there is none before layer 0; choose another block, or heal "
            "without the instant start."
        )


def output_projection(decoder: Decoder, depth: int) -> tuple[str, nn.Module]:
    """The linear module whose output is added to the stream last before a depth, by name.

    Args:
        decoder: the model as it is now; of a layer without its feed-forward part it is one of the attention.
        depth: 1..L.

    Raises:
        RecipeError: when what no such module puts out is what is added.
    """
    layer = decoder.layers[depth - 1]
    paths = {module: name for name, module in decoder.model.named_modules()}
    inside = [paths[module] for module in layer.modules() if isinstance(module, nn.Linear | Conv1D)]
    fed = set(feed_forward_matrices(decoder).modules)
    attending = tuple(f"{paths[layer]}.{name}." for name in part_names(layer, decoder.family).get(ATTENTION, ()))
    last = [name for name in inside if name in fed] or [name for name in inside if name.startswith(attending)]
    for name in reversed(last):
        module = decoder.model.get_submodule(name)
        if _adds_to_stream(decoder, layer, module):
            return name, module
    raise NothingAdds(
        f"No projection of this {decoder.config.model_type} model adds to the residual stream as it is in front of the gap (a "
        f"norm or a scale stands between), so an instant heal cannot be folded into it; heal by training instead."
    )


def _adds_to_stream(decoder: Decoder, layer: nn.Module, module: nn.Module) -> bool:
    """Whether adding to the module's output adds the very same to the stream behind the layer, tried out."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, args, output: seen.append(output_stream(output)))
    ids = torch.arange(3, 11, device=decoder.device)[None] % max(4, decoder.config.vocab_size)
    try:
        decoder.body(input_ids=ids, use_cache=False)
        # As large as the stream itself, so that it is not lost in the rounding of a half-precision model.
        scale = seen[0].float().abs().mean()
        bump = scale * torch.linspace(-1, 1, decoder.config.hidden_size, device=scale.device)
        with added(module, lambda inputs: bump.expand(*inputs.shape[:-1], -1)):
            decoder.body(input_ids=ids, use_cache=False)
    except RuntimeError:  # the shapes do not fit: this projection does not lead into the stream
        return False
    finally:
        handle.remove()
    before, after = (stream.float() for stream in seen)
    rounding = 4 * torch.finfo(seen[0].dtype).eps * torch.maximum(before.abs(), after.abs())
    return bool(((after - before - bump).abs() <= 2e-2 * scale + rounding).all())


@contextlib.contextmanager
def added(module: nn.Module, extra: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Add `extra(inputs)` to what a module puts out."""

    def add(_: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output + extra(args[0]).to(output.dtype)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def n_features(module: Any) -> int:
    """Numbers per token that a linear module reads."""
    return int(module.weight.shape[0] if isinstance(module, Conv1D) else module.in_features)
