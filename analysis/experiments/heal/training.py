"""LoRA training step by step, reproducible from any step on: the state is (weights, moments, step) and nothing else."""

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
"""Share of the free memory that activations may take before gradient checkpointing is turned on."""
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


@contextlib.contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Make accelerators take the algorithms that give the same digits every time, as the paper did; CPUs do anyway."""
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
    """Report in one sentence that memory ran out, and the settings to lower.

    Args:
        spec: resolved.
        name: of the model.
        device: device that it ran on.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemoryError(
            f"Healing {name} with {spec.batch_size} sequences of {spec.corpus.seq_len} tokens ran out of memory on {device}. "
            f"Lower batch_size and raise gradient_accumulation, lower seq-len, or use 4bit."
        ) from error


class Trainer:
    """The optimizer and the place in the schedule."""

    def __init__(
        self,
        model: PeftModel,
        decoder: Decoder,
        rows: np.ndarray,
        spec: HealSpec,
        teacher: Teacher | None = None,
        positions: np.ndarray | None = None,
    ) -> None:
        """Get ready for the first step.

        Args:
            model: the pruned model with its adapter; parameters that require gradients are trained.
            decoder: the same model, taken apart.
            rows: packed text, (n_rows, seq_len).
            spec: the request, with its number of steps.
            teacher: returns the unpruned model's states; None if the loss needs none.
            positions: of every token in its document, shaped like the rows; None when documents in a row see each other.
        """
        self.model, self.decoder, self.rows, self.spec = model, decoder, rows, spec
        self.teacher, self.positions = teacher, positions
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

    def take_step(self, between: Callable[[], None]) -> tuple[float, float]:
        """Take one optimizer step on the next rows.

        Args:
            between: Called after each forward and backward pass but the last. If it raises, the step is not taken.

        Returns:
            The loss before the update, mean over the tokens of the step in nats per token, and the learning rate.

        Raises:
            RecipeError: If the loss or the gradient is no longer a number.
        """
        spec = self.spec
        peak = spec.peak_rate
        rate = learning_rate(self.steps_done, peak=peak, warmup_steps=spec.warmup_steps, steps=spec.steps)
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
                    f"The loss was no longer a number at step {self.steps_done + 1}. Heal again with a learning rate below "
                    f"{peak:g}, or with more warm-up steps."
                )
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return loss, rate

    def _accumulate(self, batch: int) -> float:
        """Add the gradient of one batch; return its mean loss."""
        spec = self.spec
        first = (self.steps_done * spec.gradient_accumulation + batch) * spec.batch_size
        numbers = packing.row_numbers(len(self.rows), first, spec.batch_size, spec.seed)
        torch.manual_seed(derived_seed(spec.seed, "dropout", self.steps_done, batch))
        with self.mixed_precision():
            loss = self.batch_loss(numbers)
        (loss / spec.gradient_accumulation).backward()
        return float(loss.detach())

    def mixed_precision(self) -> contextlib.AbstractContextManager[Any]:
        """Products in bfloat16 of a bfloat16 model: adapter weights are float32, and PEFT would multiply them as such."""
        half = self.spec.model.dtype == "bfloat16"
        return torch.autocast(self.decoder.device.type, torch.bfloat16) if half else contextlib.nullcontext()

    def batch_loss(self, numbers: Sequence[int]) -> Tensor:
        """Return the loss of a batch, a scalar that gradients flow through.

        Args:
            numbers: of its rows.
        """
        rows = self.rows[numbers]
        positions = None if self.positions is None else self.positions[numbers]
        # The token after a document's end is the chance beginning of another: nothing to learn from.
        learnt = np.ones((len(numbers), rows.shape[1] - 1), dtype=bool) if positions is None else positions[:, 1:] > 0
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
        """Recompute activations in the backward pass when they would not fit otherwise; it costs a third more time."""
        spec = self.spec
        hidden, width = self.decoder.config.hidden_size, self.decoder.feed_forward_width
        tokens = spec.batch_size * spec.corpus.seq_len
        needed = {
            device: memory.activation_bytes(hidden, width, n_layers, tokens, spec.model.dtype)
            for device, n_layers in self.decoder.layers_on.items()
        }
        for layer in self.decoder.layers:
            needed[next(layer.parameters()).device] += adapters.written_out_bytes(layer)
        if any(n_bytes > _ACTIVATION_SHARE * machine.free_bytes(str(device)) for device, n_bytes in needed.items()):
            self.decoder.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def rehearse(self) -> None:
        """Work through the next batch without learning from it, to see how long that takes."""
        self.model.train()
        try:
            self._accumulate(0)
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> TrainingState:
        """Return the state for a checkpoint; its tensors are shared with the trainer, not copied."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"weight/{name}"] = parameter.data
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"{key}/{name}": moments[key] for key in _MOMENTS if key in moments}
        return TrainingState(self.steps_done, tensors)

    def plan(self, spec: HealSpec, rows: np.ndarray, positions: np.ndarray | None) -> None:
        """Train so many steps on other rows."""
        self.spec, self.rows, self.positions = spec, rows, positions

    def resume_from(self, checkpoint: TrainingState) -> None:
        """Restore the weights and moments of a checkpoint bit for bit.

        Raises:
            KeyError: If the checkpoint belongs to another adapter.
        """
        for name, parameter in self.parameters.items():
            parameter.detach().copy_(checkpoint.tensors[f"weight/{name}"])
            if checkpoint.step:
                moments = {key: checkpoint.tensors[f"{key}/{name}"].to(parameter.device) for key in _MOMENTS}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(checkpoint.step)), **moments}
        self.steps_done = checkpoint.step
