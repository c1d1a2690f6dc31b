"""Contract of every question set: each row is a question with its options, all different, and a
right answer.
"""

import pytest

from analysis.data import questions
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS


@pytest.mark.parametrize("name", TASKS)
def test_question_set(name):
    task = TASKS[name]
    asked, again = (questions.load(BenchmarkSpec(name, limit=20)) for _ in range(2))
    assert asked == again
    assert len({question.id for question in asked}) == 20
    for question in asked:
        assert 0 <= question.gold < len(question.options) == len(set(question.pairs()))
        assert all(context and option.startswith(" ") for context, option in question.pairs())
    assert task.title
    assert 0 < task.chance < 1
    assert 0 <= task.default_shots <= task.max_shots or not task.max_shots
