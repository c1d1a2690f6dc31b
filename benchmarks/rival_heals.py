"""Our own implementations of other ways of healing, which `benchmarks/heals.py` compares with ours.

* `paper`: arXiv:2403.17887 with transformers' Trainer and PEFT. It trains LoRA on the feed-forward
  modules.
* `layer-replacement`: LLM-Streamline (arXiv:2403.19135). One trained layer takes the place of the
  removed block.
* `linear-map`: ReplaceMe (arXiv:2505.02819). A least-squares map changes the feed-forward output
  before the block.
"""

import contextlib
import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from analysis.core.blocks import Block, Removal
from analysis.data import corpora
from analysis.data.near_copies import NearCopyFilter
from analysis.data.spec import MIN_DOCUMENT_TOKENS, CorpusSpec
from analysis.experiments.heal.projection import output_projection
from analysis.models.architecture.decoder import (
    Decoder,
    input_stream,
    other_arguments,
    output_stream,
)
from analysis.models.architecture.matrices import feed_forward_matrices
from analysis.models.running import pruning
from analysis.models.running.hidden_states import right_padded

PAPER_BATCH = 16
PAPER_WARM_UP = 100 / 5000
"""Share of the steps in which the paper's learning rate rises."""
LAYER_RATE, LAYER_LEAST_RATE = 2e-4, 5e-5
"""Learning rate of LLM-Streamline at its peak and at the end: the defaults of its published code,
as are the next two."""
LAYER_WEIGHT_DECAY = 1e-3
LAYER_MOST_GRADIENT = 5.0
LAYER_WARM_UP = 0.01
LAYER_PASSES = 4
"""Training steps on each batch of states. A step takes a fifth of the time of reading the states
from the unpruned model."""
SEQUENCES = 4
"""Sequences of a forward pass."""


class Timer:
    """Seconds of a healing run and their limit; the body of `paused` does not count."""

    def __init__(self, limit_s: float, read: Callable[[], float] = time.perf_counter) -> None:
        """Begin to count.

        Args:
            limit_s: seconds that the healing run may take.
            read: the clock.
        """
        self.limit_s = limit_s
        self._read, self._left_out, self._paused_at = read, 0.0, None
        self._first_step_at = 0.0
        self._began = read()

    @property
    def seconds(self) -> float:
        """Seconds until now."""
        return (
            (self._read() if self._paused_at is None else self._paused_at)
            - self._began
            - self._left_out
        )

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Run the body of a `with` statement without counting its time."""
        if self._paused_at is not None:
            yield
            return
        self._paused_at = self._read()
        try:
            yield
        finally:
            self._left_out += self._read() - self._paused_at
            self._paused_at = None

    def is_over(self, steps: int) -> bool:
        """Return whether another step would end further from the limit than now.

        Args:
            steps: steps taken so far.
        """
        if not steps:
            self._first_step_at = self.seconds
        return steps > 0 and self.seconds + self._step_s(steps) / 2 > self.limit_s

    def _step_s(self, steps: int) -> float:
        return (self.seconds - self._first_step_at) / steps

    def rate(self, steps: int, *, warm_up: float, least: float = 0.0) -> float:
        """Return the learning rate of the next step as a share of the peak: a cosine that ends at
        the limit.

        Args:
            steps: steps taken so far.
            warm_up: share of the limit in which it rises. The first step, of unknown length, counts
                as longer than that.
            least: its value at the limit.
        """
        share = min(1.0, self.seconds / self.limit_s)
        cosine = least + (1 - least) * 0.5 * (1 + math.cos(math.pi * share))
        return (
            cosine * min(1.0, (share + self._step_s(steps) / self.limit_s) / warm_up)
            if steps
            else cosine
        )


def documents(
    corpus: CorpusSpec, near_copies: NearCopyFilter, tokenizer: Any
) -> Iterator[list[int]]:
    """Yield the first tokens of the healing documents in the order of their draw, without end.

    Args:
        corpus: resolved.
        near_copies: keeps texts that measure out.
        tokenizer: of transformers.
    """
    while True:
        for text in islice(filter(near_copies.admits, corpora.stream(corpus)), corpus.n_texts):
            ids = tokenizer(text[: corpus.seq_len * 40]).input_ids[: corpus.seq_len]
            if len(ids) >= MIN_DOCUMENT_TOKENS:
                yield ids


class _Rows(torch.utils.data.IterableDataset):
    def __init__(self, texts: Iterator[list[int]]) -> None:
        self._texts = texts

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        return ({"input_ids": ids} for ids in self._texts)


def _padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Return a batch with one document per row, padded to the longest."""
    sequences = [row["input_ids"] for row in rows]
    ids, real = right_padded(sequences), _real(sequences)
    return {"input_ids": ids, "attention_mask": real.long(), "labels": ids.masked_fill(~real, -100)}


