"""Token sequences of questions merged into prefix trees and packed side by side, so that no shared prefix runs twice."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analysis.data.tasks import Question

ROW_TOKENS = 1024
"""Packed tokens per row."""
SHARED_ROW_TOKENS = 4096
"""Most tokens of a row whose questions share most of theirs; its mask takes the square of it, 64 MB in float32."""


@dataclass(frozen=True)
class EncodedOption:
    """One context and continuation as token ids."""

    tokens: Sequence[int]
    n_scored: int
    """The last `n_scored` tokens are the continuation; at least one token stands before them."""


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids."""

    options: list[EncodedOption]
    truncated: bool
    """Whether the context lost tokens on the left to fit the model's window."""


def encode(question: Question, tokenizer: Any, max_positions: int | None) -> EncodedQuestion:
    """Tokenize a question as lm-evaluation-harness does.

    Context and continuation are tokenized together. The tokens after as many as the context alone has are scored behind the
    context's own tokens. If a token spans the boundary, the two do not match, there as here.

    Args:
        question: the question.
        tokenizer: a transformers tokenizer.
        max_positions: the model's window; longer prompts lose tokens on the left.
    """
    options, truncated = [], False
    contexts: dict[str, list[int]] = {}
    for context, continuation in question.pairs():
        before, scored = _split(context, continuation, tokenizer, contexts)
        tokens = before + scored
        if max_positions is not None and len(tokens) > max_positions + 1:
            tokens, truncated = tokens[-(max_positions + 1) :], True
        # Numbers of four bytes: a large set of questions behind worked examples has a hundred million of them.
        options.append(EncodedOption(array("i", tokens), min(len(scored), len(tokens) - 1)))
    return EncodedQuestion(options, truncated)


def _split(context: str, continuation: str, tokenizer: Any, cache: dict[str, list[int]]) -> tuple[list[int], list[int]]:
    """Tokens of the context, at least one, and of the continuation, at least one; `cache` holds those of contexts."""
    stripped = context.rstrip()
    # Spaces at the end of the context belong to the continuation: that is how words begin in most vocabularies.
    continuation = context[len(stripped) :] + continuation
    if not stripped:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        scored = _tokens(continuation, tokenizer, special=False)
        return ([start], scored) if scored[0] != start or len(scored) == 1 else (scored[:1], scored[1:])
    if stripped not in cache:
        cache[stripped] = _tokens(stripped, tokenizer)
    tokens, before = _tokens(stripped + continuation, tokenizer), cache[stripped]
    if len(tokens) > len(before):
        return before, tokens[len(before) :]
    # The harness stops at a boundary that merges into one token; here that token is scored.
    return tokens[:-1] or _split("", stripped + continuation, tokenizer, cache)[0], tokens[-1:]


def _tokens(text: str, tokenizer: Any, *, special: bool = True) -> list[int]:
    """Token ids, with the special tokens that this tokenizer adds of itself unless the text already begins with one."""
    start = tokenizer.bos_token if tokenizer.bos_token_id is not None else tokenizer.eos_token
    if special and not (start and text.startswith(start)):
        return list(tokenizer(text).input_ids)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


class TreeRow:
    """Prefix trees of several token sequences, packed side by side.

    `tokens[i]` has parent `parents[i]` (-1 for a root) and depth `depths[i]`. `targets` lists, for each scored token,
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

    def cost(self, options: Sequence[EncodedOption]) -> int:
        """How many tokens the options would add."""
        new: dict[tuple[int, int], int] = {}
        for option in options:
            node = -1
            for token in option.tokens[:-1]:
                child = self._children.get((node, token))
                # Nodes that do not exist yet are numbered from -2 down, apart from those that do.
                node = new.setdefault((node, token), -2 - len(new)) if child is None else child
        return len(new)

    def add(self, number: int, option: EncodedOption) -> None:
        """Merge one option's tokens into the tree; its targets are filed under `number`."""
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

    def close(self) -> None:
        """Release the index of shared prefixes: nothing more is added."""
        self._children.clear()

    def visible(self) -> Tensor:
        """Attention mask: (len, len) booleans, True where the column is the row itself or an ancestor of it."""
        mask = torch.zeros(len(self), len(self), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                mask[node] = mask[parent]
            mask[node, node] = True
        return mask


def pack(
    questions: Sequence[EncodedQuestion],
    row_tokens: int = ROW_TOKENS,
    shared_row_tokens: int = SHARED_ROW_TOKENS,
) -> list[TreeRow]:
    """Pack questions, in order, into rows; options are numbered through, and all options of a question are in one row.

    A question joins the row before it as long as the row stays within `row_tokens`. The limit is `shared_row_tokens` if the
    row already holds most of the question's tokens. Then a new row would repeat more tokens, such as worked examples, than
    the question has of its own. Attention adds nothing to that: in any row a question's own tokens look at the prefix and at
    themselves (see `attention`). Questions of one group must stand together to find each other's prefix. A question that is
    longer than a row has one to itself.

    Args:
        questions: to be packed.
        row_tokens, shared_row_tokens: limits of a row.
    """
    rows = [TreeRow()]
    number = 0
    for question in questions:
        added = rows[-1].cost(question.options)
        shared = TreeRow().cost(question.options) - added
        if len(rows[-1]) and len(rows[-1]) + added > (shared_row_tokens if shared > added else row_tokens):
            rows[-1].close()
            rows.append(TreeRow())
        for option in question.options:
            rows[-1].add(number, option)
            number += 1
    rows[-1].close()
    return rows


def one_row_each(questions: Sequence[EncodedQuestion]) -> list[TreeRow]:
    """Every option in a row of its own, for families that cannot run packed rows."""
    rows = []
    for number, option in enumerate(option for question in questions for option in question.options):
        rows.append(TreeRow())
        rows[-1].add(number, option)
        rows[-1].close()
    return rows
