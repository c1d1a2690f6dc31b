"""A grid on its page: requested after its size is shown, growing, done, and with failed curves."""

import json
from dataclasses import replace
from functools import partial

import pytest

from analysis import jobs
from analysis.charts.grids import ACCURACY, panels
from analysis.core import host
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes
from tests.support.seen import figures, read, texts


@pytest.fixture
def view(compare):
    return partial(compare, "Grid")


def test_size_and_time_are_shown_before_the_click(view):
    at = view()
    assert "No grid yet" in texts(at)
    assert "2 curves" in texts(at)
    assert "Duration unknown" in texts(at)
    at.multiselect(key="grid-tasks").set_value(["arc_easy", "boolq"]).run()
    at.multiselect(key="grid-how").set_value(["similarity", "random"]).run()
    assert "8 curves" in texts(at)
    assert "1 model, 4 ways to choose layers, 2 datasets, 1 text" in read(texts(at))


def test_size_of_a_model_gives_a_rough_duration(view, known):
    assert "from the amount of work alone" in texts(view())


def test_click_requests_the_values_of_the_form(view):
    at = view()
    at.multiselect(key="grid-models").set_value(["starter", "/models/b"]).run()
    at.number_input(key="grid-max").set_value(8).run()
    at.number_input(key="grid-limit").set_value(20).run()
    at.button(key="grid-go").click().run()
    assert not at.exception
    (job,) = jobs.active()
    assert isinstance(job.spec, GridSpec)
    assert job.spec.models == (ModelSpec(), ModelSpec("/models/b"))
    assert (job.spec.max_n, job.spec.benchmarks[0].limit, job.label) == (8, 20, "Grid of 4 curves")


def test_empty_choice_on_one_side_has_a_message(view):
    at = view()
    at.multiselect(key="grid-tasks").set_value([]).run()
    assert "needs at least one of its tasks" in texts(at)
    assert not [button for button in at.button if button.key == "grid-go"]


def test_a_finished_grid_has_its_panels_and_both_tables(ui_cache, view):
    fakes.grid().save()
    at = view()
    drawn = figures(at)
    assert sorted(drawn) == ["grid-accuracy-0", "grid-accuracy-1"]
    lines = {trace["name"] for trace in drawn["grid-accuracy-0"]["data"]}
    assert lines == {"similarity", "deepest", "chance"}
    assert [len(frame.value) for frame in at.dataframe] == [4, 64]
    assert "No significant drop up to n: the largest n" in read(texts(at))
    at.button_group(key="grid-quantity").set_value("loss").run()
    assert sorted(figures(at)) == ["grid-loss-0", "grid-loss-1"]


def test_panels_and_table_of_a_grid_carry_the_condition_chip(ui_cache, view):
    made = fakes.grid()
    made.save()
    at = view()
    chips = [read(one.value) for one in at.markdown if one.value.startswith(":gray-badge")]
    assert len(chips) == 3, "one for each panel, one for the table"
    for chip, (cell, *_) in zip(chips, panels(made, ACCURACY).values(), strict=False):
        precision = cell.precision.replace(" from ", " · ")
        assert chip == f":gray-badge[{cell.questions} · n = {cell.cuts[0].n_samples}] :gray-badge[{precision}]"
    assert {f"{cell.texts} · n = {cell.cuts[0].n_texts} texts" in chips[-1] for cell in made.cells} == {True}
    at.button_group(key="grid-quantity").set_value("loss").run()
    chips = [read(one.value) for one in at.markdown if one.value.startswith(":gray-badge")]
    assert all(chip.startswith(f":gray-badge[{made.cells[0].texts} · n = ") for chip in chips[:2])


def test_cells_without_a_significant_difference_are_not_coloured(ui_cache, view):
    fakes.grid().save()
    line = next(trace for trace in figures(view())["grid-accuracy-0"]["data"] if trace["name"] == "deepest")
    colours, symbols = line["marker"]["color"], line["marker"]["symbol"]
    assert (symbols[0], symbols[-1]) == ("square-open", "square")
    assert colours[0] != colours[-1]
    assert {symbol.endswith("-open") for symbol, colour in zip(symbols, colours, strict=True) if colour == colours[0]} == {True}


def test_growing_grid_shows_its_cells_and_the_current_curve(ui_cache, view, job):
    partial = fakes.grid(n_done=2)
    partial.save()
    doing = json.dumps({"doing": "small, deepest: scoring questions"})
    running = job(partial.spec, jobs.RUNNING, phase="measuring the curves of the grid", done=2, total=4, values=doing)
    at = view()
    assert "small, deepest: scoring questions" in read(texts(at))
    assert len(at.dataframe[0].value) == 2
    assert [button for button in at.button if button.key == f"grid-cancel-{running.id}"]


def test_failed_curves_are_named_with_the_reason(ui_cache, view):
    fakes.grid(failing=True).save()
    said = read(texts(view()))
    assert "2 of 4 curves failed" in said
    assert "small, similarity, ARC-Easy, C4 and 1 more: There is no model at '/models/small'" in said


def test_time_is_estimated_from_curves_of_this_machine(ui_cache, view, monkeypatch):
    monkeypatch.setattr(host, "processor", lambda: "a test")
    replace(fakes.sweep(answers=True), versions={"processor": "a test, 4 cores"}).save()
    at = view()
    assert "estimated from 1 curve of this machine" in read(texts(at))
