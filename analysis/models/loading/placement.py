"""Placement of the parts of a model on several devices.

Every layer moves its arguments to its own device, so layers can be run alone, skipped and restored
as on one device. The hooks of accelerate are not used: they move masks and tables again for every
layer, lose attributes of masks, and replace `forward`, as layer streaming does.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.hooks import remove_hook_from_module
from torch import Tensor, nn

from analysis.core.blocks import Removal
from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture.decoder import Decoder

_COPIES = "layerscope_elsewhere"
"""Attribute of a mask or table with its copies by device."""
_MOVED_ALONG = "layerscope_runs"
"""Attribute of a mask whose value is moved with the mask, by its method `to`."""
_STEP = 1 << 20
"""Resolution in bytes of the search for the placement."""


@dataclass(frozen=True)
class Needs:
    """Memory of the parts of a model, in bytes."""

    layers: list[int]
    """Weights of each layer, in bytes."""
    first: int
    """Weights before the layers: the embeddings."""
    last: int
    """Weights of the final norm and the head that are not counted in `first`."""
    tied: bool
    """Whether the head is tied to the embeddings and stays on their device."""
    stream: int
    """Working memory of the layers on each device."""
    logits: int
    """Memory of the logits on the device of the head."""


@dataclass(frozen=True)
class Placement:
    """The device of each part of a model."""

    first: str
    """Device of the embeddings and everything else before the layers."""
    layers: tuple[str, ...]
    """Device of each layer."""
    head_on: str
    """Device of the final norm and the head."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices in the order of the layers, each once."""
        return tuple(dict.fromkeys((self.first, *self.layers, self.head_on)))

    def without(self, block: Removal) -> "Placement":
        """Return the placement of the pruned model."""
        return replace(
            self,
            layers=tuple(
                device for index, device in enumerate(self.layers) if index not in block.layers
            ),
        )

    def in_words(self) -> str:
        """Return the devices of the layers and of the other parts, as part of a sentence."""
        return ", ".join(f"{self._parts_on(device)} on {device}" for device in self.devices)

    def _parts_on(self, device: str) -> str:
        """Return the parts on a device in words: "layers 0-11 with the embeddings"."""
        parts = []
        indices = [index for index, on in enumerate(self.layers) if on == device]
        if len(indices) > 1:
            parts.append(f"layers {indices[0]}-{indices[-1]}")
        elif indices:
            parts.append(f"layer {indices[0]}")
        ends = []
        if device == self.first:
            ends.append("the embeddings")
        if device == self.head_on:
            ends.append("the head")
        if ends:
            parts.append(" and ".join(ends))
        return " with ".join(parts)


def place(needs: Needs, free: Mapping[str, int]) -> Placement | None:
    """Assign contiguous layers to devices, maximizing the minimum of the memory left on each.

    Args:
        needs: memory of the parts.
        free: free bytes of at least two devices, in the order of the layers.

    Returns:
        The placement; None if it does not fit.
    """
    low = 0
    high = max(free.values(), default=0) // _STEP
    best = _filled(needs, free, 0)
    while best is not None and low < high:
        room = (low + high + 1) // 2
        placement = _filled(needs, free, room * _STEP)
        if placement is None:
            high = room - 1
        else:
            low = room
            best = placement
    return best


def _filled(needs: Needs, free: Mapping[str, int], room: int) -> Placement | None:
    """Fill the devices in order, leaving `room` bytes on each; None if the model does not fit."""
    devices = list(free)
    free_bytes = [n_bytes - needs.stream - room for n_bytes in free.values()]
    at_end = needs.last + needs.logits
    free_bytes[0] -= needs.first + (at_end if needs.tied else 0)
    if free_bytes[0] < 0:
        return None
    device_index = 0
    layers = list[str]()
    for part in [*needs.layers, 0 if needs.tied else at_end]:
        while free_bytes[device_index] < part:
            device_index += 1
            if device_index == len(devices):
                return None
        free_bytes[device_index] -= part
        layers.append(devices[device_index])
    *layers, last = layers
    return Placement(devices[0], tuple(layers), devices[0] if needs.tied else last)


def device_map(decoder: Decoder, placement: Placement) -> dict[str, str]:
    """Return the device map of `from_pretrained` for a placement.

    Args:
        decoder: the model, or its weightless skeleton.
        placement: devices of its parts.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    layers = {
        paths[layer]: device for layer, device in zip(decoder.layers, placement.layers, strict=True)
    }
    return {
        "": placement.first,
        paths[decoder.norm]: placement.head_on,
        paths[decoder.head]: placement.head_on,
        **layers,
    }


def spread(decoder: Decoder, placement: Placement) -> None:
    """Move every part of a model to its device, and make it move its arguments there.

    Args:
        decoder: the unpruned model.
        placement: devices of its parts.

    Raises:
        UnsupportedModelError: If the body of the family does more between its layers than pass on
            the stream.
    """
    _remove_accelerate_hooks(decoder.model)
    for layer, device in zip(decoder.layers, placement.layers, strict=True):
        layer.to(device)
        _move_arguments(layer, torch.device(device))
    last = {*decoder.norm.modules(), *decoder.head.modules()}
    inside = set(itertools.chain.from_iterable(layer.modules() for layer in decoder.layers))
    for module in decoder.model.modules():
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if module not in inside and tensors:
            target = torch.device(placement.head_on if module in last else placement.first)
            for tensor in tensors:
                tensor.data = tensor.data.to(target)
            _move_arguments(module, target)
    _move_arguments(decoder.body, torch.device(placement.first))
    try:
        with torch.inference_mode():
            decoder.model(input_ids=torch.tensor([decoder.trial_tokens(8)]), use_cache=False)
    except RuntimeError as error:
        if "same device" not in str(error):
            raise
        raise UnsupportedModelError(
            f"The body of this {decoder.config.model_type} model does more between its layers than"
            f" pass on the residual stream, so it cannot be spread over {len(placement.devices)}"
            " devices. Choose one device that fits all of it, such as cuda:0, or a smaller model."
        ) from error


def _remove_accelerate_hooks(model: Any) -> None:
    """Remove the hooks of transformers from a model that was loaded to several devices."""
    hooked = [module for module in model.modules() if hasattr(module, "_hf_hook")]
    remove_hook_from_module(model, recurse=True)
    for module in hooked:
        vars(module).pop("forward", None)  # left by the removed hook
    vars(model).pop("hf_device_map", None)


def _move_arguments(module: nn.Module, device: torch.device) -> None:
    """Make a module move its arguments to its device."""

    def fetch(_: nn.Module, args: tuple, named: dict) -> tuple[tuple, dict]:
        # Only the stream differs from layer to layer, so copies of the others are cached.
        stream = args[:1]
        rest = args[1:]
        moved = {
            name: _moved(value, device, keep=name != "hidden_states")
            for name, value in named.items()
        }
        return (*_moved(stream, device, keep=False), *_moved(rest, device, keep=True)), moved

    module.register_forward_pre_hook(fetch, with_kwargs=True)


def _moved(value: Any, device: torch.device, *, keep: bool) -> Any:
    """Move tensors, and those in tuples, lists and dictionaries, to a device.

    Args:
        value: tensors, or a structure of them.
        device: target device.
        keep: whether copies are cached on the tensor.
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
    copies: dict[torch.device, Tensor] = vars(tensor).setdefault(_COPIES, {})
    if device not in copies:
        copy = copies[device] = tensor.to(device)
        if (attached := getattr(tensor, _MOVED_ALONG, None)) is not None:
            setattr(copy, _MOVED_ALONG, attached.to(device))
    return copies[device]
