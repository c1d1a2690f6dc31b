"""Questions: prompts as the field defines them, odd rows read right, seeded subsets, chance and majority."""

import pytest

from analysis import benchmarks
from analysis.benchmarks import Question
from analysis.errors import BenchmarkError
from analysis.specs import BenchmarkSpec


@pytest.fixture(scope="module")
def arc():
    return benchmarks.load(BenchmarkSpec("arc_easy", limit=None))


def test_arc_easy_prompt_and_odd_rows(arc):
    assert len(arc) == 570
    known = next(question for question in arc if question.id == "MCAS_2000_4_6")
    assert known.context == "Question: Which technology was developed most recently?\nAnswer:"
    assert known.options == [" cellular telephone", " television", " refrigerator", " airplane"]
    assert known.gold == 0
    assert sum(len(question.options) != 4 for question in arc) == 3
    assert all(0 <= question.gold < len(question.options) for question in arc)
    assert len({question.id for question in arc}) == 570


def test_boolq_prompt_and_majority():
    questions = benchmarks.load(BenchmarkSpec("boolq", limit=None))
    assert len(questions) == 3270
    assert questions[0].context.endswith("?\nAnswer:")
    assert questions[0].options == [" no", " yes"]
    assert benchmarks.majority(questions) == pytest.approx(0.6217, abs=1e-4)
    assert benchmarks.chance(questions) == 0.5


def test_mmlu_five_shot_prompt():
    questions = benchmarks.load(BenchmarkSpec("mmlu", limit=40))
    assert len(questions) == 40
    for question in questions:
        assert question.options == [" A", " B", " C", " D"]
        subject = question.group.replace("_", " ")
        assert question.context.startswith(f"The following are multiple choice questions (with answers) about {subject}.\n\n")
        assert question.context.count("\nAnswer:") == 6
        assert question.context.endswith("\nAnswer:")
    groups = [question.group for question in questions]
    assert groups == sorted(groups, key=groups.index)  # questions of a subject stand together
    zero = benchmarks.load(BenchmarkSpec("mmlu", limit=40, shots=0))
    assert [question.id for question in zero] == [question.id for question in questions]
    assert zero[0].context.count("\nAnswer:") == 1


def test_the_subset_is_seeded_and_grows_at_its_end(arc):
    few, more = (benchmarks.load(BenchmarkSpec(limit=n)) for n in (20, 50))
    assert more[:20] == few
    assert benchmarks.load(BenchmarkSpec(limit=20)) == few
    assert benchmarks.load(BenchmarkSpec(limit=20, seed=1)) != few


def test_chance_and_majority_are_counted():
    questions = [Question("a", "", ["x", "y"], 1), Question("b", "", ["x", "y", "z", "w"], 1), Question("c", "", ["x", "y"], 0)]
    assert benchmarks.chance(questions) == pytest.approx((0.5 + 0.25 + 0.5) / 3)
    assert benchmarks.majority(questions) == pytest.approx(2 / 3)


def test_shots_that_a_task_does_not_have():
    with pytest.raises(BenchmarkError, match="shots must be 0"):
        benchmarks.load(BenchmarkSpec("boolq", shots=3))


def test_without_pack_and_hub_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("analysis.starter._package", lambda name: None)
    with pytest.raises(BenchmarkError, match="install the pack or connect"):
        benchmarks.load(BenchmarkSpec("boolq"))
