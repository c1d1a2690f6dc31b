"""Rows of a data set of the hub become a file of texts or questions, with the columns that are meant."""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from analysis.cli import main
from analysis.core.errors import CorpusError, HubError
from analysis.data import corpora, files, hub_rows
from analysis.data.spec import CorpusSpec
from tests.support.hub import Repo

WORDS = ["the", "of", "a", "river", "stone", "house", "light", "water", "green", "old", "new", "small", "walk", "over"]


def sentence(seed):
    return " ".join(random.Random(seed).choices(WORDS, k=30))


TEXTS = [{"url": f"u{n}", "body": sentence(n)} for n in range(50)]
QUESTIONS = [
    {"stem": f"Which is {n}?", "a": str(n), "b": str(n + 1), "label": 0} if n % 2 else
    {"stem": f"Which is {n}?", "a": str(n + 1), "b": str(n), "label": 1}
    for n in range(20)
]  # fmt: skip


def parquet(rows, folder):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet")
    return (folder / "rows.parquet").read_bytes()


def lines(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def there(loopback, tmp_path):
    repo = loopback.data_sets["org/set"] = Repo("org/set")
    repo.commit(
        {
            "README.md": b"# A set", "dataset_info.json": b"{}", "data/texts.parquet": parquet(TEXTS, tmp_path),
            "en/texts.json.gz": gzip.compress(lines(TEXTS)), "questions.jsonl": lines(QUESTIONS),
            "list.json": json.dumps(TEXTS).encode(), "texts.csv": b"url,body\nu,some words\nv,\n", "plain.txt": b"one\n\ntwo\n",
            "broken.parquet": b"PAR1 but not", "broken.jsonl": b"[1, 2", "numbers.jsonl": b"1\n2\n",
        }
    )  # fmt: skip
    return loopback


def rows_of(path, most=1000):
    return hub_rows.rows(hub_rows.fetch(hub_rows.look("org/set"), path), most)


def test_only_files_with_rows_are_offered_with_their_sizes(there):
    found = {file.path: file.size for file in hub_rows.look("org/set").files}
    assert "README.md" not in found
    assert "dataset_info.json" not in found
    assert found["plain.txt"] == 9
    assert not there.sent("/resolve/")


@pytest.mark.parametrize("path", ["data/texts.parquet", "en/texts.json.gz", "list.json"])
def test_the_same_rows_come_of_every_format(there, path):
    assert rows_of(path) == TEXTS
    assert rows_of(path, 3) == TEXTS[:3]
    assert hub_rows.rows_apart(hub_rows.fetch(hub_rows.look("org/set"), path), 2) == TEXTS[:2]


def test_text_and_separated_values(there):
    assert rows_of("plain.txt") == [{"text": "one"}, {"text": "two"}]
    assert rows_of("texts.csv") == [{"url": "u", "body": "some words"}, {"url": "v", "body": ""}]


@pytest.mark.parametrize("path", ["broken.parquet", "broken.jsonl", "numbers.jsonl"])
def test_a_file_that_is_not_what_it_says_is_a_sentence(there, path):
    with pytest.raises(CorpusError, match=f"{path} cannot be read as its name says"):
        rows_of(path)


def test_texts_are_measured_on_like_a_file(there, tmp_path):
    read = rows_of("data/texts.parquet")
    assert hub_rows.guessed(hub_rows.names(read), "texts") == {"text": ["body"]}
    file = tmp_path / "mine.jsonl"
    file.write_bytes(hub_rows.kept(read, "texts", {"text": ["body"]}))
    assert sorted(corpora.documents(CorpusSpec(source=str(file)))) == sorted({row["body"] for row in TEXTS})


def test_questions_are_asked_like_a_file(there, tmp_path):
    read = rows_of("questions.jsonl")
    assert hub_rows.guessed(hub_rows.names(read), "questions") == {"answer": ["label"]}
    file = tmp_path / "mine.jsonl"
    file.write_bytes(
        hub_rows.kept(read, "questions", {"question": ["stem"], "choices": ["a", "b"], "answer": ["label"]})
    )  # fmt: skip
    found = files.read(file)
    assert not found.errors
    assert [question.options[question.gold].strip() for question in found.questions] == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("texts", {}, "Which column is the text"),
        ("texts", {"text": ["nope"]}, 'no column "nope"; they have url, body'),
        ("questions", {"question": ["body"], "answer": ["url"]}, "Which column is the choices"),
    ],
)
def test_a_column_that_is_not_there_is_named(kind, columns, said):
    with pytest.raises(CorpusError, match=said):
        hub_rows.kept(TEXTS, kind, columns)


def test_rows_without_texts_are_refused():
    with pytest.raises(CorpusError, match="No row has anything in n"):
        hub_rows.kept([{"n": 1}], "texts", {"text": ["n"]})


def test_a_set_without_files_of_rows(there):
    there.data_sets["org/code"] = Repo("org/code")
    there.data_sets["org/code"].commit({"code.py": b"print(1)"})
    with pytest.raises(CorpusError, match="made by a program of its own, which is never run"):
        hub_rows.look("org/code")


def test_a_set_that_is_not_there_or_gated(there):
    with pytest.raises(HubError, match="The hub shows no data set org/none"):
        hub_rows.look("org/none")
    there.data_sets["org/set"].gated = True
    with pytest.raises(HubError, match="is gated"):
        rows_of("plain.txt")


def test_without_a_hub_what_is_here_is_read(there, monkeypatch):
    rows_of("plain.txt")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(rows_of("plain.txt")) == 2
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        rows_of("texts.csv")


def told(capsys, *arguments):
    main.main(["dataset", *arguments])
    return capsys.readouterr().out


def test_the_command_lists_shows_and_writes(there, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    assert "data/texts.parquet" in told(capsys, "org/set")
    shown = told(capsys, "org/set", "--file", "questions.jsonl", "--as", "questions", "--question", "stem")
    assert "question is stem" in shown
    assert "Nothing was written" in shown
    out = tmp_path / "out.jsonl"
    arguments = ["--file", "questions.jsonl", "--as", "questions", "--question", "stem", "--choices", "a,b", "--rows", "6"]
    assert "6 rows of org/set" in told(capsys, "org/set", *arguments, "--out", str(out))
    assert len(files.read(out).questions) == 6


def test_the_command_says_what_is_wrong_in_one_line(there, tmp_path):
    command = [sys.executable, "-m", "analysis", "dataset", "org/set", "--file", "none.csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert 'has no file "none.csv"' in done.stderr.splitlines()[-1]
