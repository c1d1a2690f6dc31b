"""Log-likelihoods of answer options and the loss on text, for any number of cuts of one unmodified model at once.

Two savings, neither of which changes a result:

* Shared context. The token sequences of several questions are merged into prefix trees and the trees are packed side by
  side into one row: a prefix that sequences share (a context, worked examples) is computed once. Every token attends to
  its own ancestors only and is placed at its own depth, so it sees exactly what it would see alone.
* Shared trunk. The layers before a cut see no difference, so the unpruned model runs once and each cut runs only the
  layers after it, from the kept residual stream (`hidden_states.run_trunk`, `run_tail`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analysis.architecture import Decoder
from analysis.benchmarks import Question
from analysis.hidden_states import TOKENS_PER_BATCH, Trunk, batches, right_padded, run_tail, run_trunk
from analysis.specs import Block

ROW_TOKENS = 512
"""Packed tokens per row: attention costs the square of it, and padding and repeated prefixes cost less the longer it is."""
_LOGITS_AT_ONCE = 1 << 25
"""Vocabulary logits held at once (128 MB in float32)."""

Cuts = Sequence[Block | None]
"""What to measure in one go; None is the unpruned model."""
OnBatch = Callable[[int], None]
"""Told after each piece of work how many units of it are done; may raise `Cancelled`."""


@dataclass(frozen=True)
class Option:
    """One context and continuation as token ids."""

    tokens: tuple[int, ...]
    n_scored: int
    """The last `n_scored` tokens are the continuation; at least one token stands before them."""


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids."""

    options: list[Option]
    truncated: bool
    """Whether the context lost tokens on the left to fit the model's window."""


def encode(question: Question, tokenizer: Any, max_positions: int | None) -> EncodedQuestion:
    """Tokenize a question as lm-evaluation-harness does.

    Context and continuation are tokenized together, so that a token may span the boundary; the continuation is what is
    left after as many tokens as the context alone has. Spaces at the end of the context belong to the continuation.

    Args:
        question: the question.
        tokenizer: a transformers tokenizer.
        max_positions: the model's window; longer prompts lose tokens on the left.
    """
    options, truncated = [], False
    for continuation in question.options:
        context = question.context.rstrip()
        continuation = question.context[len(context) :] + continuation
        whole = list(tokenizer(context + continuation).input_ids)
        n_context = len(tokenizer(context).input_ids) if context else 0
        if n_context == 0:
            prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
            whole, n_context = [prefix, *whole], 1
        n_scored = max(1, len(whole) - n_context)
        if max_positions is not None and len(whole) > max_positions + 1:
            whole, truncated = whole[-(max_positions + 1) :], True
        options.append(Option(tuple(whole), min(n_scored, len(whole) - 1)))
    return EncodedQuestion(options, truncated)


