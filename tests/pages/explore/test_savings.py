"""Savings of a pruning: sizes before anything is measured, speed while it is measured, done, partial and failed."""

from dataclasses import replace
from functools import partial

import pytest

from analysis import jobs
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.source import sizes
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import speed
from pages.components.explore import savings
from pages.components.shared.cuts import Cut
from tests.support import fakes
from tests.support.seen import figures, marked, texts, trace

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
    return {row[0].partition(",")[0] if row[0].startswith("KV") else row[0]: row[1:] for row in frame.values.tolist()}


def test_sizes_and_next_step_are_shown_before_any_measurement(cost):
    at = cost(n="5")
    assert "Click **Measure speed**" in texts(at)
    rows = table(at)
    left = fakes.FACTS.n_parameters - 5 * 3_540_000
    assert rows["Parameters"] == ["134.5 M", f"{left / 1e6:.1f} M", f"−{5 * 3_540_000 / fakes.FACTS.n_parameters:.1%}"]
    assert rows["Weights, bfloat16"][1] == f"{2 * left / 1e6:.0f} MB"
    assert rows["Weights, NF4"] == rows["KV cache"] == ["–", "–", "–"], "an older map does not know them"
    assert "Open the **Model** page" in texts(at)
    at.button(key="measure-speed").click().run()
    (made,) = jobs.active()
    assert made.spec == REQUEST
    assert "speed" not in figures(at)


def test_an_inspection_knows_the_kv_cache(cost):
    known = fakes.inspect()
    replace(known, model=replace(known.model, layers=fakes.LAYERS)).save()
    at = cost(n="5")
    assert table(at)["KV cache"] == ["94.4 MB", "78.6 MB", "−16.7%"]
    assert "lack the sizes" not in texts(at)
    at.selectbox(key="context").set_value(8192).run()
    at.number_input(key="contexts").set_value(2).run()
    assert table(at)["KV cache"] == ["377 MB", "315 MB", "−16.7%"]
    at.slider(key="n").set_value(10).run()
    assert table(at)["KV cache"][1] == "252 MB"
    assert table(at)["Weights, NF4"][0] == "113 MB"


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


def test_progress_inside_a_growing_view_has_no_own_timer(cost, job):
    job(DamageSpec(), jobs.RUNNING, "Damage", done=1, total=9)
    job(REQUEST, jobs.QUEUED, "Speed")
    at = cost()
    assert "Waiting in the queue" in [element.proto.text for element in at.get("progress")]
    assert not at.exception


def test_measured_speed_at_a_measured_n_and_between(cost):
    fakes.speed().save()
    at = cost(n="5")
    rows = table(at)
    assert rows["Decode"] == ["25.0 ms", "22.5 ms", "−10.0% (95 %: −10.0 to −10.0)"]
    assert rows["Decode rate"] == ["40.0 tokens/s", "44.5 tokens/s", "+11.1% (95 %: +11.1 to +11.1)"]
    assert rows["Prefill"][1] == "449.8 ms"
    assert rows["Prefill rate"][1] == "569 tokens/s"
    assert rows["KV cache"][0] == "94.4 MB", "a measurement knows the content of each layer"
    at.slider(key="n").set_value(7).run()
    assert table(at)["Decode, interpolated"][1] == "21.5 ms"
    at.slider(key="n").set_value(20).run()
    assert table(at)["Decode, extrapolated"][1] == "15.0 ms"
    assert "0.50 (0.50 to 0.50) ms per layer, R² 1.000. Pruning cannot shorten 40% of the unpruned model's time." in texts(at)
    assert at.button(key="measure-speed").label == "Measure again"


def test_the_chart_of_speed_has_points_and_line(cost):
    fakes.speed().save()
    at = cost(n="5")
    figure = figures(at)["speed"]
    assert trace(figure, "pruned")["x"] == [2, 5, 10, 15]
    assert trace(figure, "unpruned")["y"] == [25.0]
    assert trace(figure, "fitted line")["y"][20 - 5] == pytest.approx(10 + 0.5 * 15)
    assert "shapes" not in figure["layout"], "a line at n would cross the fitted line at a value of another block"
    at.button_group(key="speed-field").set_value("prefill").run()
    assert trace(figures(at)["speed"], "unpruned")["y"] == [490.0]
    assert not at.exception


def test_untimed_block_has_no_speed_marker(cost):
    fakes.speed().save()
    at = cost(block="14:5")
    assert marked(at, "speed") == []
    said = "Not measured for this selection: layers 14-18. The speed shown is without layers 24-28, the same number of layers."
    assert said in texts(at)
    assert "13 % smaller and about 11 % faster" in texts(at)
    at = cost(block="24:5")
    assert marked(at, "speed") == [(5, pytest.approx(22.5))]
    assert "The speed shown is" not in texts(at)
    assert "13 % smaller and 11 % faster" in texts(at)
    at = cost(block="14:7")
    assert "Not measured for this selection: layers 14-20. The line estimates the speed from n = 7 alone." in texts(at)


def test_a_precomputed_measurement_names_its_machine(cost, precomputed):
    precomputed(fakes.speed())
    at = cost()
    assert "precomputed on a test" in texts(at)
    assert at.button(key="measure-speed").label == "Measure speed"


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
    assert "Not enough memory." not in [item.value for item in cost().error], "a newer result is there"


def test_points_that_are_no_line_are_called_so(cost):
    good = fakes.speed()
    good.save()
    assert "far from a line" not in texts(cost())
    replace(good, decode=replace(good.decode, r_squared=0.3)).save()
    assert "Measure again on an idle machine" in texts(cost())


def test_a_cut_that_is_not_known_has_no_sizes(cost):
    at = cost(strategy="block-influence", n="5")
    assert table(at)["Parameters"][1:] == ["–", "–"]


def test_the_tables_are_there_with_all_digits():
    facts, measured = fakes.speed().model, fakes.speed()
    cut = Cut(5, fakes.distances().best[4].block, None)
    rows = {row["quantity"]: row for row in savings.exact(_rows(facts, measured, cut))}
    assert rows["Weights, 8-bit"]["pruned"] == sizes.weight_bytes(facts, cut.removed, "8bit")
    assert (rows["KV cache, bfloat16"]["unpruned"], rows["KV cache, bfloat16"]["of"]) == (30 * 384 * 512 * 2, "1 x 512 tokens")
    row = rows["Decode"]
    timed = speed.timed(measured, 5)
    assert (row["unit"], row["unpruned"], row["pruned"], row["how"]) == ("seconds", timed.unpruned, timed.pruned, "measured")
    assert row["of"] == "a prompt of 256 tokens"


def test_active_parameters_of_a_mixture_stand_beside_all_parameters():
    facts, cut = fakes.FACTS, Cut(5, fakes.distances().best[4].block, None)
    layers = [replace(layer, expert_parameters=2_000_000, idle_parameters=1_500_000) for layer in fakes.LAYERS]
    rows = {row.what: row for row in _rows(replace(facts, layers=layers), None, cut)}
    whole, less = rows["Parameters"], rows["Active parameters"]
    assert (less.unpruned, less.pruned) == (whole.unpruned - 30 * 1_500_000, whole.pruned - 25 * 1_500_000)
    assert "Active parameters" not in {row.what for row in _rows(facts, None, cut)}


def _rows(facts, measured, cut):
    return savings.saved_by(facts, measured, cut, tokens=512, batch_size=1, dtype="bfloat16")
