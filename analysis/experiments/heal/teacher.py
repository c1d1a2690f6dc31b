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


def head_loss(
    decoder: Decoder, states: Tensor, targets: Tensor, teacher: Tensor | None, spec: HealSpec
) -> Tensor:
    """Return the mean training loss of final states, in nats per token.

    Args:
        decoder: The model, for its head and its scaling of logits.
        states: States after the final norm, (tokens, hidden_size).
        targets: Next token of each, (tokens,).
        teacher: States of the unpruned model for the same tokens, after its final norm, which have
            the same head. None if the loss does not need the unpruned model.
        spec: The request, with its loss.

    Returns:
        Differentiable float32 scalar.
    """
    return _HeadLoss.apply(states, targets, decoder, teacher, spec)


class _HeadLoss(torch.autograd.Function):
    """Loss that computes its gradient in the forward pass in chunks, so that the logits of a full
    batch never exist.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        targets: Tensor,
        decoder: Decoder,
        teacher: Tensor | None,
        spec: HealSpec,
    ) -> Tensor:
        gradient = torch.empty_like(states)
        total = torch.zeros((), device=states.device)
        for start in range(0, len(states), decoder.states_at_once):
            chunk = slice(start, start + decoder.states_at_once)
            part = states[chunk].detach().requires_grad_()
            teacher_logs = (
                None
                if teacher is None
                else decoder.logits(teacher[chunk].to(part.dtype)).log_softmax(-1)
            )
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
    """The unpruned model in the memory of the pruned one: each call restores the block and disables
    the adapter.
    """

    def __init__(self, model: PeftModel, decoder: Decoder, cut: PrunedBlock) -> None:
        """Initialize without running the model.

        Args:
            model: Pruned model with its adapter.
            decoder: Decoder of the same model.
            cut: The removed block.
        """
        self._model = model
        self._decoder = decoder
        self._cut = cut

    @torch.no_grad()
    def __call__(self, rows: np.ndarray, positions: np.ndarray | None) -> Tensor:
        """Return the states of the unpruned model after its final norm.

        Args:
            rows: Token ids, (batch, seq_len).
            positions: Position of every token in its document, same shape; None if documents in a
                sequence attend to each other.

        Returns:
            States, (batch, seq_len, hidden_size), on the device of the head.
        """
        was_training = self._model.training
        self._model.eval()
        try:
            with adapters.without_adapter(self._model), self._cut.undone():
                return run_rows(self._decoder, rows, positions)
        finally:
            self._model.train(was_training)


def run_rows(decoder: Decoder, rows: np.ndarray, positions: np.ndarray | None) -> Tensor:
    """Return the final states of packed sequences, (batch, seq_len, hidden_size). Positions keep
    documents separate.
    """
    position_ids = (
        {}
        if positions is None
        else {"position_ids": torch.from_numpy(positions).to(decoder.device, torch.long)}
    )
    ids = torch.from_numpy(rows).to(decoder.device, torch.long)
    states: Tensor = decoder.body(input_ids=ids, use_cache=False, **position_ids).last_hidden_state
    return states


@torch.inference_mode()
def can_separate(decoder: Decoder) -> bool:
    """Return whether position ids keep packed documents separate in this family, by a trial on
    three documents.

    Each document must have the same states as alone, also beyond the window of local attention.
    """
    tokens = np.array(decoder.trial_tokens(66))
    lengths = (17, 28, 21)
    documents = np.split(tokens, np.cumsum(lengths)[:-1])
    positions = np.concatenate([np.arange(len(document)) for document in documents])
    try:
        with decoder.short_windows():
            together = run_rows(decoder, tokens[None], positions[None])[0]
            alone = [run_rows(decoder, document[None], None)[0] for document in documents]
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError):
        return False
    # Leaks through a recurrence or a convolution appear at the beginning of a document.
    return all(
        decoder.agree(packed[part], separate[part])
        for packed, separate in zip(together.split(lengths), alone, strict=True)
        for part in (slice(0, 3), slice(3, None))
    )
