"""Files of questions and texts from outside give a value or a sentence for any content, in bounded
memory.
"""

import json
import os
import socket
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.core.errors import BenchmarkError, CorpusError
from analysis.data import corpora, files, questions
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from tests.support.made_up import json_values, refusal

NAMES = st.sampled_from(
    ["question", "choices", "answer", "A", "B", "id", "subject", "option1", "option2", "text"]
)
ROWS = st.dictionaries(
    NAMES,
    json_values
    | st.sampled_from(["A", 0, 1, ["a", "b"], "['a' 'b']", {"text": ["a"], "label": [1]}]),
)
LINES = st.lists(ROWS.map(lambda row: json.dumps(row)) | st.text(max_size=12), max_size=5).map(
    "\n".join
)
CONTENT = st.binary(max_size=60) | LINES.map(lambda text: text.encode("utf-8", "surrogatepass"))
MUCH = 8 << 20


@pytest.fixture
def odd(tmp_path):
    """Paths that are no regular files: a pipe, a socket, a folder and a device."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s.jsonl"))
        (tmp_path / "folder.jsonl").mkdir()
        (tmp_path / "link.jsonl").symlink_to("/dev/zero")
        yield [tmp_path / f"{name}.jsonl" for name in ("pipe", "s", "folder", "link")]


def test_irregular_files_are_refused_unread(odd):
    for path in odd:
        with pytest.raises(BenchmarkError, match="not a regular file"):
            files.read(path)
        with pytest.raises(CorpusError, match="not a regular file"):
            corpora.documents(CorpusSpec(str(path)))
    with pytest.raises(CorpusError, match="it is not a regular file"):
        corpora.resolve(CorpusSpec("/dev/zero"))


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "q.jsonl"
    path.write_text("x" * (2 << 20))
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(corpora, "_MAX_BYTES", 1 << 20)
    with pytest.raises(BenchmarkError, match="it is larger than 1 MB"):
        files.read(path)
    with pytest.raises(CorpusError, match="it is larger than 1 MB"):
        corpora.documents(CorpusSpec(str(path)))


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv", "q.json", "q.parquet"])
def test_more_rows_than_can_be_read_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "MOST_ROWS", 20)
    row = {"question": "Q", "A": "a", "B": "b", "answer": "A"}
    path = tmp_path / name
    if name.endswith("parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row] * 30), path)
    elif name.endswith("csv"):
        path.write_text("question,A,B,answer\n" + "Q,a,b,A\n" * 30)
    else:
        path.write_text(
            json.dumps([row] * 30) if name.endswith("json") else f"{json.dumps(row)}\n" * 30
        )
    with pytest.raises(BenchmarkError, match="rows, but at most 20 can be read"):
        files.read(path)


def test_a_row_that_is_too_long_is_no_question(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"question": "Q", "choices": ["a", "b"], "answer": 0}\n[' + "[]," * 400_000 + "[]]"
    )
    found = files.read(path)
    assert len(found.questions) == 1
    assert "at most 1,048,576 are possible" in found.errors[0].reason


@pytest.fixture
def bomb(tmp_path):
    """A Parquet file of some kilobytes that unpacks to gigabytes: a text that many rows share."""
    path = tmp_path / "bomb.parquet"
    n = 40_000
    shared = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * n, pyarrow.int32()), pyarrow.array(["x" * 60_000])
    )
    choices = pyarrow.array([["a", "b"]] * n)
    table = pyarrow.table(
        {"question": shared, "choices": choices, "answer": pyarrow.array([0] * n)}
    )
    pyarrow.parquet.write_table(table, path, store_schema=False)
    assert path.stat().st_size < 200_000
    return path


def test_a_parquet_file_that_unpacks_to_gigabytes_is_refused(bomb):
    before = pyarrow.total_allocated_bytes()
    tracemalloc.start()
    with pytest.raises(BenchmarkError, match="unpacks to more than 64 MB"):
        files.read(bomb)
    assert tracemalloc.get_traced_memory()[1] < 2 * files.MOST_BYTES
    tracemalloc.stop()
    assert pyarrow.total_allocated_bytes() - before < MUCH
    with pytest.raises(BenchmarkError, match="unpacks to more than 64 MB"):
        files.read_sandboxed(bomb)


def test_visitors_file_reads_the_same_in_its_own_process(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Q é", "choices": ["a", "b"], "answer": 0, "subject": "s"}\n{}\n')
    assert files.read_sandboxed(path) == files.read(path)
    with pytest.raises(BenchmarkError, match="cannot be read"):
        files.read_sandboxed(tmp_path / "missing.csv")


def test_visitors_file_beyond_the_bounds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "q.csv"
    path.write_text("question,A,B,answer\n" + "Q,a,b,A\n" * 100_000)
    files.name_file(path).write_text("mine.csv")
    monkeypatch.setattr(files, "_SANDBOX_S", 0.05)
    with pytest.raises(
        BenchmarkError, match=r"Reading mine\.csv takes more than 0\.05 s\. Give a smaller file\."
    ):
        files.read_sandboxed(path)


@pytest.mark.slow
@given(CONTENT, st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet"]))
@example(b"[" + b"9" * 5000 + b"]", ".json")
@example(b'{"question": 1e999, "choices": "[[[[", "answer": NaN}', ".jsonl")
def test_any_content_is_questions_with_errors_or_refused(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("any") / f"q{ending}"
    path.write_bytes(content)
    tracemalloc.start()
    refusal(lambda: questions.load(BenchmarkSpec(str(path))))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MUCH


@given(CONTENT, st.sampled_from([".jsonl", ".txt"]))
def test_any_content_is_documents_or_refused(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("any") / f"texts{ending}"
    path.write_bytes(content)

    def read():
        found = corpora.documents(CorpusSpec(str(path)))
        assert found
        assert all(isinstance(text, str) and text.strip() for text in found)

    refusal(read)


@given(st.text(max_size=30))
def test_any_path_is_a_file_or_refused(text):
    refusal(lambda: files.read(Path(f"{text}.jsonl")))
    refusal(lambda: corpora.documents(CorpusSpec(text)))
