"""Rows of a dataset from the Hub become a file of texts or questions, with the chosen columns."""

import gzip
import json
import random
import tracemalloc

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from analysis.cli import main
from analysis.core.errors import CorpusError, HubError
from analysis.data import corpora, files, hub_rows
from analysis.data.spec import CorpusSpec
from tests.support.hub import Repo
from tests.support.levels import few

WORDS = [
    "the",
    "of",
    "a",
    "river",
    "stone",
    "house",
    "light",
    "water",
    "green",
    "old",
    "new",
    "small",
    "walk",
    "over",
]


def sentence(seed):
    return " ".join(random.Random(seed).choices(WORDS, k=30))


TEXTS = [{"url": f"u{n}", "body": sentence(n)} for n in range(50)]
QUESTIONS = [
    (
        {"stem": f"Which is {n}?", "a": str(n), "b": str(n + 1), "label": 0}
        if n % 2
        else {"stem": f"Which is {n}?", "a": str(n + 1), "b": str(n), "label": 1}
    )
    for n in range(20)
]


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
            "README.md": b"# A set",
            "dataset_info.json": b"{}",
            "data/texts.parquet": parquet(TEXTS, tmp_path),
            "en/texts.json.gz": gzip.compress(lines(TEXTS)),
            "questions.jsonl": lines(QUESTIONS),
            "list.json": json.dumps(TEXTS).encode(),
            "texts.csv": b"url,body\nu,some words\nv,\n",
            "plain.txt": b"one\n\ntwo\n",
            "broken.parquet": b"PAR1 but not",
            "broken.jsonl": b"[1, 2",
            "numbers.jsonl": b"1\n2\n",
        }
    )
    return loopback


def rows_of(path, most=1000):
    return hub_rows.first_rows(hub_rows.look("org/set"), path, most)


def test_only_files_with_rows_are_offered_with_their_sizes(there):
    found = {file.path: file.size for file in hub_rows.look("org/set").files}
    assert "README.md" not in found
    assert "dataset_info.json" not in found
    assert found["plain.txt"] == 9
    assert not there.sent("/resolve/")


@pytest.mark.slow
@pytest.mark.parametrize("path", ["data/texts.parquet", "en/texts.json.gz", "list.json"])
def test_the_same_rows_come_of_every_format(there, path):
    assert rows_of(path) == TEXTS
    assert rows_of(path, 3) == TEXTS[:3]


def test_text_and_separated_values(there):
    assert rows_of("plain.txt") == [{"text": "one"}, {"text": "two"}]
    assert rows_of("texts.csv") == [{"url": "u", "body": "some words"}, {"url": "v", "body": ""}]


@pytest.mark.parametrize("path", ["broken.parquet", "broken.jsonl", "numbers.jsonl"])
def test_broken_file_raises_a_sentence(there, path):
    with pytest.raises(CorpusError, match=f"{path} cannot be read in the format of its name"):
        rows_of(path)


def test_texts_are_measured_on_like_a_file(there, tmp_path):
    read = rows_of("data/texts.parquet")
    assert hub_rows.guessed(hub_rows.names(read), "texts") == {"text": ["body"]}
    file = tmp_path / "mine.jsonl"
    file.write_bytes(hub_rows.as_jsonl(read, "texts", {"text": ["body"]}))
    assert sorted(corpora.documents(CorpusSpec(source=str(file)))) == sorted(
        {row["body"] for row in TEXTS}
    )


def test_questions_are_asked_like_a_file(there, tmp_path):
    read = rows_of("questions.jsonl")
    assert hub_rows.guessed(hub_rows.names(read), "questions") == {"answer": ["label"]}
    file = tmp_path / "mine.jsonl"
    file.write_bytes(
        hub_rows.as_jsonl(
            read, "questions", {"question": ["stem"], "choices": ["a", "b"], "answer": ["label"]}
        )
    )
    found = files.read(file)
    assert not found.errors
    assert [question.options[question.gold].strip() for question in found.questions] == [
        str(n) for n in range(20)
    ]


@pytest.mark.parametrize(
    ("kind", "columns", "said"),
    [
        ("texts", {}, "No column is chosen as the text"),
        ("texts", {"text": ["nope"]}, 'no column "nope". Choose one of url, body'),
        (
            "questions",
            {"question": ["body"], "answer": ["url"]},
            "No column is chosen as the choices",
        ),
    ],
)
def test_a_column_that_is_not_there_is_named(kind, columns, said):
    with pytest.raises(CorpusError, match=said):
        hub_rows.as_jsonl(TEXTS, kind, columns)


def test_a_set_without_files_of_rows(there):
    there.data_sets["org/code"] = Repo("org/code")
    there.data_sets["org/code"].commit({"code.py": b"print(1)"})
    with pytest.raises(CorpusError, match="loading script, which Layerscope never runs"):
        hub_rows.look("org/code")


