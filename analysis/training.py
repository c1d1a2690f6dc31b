"""LoRA training step by step, reproducible from any step on: the state is (weights, moments, step) and nothing else."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

from analysis import checkpoints, packing
from analysis.architecture import DTYPE_BYTES, Decoder
from analysis.checkpoints import Checkpoint
from analysis.errors import RecipeError
from analysis.hidden_states import tokens_per_batch
from analysis.progress import OnProgress, Progress, ignore
from analysis.specs import HealSpec

BETAS = (0.9, 0.999)
MAX_GRADIENT_NORM = 1.0
"""With weight decay 0, the defaults of transformers' Trainer, which the paper used (`paper.md` 3.3)."""


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Linear warm-up to `peak`, then a cosine to 0.

    Args:
        step: 0-based step that is about to be taken, 0 .. steps-1.
        peak: the highest rate, reached at the last warm-up step.
        warmup_steps: steps of the warm-up; 0 for none.
        steps: all steps.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def derived_seed(*parts: int | str) -> int:
    """A seed that is a pure function of its parts, below 2^63."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


class _HeadLoss(torch.autograd.Function):
    """Mean loss of normed states, whose gradient is worked out chunk by chunk already on the way forward.

    So the (tokens, vocab_size) logits of a whole batch never exist, neither forward nor backward.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, decoder: Decoder, teacher: Tensor | None, distill: float) -> Tensor:
        gradient = torch.empty_like(states)
        total = torch.zeros((), dtype=torch.float64, device=states.device if states.device.type != "mps" else "cpu")
        rows = decoder.states_at_once
        for start in range(0, len(states), rows):
            part = states[start : start + rows].detach().requires_grad_()
            taught = None if teacher is None else teacher[start : start + rows].to(part.dtype)
            with torch.enable_grad():
                loss = _chunk_loss(decoder, part, targets[start : start + rows], taught, distill)
            (gradient[start : start + rows],) = torch.autograd.grad(loss, part)
            total += loss.detach().to(total)
        ctx.save_for_backward(gradient / len(states))
        return (total / len(states)).to(device=states.device, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].to(gradient.dtype), None, None, None, None


def _chunk_loss(decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | None, distill: float) -> Tensor:
    """Summed loss of a few tokens: cross-entropy with the text, mixed with the divergence from the teacher."""
    logprobs = decoder.logits(states).log_softmax(-1)
    text = nn.functional.nll_loss(logprobs, targets, reduction="sum")
    if teacher is None or distill == 0:
        return text
    with torch.no_grad():
        taught = decoder.logits(teacher).log_softmax(-1)
    divergence = nn.functional.kl_div(logprobs, taught, reduction="sum", log_target=True)
    return (1 - distill) * text + distill * divergence


def head_loss(decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | None = None, distill: float = 0.0) -> Tensor:
    """Mean loss, in nats per token, of normed states through the frozen vocabulary head.

    Args:
        decoder: for the head and the family's scaling of logits.
        states: (tokens, hidden_size), after the final norm.
        targets: (tokens,), the token that follows each.
        teacher: the unpruned model's states for the same tokens, after its final norm; the head is the same, so its
            distribution over the whole vocabulary follows from them.
        distill: d in (1 - d) * cross-entropy with the text + d * KL(teacher || student).

    Returns:
        float32 scalar that gradients flow through.
    """
    return _HeadLoss.apply(states, targets, decoder, teacher, distill)


