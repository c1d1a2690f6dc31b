"""A kind of experiment from a file of one's own is on the pages, without a page that knows it."""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.cli import main
from analysis.core.experiment import EXPERIMENTS, additions, register
from tests.support import fakes
from tests.support.seen import figures, opened, texts


@pytest.fixture
def found(letters, ui_cache):
    return letters.run(letters.LettersSpec(fakes.MODEL), None, load=None)


def table(at, *columns):
    return next(element.value for element in at.dataframe if set(columns) <= set(element.value.columns))


def unfold(at, kind: str):
    """Return the page with the panel of a kind open."""
    at.session_state[f"added-{kind}"] = True
    return at.run()


@pytest.mark.parametrize("has_map", [False, True])
def test_panel_has_title_chart_table_and_command(app, found, has_map):
    if has_map:
        fakes.distances().save()
    at = app(tab="more")
    assert "letters-figure" not in figures(at), "panels are closed at first"
    assert "Letters (1 stored)" in [folded.label for folded in at.expander]
    unfold(at, "letters")
    assert figures(at)["letters-figure"]["data"][0]["name"] == "share"
    assert list(table(at, "letter", "share")["letter"]) == ["a", "b", "n"]
    assert main.command_line(found.spec) in "\n".join(code.value for code in opened(at, "data").code)


def test_click_queues_a_job_with_the_title_of_its_kind(app, letters):
    at = unfold(app(), "letters")
    assert "has no stored result of this kind" in texts(at)
    at.button(key="start-letters").click().run()
    (job,) = jobs.list_jobs()
    assert job.spec == letters.LettersSpec()
    assert job.label == "Letters of Starter model"
    at.button(key="all-jobs").click().run()
    assert list(table(at, "kind", "on disk")["kind"]) == ["Letters"]


def test_own_panel_replaces_table_and_chart(app, found, letters):
    EXPERIMENTS.remove("letters")
    register(replace(letters.EXPERIMENT, panel="tests.support.letters:panel"))
    at = unfold(app(), "letters")
    assert "3 letters in banana" in [text.value for text in at.text]
    assert "letters-figure" not in figures(at)


def test_added_kind_is_listed_among_runs_and_drawn_when_ticked(app, found):
    fakes.distances().save()
    at = app("pages/compare.py", pin=f"letters:{found.spec.fingerprint()}")
    assert set(table(at, "kind", "key")["kind"]) == {"map", "letters"}
    assert figures(at)[f"run-{found.spec.fingerprint()}-figure"]
    assert "Results of this kind have no computed difference" in texts(at)


def test_glossary_explains_the_added_kind(app, letters):
    assert "- **Letters**: how often each letter is in a word" in texts(app("pages/learn.py"))


def test_methods_stand_under_compare_and_are_not_repeated(app):
    """The old tab drew one table of methods by its own, and ringed a best one where the joined table has none."""
    assert "methods" in additions()
    at = app()
    assert [one.label.partition(" (")[0] for one in at.expander if "stored)" in one.label] == [
        EXPERIMENTS[kind].title for kind in ("precision", "search")
    ]
    for kind in ("precision", "search"):
        unfold(at, kind)
    assert [button.key for button in at.button if button.key.startswith("start-")] == ["start-precision", "start-search"]


def test_tab_more_goes_when_nothing_is_left(app, monkeypatch):
    from pages.components.shared import chart

    fakes.distances().save()
    assert "More" in [tab.label for tab in app().tabs]
    monkeypatch.setattr(chart, "HOMES", dict.fromkeys(additions(), "elsewhere"))
    assert "More" not in [tab.label for tab in app().tabs]


def test_kind_without_request_for_a_model_has_no_button(app):
    assert not [one for one in unfold(app(dtype="float32"), "precision").button if one.key == "start-precision"]
