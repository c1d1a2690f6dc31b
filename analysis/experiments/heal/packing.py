"""Documents packed into training rows, without those that contain measured texts."""

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
"""Documents handed to the tokenizer in one call: it works on them in parallel, and little is done in vain."""


@dataclass(frozen=True)
class PackedRows:
    """Training text as a rectangle of token ids."""

    rows: np.ndarray
    """(n_rows, seq_len), int32; every position is a real token."""
    positions: np.ndarray
    """(n_rows, seq_len), int32; how many tokens of the same document stand before each token in its row."""
    n_skipped: int
    """Documents passed over because they were under 16 tokens."""
    n_held_out: int
    """Documents left out because, with the others, they contain too many word runs of a measured text."""
    quoted: float
    """Of the measured texts, the largest share of runs of words that stands in the documents, in [0, 1]."""


def pack(
    documents: Iterable[list[int]],
    seq_len: int,
    eos_token_id: int | None,
    *,
    max_rows: int | None = None,
    on_progress: OnProgress = ignore,
) -> tuple[np.ndarray, np.ndarray]:
    """Join documents with an end-of-text token after each and cut the stream into rows.

    No token is lost but the tail that does not fill a row.

    Args:
        documents: token ids of each document.
        seq_len: tokens per row.
        eos_token_id: the end-of-text token; None when the tokenizer has none, and nothing is put between documents.
        max_rows: stop reading documents when so many rows are full; None to read all.
        on_progress: called before every document with the number of full rows; may raise `Cancelled`.

    Returns:
        Token ids and positions, both (n_rows, seq_len), int32; no rows when the text is shorter than one. A position counts the
        tokens of the same document before it in its row. So it is 0 wherever a document begins or continues from the row
        before.
    """
    stream, begins = array("i"), array("q")  # 4 bytes a token: the paper's recipes read hundreds of millions
    for ids in documents:
        on_progress(Progress("packing the healing text", len(stream) // seq_len, max_rows or 0))
        begins.append(len(stream))
        stream.extend(ids)
        if eos_token_id is not None and (not ids or ids[-1] != eos_token_id):  # some tokenizers add it themselves
            stream.append(eos_token_id)
        if max_rows is not None and len(stream) >= max_rows * seq_len:
            break
    n_rows = len(stream) // seq_len
    if max_rows is not None:
        n_rows = min(n_rows, max_rows)
    rows = np.asarray(stream, dtype=np.int32)[: n_rows * seq_len].reshape(n_rows, seq_len)
    return rows, _positions(np.asarray(begins), rows.shape)


def _positions(begins: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The positions that `pack` returns, of rows of this shape, from the places in the stream where documents begin."""
    within = begins[begins < shape[0] * shape[1]]
    starts = np.zeros(shape, dtype=np.int32)
    starts.flat[within] = within % shape[1]
    np.maximum.accumulate(starts, axis=1, out=starts)
    return np.subtract(np.arange(shape[1], dtype=np.int32), starts, out=starts)


def near_copy_filter(texts: Iterable[Sequence[int]], tokenizer: Any) -> NearCopyFilter:
    """Return the filter that keeps these tokenized texts, which are measured on, out of training, in whole or in pieces."""
    return NearCopyFilter(tokenizer.decode(ids, skip_special_tokens=True) for ids in texts)


def training_rows(
    spec: CorpusSpec,
    near_copies: NearCopyFilter,
    tokenizer: Any,
    *,
    max_rows: int | None = None,
    on_progress: OnProgress = ignore,
) -> PackedRows:
    """Draw and pack the documents of `spec`, without documents that contain measured texts.

    Args:
        spec: resolved; `n_texts` documents at most are packed into rows of `seq_len` tokens.
        near_copies: filter, called with every document in order.
        tokenizer: a transformers tokenizer.
        max_rows: rows that the training will ever use; no more are made.
        on_progress: called with the number of full rows; may raise `Cancelled`.

    Raises:
        CorpusError: If the text cannot be read.
        RecipeError: If the remaining text does not fill a single row.
    """
    counts: Counter[str] = Counter()
    documents = itertools.islice(_fresh(spec, near_copies, tokenizer, counts), spec.n_texts)
    rows, positions = pack(documents, spec.seq_len, tokenizer.eos_token_id, max_rows=max_rows, on_progress=on_progress)
    if len(rows) == 0:
        raise RecipeError(
            f"The healing text {spec.source!r} does not fill one sequence of {spec.seq_len} tokens"
            f"{' without the evaluation texts and their near-copies' if near_copies.n_refused else ''}. Give more text, or a "
            f"smaller seq-len."
        )
    return PackedRows(rows, positions, counts["skipped"], near_copies.n_refused, near_copies.highest)


def beginnings(spec: CorpusSpec, near_copies: NearCopyFilter, tokenizer: Any, n_texts: int, n_tokens: int) -> list[list[int]]:
    """Return the first tokens of documents of `spec`, without documents that contain measured texts.

    Args:
        spec, near_copies, tokenizer: as for `training_rows`.
        n_texts: documents at most.
        n_tokens: tokens of each at most.

    Raises:
        CorpusError: If the text cannot be read.
    """
    documents = _fresh(spec, near_copies, tokenizer, Counter())
    return [ids[:n_tokens] for ids in itertools.islice(documents, min(n_texts, spec.n_texts))]


def _fresh(spec: CorpusSpec, near_copies: NearCopyFilter, tokenizer: Any, counts: Counter[str]) -> Iterator[list[int]]:
    """Tokenized documents that are long enough and admitted; `counts` tells how many were `skipped`."""
    for ids in _tokenized(filter(near_copies.admits, corpora.stream(spec)), tokenizer):
        if len(ids) < MIN_DOCUMENT_TOKENS:
            counts["skipped"] += 1
        else:
            yield ids


def _tokenized(texts: Iterator[str], tokenizer: Any) -> Iterator[list[int]]:
    while batch := list(itertools.islice(texts, _TOKENIZED_AT_ONCE)):
        yield from tokenizer(batch, verbose=False).input_ids


def row_numbers(n_rows: int, first: int, count: int, seed: int) -> list[int]:
    """Return the numbers of the rows at positions `first` .. `first + count - 1` of the training order.

    Every row comes once before any comes again, each round in an order of its own. A pure function of its arguments, so a
    resumed run reads the rows that an uninterrupted run would have read.

    Args:
        n_rows: number of rows.
        first: 0-based position in the order.
        count: how many.
        seed: of the order.
    """
    rounds = {number: _order(n_rows, number, seed) for number in range(first // n_rows, (first + count - 1) // n_rows + 1)}
    return [int(rounds[position // n_rows][position % n_rows]) for position in range(first, first + count)]


def _order(n_rows: int, number: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, number]).permutation(n_rows)
