"""The losses of a heal: through the vocabulary head without all logits at once, and from the unpruned model as teacher."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from analysis.models.architecture.decoder import Decoder
from analysis.models.running import adapters
from analysis.models.running.pruning import PrunedBlock


@dataclass(frozen=True)
class Top:
    """The most likely tokens of the unpruned model, and their log-probabilities; all others are one remainder."""

    tokens: Tensor
    """(..., k), int64."""
    logs: Tensor
    """Logarithms of their probabilities, same shape, float32."""

    @classmethod
    def of(cls, decoder: Decoder, states: Tensor, k: int) -> "Top":
        """Those of normed states (..., hidden_size); k is at most the size of the vocabulary."""
        tops = [decoder.logits(part).log_softmax(-1).topk(k) for part in states.flatten(0, -2).split(decoder.states_at_once)]
        shape = (*states.shape[:-1], k)
        return cls(torch.cat([top.indices for top in tops]).view(shape), torch.cat([top.values for top in tops]).view(shape))

    def __getitem__(self, index: Any) -> "Top":
        """Return the entries at some places, as in a tensor."""
        return Top(self.tokens[index], self.logs[index])


def head_loss(
    decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | Top | None = None, distill: float = 0.0
) -> Tensor:
    """Return the mean loss, in nats per token, of normed states through the vocabulary head.

    Args:
        decoder: for the head and the family's scaling of logits.
        states: (tokens, hidden_size), after the final norm.
        targets: (tokens,), the token that follows each.
        teacher: the unpruned model's states for the same tokens, after its final norm. The head is the same, so its
            distribution over the whole vocabulary follows from them. Or its most likely tokens there, (tokens, k).
        distill: d in (1 - d) * cross-entropy with the text + d * KL(teacher || student).

    Returns:
        float32 scalar that gradients flow through.
    """
    return _HeadLoss.apply(states, targets, decoder, teacher, distill)


class _HeadLoss(torch.autograd.Function):
    """Works out its gradients on the way forward already, while the logits of a chunk are there."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        targets: Tensor,
        decoder: Decoder,
        teacher: Tensor | Top | None,
        distill: float,
    ) -> Tensor:
        gradient = torch.empty_like(states)
        total = torch.zeros((), dtype=torch.float64, device=states.device if states.device.type != "mps" else "cpu")
        rows = decoder.states_at_once
        for start in range(0, len(states), rows):
            part = states[start : start + rows].detach().requires_grad_()
            with torch.enable_grad():
                logits = decoder.logits(part)
            teacher_logits: Tensor | Top | None = None
            if isinstance(teacher, Top):
                teacher_logits = teacher[start : start + rows] if distill else None
            elif teacher is not None and distill:
                with torch.no_grad():
                    teacher_logits = decoder.logits(teacher[start : start + rows].to(part.dtype))
            loss, outer = _chunk_loss(logits.detach(), targets[start : start + rows, None], teacher_logits, distill)
            total += loss.to(total)
            (gradient[start : start + rows],) = torch.autograd.grad(logits, [part], outer)
        ctx.save_for_backward(gradient.div_(len(states)))
        return (total / len(states)).to(device=states.device, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].to(gradient.dtype), None, None, None, None


def _chunk_loss(logits: Tensor, targets: Tensor, teacher: Tensor | Top | None, distill: float) -> tuple[Tensor, Tensor]:
    """Summed loss of a few tokens, and its gradient with respect to their logits, which is built in their place."""
    right, peak = logits.gather(1, targets), logits.amax(-1, keepdim=True)
    teacher_probabilities, divergence = None, torch.zeros((), dtype=torch.float64)
    near = logits.gather(1, teacher.tokens) if isinstance(teacher, Top) else None
    if isinstance(teacher, Tensor):
        taught_log = teacher.log_softmax(-1)
        teacher_probabilities = taught_log.exp()
        divergence = (teacher_probabilities * (taught_log - logits)).sum(dtype=torch.float64)
    # One exponential for both: the normalizer is the sum of the odds that the gradient is made of.
    odds = logits.sub_(peak).exp_()
    sums = odds.sum(-1, keepdim=True)
    odds.div_(sums)
    normalizer = sums.log_().add_(peak)
    loss = (normalizer - right).sum(dtype=torch.float64)
    if isinstance(teacher, Top) and near is not None:
        divergence, teacher_probabilities = _of_top(teacher, near - normalizer, odds)
    elif teacher_probabilities is not None:
        divergence += normalizer.sum(dtype=torch.float64)
    if teacher_probabilities is None:
        return loss, odds.scatter_add_(1, targets, torch.full_like(right, -1.0))
    # (1 - d) * (p - one-hot) + d * (p - q)
    odds.sub_(teacher_probabilities, alpha=distill)
    return (1 - distill) * loss + distill * divergence, odds.scatter_add_(1, targets, torch.full_like(right, distill - 1))


