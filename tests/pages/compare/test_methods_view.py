"""Methods side by side on their page: requested after the work is shown, growing, done, and
extended by missing cells.
"""

from dataclasses import replace
from functools import partial

import pytest

from analysis import jobs
from analysis.data.spec import BenchmarkSpec
from tests.support import fakes
from tests.support.seen import figures, read, texts


@pytest.fixture
def view(compare):
    return partial(compare, "Methods")


def widget(elements, name):
    return next(element for element in elements if str(element.key).endswith(f"-{name}"))


def test_work_is_shown_before_the_click_that_requests_it(view):
    at = view()
    assert "No table of methods yet" in texts(at)
    widget(at.multiselect, "recipes").set_value(["instant", "distill"]).run()
    widget(at.multiselect, "ns").set_value([3, 5]).run()
    assert "12 of 12 cells to measure" in read(texts(at))
    assert "4 healing runs of 2 minutes" in read(texts(at))
    at.button(key="methods-go").click().run()
    (job,) = jobs.active()
    assert (job.spec.strategies, job.spec.recipes, job.spec.ns) == (
        ("similarity", "swaps"),
        ("instant", "distill"),
        (3, 5),
    )
    assert job.label == "Table of 6 methods"


def test_table_names_only_a_significant_best_and_lists_failures(ui_cache, view):
    fakes.methods().save()
    at = view()
    assert (
        "Lowest loss, significantly below every other method, at n = 3: similarity + instant."
        in read(texts(at))
    )
    assert "At n = 5 no method is significantly better than every other" in read(texts(at))
    assert "Not measured: deepest + instant, n = 5: It cannot be." in read(texts(at))
    assert list(figures(at)) == ["methods-nats"]
    at.button_group(key="methods-quantity").set_value("accuracy").run()
    assert list(figures(at)) == ["methods-accuracy"]
    assert [len(frame.value) for frame in at.dataframe] == [4]


def test_one_click_runs_missing_cells_with_the_same_questions(ui_cache, view):
    table = fakes.methods()
    table.save()
    at = view()
    assert at.button(key="methods-go").label == "Measure 1 missing"
    widget(at.multiselect, "ns").set_value([3]).run()
    assert (at.button(key="methods-go").label, at.button(key="methods-go").disabled) == (
        "Measure",
        True,
    )
    widget(at.multiselect, "ns").set_value([3, 5, 8]).run()
    assert at.button(key="methods-go").label == "Measure 5 missing"
    at.button(key="methods-go").click().run()
    (job,) = jobs.active()
    assert job.spec.ns == (3, 5, 8)
    assert replace(job.spec.benchmark, shots=None) == BenchmarkSpec(limit=100)
    assert replace(job.spec.loss_corpus, identity="") == replace(
        table.spec.loss_corpus, identity=""
    )
    widget(at.multiselect, "ns").set_value(["3", "many"]).run()
    assert "not many" in read(texts(at))


def test_failed_job_shows_why_and_running_job_is_shown(view, job):
    job(fakes.methods().spec, jobs.FAILED, "Methods", error="The disk is full.")
    assert "The disk is full." in texts(view())
    job(fakes.methods().spec, jobs.RUNNING, "Table of 4 methods")
    assert "Cancel" in [button.label for button in view().button]


def test_one_of_several_tables_is_picked_and_missing_cells_measured(precomputed, view):
    precomputed(fakes.methods_of("similarity"))
    precomputed(fakes.methods_of("deepest", "distill"))
    at = view()
    assert len(at.dataframe[0].value) == 2
    assert len(next(box for box in at.selectbox if box.label == "Shown").options) == 2
    assert ":gray-badge[precomputed]" in texts(at)
