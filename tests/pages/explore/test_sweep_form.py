"""The form for curves: every set, parts of MMLU, files of one's own, every strategy, blocks written
by hand.
"""

import pytest

from analysis import jobs
from analysis.core.blocks import Block, LayerSet
from analysis.data.spec import BenchmarkSpec
from analysis.data.tasks import TASKS
from tests.support import fakes
from tests.support.seen import texts

GOOD = '{"question": "Two and two?", "choices": ["three", "four"], "answer": "B"}\n'


@pytest.fixture
def form(app):
    fakes.distances().save()
    return app()


def run(at, strategies=("similarity",)) -> list[jobs.Job]:
    if at.multiselect(key="sweep-how").value != list(strategies):
        at.multiselect(key="sweep-how").set_value(list(strategies)).run()
    at.button(key="sweep-go").click().run()
    assert not at.exception
    return jobs.active()


def test_every_set_can_be_asked(form):
    assert len(form.selectbox(key="sweep-task").options) == len(TASKS) + 2, (
        "a file, and a dataset from the Hub"
    )
    form.selectbox(key="sweep-task").set_value("copa").run()
    (made,) = run(form)
    assert made.spec.benchmark == BenchmarkSpec("copa", limit=None), "100 of 100 are all of them"
    assert made.spec.generation is None
    assert "COPA" in made.label


def test_search_names_its_cost_before_it_starts(form):
    assert "sets of layers" not in texts(form)
    form.multiselect(key="sweep-how").set_value(["swaps", "similarity"]).run()
    assert "swaps, up to n = 15: The search measures up to" in texts(form)
    form.session_state["address"]["keep"] = frozenset({0, 29})
    form.run()
    assert "Searches never remove layers 0, 29: protected" in texts(form)
    assert [job.spec.strategy for job in run(form, ("swaps", "similarity"))] == [
        "swaps",
        "similarity",
    ]
    searching, other = jobs.active()
    assert searching.spec.search.protect == (0, 29)
    assert "swaps (keeps layers 0, 29)" in searching.label
    assert other.spec.search is None


def test_too_many_protected_layers_are_refused_and_nothing_is_queued(form):
    form.session_state["address"]["keep"] = frozenset(range(20))
    form.multiselect(key="sweep-how").set_value(["similarity", "greedy"]).run()
    assert "greedy, up to n = 10" in texts(form)
    assert not run(form, ("similarity", "greedy"))
    assert "30 layers, 20 protected, and must keep at least one. Choose max-n 1..10" in texts(
        form
    ).replace("\\", "")


def test_parts_of_mmlu_shots_and_the_papers_protocol(form):
    assert not [item for item in form.number_input if item.key == "sweep-shots"]
    form.selectbox(key="sweep-task").set_value("mmlu").run()
    form.multiselect(key="sweep-subset").set_value(["stem", "philosophy"]).run()
    form.number_input(key="sweep-shots").set_value(2).run()
    form.button_group(key="sweep-protocol").set_value("paper").run()
    (made,) = run(form)
    assert made.spec.benchmark == BenchmarkSpec(
        "mmlu", limit=200, subset=("philosophy", "stem"), shots=2, protocol="paper"
    )


def test_a_job_for_each_strategy_on_the_same_questions(form):
    made = run(form, ("deepest", "similarity", "random", "block-influence"))
    assert [job.spec.strategy for job in made] == [
        "deepest",
        "similarity",
        "random",
        "random",
        "random",
        "block-influence",
    ]
    assert [job.spec.draw for job in made] == [0, 0, 0, 1, 2, 0]
    assert len({job.spec.benchmark for job in made}) == 1
    assert len({job.label for job in made}) == len(made)
    assert form.session_state["address"]["strategy"] == "deepest"
    assert form.query_params["strategy"] in ("deepest", ["deepest"])


def test_cuts_by_hand(form):
    form.multiselect(key="sweep-how").set_value(["manual"]).run()
    form.text_input(key="sweep-cuts").set_value("11:5, 3:1+7:2").run()
    assert "Removes layers 11-15 and layers 3, 7-8." in texts(form)
    (made,) = run(form, ("manual",))
    assert made.spec.blocks == (Block(11, 5), LayerSet((3, 7, 8)))
    assert made.spec.strategy == "manual"


def upload(at, name: str, content: bytes):
    at.selectbox(key="sweep-task").set_value("file").run()
    at.file_uploader(key="sweep-questions").upload(name, content, "application/octet-stream").run()
    assert not at.exception
    return at


def test_a_file_of_ones_own_is_previewed_and_asked(form, ui_cache):
    upload(form, "../mine *new*.jsonl", (GOOD * 3).encode())
    assert "3 of 3 rows are valid questions" in texts(form)
    preview = next(item for item in form.dataframe if "prompt" in item.value.columns)
    assert preview.value.iloc[0].tolist() == [
        "Question: Two and two?\nAnswer:",
        "three | four",
        "four",
    ]
    (made,) = run(form)
    (stored,) = (ui_cache / "uploads").glob("*.jsonl")
    assert made.spec.benchmark == BenchmarkSpec(str(stored), limit=None)
    assert "mine *new*.jsonl" in made.label
    assert "*new*" not in "".join(item.value for item in form.sidebar.markdown), (
        "the visitor's name is shown as plain text"
    )