def _real(sequences: Sequence[Sequence[int]]) -> Tensor:
    lengths = torch.tensor([len(ids) for ids in sequences])
    return torch.arange(int(lengths.max())) < lengths[:, None]


def paper(
    decoder: Decoder,
    cut: Removal,
    texts: Iterator[list[int]],
    timer: Timer,
    *,
    r: int,
    learning_rate: float,
    dropout: float,
    seed: int,
    scratch: str,
) -> tuple[Any, int]:
    """Remove the layers, and train LoRA by the paper's recipe until the limit: batch 16, a cosine
    over the time, AdamW.

    Args:
        decoder: the unpruned model, which is changed.
        cut: the layers to remove.
        texts: token ids.
        timer: its limit ends the training and the cosine.
        r, learning_rate, dropout: of the LoRA; alpha = r.
        seed: of the LoRA's first weights and of the dropout.
        scratch: a folder that the Trainer may write to.

    Returns:
        The PEFT model and its number of steps.
    """
    pruning.cut(decoder, cut)
    torch.manual_seed(seed)
    names = feed_forward_matrices(decoder).names
    config = LoraConfig(
        r=r, lora_alpha=r, lora_dropout=dropout, target_modules=list(names), task_type="CAUSAL_LM"
    )
    model = get_peft_model(decoder.model, config)

    class TimedTrainer(Trainer):
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: timer.rate(step, warm_up=PAPER_WARM_UP)
            )
            return self.lr_scheduler

    class Limit(TrainerCallback):
        def on_step_begin(self, arguments: Any, state: Any, control: Any, **named: Any) -> None:
            timer.is_over(state.global_step)

        def on_step_end(self, arguments: Any, state: Any, control: Any, **named: Any) -> None:
            control.should_training_stop = timer.is_over(state.global_step)

    trainer = TimedTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=scratch,
            max_steps=1_000_000,
            per_device_train_batch_size=SEQUENCES,
            gradient_accumulation_steps=PAPER_BATCH // SEQUENCES,
            learning_rate=learning_rate,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=seed,
            bf16=decoder.dtype == torch.bfloat16,
            use_cpu=decoder.device.type == "cpu",
        ),
        train_dataset=_Rows(texts),
        data_collator=_padded,
        callbacks=[Limit()],
    )
    trainer.train()
    return model, trainer.state.global_step


class _Reached(Exception):
    """The states are there; the layers after them need not run."""


@dataclass(frozen=True)
class States:
    """States of a batch of texts around a block, of the unpruned model."""

    before: Tensor
    """Stream that enters the block, (batch, seq, hidden_size)."""
    behind: Tensor
    """Stream that leaves it, same shape."""
    added: Tensor
    """Output of the projection before the block, same shape; the stream before where that is not
    watched."""
    call: tuple[tuple, dict]
    """Arguments of a layer beside the stream."""
    real: Tensor
    """(batch, seq), False for padding."""


