"""Documents packed into training sequences, without those that contain evaluation texts."""

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.core.errors import RecipeError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.data import corpora
from analysis.data.near_copies import NearCopyFilter
from analysis.data.spec import MIN_DOCUMENT_TOKENS, CorpusSpec

_TOKENIZED_AT_ONCE = 32
"""Number of documents per tokenizer call, which processes them in parallel."""


@dataclass(frozen=True)
class PackedRows:
    """Training text as an array of token ids."""

    rows: np.ndarray
    """Token ids without padding, (n_rows, seq_len), int32."""
    positions: np.ndarray
    """Number of earlier tokens of the same document in the row, (n_rows, seq_len), int32."""
    n_skipped: int
    """Number of documents skipped because they had fewer than 16 tokens."""
    n_held_out: int
    """Number of documents excluded because they share too many word sequences with an evaluation
    text."""
    quoted: float
    """Largest share of the word sequences of an evaluation text that occur in the documents, in [0,
    1]."""


def pack(
    documents: Iterable[list[int]],
    seq_len: int,
    eos_token_id: int | None,
    *,
    max_rows: int | None = None,
    on_progress: OnProgress = ignore,
) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate documents, each followed by an end-of-text token, and split the result into rows.

    Only the tail that does not fill a row is dropped.

    Args:
        documents: Token ids of each document.
        seq_len: Number of tokens per row.
        eos_token_id: End-of-text token; None if the tokenizer has none.
        max_rows: Maximum number of rows; None for no limit.
        on_progress: Called before every document with the number of full rows; may raise
            `Cancelled`.

    Returns:
        Token ids and positions, both (n_rows, seq_len), int32, without rows if the text is shorter
        than one. A position is the number of earlier tokens of the same document in the row, and 0
        where a document begins or continues a previous row.
    """
    stream, begins = (
        array("i"),
        array("q"),
    )  # compact, since the paper's recipes read hundreds of millions of tokens
    for ids in documents:
        on_progress(Progress("packing the healing text", len(stream) // seq_len, max_rows or 0))
        begins.append(len(stream))
        stream.extend(ids)
        if eos_token_id is not None and (
            not ids or ids[-1] != eos_token_id
        ):  # some tokenizers add it themselves
            stream.append(eos_token_id)
        if max_rows is not None and len(stream) >= max_rows * seq_len:
            break
    n_rows = len(stream) // seq_len
    if max_rows is not None:
        n_rows = min(n_rows, max_rows)
    rows = np.asarray(stream, dtype=np.int32)[: n_rows * seq_len].reshape(n_rows, seq_len)
    return rows, _positions(np.asarray(begins), rows.shape)


def _positions(begins: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the positions of `pack` for rows of this shape, from the offsets of the documents in
    the token stream.
    """
    within = begins[begins < shape[0] * shape[1]]
    starts = np.zeros(shape, dtype=np.int32)
    starts.flat[within] = within % shape[1]
    np.maximum.accumulate(starts, axis=1, out=starts)
    return np.subtract(np.arange(shape[1], dtype=np.int32), starts, out=starts)


def near_copy_filter(texts: Iterable[Sequence[int]], tokenizer: Any) -> NearCopyFilter:
    """Return a filter that excludes documents with parts of these tokenized evaluation texts from
    training.
    """
    return NearCopyFilter(tokenizer.decode(ids, skip_special_tokens=True) for ids in texts)


def training_rows(
    spec: CorpusSpec,
    near_copies: NearCopyFilter,
    tokenizer: Any,
    *,
    max_rows: int | None = None,
    on_progress: OnProgress = ignore,
) -> PackedRows:
    """Draw and pack documents, without those that contain evaluation texts.

    Args:
        spec: Resolved request for at most `n_texts` documents and rows of `seq_len` tokens.
        near_copies: Filter, called with every document in order.
        tokenizer: A transformers tokenizer.
        max_rows: Maximum number of rows; None for no limit.
        on_progress: Called with the number of full rows; may raise `Cancelled`.

    Raises:
        CorpusError: If the text cannot be read.
        RecipeError: If the remaining text does not fill a single row.
    """
    counts: Counter[str] = Counter()
    documents = itertools.islice(_fresh(spec, near_copies, tokenizer, counts), spec.n_texts)
    rows, positions = pack(
        documents, spec.seq_len, tokenizer.eos_token_id, max_rows=max_rows, on_progress=on_progress
    )
    if len(rows) == 0:
        without = " without the evaluation texts and their near-copies"
        raise RecipeError(
            f"The healing text {spec.source!r} does not fill one sequence of {spec.seq_len} tokens"
            f"{without if near_copies.n_refused else ''}."
            " Give more text, or a smaller seq-len."
        )
    return PackedRows(
        rows, positions, counts["skipped"], near_copies.n_refused, near_copies.highest
    )


def beginnings(
    spec: CorpusSpec, near_copies: NearCopyFilter, tokenizer: Any, n_texts: int, n_tokens: int
) -> list[list[int]]:
    """Return the first tokens of documents, without documents that contain evaluation texts.

    Args:
        spec, near_copies, tokenizer: As in `training_rows`.
        n_texts: Maximum number of documents.
        n_tokens: Maximum number of tokens per document.

    Raises:
        CorpusError: If the text cannot be read.
    """
    documents = _fresh(spec, near_copies, tokenizer, Counter())
    return [ids[:n_tokens] for ids in itertools.islice(documents, min(n_texts, spec.n_texts))]


def _fresh(
    spec: CorpusSpec, near_copies: NearCopyFilter, tokenizer: Any, counts: Counter[str]
) -> Iterator[list[int]]:
    """Yield tokenized documents that pass the filter and are long enough; `counts["skipped"]`
    counts those too short.
    """
    for ids in _tokenized(filter(near_copies.admits, corpora.stream(spec)), tokenizer):
        if len(ids) < MIN_DOCUMENT_TOKENS:
            counts["skipped"] += 1
        else:
            yield ids


def _tokenized(texts: Iterator[str], tokenizer: Any) -> Iterator[list[int]]:
    while batch := list(itertools.islice(texts, _TOKENIZED_AT_ONCE)):
        yield from tokenizer(batch, verbose=False).input_ids


def row_numbers(n_rows: int, first: int, count: int, seed: int) -> list[int]:
    """Return the indices of the rows at positions `first` .. `first + count - 1` of the training
    order.

    The rows are shuffled again for each epoch. The order depends only on the arguments, so a
    resumed run reads the same rows as an uninterrupted one.

    Args:
        n_rows: Number of rows.
        first: 0-based position in the order.
        count: Number of indices.
        seed: Seed of the order.
    """
    epochs = range(first // n_rows, (first + count - 1) // n_rows + 1)
    order = {epoch: np.random.default_rng([seed, epoch]).permutation(n_rows) for epoch in epochs}
    return [
        int(order[position // n_rows][position % n_rows])
        for position in range(first, first + count)
    ]
