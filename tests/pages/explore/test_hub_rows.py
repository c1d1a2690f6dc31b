"""A dataset from the Hub in a form: files with sizes, columns to choose, the first rows, and then a
file like any other.
"""

import json
from pathlib import Path

import pytest

from analysis import jobs
from analysis.data import files
from pages.components.shared import inputs
from pages.components.shared.start import Looks
from tests.support import fakes
from tests.support.hub import Repo
from tests.support.seen import read, texts
from tests.support.worker import wait_for

QUESTIONS = [{"stem": "Two and two?", "a": "three", "b": "four", "label": 1}] * 6
TEXTS = [{"url": "u", "body": f"Some *words* {n}"} for n in range(6)]


def lines(rows) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def form(app, loopback, monkeypatch):
    repo = loopback.data_sets["org/set"] = Repo("org/set")
    repo.commit({"q.jsonl": lines(QUESTIONS), "t.jsonl": lines(TEXTS)})
    for name in ("_sets", "_rows"):
        monkeypatch.setattr(inputs, name, Looks(getattr(inputs, name)._look))
    fakes.distances().save()
    return app()


def come(at, looks):
    """Wait for the request that runs behind the page."""
    wait_for(
        lambda: looks._answers and all(future.done() for future, _ in looks._answers.values()), 20
    )
    at.run()
    assert not at.exception
    return at


def chosen(at, key, box, path, id="org/set"):
    at.selectbox(key=box).set_value("hub").run()
    at.text_input(key=f"{key}-hub-set").input(id).run()
    come(at, inputs._sets)
    if path:
        at.selectbox(key=f"{key}-hub-file").set_value(path).run()
        come(at, inputs._rows)
    return at


def test_questions_are_mapped_shown_and_asked(form):
    chosen(form, "sweep", "sweep-task", None)
    assert [read(option) for option in form.selectbox(key="sweep-hub-file").options] == [
        "q.jsonl · 384 B",
        "t.jsonl · 234 B",
    ]
    assert "The download starts when you choose a file" in texts(form)
    chosen(form, "sweep", "sweep-task", "q.jsonl")
    assert (
        next(item for item in form.dataframe if "stem" in item.value.columns).value["a"].tolist()
        == ["three"] * 4
    )
    assert "Choose the column of the question and of the choices" in texts(form)
    form.selectbox(key="sweep-hub-question").set_value("stem").run()
    form.multiselect(key="sweep-hub-choices").set_value(["a", "b"]).run()
    assert "6 of 6 rows are valid questions" in texts(form)
    form.button(key="sweep-go").click().run()
    (job,) = jobs.active()
    assert job.spec.benchmark.is_file
    assert files.title(job.spec.benchmark.task) == "set q.jsonl.jsonl"
    assert len(files.read(Path(job.spec.benchmark.task)).questions) == 6


def test_texts_are_mapped_shown_and_measured_on(form):
    chosen(form, "map", "map-texts", "t.jsonl")
    assert form.selectbox(key="map-hub-text").value == "body"
    shown = next(item for item in form.dataframe if "body" in item.value.columns)
    assert shown.value["body"].tolist()[0] == "Some *words* 0"
    form.button(key="map-go").click().run()
    (job,) = jobs.active()
    assert job.spec.corpus.source.endswith(".jsonl")