def test_a_set_that_is_not_there_or_gated(there):
    with pytest.raises(HubError, match="The Hub shows no dataset org/none"):
        hub_rows.look("org/none")
    there.data_sets["org/set"].gated = True
    with pytest.raises(HubError, match="is gated"):
        rows_of("plain.txt")


def test_rows_on_this_machine_are_read_without_a_hub(there, monkeypatch):
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
    shown = told(
        capsys, "org/set", "--file", "questions.jsonl", "--as", "questions", "--question", "stem"
    )
    assert "question = stem" in shown
    assert "Nothing written" in shown
    out = tmp_path / "out.jsonl"
    arguments = [
        "--file",
        "questions.jsonl",
        "--as",
        "questions",
        "--question",
        "stem",
        "--choices",
        "a,b",
        "--rows",
        "6",
    ]
    assert "6 rows of org/set" in told(capsys, "org/set", *arguments, "--out", str(out))
    assert len(files.read(out).questions) == 6


@pytest.fixture
def large(loopback, tmp_path, monkeypatch):
    """A set whose files are large as bounds go here: by path its rows and its size."""
    monkeypatch.setattr(hub_rows, "_BLOCK_BYTES", 4096)
    monkeypatch.setattr(hub_rows, "_WHOLE_BYTES", 8192)
    rows = [{"url": f"u{n}", "body": random.Random(n).randbytes(60).hex()} for n in range(2000)]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    files = {
        "rows.parquet": (tmp_path / "rows.parquet").read_bytes(),
        "rows.jsonl.gz": gzip.compress(lines(rows)),
        "rows.jsonl": lines(rows),
        "rows.csv": b"url,body\n" + b"".join(f"{r['url']},{r['body']}\n".encode() for r in rows),
    }
    loopback.data_sets["org/set"] = Repo("org/set")
    loopback.data_sets["org/set"].commit(files)
    return rows, {path: len(content) for path, content in files.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", few(["rows.parquet", "rows.jsonl.gz", "rows.jsonl", "rows.csv"], "rows.parquet")
)
def test_large_file_is_fetched_only_for_its_first_rows(large, loopback, path):
    rows, sizes = large
    assert rows_of(path, 7) == rows[:7]
    few_bytes = loopback.sent(path)
    assert few_bytes < sizes[path] / 3
    assert rows_of(path, 400) == rows[:400]
    assert few_bytes < loopback.sent(path) - few_bytes < 0.6 * sizes[path]
    assert rows_of(path, 5000) == rows


def test_error_of_the_hub_while_rows_are_read_is_a_sentence(large, loopback):
    loopback.fault("/cdn/", status=403)
    with pytest.raises(HubError, match="denies read access to rows.parquet of org/set"):
        rows_of("rows.parquet", 7)


@pytest.mark.parametrize("end", [b"PAR2", b"\xff\xff\xff\xffPAR1"])
def test_an_end_that_lies_is_a_sentence(loopback, monkeypatch, end):
    monkeypatch.setattr(hub_rows, "_WHOLE_BYTES", 100)
    loopback.data_sets["org/set"] = Repo("org/set")
    loopback.data_sets["org/set"].commit(
        {"rows.parquet": b"PAR1" + random.Random(0).randbytes(400) + end}
    )
    with pytest.raises(CorpusError, match="rows.parquet cannot be read in the format of its name"):
        rows_of("rows.parquet")


def bomb(content, times):
    """A gzip file that unpacks to so many times the content, without so many bytes here."""
    return gzip.compress(content) * times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("long.csv.gz", b"a" * (1 << 20)),
        ("cells.csv.gz", b'"' + b"a,\n" * (1 << 18)),
        ("blank.txt.gz", b"\n" * (1 << 20)),
    ],
)
def test_file_that_unpacks_to_gigabytes_is_refused_in_little_memory(
    loopback, monkeypatch, path, content
):
    monkeypatch.setattr(hub_rows, "_SANDBOX_S", 5.0)
    loopback.data_sets["org/set"] = Repo("org/set")
    loopback.data_sets["org/set"].commit({path: bomb(content, 6000)})
    tracemalloc.start()
    with pytest.raises(
        CorpusError, match=f"{path}( cannot be read in the format of its name| takes more than)"
    ):
        rows_of(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_rows_that_take_too_much_are_refused(there, monkeypatch, tmp_path):
    monkeypatch.setattr(hub_rows, "_MAX_JSON", 100)
    (tmp_path / "texts.csv").write_text("body\n" + "words " * 50)
    with pytest.raises(CorpusError, match="The rows of texts.csv take 0 MB"):
        hub_rows.rows_as_json(str(tmp_path / "texts.csv"), "org/set", "", "texts.csv", "5", "0")
