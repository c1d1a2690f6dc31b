"""Near-copies: found as by comparing all pairs, on one side of the split, never quoted by training
texts.
"""

import itertools
import random

import numpy as np
import pytest

from analysis.data import corpora, near_copies
from analysis.data.near_copies import NearCopyFilter
from analysis.data.spec import CorpusSpec
from tests.support import documents

SNAIL = "{} is a species of small sea snail, a marine gastropod mollusk in the family {}, the {}."


def word_runs(text: str, length: int) -> set[tuple[str, ...]]:
    """The reference: runs as tuples of words."""
    found = near_copies.words(text)
    length = min(length, len(found))
    return (
        {tuple(found[begin : begin + length]) for begin in range(len(found) - length + 1)}
        if found
        else set()
    )


def by_all_pairs(texts: list[str]) -> list[int]:
    """The clusters by comparing every document with every other, shingle by shingle."""
    shingles = [word_runs(text, 5) for text in texts]
    label = list(range(len(texts)))
    for a, b in itertools.combinations(range(len(texts)), 2):
        union = shingles[a] | shingles[b]
        if (
            union
            and len(shingles[a] & shingles[b]) / len(union) >= near_copies.ALIKE
            and label[a] != label[b]
        ):
            low, high = sorted((label[a], label[b]))
            label = [low if one == high else one for one in label]
    return label


def clusters(texts: list[str]) -> list[int]:
    """The clusters as the split takes them."""
    return near_copies.clusters([near_copies.numbered(text) for text in texts])


def edited(text: str, draw: random.Random, n: int) -> str:
    """Return a text with `n` of its words changed."""
    words = text.split()
    for place in draw.sample(range(len(words)), n):
        words[place] = f"changed{draw.randrange(1000)}"
    return " ".join(words)


def with_copies(seed: int) -> list[str]:
    """Documents in any order; some are there again with more and more words changed."""
    draw = random.Random(seed)
    texts = documents.sentences(20, seed)
    texts += [
        edited(draw.choice(texts), draw, n)
        for n in (0, 1, 2, 3, 5, 8, 12, 20, 40)
        for _ in range(2)
    ]
    texts = list(dict.fromkeys(texts))
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("seed", range(6))
def test_clusters_are_those_of_all_pairs(seed):
    texts = with_copies(seed)
    assert clusters(texts) == by_all_pairs(texts)
    assert len(set(clusters(texts))) < len(texts)


def test_known_pairs():
    text = documents.sentences(1)[0]
    assert clusters([text, text.upper().replace(".", " !")]) == [
        0,
        0,
    ]  # neither case nor punctuation counts
    assert clusters([text, edited(text, random.Random(0), 2), documents.sentences(2)[1]]) == [
        0,
        0,
        2,
    ]
    assert clusters(["", "...", "one", "one!"]) == [0, 1, 2, 2]
    assert near_copies.words("Das Café, l'été: 3,5 %") == ["das", "café", "l", "été", "3", "5"]
    assert near_copies.words("深い層 deeper") == ["深", "い", "層", "deeper"]


