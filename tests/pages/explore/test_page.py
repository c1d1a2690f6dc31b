"""Explore in every state: nothing yet, precomputed, own results, a sweep on its way, jobs that ended badly."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.results.compared import cliff
from tests.support import fakes
from tests.support.seen import charts, marked, metric, opened, read, ringed, texts


def test_page_without_a_map_names_the_next_step(app):
    at = app()
    assert "Compute map" in read(texts(at))
    assert not at.get("plotly_chart")
    assert at.title[0].value == "Explore"


def test_precomputed_results_are_on_screen_and_badged(app, precomputed):
    precomputed(fakes.distances())
    precomputed(fakes.sweep())
    at = app()
    assert set(charts(at)) == {"block size n, layers", "accuracy", "loss, nats per token"}
    assert "precomputed" in read(texts(at))
    assert "layers 13-17 (5 layers), block [13, 18)" in read(texts(at))


def test_nothing_unintended_stands_above_the_title(app, precomputed):
    precomputed(fakes.distances())
    assert not [one.value for one in app().markdown if "map map" in one.value]


def test_how_sure_the_accuracy_is_stands_in_words(app):
    fakes.distances().save()
    measured = fakes.sweep()
    answered = [
        [QuestionScore(f"q{index}", [0.0, 0.0], int(index >= round(100 * point.acc)), 0) for index in range(100)]
        for point in measured.points
    ]
    replace(measured, questions=answered).save()
    at = app(tab="cost")
    at.slider(key="n").set_value(8).run()
    lost = round(100 * measured.points[0].acc) - round(100 * measured.points[8].acc)
    assert f"{lost} answers lost, 0 gained" in read(texts(at))
    assert "points: the interval excludes zero" in read(texts(at))
    assert "95 % interval" in read(texts(at))
    assert cliff.sentence(fakes.sweep(answers=True)) in read(texts(at))
    at.slider(key="n").set_value(0).run()
    assert "lost, " not in read(texts(at))


def test_interval_that_just_excludes_zero_agrees_with_its_test(app):
    """40 of 200 questions lost and 24 gained: -15.7 to -0.1 points, and p = 0.06 by the exact test."""
    fakes.distances().save()
    measured = fakes.sweep(limit=200)
    whole, cut = [True] * 94 + [False] * 106, [True] * 54 + [False] * 40 + [True] * 24 + [False] * 82
    given = [[QuestionScore(f"q{i}", [0.0, 0.0], int(not right), 0) for i, right in enumerate(each)] for each in (whole, cut)]
    replace(measured, questions=[given[0], *[given[1]] * (len(measured.points) - 1)]).save()
    told = texts(app(n="5", tab="cost"))
    assert "-15.7 to -0.1 points: the interval excludes zero. The exact McNemar test is stricter: p = 0.06." in read(told)
    assert "Paired change 95 %: −15.7 to −0.1." in texts(app("pages/export.py", n="5")).replace("\\", "")


def test_insignificant_change_is_grey_and_names_the_questions_needed(app):
    fakes.distances().save()
    rights = [set(range(100)), set(range(14, 108)), set(range(70))]  # 3 points with p = 0.29, then 15 that are settled
    made = fakes.sweep(last=2, limit=200)
    given = [[QuestionScore(f"q{place}", [0.0, 0.0], int(place not in right), 0) for place in range(200)] for right in rights]
    points = [replace(point, acc=len(right) / 200, n_samples=200) for point, right in zip(made.points, rights, strict=True)]
    replace(made, points=points, questions=given).save()
    at = app(tab="cost")
    at.slider(key="n").set_value(1).run()
    noisy = metric(at, "Accuracy")
    assert noisy.delta == "-3.0 points, not significant"
    assert "Not significantly different with 200 questions, about 96" in read(noisy.help)
    assert noisy.proto.color == noisy.proto.GRAY
    at.slider(key="n").set_value(2).run()
    settled = metric(at, "Accuracy")
    assert settled.delta == "-15.0 points"
    assert settled.proto.color == settled.proto.RED


def test_own_results_have_no_badge(app):
    fakes.distances().save()
    assert "badge" not in texts(app())


def test_slider_moves_block_numbers_and_markers(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app()
    at.slider(key="n").set_value(8).run()
    assert not at.exception
    block = fakes.distances().best[7].block
    assert block.describe() in read(texts(at))
    point = fakes.sweep().points[8]
    assert marked(at, "accuracy") == [(8, point.acc)]
    assert marked(at, "loss") == [(8, point.loss)]
    assert ringed(at) == [(block.start, 8)]
    opened(at, "cost")
    point = fakes.sweep().points[8]
    assert metric(at, "Accuracy").value == f"{point.acc:.1%}"
    assert metric(at, "Parameters").value == "−28.3 M"
    assert metric(at, "Parameters").delta == f"{8 * 3_540_000 / fakes.FACTS.n_parameters:.1%} of all"
    assert metric(at, "Weights").value == "−56.6 MB"
    assert at.query_params["n"] == "8"


def test_nothing_removed_is_the_unpruned_model(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="0", tab="cost")
    assert "Nothing removed" in read(texts(at))
    assert metric(at, "Accuracy").value.startswith("50.0%")


def test_deepest_keeps_the_last_layer_and_needs_its_sweep(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(strategy="deepest", n="5")
    assert "layers 24-28 (5 layers), block [24, 29)" in read(texts(at))
    assert "Run a sweep" in read(texts(at))
    fakes.sweep(strategy="deepest").save()
    assert "accuracy" in charts(app(strategy="deepest"))


def test_a_running_sweep_grows_and_can_be_cancelled(app, job):
    fakes.distances().save()
    growing = fakes.sweep(last=3, complete=False)
    growing.save()
    key = growing.spec.fingerprint()
    made = job(SweepSpec(), jobs.RUNNING, "Curve", phase="scoring questions", done=3, total=16, result_key=key)
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
    assert (made.spec.corpus.source, made.spec.corpus.n_texts, made.spec.corpus.seq_len) == ("wiki", 8, 64)
    assert made.spec.model.source == "starter"


def test_sweep_form_uses_a_map_like_the_one_on_screen(app):
    fakes.distances().save()
    at = app()
    at.number_input(key="sweep-limit").set_value(20)
    at.number_input(key="sweep-max").set_value(4)
    at.button(key="sweep-go").click().run()
    (made,) = jobs.active()
    assert made.spec.distances.corpus == replace(fakes.distances().spec.corpus, identity="")
    assert made.spec.distances.model == made.spec.model
    assert (made.spec.benchmark.limit, made.spec.max_n, made.spec.strategy) == (20, 4, "similarity")


def test_uploads_are_kept_by_content_and_never_by_name(app, ui_cache):
    fakes.distances().save()
    at = app()
    at.selectbox(key="map-texts").set_value("file").run()
    at.file_uploader(key="map-file").upload("../../evil.txt", b"One document of words.", "text/plain").run()
    at.button(key="map-go").click().run()
    (made,) = jobs.active()
    (stored,) = (ui_cache / "uploads").glob("*.txt")
    assert made.spec.corpus.source == str(stored)
    assert not [file for file in (ui_cache / "uploads").iterdir() if "evil" in file.name]


def test_uploads_must_be_utf8(app):
    fakes.distances().save()
    at = app()
    at.selectbox(key="map-texts").set_value("file").run()
    at.file_uploader(key="map-file").upload("a.txt", b"\xff\xfe\x00", "text/plain").run()
    assert "UTF-8" in read(texts(at))
    assert not jobs.active()


def test_an_address_with_nonsense_is_harmless(app):
    fakes.distances().save()
    at = app(n="999999", strategy="evil", dtype="int3")
    assert at.slider(key="n").value == 29 or at.slider(key="n").value == 5
    assert "names an invalid model" in read(texts(at))
    assert not jobs.active()


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
    assert "unexpected error while drawing this part of the page (ZeroDivisionError)" in read(texts(at))
    assert "secret detail" not in read(texts(at))


def test_another_map_can_be_picked_and_stays_picked(app):
    first = fakes.distances()
    other = replace(first, spec=replace(first.spec, corpus=replace(first.spec.corpus, seed=1)), n_texts=7)
    other.save()
    first.save()
    at = app()
    newest, older = first.spec.fingerprint(), other.spec.fingerprint()
    at.selectbox(key=f"pick-distances-{newest}").set_value(older).run()
    assert "7 texts of C4" in texts(opened(at, "data"))
    at.slider(key="n").set_value(9).run()
    assert at.selectbox(key=f"pick-distances-{older}").value == older


def test_late_message_of_a_removed_menu_changes_nothing():
    def script():
        from unittest import mock

        import streamlit as st

        from pages.components.shared import state

        heard = {}
        with mock.patch.object(st, "selectbox", lambda *_, key, on_change, **__: heard.update({key: on_change})):
            state.pick_result("sweep", "Curve", {"old": "Old"}, "old")
            state.pick_result("sweep", "Curve", {"new": "New", "old": "Old"}, "new")
        state.show_result("sweep", "new")
        st.session_state["pick-sweep-old"] = "old"
        heard["pick-sweep-old"]()
        st.text(state.shown_result("sweep", ["new", "old"]))
        st.session_state["pick-sweep-new"] = "old"
        heard["pick-sweep-new"]()
        st.text(state.shown_result("sweep", ["new", "old"]))

    at = AppTest.from_function(script).run()
    assert not at.exception
    assert [item.value for item in at.text] == ["new", "old"]