@torch.inference_mode()
def teacher_states(
    decoder: Decoder, rows: np.ndarray, on_progress: OnProgress = ignore, *, limit_bytes: int | None = None
) -> Tensor:
    """What the unpruned model makes of the training rows, computed once.

    Kept as states before the head, which are a hundred times smaller than distributions over the vocabulary.

    Args:
        decoder: the unpruned model.
        rows: (n_rows, seq_len).
        on_progress: told about every batch; may raise `Cancelled`.
        limit_bytes: most memory to take; None for no limit.

    Returns:
        (n_rows, seq_len, hidden_size), float16, on the CPU, after the final norm.

    Raises:
        RecipeError: when they would take more than `limit_bytes`.
    """
    needed = 2 * rows.size * decoder.config.hidden_size
    if limit_bytes is not None and needed > limit_bytes:
        raise RecipeError(
            f"Distilling on {rows.size:,} tokens keeps {needed / 1e9:.1f} GB of the unpruned model's states, and "
            f"{limit_bytes / 1e9:.1f} GB can be spared; take fewer steps, or distill=0."
        )
    taught = torch.empty(*rows.shape, decoder.config.hidden_size, dtype=torch.float16)
    at_once = max(1, tokens_per_batch(decoder.device) // rows.shape[1])
    for begin in range(0, len(rows), at_once):
        on_progress(Progress("asking the unpruned model", begin, len(rows)))
        ids = torch.from_numpy(rows[begin : begin + at_once]).to(decoder.device)
        body: Any = decoder.body
        taught[begin : begin + at_once] = body(input_ids=ids, use_cache=False).last_hidden_state.to(taught)
    return taught


def activation_bytes(decoder: Decoder, tokens: int, dtype: str) -> int:
    """Estimated bytes that one forward pass keeps for its backward pass, without gradient checkpointing.

    Per token and layer about 16 x hidden_size + 8 x feed-forward width numbers, measured on the starter model.
    """
    config = decoder.config
    widths = (getattr(config, name, None) for name in ("intermediate_size", "ffn_dim", "n_inner"))
    width = next((width for width in widths if isinstance(width, int)), 4 * config.hidden_size)
    return int(tokens * decoder.n_layers * (16 * config.hidden_size + 8 * width) * DTYPE_BYTES[dtype])


@dataclass(frozen=True)
class Step:
    """One optimizer step that was taken."""

    number: int
    """1-based."""
    loss: float
    """Mean over its tokens, nats per token, before the update."""
    learning_rate: float


class Trainer:
    """The optimizer and the place in the schedule."""

    def __init__(
        self, model: PeftModel, decoder: Decoder, rows: np.ndarray, spec: HealSpec, teacher: Tensor | None = None
    ) -> None:
        """Get ready for the first step.

        Args:
            model: the cut model with its adapter; what requires gradients is trained.
            decoder: the same model, taken apart.
            rows: packed text, (n_rows, seq_len).
            spec: the heal.
            teacher: the unpruned model's normed states of the rows, (n_rows, seq_len, hidden_size); needed by `distill`.
        """
        self.model, self.decoder, self.rows, self.spec, self.teacher = model, decoder, rows, spec, teacher
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=0.0, betas=BETAS, weight_decay=0.0)
        self.steps_done = 0

    @property
    def n_trainable(self) -> int:
        """Parameters that are trained."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.spec.batch_size * self.spec.gradient_accumulation * self.rows.shape[1]

    def take_step(self, between: Callable[[], None]) -> Step:
        """Train on the next rows.

        Args:
            between: called after each forward and backward pass but the last; may raise, and the step then never happened.

        Raises:
            RecipeError: when the loss or the gradient is no longer a number.
        """
        spec = self.spec
        rate = learning_rate(self.steps_done, peak=spec.learning_rate, warmup_steps=spec.warmup_steps, steps=spec.steps)
        self.model.train()
        losses = []
        try:
            for micro in range(spec.gradient_accumulation):
                if micro:
                    between()
                losses.append(self._accumulate(micro))
            norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM))
            if not math.isfinite(sum(losses)) or not math.isfinite(norm):
                raise RecipeError(
                    f"The loss was no longer a number at step {self.steps_done + 1}; heal again with a learning rate below "
                    f"{spec.learning_rate:g}, or with more warm-up steps."
                )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return Step(self.steps_done, sum(losses) / len(losses), rate)

    def _accumulate(self, micro: int) -> float:
        """Add the gradient of one batch; returns its mean loss."""
        spec = self.spec
        first = (self.steps_done * spec.gradient_accumulation + micro) * spec.batch_size
        numbers = packing.row_numbers(len(self.rows), first, spec.batch_size, spec.seed)
        ids = torch.from_numpy(self.rows[numbers]).to(self.decoder.device)
        torch.manual_seed(derived_seed(spec.seed, "dropout", self.steps_done, micro))
        body: Any = self.decoder.body
        states = body(input_ids=ids, use_cache=False).last_hidden_state
        taught = None
        if self.teacher is not None:
            taught = self.teacher[numbers][:, :-1].flatten(0, 1).to(self.decoder.device)
        loss = head_loss(self.decoder, states[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), taught, spec.distill)
        (loss / spec.gradient_accumulation).backward()
        return float(loss.detach())

    def state(self) -> Checkpoint:
        """What `go_on_from` needs; its tensors are shared with the trainer."""
        return Checkpoint(self.steps_done, checkpoints.trainable_state(self.parameters, self.optimizer))

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Continue as if this trainer had taken the checkpoint's steps itself."""
        checkpoints.restore(checkpoint, self.parameters, self.optimizer)
        self.steps_done = checkpoint.step
