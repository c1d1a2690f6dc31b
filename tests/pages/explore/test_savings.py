"""Savings of a pruning: sizes before anything is measured, speed while it is measured, done,
partial and failed.
"""

from dataclasses import replace
from functools import partial

import pytest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.source.model_spec import ModelSpec
from pages.components.explore import savings
from tests.support import fakes
from tests.support.seen import figures, texts, trace

REQUEST = SpeedSpec(model=ModelSpec(dtype="bfloat16"))
"""In the precision of the map on screen."""


@pytest.fixture
def cost(app):
    """A function that opens the Cost tab of a model with a map."""
    fakes.distances().save()
    return partial(app, tab="cost")


def table(at) -> dict[str, list[str]]:
    """Return the rows of the panel by their subject."""
    frame = next(item.value for item in at.table if "change" in item.value.columns)
    return {
        row[0].partition(",")[0] if row[0].startswith("KV") else row[0]: row[1:]
        for row in frame.values.tolist()
    }


def test_sizes_and_next_step_are_shown_before_any_measurement(cost):
    at = cost(n="5")
    assert "Click **Measure speed**" in texts(at)
    rows = table(at)
    left = fakes.FACTS.n_parameters - 5 * 3_540_000
    assert rows["Parameters"] == [
        "134.5 M",
        f"{left / 1e6:.1f} M",
        f"−{5 * 3_540_000 / fakes.FACTS.n_parameters:.1%}",
    ]
    assert rows["Weights, bfloat16"][1] == f"{2 * left / 1e6:.0f} MB"
    assert rows["Weights, NF4, bfloat16"] == rows["KV cache"] == ["–", "–", "–"], (
        "an older map does not know them"
    )
    assert "Open the **Model** page" in texts(at)
    at.button(key="measure-speed").click().run()
    (made,) = jobs.active()
    assert made.spec == REQUEST
    assert "speed" not in figures(at)


def test_progress_replaces_the_button_while_it_is_measured(cost, job):
    job(REQUEST, jobs.RUNNING, "Speed", phase="measuring the speed", done=7, total=25)
    at = cost()
    assert not [button for button in at.button if button.key == "measure-speed"]
    assert any(button.key.startswith("speed-cancel-") for button in at.button)
    shown = [element.proto.text for element in at.get("progress")]
    assert "measuring the speed · 7/25" in shown
    assert "The chart appears here when it is done" in texts(at)
    next(button for button in at.button if button.key.startswith("speed-cancel-")).click().run()
    assert jobs.list_jobs()[0].cancel_requested
    assert not at.exception


def test_measured_speed_at_a_measured_n_and_between(cost):
    fakes.speed().save()
    at = cost(n="5")
    rows = table(at)
    assert rows["Decode"] == ["40.0 tokens/s", "44.5 tokens/s", "+11.1% (95 %: +11.1 to +11.1)"]
    assert rows["Prefill"][1] == "569 tokens/s"
    assert rows["KV cache"][0] == "94.4 MB", "a measurement knows the content of each layer"
    at.slider(key="n").set_value(7).run()
    assert table(at)["Decode, interpolated"][1] == "46.5 tokens/s"
    at.slider(key="n").set_value(20).run()
    assert table(at)["Decode, extrapolated"][1] == "66.7 tokens/s"
    assert at.button(key="measure-speed").label == "Measure again"


def test_the_chart_of_speed_has_points_and_line(cost):
    fakes.speed().save()
    at = cost(n="5")
    figure = figures(at)["speed"]
    assert trace(figure, "pruned")["x"] == [2, 5, 10, 15]
    assert trace(figure, "unpruned")["y"] == [25.0]
    assert trace(figure, "fitted line")["y"][20 - 5] == pytest.approx(10 + 0.5 * 15)
    assert "shapes" not in figure["layout"], (
        "a line at n would cross the fitted line at a value of another block"
    )
    at.button_group(key="speed-field").set_value("prefill").run()
    assert trace(figures(at)["speed"], "unpruned")["y"] == [490.0]
    assert not at.exception


def test_stopped_measurement_shows_its_results_and_can_resume(cost, job):
    fakes.speed(2).save()
    job(REQUEST, jobs.CANCELLED, "Speed", error="It was cancelled.")
    at = cost()
    assert "Unfinished: 2 of 5 rounds" in texts(at)
    assert at.button(key="measure-speed").label == "Resume"
    at.button(key="measure-speed").click().run()
    assert [made.spec for made in jobs.active()] == [REQUEST]


def test_a_failed_measurement_says_why(cost, job):
    job(REQUEST, jobs.FAILED, "Speed", error="Not enough memory.")
    at = cost()
    assert "Not enough memory." in [item.value for item in at.error]
    assert at.button(key="measure-speed").label == "Measure speed"
    fakes.speed().save()
    assert "Not enough memory." not in [item.value for item in cost().error], (
        "a newer result is there"
    )


def test_speed_in_llama_cpp_is_measured_and_shown_apart(cost, monkeypatch):
    monkeypatch.setattr(savings, "_refusal", lambda model, removed: None)
    fakes.speed().save()
    at = cost(n="5", block="11:5")
    at.segmented_control(key="runtime").set_value("llama.cpp").run()
    assert "The speed in llama.cpp is not measured on this machine" in texts(at)
    at.button(key="measure-speed").click().run()
    (made,) = jobs.active()
    assert (made.spec.runtime, made.spec.blocks) == ("llama.cpp", (Block(11, 5),))
    made = fakes.speed()
    points = [replace(point, file_bytes=98_000_000 - 2_000_000 * point.n) for point in made.points]
    versions = made.versions | {"runtime": "llama.cpp, 2 threads"}
    replace(
        made, spec=replace(made.spec, runtime="llama.cpp"), points=points, versions=versions
    ).save()
    at.run()
    assert table(at)["GGUF file"][:2] == [
        "98.0 MB",
        "–",
    ], "the file without this block was not timed"
    assert "llama.cpp, 2 threads" in texts(at)
    assert not at.exception


def test_llama_cpp_that_is_not_installed_is_one_sentence(cost, monkeypatch):
    monkeypatch.setattr(savings, "_refusal", lambda model, removed: "llama.cpp is not installed.")
    at = cost(n="5")
    at.segmented_control(key="runtime").set_value("llama.cpp").run()
    assert "llama.cpp is not installed." in texts(at)
    assert not [button for button in at.button if button.key == "measure-speed"]
