"""Training and validation split without near-duplicates or quotations.

The loss on text similar to the training text measures memory. Near-duplicate documents are
therefore on the same side of the split, and a validation document is dropped if too many of its
word runs are contained in the training documents together, as for templates such as "… is a species
of small sea snail, a marine gastropod mollusk in the family …".
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

RUN = 8
"""Length of a quoted run in words, as for the contamination check of PaLM (arXiv:2204.02311)."""
MAX_QUOTED = 0.05
"""Maximum share of the word runs of a text that training text may contain. In the Wikipedia of the
starter pack, templates have 12 to 100 %, and other documents less than 5 %."""
ALIKE = 0.5
"""Minimum Jaccard similarity of the shingles of near-duplicates; copies with a few changed words
have 0.6 and more."""
_SHINGLE = 5
"""Length of a shingle in words, as for the deduplication of The Stack (arXiv:2211.15533)."""
_BANDS = 32
_ROWS = 2
"""Parameters of the search for candidate pairs, which are then compared exactly; it misses 1 in
10,000 pairs at `ALIKE`."""
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts without spaces between words, of which each letter counts as a word."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case without punctuation; the letters in scripts without
    spaces.
    """
    return _WORD.findall(text.lower())


@functools.lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def runs(text: str, length: int = RUN) -> np.ndarray:
    """Return the hashes of the distinct runs of `length` words of a text, ascending, uint64.

    A text with fewer words is one run, and a text without words has none.
    """
    return _runs_of(numbered(text), length)


def numbered(text: str) -> np.ndarray:
    """Return the hashes of the words of a text in order, uint64."""
    return np.fromiter(map(_number, words(text)), dtype=np.uint64)


def _runs_of(numbers: np.ndarray, length: int) -> np.ndarray:
    if not len(numbers):
        return numbers
    length = min(length, len(numbers))
    mixed = np.full(len(numbers) - length + 1, length, dtype=np.uint64)
    for position in range(length):
        # One round of a multiplicative hash.
        mixed = (mixed ^ numbers[position : len(numbers) - length + 1 + position]) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def clusters(documents: Sequence[np.ndarray]) -> list[int]:
    """Find clusters of documents that are connected by near-duplicates.

    Args:
        documents: result of `numbered` for each document.

    Returns:
        For each document the index of the first document of its cluster.

    Source: MinHash and its locality-sensitive hashing, Broder, SEQUENCES (1997) 21, in the form of
    `datasketch`.
    """
    from datasketch import MinHash, MinHashLSH  # slow to import

    shingles = [_runs_of(numbers, _SHINGLE) for numbers in documents]
    first = list(range(len(documents)))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    index_of_sketches = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    empty = MinHash(num_perm=_BANDS * _ROWS, hashfunc=int)
    for index, shingles_of_text in enumerate(shingles):
        if not len(shingles_of_text):
            continue
        sketch = empty.copy()  # a copy reuses the permutations
        sketch.update_batch((shingles_of_text >> np.uint64(32)).tolist())  # MinHash uses 32 bits
        for other in cast(list[int], index_of_sketches.query(sketch)):
            low, high = sorted((root(index), root(other)))
            if low != high and similarity(shingles_of_text, shingles[other]) >= ALIKE:
                first[high] = low
        index_of_sketches.insert(index, sketch)
    return [root(index) for index in range(len(documents))]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Jaccard similarity of two sets of hashes, in [0, 1]."""
    if not len(a) or not len(b):
        return 0.0
    shared = int(_among(a, b).sum())
    return shared / (len(a) + len(b) - shared)


@dataclass(frozen=True)
class Split:
    """Training and validation documents."""

    train: frozenset[str]
    validation: frozenset[str]
    left_out: frozenset[str]
    """Validation documents dropped because `train` contains more than `MAX_QUOTED` of their word
    runs."""


def split(texts: Sequence[str]) -> Split:
    """Split documents by their content, with one in ten clusters for validation.

    Args:
        texts: distinct documents in any order.
    """
    return _split(tuple(sorted(texts)))


@functools.lru_cache(maxsize=4)  # takes seconds for a few megabytes
def _split(texts: tuple[str, ...]) -> Split:
    # The texts are sorted, so that clusters do not depend on their order.
    rows = list(map(numbered, texts))
    draws = [is_validation(texts[first]) for first in clusters(rows)]
    documents = list(zip(texts, (_runs_of(row, RUN) for row in rows), draws, strict=True))
    train_runs = _joined(runs_of_text for _, runs_of_text, is_drawn in documents if not is_drawn)
    train = {text for text, _, is_drawn in documents if not is_drawn}
    quoted = {
        text
        for text, row, is_drawn in documents
        if is_drawn and share(row, train_runs) > MAX_QUOTED
    }
    return Split(frozenset(train), frozenset(texts) - train - quoted, frozenset(quoted))


def is_validation(text: str) -> bool:
    """Return whether a document is drawn for validation, one in ten; the first document decides for
    its cluster.
    """
    return hashlib.sha256(text.encode()).digest()[0] % 10 == 0


def share(runs_of_text: np.ndarray, others: np.ndarray) -> float:
    """Return the share of the word runs of a text that are among others, in [0, 1]; 0 without runs.

    Args:
        runs_of_text: result of `runs` for the text.
        others: hashes of other runs, ascending.
    """
    return float(_among(runs_of_text, others).mean()) if len(runs_of_text) else 0.0


def _among(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return a mask of the values that are among others, which are ascending."""
    if not len(others):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(others[np.searchsorted(others, values).clip(max=len(others) - 1)] == values)


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))


class NearCopyFilter:
    """Filter of training documents that quote measured texts.

    The admitted documents together contain at most `MAX_QUOTED` of the word runs of each measured
    text.
    """

    def __init__(self, measured: Iterable[str]) -> None:
        """Index the measured texts.

        Args:
            measured: texts on which loss is measured, cut to the measured length.
        """
        measured_runs = [runs(text) for text in measured]
        self._runs = _joined(measured_runs)
        # A row per text and a column per run.
        self._runs_of_text = (
            np.stack([_among(self._runs, text_runs) for text_runs in measured_runs])
            if measured_runs
            else np.zeros((0, 0), dtype=bool)
        )
        self._seen = np.zeros(len(self._runs), dtype=bool)
        self._sizes = np.array([max(1, len(text_runs)) for text_runs in measured_runs])
        self._refused: set[str] = set()

    @property
    def n_refused(self) -> int:
        """Number of distinct refused documents."""
        return len(self._refused)

    def admits(self, document: str) -> bool:
        """Return whether a document can be used for training in addition to those admitted
        before.
        """
        if not len(self._runs):
            return True
        quoted = _among(self._runs, runs(document))
        if not (quoted & ~self._seen).any():
            return True
        seen = self._seen | quoted
        if self._shares(seen).max() > MAX_QUOTED:
            self._refused.add(document)
            return False
        self._seen = seen
        return True

    @property
    def highest(self) -> float:
        """Largest share, in [0, 1], of the runs of a measured text that admitted documents
        contain.
        """
        return float(self._shares(self._seen).max()) if len(self._runs) else 0.0

    def _shares(self, seen: np.ndarray) -> np.ndarray:
        return np.asarray(self._runs_of_text[:, seen].sum(axis=1) / self._sizes)
