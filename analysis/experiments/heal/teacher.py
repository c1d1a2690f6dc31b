"""The training loss through the vocabulary head, and the unpruned model as teacher."""

from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor

from analysis.experiments.heal import losses
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.architecture.decoder import Decoder
from analysis.models.running import adapters
from analysis.models.running.pruning import PrunedBlock


def head_loss(decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | None, spec: HealSpec) -> Tensor:
    """Return the mean training loss, in nats per token, of normed states through the vocabulary head.

    Args:
        decoder: for the head and the family's scaling of logits.
        states: (tokens, hidden_size), after the final norm.
        targets: (tokens,), the token that follows each.
        teacher: the unpruned model's states for the same tokens, after its final norm; the head is the same. None if the
            loss does not compare with the unpruned model.
        spec: the request, with its loss.

    Returns:
        float32 scalar that gradients flow through.
    """
    return _HeadLoss.apply(states, targets, decoder, teacher, spec)


class _HeadLoss(torch.autograd.Function):
    """Computes its gradient in the forward pass, chunk by chunk, so that the logits of a whole batch never exist."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, decoder: Decoder, teacher: Tensor | None, spec: HealSpec) -> Tensor:
        gradient, total = torch.empty_like(states), torch.zeros((), device=states.device)
        for start in range(0, len(states), decoder.states_at_once):
            chunk = slice(start, start + decoder.states_at_once)
            part = states[chunk].detach().requires_grad_()
            teacher_logs = None if teacher is None else decoder.logits(teacher[chunk].to(part.dtype)).log_softmax(-1)
            with torch.enable_grad():
                logs = decoder.logits(part).log_softmax(-1)
                loss = losses.mixture(spec, logs, targets[chunk, None], teacher_logs).sum()
            (gradient[chunk],) = torch.autograd.grad(loss, [part])
            total += loss.detach()
        ctx.save_for_backward(gradient.div_(len(states)))
        return total / len(states)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0].to(gradient.dtype), None, None, None, None


class Teacher:
    """The unpruned model, in the memory of the pruned model: the block is back and the adapter off while it answers."""

    def __init__(self, model: PeftModel, decoder: Decoder, cut: PrunedBlock) -> None:
        """Hold the model without running it.

        Args:
            model: the pruned model with its adapter.
            decoder: decoder of the same model.
            cut: record of the removed block.
        """
        self._model, self._decoder, self._cut = model, decoder, cut

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, positions: np.ndarray | None) -> Tensor:
        """Return the unpruned model's states of some rows, after its final norm.

        Args:
            rows: token ids, (batch, seq_len).
            positions: of every token in its document, same shape; None when documents in a row see each other.

        Returns:
            (batch, seq_len, hidden_size), on the device of the logits.
        """
        was_training = self._model.training
        self._model.eval()
        try:
            with adapters.without_adapter(self._model), self._cut.undone():
                return run_rows(self._decoder, rows, positions)
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
