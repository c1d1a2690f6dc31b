"""Runs overlaid: nothing stored, one run, many, one pinned, and runs that cannot be compared."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from analysis.data.spec import BenchmarkSpec, CorpusSpec
from tests.support import fakes
from tests.support.seen import figures, read, texts

SCRIPT = """
from pages.components.compare import runs_view
from pages.components.shared import state
state.sync_url()
runs_view.show(state.current_model())
"""


@pytest.fixture
def view(ui_cache):
    """A function that opens a page with nothing but the runs on it."""

    def open_view(**query) -> AppTest:
        at = AppTest.from_string(SCRIPT, default_timeout=30)
        at.query_params.update(query)
        at.run()
        assert not at.exception
        return at

    return open_view


def pin(result) -> str:
    return f"{result.kind}:{result.spec.fingerprint()}"


def on_wiki(**changes):
    made = fakes.distances()
    mean = [[value + 0.01 for value in row] for row in made.mean]
    best = [replace(one, distance=one.distance + 0.01) for one in made.best]
    spec = replace(made.spec, corpus=CorpusSpec("wiki", identity="w"))
    return replace(made, spec=spec, mean=mean, best=best, **changes)


def table(at, key="runs-table-0"):
    return next(element.value for element in at.dataframe if f"-{key}" in element.proto.id)


def tick(at, *rows, key="runs-table-0"):
    at.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return at.run()


def test_empty_says_where_the_first_run_comes_from(view, monkeypatch):
    import streamlit as st

    linked = []
    monkeypatch.setattr(st, "page_link", lambda page, **rest: linked.append(page))
    assert "Nothing has been measured yet" in texts(view())
    assert linked == ["pages/explore.py"]


def test_one_run_is_drawn_at_once_and_downloads_as_json(view):
    fakes.distances().save()
    at = view()
    assert list(table(at)["measured on"]) == ["C4 32 × 256"]
    assert "runs-distance" in figures(at)
    json_button, csv_button = (
        next(b for b in at.get("download_button") if b.proto.id.endswith(k))
        for k in ("json", "csv")
    )
    assert not json_button.proto.disabled
    assert not csv_button.proto.disabled


def test_filters_hide_rows_but_keep_drawn_runs(view):
    for result in (
        fakes.distances(),
        fakes.sweep(),
        fakes.sweep(strategy="deepest"),
        fakes.heal(),
        fakes.damage(),
    ):
        result.save()
    at = view()
    assert len(table(at)) == 5
    at.button_group(key="runs-kind").set_value("heal").run()
    assert list(table(at, "runs-table-1")["kind"]) == ["heal"]
    assert "runs-accuracy" in figures(at)
    tick(at, 0, key="runs-table-1")
    assert {"runs-accuracy", "runs-heals", "runs-recovered"} <= set(figures(at))
    at.text_input(key="runs-search").set_value("no such run").run()
    assert "No run passes these filters" in texts(at)
    assert "runs-heals" in figures(at)


def test_a_pin_is_drawn_dashed_and_in_the_address(view):
    reference, other = fakes.sweep(), fakes.sweep(strategy="deepest")
    reference.save()
    other.save()
    at = tick(view(), 0, 1)
    (choice,) = [box for box in at.selectbox if box.label == "Reference"]
    choice.set_value(pin(reference)).run()
    assert at.query_params["pin"] == pin(reference)
    drawn = figures(at)["runs-accuracy"]
    dashes = {item["name"]: item["line"]["dash"] for item in drawn["data"]}
    assert dashes["similarity (reference)"] not in ("solid", "dot")
    assert dashes["deepest"] == "solid"


@pytest.mark.parametrize("text", ["distances:" + "0" * 20, "heal:" + "a" * 20])
def test_a_pin_that_is_not_stored_is_named(view, text):
    fakes.distances().save()
    assert "is not stored here" in texts(view(pin=text))


def test_incomparable_runs_are_named_in_a_sentence(view):
    one = fakes.sweep()
    two = replace(
        one,
        spec=replace(
            one.spec, benchmark=BenchmarkSpec("piqa", identity="p"), loss_corpus=CorpusSpec("c4")
        ),
    )
    metric = replace(fakes.distances(), spec=replace(fakes.distances().spec, metric="relative-l2"))
    for result in (one, two, fakes.distances(), metric):
        result.save()
    at = tick(view(), 0, 1, 2, 3)
    said = texts(at)
    assert "Different questions: compare each curve with its own chance line" in said
    assert "their loss is on other texts" in said
    assert "they measure another distance" in said
    assert len(figures(at)["runs-distance"]["data"]) == 1
    assert len(figures(at)["runs-loss"]["data"]) == 1


def test_runs_under_two_conditions_are_marked_as_different(view):
    for result in (fakes.distances(), on_wiki()):
        result.save()
    at = tick(view(), 0, 1)
    (chip,) = [read(one.value) for one in at.markdown if one.value.startswith(":gray-badge")]
    assert "C4" in chip
    assert "Wikipedia" in chip
    assert "Conditions differ between runs" in chip
