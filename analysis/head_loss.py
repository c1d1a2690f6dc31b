"""The training loss through the vocabulary head, chunk by chunk: the logits of a whole batch never exist."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from analysis.architecture import Decoder


def head_loss(decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | None = None, distill: float = 0.0) -> Tensor:
    """Mean loss, in nats per token, of normed states through the vocabulary head.

    Args:
        decoder: for the head and the family's scaling of logits; what of the head requires gradients gets them.
        states: (tokens, hidden_size), after the final norm.
        targets: (tokens,), the token that follows each.
        teacher: the unpruned model's states for the same tokens, after its final norm; the head is the same, so its
            distribution over the whole vocabulary follows from them.
        distill: d in (1 - d) * cross-entropy with the text + d * KL(teacher || student).

    Returns:
        float32 scalar that gradients flow through.
    """
    own = [parameter for parameter in decoder.head.parameters() if parameter.requires_grad]
    return _HeadLoss.apply(states, targets, decoder, teacher, distill, *own)


class _HeadLoss(torch.autograd.Function):
    """Works out its gradients on the way forward already, while the logits of a chunk are there."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, targets: Tensor, decoder: Decoder, teacher: Tensor | None, distill: float, *own: Tensor
    ) -> Tensor:
        gradient = torch.empty_like(states)
        owned = [torch.zeros_like(parameter) for parameter in own]
        total = torch.zeros((), dtype=torch.float64, device=states.device if states.device.type != "mps" else "cpu")
        rows = decoder.states_at_once
        # Where the heal trains the head too, the teacher's is what the adapter is put around.
        unpruned = replace(decoder, head=getattr(decoder.head, "base_layer", decoder.head))
        for start in range(0, len(states), rows):
            part = states[start : start + rows].detach().requires_grad_()
            with torch.enable_grad():
                logits = decoder.logits(part)
            taught = None
            if teacher is not None and distill:
                with torch.no_grad():
                    taught = unpruned.logits(teacher[start : start + rows].to(part.dtype))
            loss, outer = _chunk_loss(logits.detach(), targets[start : start + rows, None], taught, distill)
            total += loss.to(total)
            gradient[start : start + rows], *changes = torch.autograd.grad(logits, [part, *own], outer)
            for whole, change in zip(owned, changes, strict=True):
                whole += change
        ctx.save_for_backward(gradient.div_(len(states)), *(whole.div_(len(states)) for whole in owned))
        return (total / len(states)).to(device=states.device, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        states, *own = (gradient * outer[0].to(gradient.dtype) for gradient in ctx.saved_tensors)
        return states, None, None, None, None, *own


def _chunk_loss(logits: Tensor, targets: Tensor, taught: Tensor | None, distill: float) -> tuple[Tensor, Tensor]:
    """Summed loss of a few tokens, and its gradient with respect to their logits, which is built in their place."""
    right, peak = logits.gather(1, targets), logits.amax(-1, keepdim=True)
    wanted, divergence = None, torch.zeros((), dtype=torch.float64)
    if taught is not None:
        taught_log = taught.log_softmax(-1)
        wanted = taught_log.exp()
        divergence = (wanted * (taught_log - logits)).sum(dtype=torch.float64)
    # One exponential for both: the normalizer is the sum of the odds that the gradient is made of.
    odds = logits.sub_(peak).exp_()
    sums = odds.sum(-1, keepdim=True)
    odds.div_(sums)
    normalizer = sums.log_().add_(peak)
    loss = (normalizer - right).sum(dtype=torch.float64)
    if wanted is None:
        return loss, odds.scatter_add_(1, targets, torch.full_like(right, -1.0))
    divergence += normalizer.sum(dtype=torch.float64)
    # (1 - d) * (p - one-hot) + d * (p - q)
    odds.sub_(wanted, alpha=distill)
    return (1 - distill) * loss + distill * divergence, odds.scatter_add_(1, targets, torch.full_like(right, distill - 1))
