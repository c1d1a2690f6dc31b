"""Counts the operations of models, by a hook on each of their layers and on the head, and measures their machine.

A pass costs an addition or two a layer more, and never waits for an accelerator.
"""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis.core.meter import COUNTS
from analysis.models import machine
from analysis.models.decoder import Decoder, is_of_experts, output_stream

POWERCAP = Path("/sys/class/powercap")
"""Where Linux keeps the energy counters of processors (RAPL)."""


def watch(decoder: Decoder, dtype: str) -> None:
    """Let this process count the operations of a model from now on, and measure its machine against that.

    Of a mixture of experts only those count that a token uses. A pass that gradients flow through counts the way back too.
    Where a family does not use PyTorch's fused attention, its products of queries, keys and values are left out.

    Args:
        decoder: one that is watched already is counted as it is now: with its adapter, and with its trained weights.
        dtype: that it is computed in.
    """
    _count_attention()
    for layer in decoder.layers:
        _hook(layer, _Counting(*_flop_per_token(layer, decoder), is_layer=True))
    head: Any = getattr(decoder.head, "base_layer", decoder.head)  # PEFT's is around the one that was watched before
    _hook(head, _Counting(*_flop_per_token(head, decoder), is_layer=False))
    COUNTS.machine = Device(str(decoder.head_device), dtype)


@contextlib.contextmanager
def not_counted() -> Iterator[None]:
    """Around calls of layers that compute nothing."""
    before = COUNTS.layer_tokens, COUNTS.flop
    try:
        yield
    finally:
        COUNTS.layer_tokens, COUNTS.flop = before


def not_computed(layer: nn.Module, stands: nn.Module, was: nn.Module, decoder: Decoder) -> None:
    """Subtract from a watched layer the operations of a module of it that another one stands in for."""
    if any(isinstance(hook, _Counting) for hook in layer._forward_hooks.values()):
        ahead, back = _flop_per_token(was, decoder)
        _hook(stands, _Counting(-ahead, -back, is_layer=False))


class _Counting:
    """A hook behind a module."""

    def __init__(self, ahead: float, back: float, *, is_layer: bool) -> None:
        self._ahead, self._both, self._is_layer = ahead, ahead + back, is_layer

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        stream = output_stream(output)
        n_tokens = stream.shape[:-1].numel()
        COUNTS.flop += (self._both if stream.requires_grad else self._ahead) * n_tokens
        if self._is_layer:
            COUNTS.layer_tokens += n_tokens


def _hook(module: nn.Module, counting: _Counting) -> None:
    for number, hook in module._forward_hooks.items():
        if isinstance(hook, _Counting):
            module._forward_hooks[number] = counting
            return
    module.register_forward_hook(counting)


def _flop_per_token(module: nn.Module, decoder: Decoder) -> tuple[float, float]:
    """Return the operations of a module's weight matrices: of a pass, and of the way back for its input and trained weights."""
    ahead = trained = 0.0
    for name, part in module.named_modules():
        for weight in part.parameters(recurse=False):
            used = decoder.experts_share if is_of_experts(name, part, weight, decoder.family) else 1.0
            # Quantized weights are packed, and only the module knows their shape.
            is_linear = hasattr(part, "in_features") and hasattr(part, "out_features") and weight is getattr(part, "weight", 0)
            n_weights = part.in_features * part.out_features if is_linear else weight.numel() if weight.dim() > 1 else 0
            ahead += 2.0 * used * n_weights
            trained += 2.0 * used * n_weights * weight.requires_grad
    return ahead, ahead + trained


_fused = torch.nn.functional.scaled_dot_product_attention


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
    found = _fused(query, key, value, *args, **options)
    # Every query with every key, and every weight with every value, be they masked or not.
    flop = 2.0 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    COUNTS.flop += 3.0 * flop if found.requires_grad else flop
    return found


def _count_attention() -> None:
    """Let transformers, which looks it up at every call, find a fused attention that is counted."""
    if torch.nn.functional.scaled_dot_product_attention is _fused:
        torch.nn.functional.scaled_dot_product_attention = _attention


class Device:
    """The device that a model is on (`core.meter.Machine`)."""

    def __init__(self, name: str, dtype: str) -> None:
        """Name it.

        Args:
            name: of the device in torch.
            dtype: that the model is computed in.
        """
        self._name, self._dtype = name, dtype
        self._energy = _Card(name) if name.startswith("cuda") else _Processor() if name == "cpu" else None

    def peak_bytes(self) -> int:
        """As `machine.peak_bytes`."""
        return machine.peak_bytes(self._name)

    def reset_peak(self) -> None:
        """As `machine.reset_peak`."""
        machine.reset_peak(self._name)

    def joules(self) -> float | None:
        """Energy that it has drawn; None where it does not tell, as Apple's does not."""
        return None if self._energy is None else self._energy.joules()

    def most_flop_s(self, *, again: bool = False) -> float:
        """As `machine.most_flop_s`."""
        return machine.most_flop_s(self._name, self._dtype, again=again)


class _Processor:
    """The counters of all processor packages together, which begin anew at a number that they name."""

    def __init__(self) -> None:
        # intel-rapl:0 is a package, intel-rapl:0:0 a part of it; AMD's processors are named the same.
        self._packages = [folder for folder in sorted(POWERCAP.glob("intel-rapl:*")) if folder.name.count(":") == 1]
        self._last: dict[Path, int] = {}
        self._microjoules = 0

    def joules(self) -> float | None:
        """Return the energy drawn since the first look, in joules."""
        if not self._packages:
            return None
        try:
            for folder in self._packages:
                now = int((folder / "energy_uj").read_text())
                drawn = now - self._last.get(folder, now)
                if drawn < 0:
                    drawn += int((folder / "max_energy_range_uj").read_text())
                self._microjoules += drawn
                self._last[folder] = now
        except (OSError, ValueError):  # on many machines only the administrator may read it
            self._packages = []
            return None
        return self._microjoules / 1e6


class _Card:
    """The power that a CUDA device says it draws, summed up over the time between two looks."""

    def __init__(self, name: str) -> None:
        self._device: torch.device | None = torch.device(name)
        self._joules, self._last = 0.0, (time.monotonic(), 0.0)

    def joules(self) -> float | None:
        """Return the energy drawn since the first look, in joules."""
        if self._device is None:
            return None
        watts = None
        with contextlib.suppress(Exception):  # it needs a library of NVIDIA's, whose errors are its own
            watts = torch.cuda.power_draw(self._device) / 1000
        if watts is None:
            self._device = None
            return None
        now, (at, before) = time.monotonic(), self._last
        self._joules += (now - at) * (watts + (before or watts)) / 2
        self._last = now, watts
        return self._joules
