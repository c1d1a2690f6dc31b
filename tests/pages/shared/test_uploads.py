"""Question files of visitors: read once, in a process of its own, for all questions of pages about them."""

from dataclasses import replace

import pytest

from analysis.core import sandbox
from analysis.core.errors import BenchmarkError
from analysis.data import files
from analysis.data.spec import BenchmarkSpec
from pages.components.shared import uploads
from tests.pages.explore.test_changed_answers import with_answers
from tests.support import fakes

ROWS = b"id,question,A,B,answer\n" + b"".join(b"%d,How many is %d?,one,two,A\n" % (row, row) for row in range(400))


@pytest.fixture
def readings(monkeypatch):
    """Return the readings by another process; reading a question file in this process fails the test."""
    seen, answer = [], sandbox.answer
    monkeypatch.setattr(
        sandbox, "answer", lambda function, *given, **ends: seen.append(given) or answer(function, *given, **ends)
    )
    monkeypatch.setattr(files, "read_table", lambda path: pytest.fail(f"{path} was read by the server."))
    return seen


def test_pages_use_the_answer_of_the_reading_process(app, ui_cache, readings):
    path = uploads.keep("mine.csv", ROWS, ".csv")
    curve, asked = with_answers(), BenchmarkSpec(path, limit=100)
    curve = replace(curve, spec=replace(curve.spec, benchmark=asked), n_questions=100)
    for result in (fakes.distances(), curve):
        result.save()
    for _ in range(2):
        at = app(tab="questions", n="5")
        assert "How many is " in "".join(table.value.to_csv() for table in at.dataframe)
        assert app(n="5").button(key="refine").label == "Refine: 100 → 400 questions"
    assert readings == [(path,)]


def test_a_file_is_read_again_only_when_it_was_rewritten(tmp_path, readings):
    path = tmp_path / "q.csv"
    for n in (400, 7):
        path.write_bytes(b"".join(ROWS.splitlines(keepends=True)[: n + 1]))
        assert [uploads.questions(path).n_rows for _ in range(2)] == [n, n]
    assert len(readings) == 2
    for _ in range(2):
        with pytest.raises(BenchmarkError, match="cannot be read"):
            uploads.questions(tmp_path / "missing.csv")
    assert len(readings) == 3
