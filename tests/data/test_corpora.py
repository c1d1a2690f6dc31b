"""Texts: formats, cuts, splits, and sentences for files that cannot be used."""

import json
from dataclasses import replace

import pytest

from analysis.core.errors import CorpusError
from analysis.data import corpora, near_copies
from analysis.data.spec import CorpusSpec, default_loss_corpus, held_out_text, other_text

LONG = (
    "The quick brown fox jumps over the lazy dog and then runs all the way back home again,"
    " number {}."
)


def write(tmp_path, content, name="texts.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return CorpusSpec(str(path), n_texts=4, seq_len=16)


def test_blank_lines_separate_documents_of_several_lines(tmp_path):
    spec = write(tmp_path, "one\ntwo\n\nthree\n   \n\nfour\r\n\r\nfive")
    assert sorted(corpora.documents(spec)) == ["five", "four", "one\ntwo", "three"]


def test_without_blank_lines_every_line_is_a_document(tmp_path):
    assert sorted(corpora.documents(write(tmp_path, "\ufeffone\ntwo\nthree\n"))) == [
        "one",
        "three",
        "two",
    ]


def test_json_lines(tmp_path):
    lines = "\n".join(json.dumps({"text": text, "id": 1}) for text in ("a b", "c\n\nd"))
    assert sorted(corpora.documents(write(tmp_path, lines, "texts.jsonl"))) == ["a b", "c\n\nd"]


def test_documents_are_cut_never_padded_and_short_ones_counted(tmp_path, tokenizer):
    lines = [LONG.format(index) for index in range(3)] + ["too short", "also short"]
    texts = corpora.tokenize(write(tmp_path, "\n".join(lines)), tokenizer)
    assert [len(ids) for ids in texts.token_ids] == [16, 16, 16]
    assert texts.n_skipped == 2
    longer = corpora.tokenize(
        CorpusSpec(write(tmp_path, "\n".join(lines)).source, n_texts=4, seq_len=64), tokenizer
    )
    for ids in longer.token_ids:
        assert tokenizer.decode(ids) in lines  # whole, with its own last token


def test_long_documents_come_first_shorter_ones_fill_up(tmp_path, tokenizer):
    lines = [LONG.format(index) * (1 + index % 2) for index in range(6)]
    spec = replace(write(tmp_path, "\n".join([*lines, "too short"])), seq_len=64, min_tokens=40)
    few, most, all_of_it = (
        corpora.tokenize(replace(spec, n_texts=n), tokenizer) for n in (2, 4, 9)
    )
    lengths = [len(ids) for ids in all_of_it.token_ids]
    assert [length >= 40 for length in lengths] == [True] * 3 + [False] * 3
    assert few.token_ids == most.token_ids[:2] == all_of_it.token_ids[:2]
    assert (
        corpora.tokenize(replace(spec, n_texts=2), tokenizer, skip=3).token_ids
        == all_of_it.token_ids[3:5]
    )
    assert corpora.tokenize(replace(spec, n_texts=2), tokenizer, skip=9).token_ids == []
    assert (
        corpora.shortfall(spec, lengths[:3])
        == "Only 3 of 4 texts of texts.txt have at least 40 tokens."
    )
    assert corpora.shortfall(spec, lengths[:4]).endswith("at least 40 tokens.")
    assert corpora.shortfall(replace(spec, n_texts=3), lengths) == ""
    # Where no text may be as long, all are long enough.
    assert {len(ids) for ids in corpora.tokenize(spec.fitting(16), tokenizer).token_ids} == {16}


def test_each_side_of_the_split_has_its_own_identity(tmp_path):
    spec = write(tmp_path, "one\ntwo")
    whole, part = (
        corpora.resolve(replace(spec, split=split)).identity for split in ("all", "train")
    )
    assert part == f"{whole}, near-copies on one side"


def test_of_each_source_there_is_text_of_another_kind():
    c4, wiki = default_loss_corpus(), held_out_text("wiki")
    assert (c4.source, c4.n_texts, c4.seq_len, c4.min_tokens, c4.split) == (
        "c4",
        32,
        256,
        128,
        "all",
    )
    assert (wiki.source, wiki.n_texts, wiki.min_tokens, wiki.split) == (
        "wiki",
        32,
        128,
        "validation",
    )
    assert [other_text(source) for source in ("wiki", "c4", "c4-train", "my.txt")] == [
        c4,
        wiki,
        wiki,
        c4,
    ]
    assert held_out_text("c4-train") == held_out_text("c4")
    assert held_out_text("c4").source == "c4"


def test_an_empty_split_says_so(tmp_path):
    text = next(
        f"line {index}" for index in range(100) if not near_copies.is_validation(f"line {index}")
    )
    path = write(tmp_path, text).source
    with pytest.raises(CorpusError, match="no documents in its validation part"):
        corpora.documents(CorpusSpec(path, split="validation"))


def test_starter_corpora_have_the_known_number_of_documents():
    assert len(corpora.documents(CorpusSpec("c4"))) == 113  # of 118, five stand there twice
    articles = corpora.documents(CorpusSpec("wiki"))
    assert 2300 <= len(articles) <= 2349
    assert not any("<doc" in article or "</doc>" in article for article in articles)


def test_identity_follows_the_content(tmp_path):
    one = corpora.resolve(write(tmp_path, "same", "a.txt")).identity
    assert one == corpora.resolve(write(tmp_path, "same", "b.txt")).identity
    assert one != corpora.resolve(write(tmp_path, "other", "c.txt")).identity
    assert corpora.resolve(CorpusSpec("c4")).identity.startswith("exllamav2==")


def test_without_pack_and_hub_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("analysis.data.starter._package", lambda name: None)
    with pytest.raises(CorpusError, match="connect to the network, or give a TXT or JSONL file"):
        corpora.documents(CorpusSpec("c4"))


def test_only_a_line_feed_ends_a_line_of_json(tmp_path):
    texts = ["one\u2028two", "three\u2029four", "five\x85six", "seven\x0beight"]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in texts)
    assert sorted(corpora.documents(write(tmp_path, lines, "texts.jsonl"))) == sorted(texts)
