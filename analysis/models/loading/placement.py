"""Placement of a model's parts over several devices, and moving the stream from one to the next.

Every layer fetches its arguments to its own device. So layers can be run by hand, left out and put back as on one
device, and nothing outside has to know their order. The hooks of accelerate are not used. They fetch masks and tables
again for every layer and lose attributes of a mask. They also replace `forward`, which a model that is read layer by layer
replaces, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.hooks import remove_hook_from_module
from torch import Tensor, nn

from analysis.core.blocks import Removal
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import Decoder

_ELSEWHERE = "layerscope_elsewhere"
"""On a mask or a table: its copies by device."""
_HANGING = "layerscope_runs"
"""Attribute of a mask that goes with it to every device; it has a method `to` as tensors have."""
_STEP = 1 << 20
"""Bytes by which the memory left on devices is compared; smaller differences do not count."""


@dataclass(frozen=True)
class Needs:
    """Bytes of the parts of a model."""

    layers: list[int]
    """Weights of each layer."""
    first: int
    """Weights that come before the layers: the embeddings."""
    last: int
    """Weights of the final norm and of the head, none of them counted in `first`."""
    tied: bool
    """Whether the head is tied to the embeddings, and so on their device."""
    stream: int
    """Bytes of a pass through some layers on each device."""
    logits: int
    """Bytes of the head's output, on its device."""


@dataclass(frozen=True)
class Placement:
    """The device of each part of a model."""

    first: str
    """Has the embeddings, and all else that comes before the layers."""
    layers: tuple[str, ...]
    """Of each layer."""
    head_on: str
    """Has the final norm and the head."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Each of them once, in the order of the layers."""
        return tuple(dict.fromkeys((self.first, *self.layers, self.head_on)))

    def without(self, block: Removal) -> "Placement":
        """Return the placement of the cut model."""
        return replace(self, layers=tuple(device for index, device in enumerate(self.layers) if index not in block.layers))

    def in_words(self) -> str:
        """Return the devices of the layers and of the other parts, as part of a sentence."""
        phrases = []
        for device in self.devices:
            indices = [index for index, layer_device in enumerate(self.layers) if layer_device == device]
            layers = [f"layers {indices[0]}-{indices[-1]}" if len(indices) > 1 else f"layer {indices[0]}"] if indices else []
            ends = ["the embeddings"] * (device == self.first) + ["the head"] * (device == self.head_on)
            phrases.append(f"{' with '.join([*layers, *([' and '.join(ends)] if ends else [])])} on {device}")
        return ", ".join(phrases)


def place(needs: Needs, free: Mapping[str, int]) -> Placement | None:
    """Divide a model over devices so that each has as much memory left as possible: neighbouring layers stay together.

    Args:
        needs: of its parts, and of their computation.
        free: bytes by device, in the order in which the layers go through them; more than one.

    Returns:
        The placement; None if it does not fit.
    """
    low, high = 0, max(free.values(), default=0) // _STEP
    best = _filled(needs, free, 0)
    while best is not None and low < high:
        room = (low + high + 1) // 2
        placement = _filled(needs, free, room * _STEP)
        low, high, best = (low, room - 1, best) if placement is None else (room, high, placement)
    return best


def _filled(needs: Needs, free: Mapping[str, int], room: int) -> Placement | None:
    """The layers one after another, on each device as many as leave it this much."""
    devices = list(free)
    free_bytes = [n_bytes - needs.stream - room for n_bytes in free.values()]
    free_bytes[0] -= needs.first + (needs.last + needs.logits if needs.tied else 0)
    if free_bytes[0] < 0:
        return None
    device_index, layers = 0, list[str]()
    for part in [*needs.layers, 0 if needs.tied else needs.last + needs.logits]:
        while free_bytes[device_index] < part:
            device_index += 1
            if device_index == len(devices):
                return None
        free_bytes[device_index] -= part
        layers.append(devices[device_index])
    *layers, last = layers
    return Placement(devices[0], tuple(layers), devices[0] if needs.tied else last)


