"""Explore in every state: nothing yet, precomputed, own results, a sweep on its way, jobs that
ended badly.
"""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core import index
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from tests.support import fakes
from tests.support.seen import charts, marked, read, readout, ringed, score, texts


def test_page_without_a_map_names_the_next_step(app):
    at = app()
    assert "Compute map" in read(texts(at))
    assert not at.get("plotly_chart")
    assert at.title[0].value == "Explore"


def test_a_failed_first_map_keeps_its_reason_on_the_page_until_the_next_run(app, job):
    job(DistanceSpec(), jobs.FAILED, "The map", error="The Hub shows no model org/x.")
    assert "The map failed: The Hub shows no model org/x." in read(app().error[0].value)
    job(DistanceSpec(), jobs.CANCELLED, "The map")
    assert not app().error


def test_precomputed_results_are_on_screen_and_badged(app, precomputed):
    precomputed(fakes.distances())
    precomputed(fakes.sweep())
    at = app()
    assert set(charts(at)) == {"block size n, layers", "accuracy", "loss, nats per token"}
    assert "precomputed" in read(texts(at))
    assert "layers 13-17" in read(texts(at))


def test_slider_moves_block_numbers_and_markers(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app()
    at.slider(key="n").set_value(8).run()
    assert not at.exception
    block = fakes.distances().best[7].block
    assert block.brief() in read(texts(at))
    point = fakes.sweep().points[8]
    assert marked(at, "accuracy") == [(8, point.acc)]
    assert marked(at, "loss") == [(8, point.loss)]
    assert ringed(at) == [(block.start, 8)]
    assert (score(at, "accuracy"), score(at, "loss")) == (point.acc, point.loss)
    assert at.query_params["n"] == "8"


def test_nothing_removed_is_the_unpruned_model(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="0", tab="cost")
    assert "Nothing removed" in read(texts(at))
    assert score(at, "accuracy") == 0.5


def test_a_running_sweep_grows_and_can_be_cancelled(app, job):
    fakes.distances().save()
    growing = fakes.sweep(last=3, complete=False)
    growing.save()
    key = growing.spec.fingerprint()
    made = job(
        SweepSpec(),
        jobs.RUNNING,
        "Curve",
        phase="scoring questions",
        done=3,
        total=16,
        result_key=key,
    )
    at = app()
    pruned = next(trace for trace in charts(at)["accuracy"]["data"] if trace["name"] == "pruned")
    assert pruned["x"] == [0, 1, 2, 3]
    assert "Curve" in read(texts(at))
    at.sidebar.button(key=f"strip-cancel-{made.id}").click().run()
    assert jobs.get(made.id).cancel_requested
    assert "Stopping" in read(texts(at))


@pytest.mark.parametrize("state", [jobs.FAILED, jobs.INTERRUPTED])
def test_failed_job_says_why_and_can_be_resumed(app, job, state):
    fakes.distances().save()
    made = job(DistanceSpec(), state, "A map", error="The disk is full.")
    at = app()
    assert "The disk is full." in read(texts(at))
    at.sidebar.button(key=f"strip-resume-{made.id}").click().run()
    assert jobs.get(made.id).state == jobs.QUEUED


def test_map_form_queues_a_job(app):
    fakes.distances().save()
    at = app()
    at.number_input(key="map-n").set_value(8)
    at.number_input(key="map-len").set_value(64)
    at.selectbox(key="map-texts").set_value("wiki")
    at.button(key="map-go").click().run()
    (made,) = jobs.active()
    assert (made.spec.corpus.source, made.spec.corpus.n_texts, made.spec.corpus.seq_len) == (
        "wiki",
        8,
        64,
    )
    assert made.spec.model.source == "starter"


def test_a_broken_result_does_not_break_the_page(app, ui_cache):
    fakes.distances().save()
    (ui_cache / "results" / "sweep" / "x").mkdir(parents=True)
    (ui_cache / "results" / "sweep" / "x" / "result.json").write_text("{")
    assert "block size n, layers" in charts(app())


def test_unforeseen_trouble_is_one_sentence(app, monkeypatch):
    from analysis.charts import maps

    def broken(*args, **kwargs):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(maps, "distance_map", broken)
    fakes.distances().save()
    at = app()
    assert "unexpected error while drawing this part of the page (ZeroDivisionError)" in read(
        texts(at)
    )
    assert "secret detail" not in read(texts(at))


def test_a_slider_move_resolves_the_model_a_few_times(app, monkeypatch):
    """Weights that are not on this machine are told by the newest result of their name."""
    for result in (fakes.distances(), fakes.sweep()):
        model = replace(result.spec.model, source="org/model", identity=f"hub:{'0' * 40}")
        replace(result, spec=replace(result.spec, model=model)).save()
    at = app(model="org/model")
    asked, own = [], index.rows
    monkeypatch.setattr(index, "rows", lambda *query: asked.append(query) or own(*query))
    at.slider(key="n").set_value(8).run()
    assert not at.exception
    identities = [sql for _, sql, _ in asked if sql.startswith("SELECT identity")]
    assert 0 < len(identities) <= 3
    assert len(asked) <= 50


def test_notes_on_the_picture_go_with_the_first_action(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="5")
    assert readout(at)["note"]
    at.slider(key="n").set_value(6).run()
    at.slider(key="n").set_value(5).run()
    assert not readout(at)["note"]
