"""Near-copies: documents that say nearly the same, and texts whose long runs of words stand in others.

A loss on text that a model has all but read says how well it remembers. So documents that are near-duplicates go to one side
of the split into training and validation. A validation document is dropped if too much of it is contained in the training
part, be it in pieces. Templates are the case in point, such as "… is a species of small sea snail, a marine gastropod
mollusk in the family …". Nearly all of it stands in the training part, though in no single document.
"""

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

RUN = 8
"""Words in a row that count as quoted: the length by which PaLM (arXiv:2204.02311) looks for its test data."""
MOST_QUOTED = 0.05
"""Largest share of a text's runs of words that may stand in training text. Of the starter pack's Wikipedia, documents are
either templates, with 12 to 100 %, or have less than 5 %: phrases and titles that everybody writes."""
ALIKE = 0.5
"""Jaccard similarity of two documents' shingles from which on they are near-duplicates; copies with some words changed have
0.6 and more."""
_SHINGLE = 5
"""Words of a shingle, as the makers of training sets take (The Stack, arXiv:2211.15533)."""
_BANDS, _ROWS = 32, 2
"""Of the search for candidates, which are then compared exactly: it misses one pair in 10,000 at `ALIKE`, fewer above."""
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Scripts without spaces between words: every letter of them counts as a word."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; of scripts that part no words, the letters."""
    return _WORD.findall(text.lower())


@functools.lru_cache(maxsize=1 << 18)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def runs(text: str, length: int = RUN) -> np.ndarray:
    """The different runs of `length` words of a text, each as a 64-bit hash, ascending, uint64.

    Of a text with fewer words all of it is one run; one without any has none. Two runs share a hash once in 10^19 pairs.
    """
    return _runs_of(numbered(text), length)


def numbered(text: str) -> np.ndarray:
    """The words of a text in their order, each as a 64-bit hash, uint64."""
    return np.fromiter(map(_number, words(text)), dtype=np.uint64)


def _runs_of(numbers: np.ndarray, length: int) -> np.ndarray:
    if not len(numbers):
        return numbers
    length = min(length, len(numbers))
    mixed = np.full(len(numbers) - length + 1, length, dtype=np.uint64)
    for position in range(length):
        # One round of a multiplicative hash: the product spreads every word, the shift brings the high bits down again.
        mixed = (mixed ^ numbers[position : len(numbers) - length + 1 + position]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique(mixed)


def clusters(documents: Sequence[np.ndarray]) -> list[int]:
    """Which documents are near-duplicates, or joined by a chain of them.

    Args:
        documents: `numbered` of each.

    Returns:
        Of every document, the place of the first of its cluster.

    Source: MinHash and its locality-sensitive hashing, Broder, SEQUENCES (1997) 21, in the form of `datasketch`.
    """
    from datasketch import MinHash, MinHashLSH  # here: half a second that only a split needs

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
        sketch = empty.copy()  # a new one would draw the same permutations again
        sketch.update_batch((shingles_of_text >> np.uint64(32)).tolist())  # of the hash, the half that MinHash takes
        for other in cast(list[int], index_of_sketches.query(sketch)):
            own_root, other_root = root(index), root(other)
            if own_root != other_root and similarity(shingles_of_text, shingles[other]) >= ALIKE:
                first[max(own_root, other_root)] = min(own_root, other_root)
        index_of_sketches.insert(index, sketch)
    return [root(index) for index in range(len(documents))]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Jaccard similarity of two sets of hashes, in [0, 1]: the shared part of all that they have."""
    if not len(a) or not len(b):
        return 0.0
    shared = int(_among(a, b).sum())
    return shared / (len(a) + len(b) - shared)


@dataclass(frozen=True)
class Split:
    """Documents to train on and documents to validate on; neither side repeats the other."""

    train: frozenset[str]
    validation: frozenset[str]
    left_out: frozenset[str]
    """Drawn for validation, but more than `MOST_QUOTED` of its runs of words stand in `train`: on neither side."""


def split(texts: Sequence[str]) -> Split:
    """Part documents into training and validation, one in ten of their clusters to the latter, decided by content alone.

    Args:
        texts: different documents, in any order.
    """
    return _split(tuple(sorted(texts)))


@functools.lru_cache(maxsize=4)  # seconds for a few megabytes, and asked for every draw
def _split(texts: tuple[str, ...]) -> Split:
    # Sorted, so that the first of a cluster is its smallest text in any order of the file.
    rows = list(map(numbered, texts))
    draws = [is_validation(texts[first]) for first in clusters(rows)]
    documents = list(zip(texts, (_runs_of(row, RUN) for row in rows), draws, strict=True))
    train_runs = _joined(runs_of_text for _, runs_of_text, is_drawn in documents if not is_drawn)
    train = {text for text, _, is_drawn in documents if not is_drawn}
    quoted = {text for text, row, is_drawn in documents if is_drawn and share(row, train_runs) > MOST_QUOTED}
    return Split(frozenset(train), frozenset(texts) - train - quoted, frozenset(quoted))


def is_validation(text: str) -> bool:
    """Return whether a document is among the one in ten that is validated on; of a cluster its smallest document decides."""
    return hashlib.sha256(text.encode()).digest()[0] % 10 == 0


def share(runs_of_text: np.ndarray, known: np.ndarray) -> float:
    """Share of a text's runs of words that are among the known ones, in [0, 1]; 0 without runs.

    Args:
        runs_of_text: `runs` of the text.
        known: hashes of runs, ascending.
    """
    return float(_among(runs_of_text, known).mean()) if len(runs_of_text) else 0.0


def _among(own: np.ndarray, known: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(len(own), dtype=bool)
    return np.asarray(known[np.searchsorted(known, own).clip(max=len(known) - 1)] == own)


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *parts]))


class NearCopyFilter:
    """Keeps training documents apart from the measured texts.

    Together, all documents that it admits quote no measured text for more than `MOST_QUOTED` of its runs of words.
    """

    def __init__(self, measured: Iterable[str]) -> None:
        """Remember the texts.

        Args:
            measured: every text that a loss is taken of, as far as it is read.
        """
        measured_runs = [runs(text) for text in measured]
        self._known = _joined(measured_runs)
        # Row by row the texts, column by column the known runs: which text has which.
        self._has = (
            np.stack([_among(self._known, text_runs) for text_runs in measured_runs])
            if measured_runs
            else np.zeros((0, 0), dtype=bool)
        )
        self._seen = np.zeros(len(self._known), dtype=bool)
        self._sizes = np.array([max(1, len(text_runs)) for text_runs in measured_runs])
        self._refused: set[str] = set()

    @property
    def n_refused(self) -> int:
        """Different documents that were refused so far."""
        return len(self._refused)

    def admits(self, document: str) -> bool:
        """Return whether the document may be trained on beside those that were admitted before."""
        if not len(self._known):
            return True
        here = _among(self._known, runs(document))
        if not (here & ~self._seen).any():
            return True
        seen = self._seen | here
        if self._shares(seen).max() > MOST_QUOTED:
            self._refused.add(document)
            return False
        self._seen = seen
        return True

    @property
    def highest(self) -> float:
        """Return the largest share of a measured text's runs that stands in admitted documents, in [0, 1]."""
        return float(self._shares(self._seen).max()) if len(self._known) else 0.0

    def _shares(self, seen: np.ndarray) -> np.ndarray:
        return np.asarray(self._has[:, seen].sum(axis=1) / self._sizes)