def device_map(decoder: Decoder, placement: Placement) -> dict[str, str]:
    """The placement by module name, as transformers expects it in order to load every weight on its device.

    Args:
        decoder: the model, or its weightless skeleton.
        placement: devices of its parts.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    layers = {paths[layer]: device for layer, device in zip(decoder.layers, placement.layers, strict=True)}
    return {"": placement.first, paths[decoder.norm]: placement.head_on, paths[decoder.head]: placement.head_on, **layers}


def spread(decoder: Decoder, placement: Placement) -> None:
    """Put every part of a model on its device, and let each fetch its arguments.

    Args:
        decoder: the model, whole; parts that are on their device already stay.
        placement: devices of its parts.

    Raises:
        UnsupportedModelError: when the family's body does more between its layers than hand on the stream.
    """
    _without_hooks_of_others(decoder.model)
    for layer, device in zip(decoder.layers, placement.layers, strict=True):
        layer.to(device)
        _fetches(layer, torch.device(device))
    last = {module for end in (decoder.norm, decoder.head) for module in end.modules()}
    inside = {module for layer in decoder.layers for module in layer.modules()}
    for module in decoder.model.modules():
        if module not in inside and (module._parameters or module._buffers):
            place = torch.device(placement.head_on if module in last else placement.first)
            module._apply(lambda tensor, place=place: tensor.to(place), recurse=False)
            _fetches(module, place)
    _fetches(decoder.body, torch.device(placement.first))
    try:
        with torch.inference_mode():
            decoder.model(input_ids=torch.tensor([decoder.trial_tokens(8)]), use_cache=False)
    except RuntimeError as error:
        if "same device" not in str(error):
            raise
        raise UnsupportedModelError(
            f"The body of this {decoder.config.model_type} model does more between its layers than pass on the "
            f"residual stream, so it cannot be spread over {len(placement.devices)} devices. Choose one device "
            "that fits all of it, such as cuda:0, or a smaller model."
        ) from error


def _without_hooks_of_others(model: Any) -> None:
    """Take off the hooks that transformers puts on a model whose weights it has read to several devices."""
    hooked = [module for module in model.modules() if hasattr(module, "_hf_hook")]
    remove_hook_from_module(model, recurse=True)
    for module in hooked:
        vars(module).pop("forward", None)  # the method of its class was put back on the module itself
    vars(model).pop("hf_device_map", None)


def _fetches(module: nn.Module, device: torch.device) -> None:
    """Let a module move its arguments to its device, from any other."""

    def fetch(_: nn.Module, args: tuple, named: dict) -> tuple[tuple, dict]:
        # The stream is another one at every call; the arguments beside it are the same for all layers.
        stream, rest = args[:1], args[1:]
        moved = {name: _moved(value, device, keep=name != "hidden_states") for name, value in named.items()}
        return (*_moved(stream, device, keep=False), *_moved(rest, device, keep=True)), moved

    module.register_forward_pre_hook(fetch, with_kwargs=True)


def _moved(value: Any, device: torch.device, *, keep: bool) -> Any:
    """Tensors, and those in tuples, lists and dictionaries, on a device; all else as it is.

    Args:
        value: tensors, or a structure of them.
        device: its target device.
        keep: whether a copy is kept for the next who wants it there.
    """
    if isinstance(value, Tensor):
        return value if value.device == device else _copy(value, device, keep=keep)
    if type(value) in (tuple, list):
        return type(value)(_moved(item, device, keep=keep) for item in value)
    if type(value) is dict:
        return {name: _moved(item, device, keep=keep) for name, item in value.items()}
    return value


def _copy(tensor: Tensor, device: torch.device, *, keep: bool) -> Tensor:
    if not keep or tensor.requires_grad:
        return tensor.to(device)
    copies: dict[torch.device, Tensor] = vars(tensor).setdefault(_ELSEWHERE, {})
    if device not in copies:
        copy = copies[device] = tensor.to(device)
        if (hanging := getattr(tensor, _HANGING, None)) is not None:
            setattr(copy, _HANGING, hanging.to(device))
    return copies[device]