@torch.no_grad()
def states_around(
    decoder: Decoder,
    block: Block,
    sequences: Sequence[Sequence[int]],
    projection: nn.Module | None = None,
) -> States:
    """Run the unpruned model up to the end of a block.

    Args:
        decoder: the unpruned model.
        block: the layers.
        sequences: token ids.
        projection: the module before the block whose output is kept; None for none.
    """
    kept: dict[str, Any] = {}

    def entering(_: nn.Module, args: Any, named: Any) -> None:
        kept["before"], kept["call"] = input_stream(args, named), other_arguments(args, named)

    def leaving(_: nn.Module, args: Any, output: Any) -> None:
        kept["behind"] = output_stream(output)
        raise _Reached

    def projecting(_: nn.Module, args: Any, output: Any) -> None:
        kept["added"] = output_stream(output)

    handles = [
        decoder.layers[block.start].register_forward_pre_hook(entering, with_kwargs=True),
        decoder.layers[block.stop - 1].register_forward_hook(leaving),
    ]
    handles += [] if projection is None else [projection.register_forward_hook(projecting)]
    try:
        with contextlib.suppress(_Reached):
            decoder.body(input_ids=right_padded(sequences).to(decoder.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    before = kept["before"]
    return States(
        before,
        kept["behind"],
        kept.get("added", before),
        kept["call"],
        _real(sequences).to(before.device),
    )


def layer_replacement(
    decoder: Decoder, block: Block, texts: Iterator[list[int]], timer: Timer, *, seed: int
) -> list[float]:
    """Replace a block by its own first layer, trained until the limit to lead from the stream
    before it to that behind it.

    The loss is the mean squared error of all tokens and channels.

    Args:
        decoder: the unpruned model, which is changed; one layer of the block stays.
        block: the layers to replace.
        texts: token ids.
        timer: its limit ends the training and the cosine.
        seed: of the choice of batches that are trained on again.

    Returns:
        The loss of each step.
    """
    layer = copy.deepcopy(decoder.layers[block.start]).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        layer.parameters(), lr=LAYER_RATE, weight_decay=LAYER_WEIGHT_DECAY
    )
    draws, kept, losses = random.Random(seed), list[States](), list[float]()
    while not timer.is_over(len(losses)):
        if len(losses) % LAYER_PASSES == 0:
            kept.append(states_around(decoder, block, list(islice(texts, SEQUENCES))))
            batch = kept[-1]
        else:
            batch = draws.choice(kept)
        share = timer.rate(len(losses), warm_up=LAYER_WARM_UP, least=LAYER_LEAST_RATE / LAYER_RATE)
        for group in optimizer.param_groups:
            group["lr"] = LAYER_RATE * share
        args, named = batch.call
        output = output_stream(layer(batch.before, *args, **named))
        loss = (output - batch.behind)[batch.real].float().square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), LAYER_MOST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
    decoder.layers[block.start].load_state_dict(layer.state_dict())
    if block.size > 1:
        pruning.cut(decoder, Block(block.start + 1, block.size - 1))
    return losses


@torch.no_grad()
def linear_map(decoder: Decoder, block: Block, sequences: Sequence[Sequence[int]]) -> Tensor:
    """Remove a block, and merge into the projection before it the map T that makes up for it best.

    T minimizes |M T + Y - B|² over all tokens. M is the projection's output, Y the rest of the
    stream before the block, and B the stream behind the block. No ridge, float64.

    Args:
        decoder: the unpruned model, which is changed.
        block: the layers to remove; there is one before them.
        sequences: token ids.

    Returns:
        T, (hidden_size, hidden_size), float64.
    """
    hidden = decoder.config.hidden_size
    _, projection = output_projection(decoder, block.start)
    gram, cross = (torch.zeros(hidden, hidden, dtype=torch.float64) for _ in range(2))
    for first in range(0, len(sequences), SEQUENCES):
        states = states_around(decoder, block, sequences[first : first + SEQUENCES], projection)
        before, behind, added = (
            stream[states.real].cpu().double()
            for stream in (states.before, states.behind, states.added)
        )
        gram += added.T @ added
        cross += added.T @ (behind - before + added)
    fitted = torch.linalg.solve(gram, cross)
    weight = projection.weight
    weight.copy_((fitted.T @ weight.cpu().double()).to(weight))
    if projection.bias is not None:
        projection.bias.copy_((projection.bias.cpu().double() @ fitted).to(weight))
    pruning.cut(decoder, block)
    return fitted
