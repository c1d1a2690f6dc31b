"""LoRA training that can resume at any step with identical results: its state is weights, moments
and step.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn

from analysis.core.errors import NotEnoughMemoryError, RecipeError
from analysis.experiments.heal import adapters, memory, packing
from analysis.experiments.heal.checkpoints import TrainingState
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import Teacher, head_loss, run_rows
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import machine

BETAS = (0.9, 0.999)
_MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of AdamW's moments in its state."""
_ACTIVATION_SHARE = 0.6
"""Share of the free memory above which activations are recomputed by gradient checkpointing."""
MAX_GRADIENT_NORM = 1.0
"""Maximum gradient norm. Like the betas and no weight decay, the default of transformers' Trainer,
which the paper used."""


def learning_rate(step: int, *, peak: float, warmup_steps: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up to `peak`, then cosine decay to 0.

    Args:
        step: 0-based step, 0 .. steps-1.
        peak: Maximum learning rate, reached at the last warm-up step.
        warmup_steps: Number of warm-up steps; 0 for none.
        steps: Total number of steps.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return (
        peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
    )


def derived_seed(*parts: int | str) -> int:
    """Return a seed below 2^63 that depends only on the parts."""
    return (
        int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
    )


@contextlib.contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Use deterministic algorithms on CUDA devices, as the paper did; CPUs are deterministic
    anyway.
    """
    if not device.startswith("cuda"):
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def memory_explained(spec: HealSpec, name: str, device: str) -> Iterator[None]:
    """Raise an error that names the settings to lower if memory runs out.

    Args:
        spec: The resolved request.
        name: Name of the model.
        device: Device that the model runs on.

    Raises:
        NotEnoughMemoryError: If memory runs out in the body of the `with` statement.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemoryError(
            f"Healing {name} with {spec.batch_size} sequences of {spec.corpus.seq_len} tokens ran"
            f" out of memory on {device}. Lower batch_size and raise gradient_accumulation, lower"
            " seq-len, or use 4bit."
        ) from error


class Trainer:
    """Optimizer, training sequences and step count."""

    def __init__(
        self,
        model: PeftModel,
        decoder: Decoder,
        rows: np.ndarray,
        spec: HealSpec,
        teacher: Teacher | None = None,
        positions: np.ndarray | None = None,
    ) -> None:
        """Create the optimizer.

        Args:
            model: Pruned model with its adapter. Parameters that require gradients are trained.
            decoder: Decoder of the same model.
            rows: Packed sequences, (n_rows, seq_len).
            spec: Request with its number of steps.
            teacher: Returns the final states of the unpruned model; None if the loss does not need
                them.
            positions: Position of every token in its document, shaped like the rows; None if
                documents packed into one sequence attend to each other.
        """
        self.model = model
        self.decoder = decoder
        self.rows = rows
        self.spec = spec
        self.teacher = teacher
        self.positions = positions
        self.parameters = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=0.0, betas=BETAS, weight_decay=0.0
        )
        self.steps_done = 0

    @property
    def n_trainable(self) -> int:
        """Return the number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    @property
    def tokens_per_step(self) -> int:
        """Return the number of tokens per optimizer step."""
        return self.spec.batch_size * self.spec.gradient_accumulation * self.rows.shape[1]

    def take_step(self, between: Callable[[], None]) -> tuple[float, float]:
        """Take one optimizer step on the next rows.

        Args:
            between: Called after each forward and backward pass but the last. If it raises, the
                step is not taken.

        Returns:
            The loss before the update, mean over the tokens of the step in nats per token, and the
            learning rate.

        Raises:
            RecipeError: If the loss or the gradient is not finite.
        """
        spec = self.spec
        peak = spec.peak_rate
        rate = learning_rate(
            self.steps_done, peak=peak, warmup_steps=spec.warmup_steps, steps=spec.steps
        )
        self.model.train()
        losses = []
        try:
            for batch in range(spec.gradient_accumulation):
                if batch:
                    between()
                losses.append(self._accumulate(batch))
            loss = sum(losses) / spec.gradient_accumulation
            norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise RecipeError(
                    f"The loss was no longer a number at step {self.steps_done + 1}. Heal again"
                    f" with a learning rate below {peak:g}, or with more warm-up steps."
                )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return loss, rate

    def _accumulate(self, batch: int) -> float:
        """Accumulate the gradient of one batch and return its mean loss."""
        spec = self.spec
        first = (self.steps_done * spec.gradient_accumulation + batch) * spec.batch_size
        numbers = packing.row_numbers(len(self.rows), first, spec.batch_size, spec.seed)
        torch.manual_seed(derived_seed(spec.seed, "dropout", self.steps_done, batch))
        with self.mixed_precision():
            loss = self.batch_loss(numbers)
        (loss / spec.gradient_accumulation).backward()
        return float(loss.detach())

    def mixed_precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return autocast to bfloat16 for bfloat16 models, since PEFT would multiply the float32
        adapter weights in float32.
        """
        half = self.spec.model.dtype == "bfloat16"
        return (
            torch.autocast(self.decoder.device.type, torch.bfloat16)
            if half
            else contextlib.nullcontext()
        )

    def batch_loss(self, numbers: Sequence[int]) -> Tensor:
        """Return the differentiable mean loss of a batch.

        Args:
            numbers: Indices of the sequences in the batch.
        """
        rows = self.rows[numbers]
        positions = None if self.positions is None else self.positions[numbers]
        # The first token of a document cannot be predicted from the end of the document before it.
        learnt = (
            np.ones((len(numbers), rows.shape[1] - 1), dtype=bool)
            if positions is None
            else positions[:, 1:] > 0
        )
        device = self.decoder.head_device
        within = torch.from_numpy(learnt).to(device)
        target = None if self.teacher is None else self.teacher(rows, positions)
        states = run_rows(self.decoder, rows, positions)
        return head_loss(
            self.decoder,
            states[:, :-1][within],
            torch.from_numpy(rows[:, 1:]).to(device, torch.long)[within],
            None if target is None else target[:, :-1][within],
            self.spec,
        )

    def save_memory(self) -> None:
        """Enable gradient checkpointing if the activations would not fit into memory; it takes
        about a third more time.
        """
        spec = self.spec
        hidden = self.decoder.config.hidden_size
        width = self.decoder.feed_forward_width
        tokens = spec.batch_size * spec.corpus.seq_len
        needed = {
            device: memory.activation_bytes(hidden, width, n_layers, tokens, spec.model.dtype)
            for device, n_layers in self.decoder.layers_on.items()
        }
        for layer in self.decoder.layers:
            needed[next(layer.parameters()).device] += adapters.written_out_bytes(layer)
        if any(
            n_bytes > _ACTIVATION_SHARE * machine.free_bytes(str(device))
            for device, n_bytes in needed.items()
        ):
            self.decoder.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False}
            )

    def rehearse(self) -> None:
        """Run a forward and backward pass without an optimizer update, to time it."""
        self.model.train()
        try:
            self._accumulate(0)
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> TrainingState:
        """Return the state for a checkpoint; its tensors are shared with the trainer, not
        copied.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.data
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"{key}/{name}": moments[key] for key in _MOMENTS if key in moments}
        return TrainingState(self.steps_done, tensors)

    def plan(self, spec: HealSpec, rows: np.ndarray, positions: np.ndarray | None) -> None:
        """Replace the request and the training sequences."""
        self.spec = spec
        self.rows = rows
        self.positions = positions

    def resume_from(self, checkpoint: TrainingState) -> None:
        """Restore the weights and moments of a checkpoint bit for bit.

        Raises:
            KeyError: If the checkpoint belongs to another adapter.
        """
        for name, parameter in self.parameters.items():
            parameter.detach().copy_(checkpoint.tensors[f"weight/{name}"])
            if checkpoint.step:
                moments = {
                    key: checkpoint.tensors[f"{key}/{name}"].to(parameter.device)
                    for key in _MOMENTS
                }
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(checkpoint.step)),
                    **moments,
                }
        self.steps_done = checkpoint.step
