"""Fixtures of several kinds of experiment."""

import json

import pytest

from analysis.data.spec import BenchmarkSpec


@pytest.fixture
def questions(tmp_path) -> BenchmarkSpec:
    """Eight questions of two options, in a file of one's own."""
    path = tmp_path / "questions.jsonl"
    rows = [
        {"question": f"What is {number}?", "choices": ["one", "two"], "answer": number % 2}
        for number in range(8)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return BenchmarkSpec(str(path), limit=8)
