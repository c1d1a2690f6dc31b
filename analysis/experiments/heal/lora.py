"""LoRA on a CPU in fewer passes over memory than PEFT takes, with the same parameters, names and files.

PEFT copies the product of the frozen weight, scales that of the adapter, and adds both into a third tensor. In half precision
it also takes each input to float32 before dropout, and back for the product. Here the adapter's product is added within the
copy that is there, and the factor of scale and dropout goes into the small matrix.
"""

import functools
from typing import Any

import torch
from peft import PeftModel
from peft.tuners import lora
from torch import Tensor, nn

from analysis.experiments.heal import dropout
from analysis.models.architecture.float32_products import add_product, product


def speed_up(model: PeftModel) -> None:
    """Let the adapters of a model on the CPU train so, and drop values in a way that is cheap there."""
    dropout.speed_up(model)
    kinds = {getattr(lora, name, None) for name in _KINDS}
    adapted: Any
    for adapted in model.modules():
        kind: Any = type(adapted)
        if kind in kinds:
            adapted.__class__ = _quick(kind)


_KINDS = ("Linear", "Linear4bit", "Linear8bitLt")
"""Modules of PEFT; it has the last two where bitsandbytes works."""


@functools.cache
def _quick(kind: Any) -> type[nn.Module]:
    """A kind of module with an adapter that trains in fewer passes."""

    class Quick(kind):
        def forward(self, x: Tensor, *args: Any, **named: Any) -> Tensor:
            if args or named or not _is_usual(self, x):
                return super().forward(x, *args, **named)
            (adapter,) = self.active_adapters
            drop, first, second = self.lora_dropout[adapter], self.lora_A[adapter], self.lora_B[adapter]
            result = self.base_layer(x).contiguous()
            kept = drop.kept(x) if isinstance(drop, dropout.SharedDrawDropout) else None
            scale = self.scaling[adapter] * (1.0 if kept is None else drop.scale)
            added: Tensor = _Added.apply(result, x, first.weight, second.weight, kept, scale)
            return added

    Quick.__name__ = Quick.__qualname__ = kind.__name__
    return Quick


def _is_usual(adapted: Any, inputs: Tensor) -> bool:
    """Return whether a module trains one adapter of two plain matrices, and nothing else changes its product."""
    if not (adapted.training and torch.is_grad_enabled() and inputs.device.type == "cpu"):
        return False
    if adapted.merged or adapted.disable_adapters or len(adapted.active_adapters) != 1:
        return False
    (adapter,) = adapted.active_adapters
    if adapter not in adapted.lora_A or adapter in adapted.lora_variant:
        return False
    drop, first, second = adapted.lora_dropout[adapter], adapted.lora_A[adapter], adapted.lora_B[adapter]
    # A model in half precision without autocast has its adapters in float32, and PEFT casts on the way.
    fits = torch.is_autocast_enabled("cpu") or inputs.dtype == first.weight.dtype
    is_plain = type(first) is nn.Linear and type(second) is nn.Linear and second.bias is None
    return fits and is_plain and isinstance(drop, dropout.SharedDrawDropout | nn.Identity)


class _Added(torch.autograd.Function):
    """Adds the product of an adapter to that of the frozen weight, in place."""

    @staticmethod
    def forward(
        ctx: Any, result: Tensor, inputs: Tensor, first: Tensor, second: Tensor, kept: Tensor | None, scale: float
    ) -> Tensor:
        """Return `result`, (..., n_out), plus inputs (..., n_in) times A (r, n_in) and B (n_out, r), times a scale.

        `kept` is 0 for inputs that are dropped and 1 for others, or None.
        """
        with torch.autocast("cpu", enabled=False):
            rows = inputs.reshape(-1, inputs.shape[-1]).to(result.dtype)
            if kept is not None:
                rows = rows * kept.view(rows.shape)
            inner = product(rows, (first * scale).to(rows.dtype).T)
            add_product(result.view(-1, result.shape[-1]), inner, second.to(rows.dtype).T)
        ctx.mark_dirty(result)
        ctx.save_for_backward(rows, first, second, inner, *([] if kept is None else [kept]))
        ctx.scale, ctx.shape, ctx.dtype = scale, inputs.shape, inputs.dtype
        return result

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        rows, first, second, inner, *kept = ctx.saved_tensors
        _, for_inputs, for_first, for_second, *_ = ctx.needs_input_grad
        of_inputs = of_first = of_second = None
        with torch.autocast("cpu", enabled=False):
            change = outer[0].reshape(-1, outer[0].shape[-1])
            of_inner = product(change, second.to(change.dtype))
            if for_second:
                of_second = product(change.T, inner).to(second.dtype)
            if for_first:
                of_first = product(of_inner.T, rows).to(first.dtype).mul_(ctx.scale)
            if for_inputs:
                of_inputs = product(of_inner, (first * ctx.scale).to(change.dtype))
                if kept:
                    of_inputs *= kept[0].view(of_inputs.shape)
                of_inputs = of_inputs.view(ctx.shape).to(ctx.dtype)
        return outer[0], of_inputs, of_first, of_second, None, None