@pytest.mark.parametrize("seed", range(6))
def test_shares_are_those_of_sets_of_words(seed):
    texts = with_copies(seed)
    own, known = texts[0], texts[1:]
    joined = set().union(*(word_runs(text, near_copies.RUN) for text in known))
    runs = word_runs(own, near_copies.RUN)
    hashes = np.unique(np.concatenate([near_copies.runs(text) for text in known]))
    assert near_copies.share(near_copies.runs(own), hashes) == pytest.approx(
        len(runs & joined) / len(runs)
    )
    assert len(near_copies.runs(own)) == len(runs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_split_keeps_clusters_whole_in_any_order_and_quotes_little(seed):
    texts = [text for part in range(6) for text in with_copies(100 * seed + part)]
    texts += [
        SNAIL.format(name, family, name[::-1])
        for name, family in itertools.product(["Aba", "Bella", "Cora"], "xyz")
    ]
    parts = near_copies.split(texts)
    assert parts.train | parts.validation | parts.left_out == set(texts)
    assert len(parts.train) + len(parts.validation) + len(parts.left_out) == len(set(texts))
    label = dict(zip(texts, by_all_pairs(texts), strict=True))
    trained = {label[text] for text in parts.train}
    assert not trained & {label[text] for text in parts.validation | parts.left_out}
    joined = set().union(*(word_runs(text, near_copies.RUN) for text in parts.train))
    for text in parts.validation | parts.left_out:
        runs = word_runs(text, near_copies.RUN)
        assert (len(runs & joined) / len(runs) > near_copies.MAX_QUOTED) == (text in parts.left_out)
    shuffled = random.Random(seed).sample(texts, len(texts))
    assert near_copies.split(shuffled) == parts
    near_copies._split.cache_clear()
    assert near_copies.split(texts) == parts


@pytest.mark.parametrize("seed", range(4))
def test_admitted_texts_quote_no_measured_text_beyond_the_limit(seed):
    draw = random.Random(seed)
    measured = documents.sentences(5, seed=1000 + seed)
    offered = documents.sentences(30, seed)
    for number in range(30):  # pieces of measured texts, each too small to matter alone
        words = draw.choice(measured).split()
        begin = draw.randrange(len(words) - 12)
        offered.append(
            f"{documents.sentences(1, 5000 + number)[0]} {' '.join(words[begin : begin + 9])}"
        )
    offered += measured
    draw.shuffle(offered)
    apart = NearCopyFilter(measured)
    admitted = [text for text in offered if apart.admits(text)]
    joined = set().union(*(word_runs(text, near_copies.RUN) for text in admitted))
    shares = [
        len(runs & joined) / len(runs)
        for runs in (word_runs(text, near_copies.RUN) for text in measured)
    ]
    assert apart.highest == pytest.approx(max(shares))
    assert 0 < max(shares) <= near_copies.MAX_QUOTED
    assert apart.n_refused == len(offered) - len(admitted)
    assert not set(measured) & set(admitted)
    # A refused one would have gone beyond it.
    refused = next(text for text in offered if text not in admitted)
    more = joined | word_runs(refused, near_copies.RUN)
    assert (
        max(
            len(runs & more) / len(runs)
            for runs in (word_runs(text, near_copies.RUN) for text in measured)
        )
        > 0.05
    )


def test_without_measured_texts_all_is_admitted():
    assert NearCopyFilter([]).admits("anything")
    assert NearCopyFilter([""]).admits("anything")
    assert NearCopyFilter([]).highest == 0.0


def quoted(
    split: tuple[list[str], list[str]], tokenizer, n_texts: int, seq_len: int, least: int
) -> list[float]:
    """Of the validation texts that would be drawn, the share of runs that stand in the training
    part.
    """
    train, validation = split
    joined = set().union(*(word_runs(text, near_copies.RUN) for text in train))
    shares = []
    for text in validation:
        ids = tokenizer(text).input_ids[:seq_len]
        if len(ids) >= least and len(shares) < n_texts:
            runs = word_runs(tokenizer.decode(ids), near_copies.RUN)
            shares.append(len(runs & joined) / len(runs))
    return shares


def test_starter_validation_texts_are_not_in_the_training_part(tokenizer):
    split = [
        corpora.documents(CorpusSpec("wiki", split=split)) for split in ("train", "validation")
    ]
    assert not set(split[0]) & set(split[1])
    assert max(quoted(tuple(split), tokenizer, 32, 256, 128)) <= near_copies.MAX_QUOTED


def test_enough_long_wikipedia_documents_remain_for_validation_and_selection(tokenizer):
    spec = CorpusSpec("wiki", n_texts=32, seq_len=256, split="validation", min_tokens=128)
    judging, choosing = (corpora.tokenize(spec, tokenizer, skip=skip).token_ids for skip in (0, 32))
    assert [len(part) >= least for part, least in ((judging, 32), (choosing, 8))] == [True, True]
    assert min(map(len, [*judging, *choosing[:8]])) >= 128
    assert not {tuple(ids) for ids in judging} & {tuple(ids) for ids in choosing}
