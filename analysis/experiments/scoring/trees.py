"""Token sequences of questions as prefix trees in packed rows, so that shared prefixes are computed
once.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analysis.data.tasks import Question

ROW_TOKENS = 1024
"""Maximum number of packed tokens per row."""
SHARED_ROW_TOKENS = 4096
"""Maximum number of tokens of a row whose questions share most tokens. Its mask takes 64 MB in
float32."""


@dataclass(frozen=True)
class EncodedOption:
    """Context and continuation as token ids."""

    tokens: Sequence[int]
    n_scored: int
    """Number of tokens of the continuation, which are the last ones, after at least one token of
    context."""


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids."""

    options: list[EncodedOption]
    truncated: bool
    """Whether the context is truncated on the left to the model's window."""


def encode(question: Question, tokenizer: Any, max_positions: int | None) -> EncodedQuestion:
    """Tokenize a question as lm-evaluation-harness does.

    Context and continuation are tokenized together, and the tokens of the context are those of the
    context alone. If a token spans the boundary, the two do not match, as in the harness.

    Args:
        question: The question.
        tokenizer: A transformers tokenizer.
        max_positions: Window of the model, to which longer prompts are truncated on the left.
    """
    options = []
    truncated = False
    contexts: dict[str, list[int]] = {}
    for context, continuation in question.pairs():
        before, scored = _split(context, continuation, tokenizer, contexts)
        tokens = before + scored
        if max_positions is not None and len(tokens) > max_positions + 1:
            tokens = tokens[-(max_positions + 1) :]
            truncated = True
        # Compact, since a large dataset with worked examples has a hundred million tokens.
        options.append(EncodedOption(array("i", tokens), min(len(scored), len(tokens) - 1)))
    return EncodedQuestion(options, truncated)


def _split(
    context: str, continuation: str, tokenizer: Any, cache: dict[str, list[int]]
) -> tuple[list[int], list[int]]:
    """Return the tokens of context and continuation, at least one each; `cache` contains tokens by
    context.
    """
    stripped = context.rstrip()
    # Trailing spaces of the context move to the continuation, since words begin with a space in
    # most vocabularies.
    continuation = context[len(stripped) :] + continuation
    if not stripped:
        start = (
            tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        )
        scored = _tokens(continuation, tokenizer, special=False)
        return (
            ([start], scored)
            if scored[0] != start or len(scored) == 1
            else (scored[:1], scored[1:])
        )
    if stripped not in cache:
        cache[stripped] = _tokens(stripped, tokenizer)
    tokens = _tokens(stripped + continuation, tokenizer)
    before = cache[stripped]
    if len(tokens) > len(before):
        return before, tokens[len(before) :]
    # Context and continuation merge into one token, at which the harness fails. Here it is scored.
    return tokens[:-1] or _split("", stripped + continuation, tokenizer, cache)[0], tokens[-1:]


def _tokens(text: str, tokenizer: Any, *, special: bool = True) -> list[int]:
    """Return token ids, with the special tokens of the tokenizer unless the text begins with
    one.
    """
    start = tokenizer.bos_token if tokenizer.bos_token_id is not None else tokenizer.eos_token
    if special and not (start and text.startswith(start)):
        return list(tokenizer(text).input_ids)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


class TreeRow:
    """Row of packed prefix trees of token sequences.

    `tokens[i]` has the parent `parents[i]` (-1 for a root) and the depth `depths[i]`. `targets`
    contains (option number, index of the predicting node, token id) of each scored token. The last
    token of a sequence predicts nothing and has no node.
    """

    def __init__(self) -> None:
        """Create an empty row."""
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.targets: list[tuple[int, int, int]] = []
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def cost(self, options: Sequence[EncodedOption]) -> int:
        """Return the number of tokens that options would add."""
        new: dict[tuple[int, int], int] = {}
        for option in options:
            node = -1
            for token in option.tokens[:-1]:
                child = self._children.get((node, token))
                # New nodes have the numbers -2, -3, …, unlike existing ones.
                node = new.setdefault((node, token), -2 - len(new)) if child is None else child
        return len(new)

    def add(self, number: int, option: EncodedOption) -> None:
        """Add the tokens and targets of an option with this number."""
        node = -1
        first_scored = len(option.tokens) - option.n_scored
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
        """Free the index of prefixes after the last option."""
        self._children.clear()

    def visible(self) -> Tensor:
        """Return the visible tokens, (len, len) booleans, True for the token itself and its
        ancestors.
        """
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
    """Pack questions into rows, in order. Options are numbered consecutively, and those of a
    question share a row.

    A question is added to the last row if the row stays within `row_tokens`. If the row already
    contains most tokens of the question, such as worked examples, the limit is `shared_row_tokens`,
    since a new row would repeat them. The cost of attention does not depend on the row, in which a
    question only attends to its prefix and itself (see `attention`). Questions of a group must be
    adjacent to share their prefix. A question longer than a row gets its own row.

    Args:
        questions: Questions to pack.
        row_tokens, shared_row_tokens: Maximum numbers of tokens of a row.
    """
    rows = [TreeRow()]
    number = 0
    for question in questions:
        added = rows[-1].cost(question.options)
        shared = TreeRow().cost(question.options) - added
        if len(rows[-1]) and len(rows[-1]) + added > (
            shared_row_tokens if shared > added else row_tokens
        ):
            rows[-1].close()
            rows.append(TreeRow())
        for option in question.options:
            rows[-1].add(number, option)
            number += 1
    rows[-1].close()
    return rows


def one_row_each(questions: Sequence[EncodedQuestion]) -> list[TreeRow]:
    """Return one row per option, for families that cannot run packed rows."""
    rows = []
    for number, option in enumerate(
        option for question in questions for option in question.options
    ):
        rows.append(TreeRow())
        rows[-1].add(number, option)
        rows[-1].close()
    return rows