def _of_top(teacher: Top, student: Tensor, odds: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed divergence from the top tokens and the remainder, and the distribution that its gradient draws to.

    Within the remainder nothing is known, so that the student keeps its own proportions there.

    Args:
        teacher: (tokens, k).
        student: the student's logarithms of the same tokens' probabilities, same shape.
        odds: its distribution, (tokens, vocabulary).
    """
    teacher_probabilities = teacher.logs.exp()
    # Rounded probabilities may add up to a little more than 1.
    rest, student_rest = (
        (1 - probabilities.sum(-1, keepdim=True)).clamp(min=_LEAST_REST)
        for probabilities in (teacher_probabilities, student.exp())
    )
    divergence = (teacher_probabilities * (teacher.logs - student)).sum(dtype=torch.float64) + (
        rest * (rest / student_rest).log()
    ).sum(dtype=torch.float64)
    return divergence, (odds * (rest / student_rest)).scatter_(1, teacher.tokens, teacher_probabilities)


_LEAST_REST = 1e-6
"""Probability that the remainder has at least."""


class Teacher:
    """The unpruned model, in the memory of the pruned model: the block is back and the adapter off while it answers."""

    def __init__(self, model: PeftModel, decoder: Decoder, cut: PrunedBlock, *, top_k: int = 0) -> None:
        """Set up, without running the model yet.

        Args:
            model: the pruned model with its adapter.
            decoder: the same, taken apart.
            cut: how the block was removed.
            top_k: number of the most likely tokens that are learnt; 0 for the whole distribution.
        """
        self._model, self._decoder, self._cut = model, decoder, cut
        self._top_k = min(top_k, decoder.config.vocab_size)

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, positions: np.ndarray | None) -> Tensor | Top:
        """Return the unpruned model's answers for some rows: states after the final norm, or the most likely tokens.

        Args:
            rows: token ids, (batch, seq_len).
            positions: of every token in its document, same shape; None when documents in a row see each other.

        Returns:
            (batch, seq_len, hidden_size or k), on the device of the logits.
        """
        was_training = self._model.training
        self._model.eval()
        try:
            with adapters.without_adapter(self._model), self._cut.undone():
                states = run_rows(self._decoder, rows, positions)
                return Top.of(self._decoder, states, self._top_k) if self._top_k else states
        finally:
            self._model.train(was_training)


def run_rows(decoder: Decoder, rows: np.ndarray, positions: np.ndarray | None) -> Tensor:
    """Normed states of packed rows, (batch, seq_len, hidden_size); with positions, each document is read by itself."""
    position_ids = {} if positions is None else {"position_ids": torch.from_numpy(positions).to(decoder.device, torch.long)}
    ids = torch.from_numpy(rows).to(decoder.device, torch.long)
    states: Tensor = decoder.body(input_ids=ids, use_cache=False, **position_ids).last_hidden_state
    return states


@torch.inference_mode()
def can_separate(decoder: Decoder) -> bool:
    """Try out on three documents whether this family reads packed documents each by itself when it gets their positions.

    Each must have the states that it has alone, beyond the reach of local attention too.
    """
    tokens, lengths = np.array(decoder.trial_tokens(66)), (17, 28, 21)
    documents = np.split(tokens, np.cumsum(lengths)[:-1])
    positions = np.concatenate([np.arange(len(document)) for document in documents])
    try:
        with decoder.short_windows():
            together = run_rows(decoder, tokens[None], positions[None])[0]
            alone = [run_rows(decoder, document[None], None)[0] for document in documents]
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError):
        return False
    # A leak through a recurrence or convolution shows at the beginnings.
    return all(
        decoder.agree(packed[part], separate[part])
        for packed, separate in zip(together.split(lengths), alone, strict=True)
        for part in (slice(0, 3), slice(3, None))
    )