class Row:
    """Prefix trees of several token sequences, packed side by side.

    `tokens[i]` has parent `parents[i]` (-1 for a root) and depth `depths[i]`; `targets` lists, for each scored token,
    (option number, node it is predicted from, token id). The last token of a sequence predicts nothing and is no node.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.targets: list[tuple[int, int, int]] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def cost(self, options: Sequence[Option]) -> int:
        """How many tokens the options would add."""
        new: set[tuple[int, ...]] = set()
        for option in options:
            node = -1
            for depth, token in enumerate(option.tokens[:-1]):
                node = self._children.get((node, token), -2) if node != -2 else -2
                if node == -2:
                    new.update(option.tokens[:end] for end in range(depth + 1, len(option.tokens)))
                    break
        return len(new)

    def add(self, number: int, option: Option) -> None:
        """Merge one option's tokens into the tree; `number` is what its targets are filed under."""
        node, first_scored = -1, len(option.tokens) - option.n_scored
        for depth, token in enumerate(option.tokens):
            if depth >= first_scored:
                self.targets.append((number, node, token))
            if depth == len(option.tokens) - 1:
                break
            child = self._children.get((node, token))
            if child is None:
                child = len(self.tokens)
                self._children[node, token] = child
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(depth)
            node = child

    def visible(self) -> Tensor:
        """Who sees whom: (len, len) booleans, True where the column is the row itself or an ancestor of it."""
        seen = torch.zeros(len(self), len(self), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


def pack(questions: Sequence[EncodedQuestion], row_tokens: int = ROW_TOKENS) -> list[Row]:
    """Pack questions, in order, into rows of at most `row_tokens` (or of one question, when it alone is longer).

    Options are numbered through over all questions. All options of a question are in one row.
    """
    rows = [Row()]
    number = 0
    for question in questions:
        if len(rows[-1]) and len(rows[-1]) + rows[-1].cost(question.options) > row_tokens:
            rows.append(Row())
        for option in question.options:
            rows[-1].add(number, option)
            number += 1
    return rows


@dataclass(frozen=True)
class _Batch:
    """Rows as tensors on the model's device."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    """Additive, (batch, 1, seq, seq)."""
    where: Tensor
    """Flat indices (row * seq + node) of the distinct nodes that something is predicted from."""
    target_where: Tensor
    """For each target, its index into `where`."""
    target_tokens: Tensor
    target_options: Tensor


def _batch(rows: Sequence[Row], decoder: Decoder) -> _Batch:
    longest = max(len(row) for row in rows)
    ids, positions = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(2))
    # Padding sees itself, so that no softmax runs over nothing.
    visible = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)
    flat: list[int] = []
    tokens: list[int] = []
    options: list[int] = []
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row.tokens)
        positions[index, : len(row)] = torch.tensor(row.depths)
        visible[index, : len(row), : len(row)] = row.visible()
        for option, node, token in row.targets:
            flat.append(index * longest + node)
            tokens.append(token)
            options.append(option)
    where, inverse = torch.unique(torch.tensor(flat), return_inverse=True)
    dtype = next(parameter.dtype for parameter in decoder.norm.parameters())
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)[:, None]
    device = decoder.device
    return _Batch(
        ids.to(device), positions.to(device), mask.to(device), where.to(device), inverse.to(device),
        torch.tensor(tokens, device=device), torch.tensor(options),
    )  # fmt: skip


def _depths(cuts: Cuts, n_layers: int) -> set[int]:
    return {n_layers if cut is None else cut.start for cut in cuts}


@torch.inference_mode()
def option_loglikelihoods(
    decoder: Decoder, questions: Sequence[EncodedQuestion], cuts: Cuts, on_batch: OnBatch = lambda done: None
) -> list[list[list[float]]]:
    """Summed log-probability of every option's continuation, in nats, for every cut.

    Args:
        decoder: the unpruned model; it is not changed.
        questions: what to score.
        cuts: blocks to leave out, each measured on its own.
        on_batch: told the share of work done, in units of one batch times one cut.

    Returns:
        Per cut, per question, per option.
    """
    n_options = sum(len(question.options) for question in questions)
    totals = torch.zeros(len(cuts), n_options, dtype=torch.float64)
    rows = pack(questions)
    done = 0
    for group in batches([len(row) for row in rows]):
        batch = _batch([rows[index] for index in group], decoder)
        trunk = run_trunk(
            decoder,
            batch.input_ids,
            keep=_depths(cuts, decoder.n_layers),
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
        )
        for index, cut in enumerate(cuts):
            states = run_tail(decoder, trunk, cut).flatten(0, 1)[batch.where]
            totals[index].index_add_(0, batch.target_options, _target_loglikelihoods(decoder, states, batch))
            done += 1
            on_batch(done)
    return [list(_by_question(row.tolist(), questions)) for row in totals]


def n_batches(questions: Sequence[EncodedQuestion]) -> int:
    """How many batches `option_loglikelihoods` runs for these questions."""
    return len(batches([len(row) for row in pack(questions)]))


def _target_loglikelihoods(decoder: Decoder, states: Tensor, batch: _Batch) -> Tensor:
    """Log-probability of every target, float64, on the CPU; the head runs once per distinct position, in chunks."""
    found = torch.zeros(len(batch.target_tokens), dtype=torch.float64)
    chunk = max(1, _LOGITS_AT_ONCE // decoder.config.vocab_size)
    for begin in range(0, len(states), chunk):
        logits = decoder.logits(decoder.norm(states[begin : begin + chunk]))
        chosen = ((batch.target_where >= begin) & (batch.target_where < begin + chunk)).nonzero()[:, 0]
        at = batch.target_where[chosen] - begin
        values = logits[at, batch.target_tokens[chosen]] - logits.logsumexp(-1)[at]
        found[chosen.cpu()] = values.double().cpu()
    return found


def _by_question(values: list[float], questions: Sequence[EncodedQuestion]) -> Iterator[list[float]]:
    begin = 0
    for question in questions:
        yield values[begin : begin + len(question.options)]
        begin += len(question.options)


@torch.inference_mode()
def text_losses(
    decoder: Decoder, token_ids: Sequence[Sequence[int]], cuts: Cuts, on_batch: OnBatch = lambda done: None
) -> list[list[float]]:
    """Mean next-token cross-entropy of every text, in nats per token, for every cut.

    Args:
        decoder: the unpruned model; it is not changed.
        token_ids: texts of at least two tokens.
        cuts: blocks to leave out, each measured on its own.
        on_batch: told how many of `len(text_batches(...)) * len(cuts)` pieces are done.

    Returns:
        Per cut, per text.
    """
    losses = [[0.0] * len(token_ids) for _ in cuts]
    done = 0
    for group in text_batches(token_ids):
        sequences = [token_ids[index] for index in group]
        trunk = run_trunk(decoder, right_padded(sequences), keep=_depths(cuts, decoder.n_layers))
        for number, cut in enumerate(cuts):
            for index, loss in zip(group, _batch_losses(decoder, trunk, cut, sequences), strict=True):
                losses[number][index] = loss
            done += 1
            on_batch(done)
    return losses


def text_batches(token_ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """How `text_losses` groups its texts: half the usual tokens, since every position goes through the head."""
    return batches([len(ids) for ids in token_ids], TOKENS_PER_BATCH // 2)


def _batch_losses(decoder: Decoder, trunk: Trunk, cut: Block | None, sequences: Sequence[Sequence[int]]) -> list[float]:
    stream = run_tail(decoder, trunk, cut)
    states = torch.cat([row[: len(ids) - 1] for row, ids in zip(stream, sequences, strict=True)])
    targets = torch.tensor([token for ids in sequences for token in ids[1:]], device=states.device)
    chunk = max(1, _LOGITS_AT_ONCE // decoder.config.vocab_size)
    parts = [
        torch.nn.functional.cross_entropy(decoder.logits(decoder.norm(part)), target, reduction="none")
        for part, target in zip(states.split(chunk), targets.split(chunk), strict=True)
    ]
    per_token = torch.cat(parts).double().cpu()
    return [float(part.mean()) for part in per_token.split([len(ids) - 1 for ids in sequences])]
