"""Packing: only the tail is lost, nothing is padded, validation text is left out, and the order can
be resumed.
"""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from analysis.core.errors import RecipeError
from analysis.data import corpora, near_copies
from analysis.data.spec import CorpusSpec
from analysis.experiments.heal import packing
from tests.support import documents

EOS = 9


def test_documents_are_joined_with_eos_and_only_the_tail_lost():
    rows, _ = packing.pack([[1, 2, 3], [4, 5], [6]], 3, EOS)
    assert rows.tolist() == [[1, 2, 3], [EOS, 4, 5], [EOS, 6, EOS]]
    assert packing.pack([[1, EOS], [2, EOS]], 2, EOS)[0].tolist() == [
        [1, EOS],
        [2, EOS],
    ], "the tokenizer added it"
    assert packing.pack([[1, 2], [3, 4]], 2, None)[0].tolist() == [[1, 2], [3, 4]], "there is none"


def test_every_token_of_random_documents_is_in_rows_in_order():
    random = np.random.default_rng(0)
    documents = [random.integers(10, 99, size=random.integers(1, 40)).tolist() for _ in range(50)]
    expected = [token for ids in documents for token in [*ids, EOS]]
    rows, positions = packing.pack(documents, 16, EOS)
    assert rows.shape == (len(expected) // 16, 16)
    assert rows.flatten().tolist() == expected[: rows.size]
    ends = np.cumsum([len(ids) + 1 for ids in documents])
    owner = np.searchsorted(ends, np.arange(rows.size), side="right").reshape(rows.shape)
    for row, places in zip(owner, positions, strict=True):
        assert places.tolist() == [sum(row[:column] == row[column]) for column in range(16)]


def test_no_more_rows_than_wanted_are_made():
    read = []

    def documents():
        for number in range(100):
            read.append(number)
            yield [number] * 4

    assert [part.shape for part in packing.pack(documents(), 5, EOS, max_rows=2)] == [
        (2, 5),
        (2, 5),
    ]
    assert len(read) == 2


def test_a_token_takes_few_bytes_while_it_is_packed():
    ids, n_documents = list(range(1000, 3000)), 1000
    tracemalloc.start()
    try:
        rows, positions = packing.pack((ids for _ in range(n_documents)), 128, EOS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows.dtype == positions.dtype == np.int32
    assert peak < 16 * rows.size


class Streamed:
    """Rows of a dataset on the Hub, which counts the fetched ones."""

    def __init__(self, texts) -> None:
        self.texts, self.fetched, self.shuffled = texts, 0, None

    def shuffle(self, **how):
        self.shuffled = how
        return self

    def __iter__(self):
        for text in self.texts:
            self.fetched += 1
            yield {"text": text, "url": "somewhere"}


def test_c4_is_streamed_only_as_packed_and_without_measured_texts(tmp_path, tokenizer, monkeypatch):
    texts = documents.sentences(1000)
    own = [text for text in texts if not near_copies.is_validation(text)]
    hub, asked = Streamed(texts), []
    monkeypatch.setattr(corpora, "_hub_rows", lambda *given: asked.append(given) or hub)
    measured = [
        tokenizer(own[1].replace("Text", "Page")).input_ids[:48]
    ]  # a near-copy of a measured text
    spec = corpora.resolve(
        CorpusSpec("c4-train", n_texts=1_000_000, seq_len=64, split="train", seed=5)
    )
    assert spec.identity == "hub:allenai/c4/en/train, near-copies on one side"
    packed = packing.training_rows(
        spec, packing.near_copy_filter(measured, tokenizer), tokenizer, max_rows=10
    )
    assert asked == [("allenai/c4", "en", "train")]
    assert hub.shuffled["seed"] == 5
    assert (packed.n_held_out, packed.quoted) == (1, 0.0)
    expected = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in [own[0], *own[2:]]]
    assert packed.rows.flatten().tolist() == [token for ids in expected for token in ids][: 10 * 64]
    assert hub.fetched < 60
    again = packing.training_rows(
        spec, packing.near_copy_filter(measured, tokenizer), tokenizer, max_rows=10
    )
    assert np.array_equal(again.rows, packed.rows)
    assert np.array_equal(again.positions, packed.positions)


def test_a_text_shorter_than_a_row_makes_none():
    assert [part.shape for part in packing.pack([[1, 2]], 16, EOS)] == [(0, 16), (0, 16)]
    assert [part.shape for part in packing.pack([], 16, EOS)] == [(0, 16), (0, 16)]


def test_order_visits_each_row_once_per_round_and_varies():
    order = packing.row_numbers(7, 0, 21, seed=3)
    rounds = [order[0:7], order[7:14], order[14:21]]
    assert all(sorted(one) == list(range(7)) for one in rounds)
    assert rounds[0] != rounds[1]
    assert packing.row_numbers(7, 0, 7, seed=4) != rounds[0]
    assert packing.row_numbers(7, 10, 5, seed=3) == order[10:15]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "\n".join(json.dumps({"text": text}) for text in [*documents.sentences(40), "short"])
    )
    return str(path)


def decoded(rows, tokenizer) -> str:
    return tokenizer.decode(rows.flatten().tolist())


def test_rows_and_validation_share_no_document_even_without_a_split(corpus, tokenizer):
    train = CorpusSpec(corpus, n_texts=100, seq_len=32, split="all", seed=1)
    measured = corpora.tokenize(
        CorpusSpec(corpus, n_texts=5, seq_len=32, split="all", seed=0), tokenizer
    ).token_ids
    packed = packing.training_rows(train, packing.near_copy_filter(measured, tokenizer), tokenizer)
    held_out = corpora.documents(replace(train, seed=0))[:5]
    assert (packed.n_held_out, packed.n_skipped) == (5, 1)
    assert 0 <= packed.quoted <= near_copies.MAX_QUOTED
    text = decoded(packed.rows, tokenizer)
    assert not any(document.split(".")[0] + "." in text for document in held_out)
    others = [
        document
        for document in corpora.documents(train)
        if document not in held_out and document != "short"
    ]
    assert len(others) == 35
    # The last one may be in the tail that does not fill a row.
    assert sum(document.split(".")[0] + "." in text for document in others) >= 34


def test_too_little_text_is_one_sentence(tmp_path, tokenizer):
    path = tmp_path / "one.txt"
    path.write_text(
        "Only these few words are here, which is more than sixteen tokens but far from a row of"
        " them all."
    )
    spec = CorpusSpec(str(path), seq_len=512)
    with pytest.raises(
        RecipeError, match=r"does not fill one sequence of 512 tokens\. Give more text"
    ):
        packing.training_rows(spec, near_copies.NearCopyFilter([]), tokenizer)
    with pytest.raises(RecipeError, match="without the evaluation texts and their near-copies"):
        packing.training_rows(spec, near_copies.NearCopyFilter([path.read_text()]), tokenizer)
