"""Answers from stored measurements that contain the request, and the nearest stored conditions."""

import contextlib
import json
import shutil
from dataclasses import replace

import pytest

import analysis as layerscope
from analysis import service
from analysis.cli.main import command_line, main, request
from analysis.core import store
from analysis.core.blocks import Block
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.models.source.model_spec import ModelSpec


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))


def refuse_to_load():
    raise AssertionError("a stored measurement contains this answer")


def answered(spec):
    return service.run(spec, load=refuse_to_load)


@pytest.fixture(scope="module")
def measured(tiny_folder, tmp_path_factory):
    """Cache folder with a curve of a tiny model, and the curve."""
    folder = tmp_path_factory.mktemp("measured")
    corpus = CorpusSpec("wiki", n_texts=6, seq_len=32)
    model = ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")
    spec = SweepSpec(model, loss_corpus=corpus, strategy="deepest", max_n=3)
    spec = replace(spec, benchmark=replace(spec.benchmark, limit=12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(folder))
        return folder, service.run(spec)


@pytest.fixture
def curve(measured, tmp_path):
    folder, result = measured
    shutil.copytree(folder / "results", tmp_path / "results")
    return result


def evaluation(curve, block, *, limit, n_texts):
    spec = curve.spec.request
    return EvaluateSpec(
        spec.model,
        block,
        benchmark=replace(spec.benchmark, limit=limit),
        loss_corpus=replace(spec.loss_corpus, n_texts=n_texts),
    )


def assert_same_answers(answers, measured):
    """Compare answers up to the rounding of other batches."""
    assert [(each.id, each.prediction, each.gold) for each in answers] == [
        (each.id, each.prediction, each.gold) for each in measured
    ]
    for answer, other in zip(answers, measured, strict=True):
        assert answer.loglikelihoods == pytest.approx(other.loglikelihoods, rel=1e-5)


def assert_same_point(point, measured, *, all_texts):
    """Compare points; the bytes of single texts are not stored, so a part of them has no bits."""
    for name, value in vars(measured).items():
        if name == "bits_per_byte" and not all_texts:
            assert point.bits_per_byte is None
        elif isinstance(value, float):
            assert getattr(point, name) == pytest.approx(value, rel=1e-5), name
        else:
            assert getattr(point, name) == value, name


@pytest.mark.parametrize(("limit", "n_texts"), [(12, 6), (5, 6), (12, 4), (5, 4)])
@pytest.mark.parametrize("n", [0, 2])
def test_a_curve_answers_an_evaluation_with_the_numbers_of_a_measurement(
    curve, n, limit, n_texts, tmp_path
):
    block = curve.points[n].block
    spec = evaluation(curve, block, limit=limit, n_texts=n_texts)
    answer = answered(spec)
    shutil.rmtree(tmp_path / "results")
    measurement = service.run(spec)
    assert answer.spec == measurement.spec
    for name in ("lines", "n_truncated", "text_tokens", "model"):
        assert getattr(answer, name) == getattr(measurement, name), name
    assert answer.text_losses == pytest.approx(measurement.text_losses)
    assert_same_answers(answer.questions, measurement.questions)
    assert_same_point(answer.point, measurement.point, all_texts=n_texts == 6)


def test_a_curve_of_more_layers_questions_and_texts_answers_a_smaller_curve(curve, tmp_path):
    spec = curve.spec.request
    smaller = replace(
        spec,
        max_n=2,
        benchmark=replace(spec.benchmark, limit=7),
        loss_corpus=replace(spec.loss_corpus, n_texts=5),
    )
    answer = answered(smaller)
    shutil.rmtree(tmp_path / "results")
    measurement = service.run(smaller)
    for place, point in enumerate(measurement.points):
        assert_same_answers(answer.questions[place], measurement.questions[place])
        assert_same_point(answer.points[place], point, all_texts=False)
        assert answer.text_losses[place] == pytest.approx(measurement.text_losses[place])
    assert answer.spec == measurement.spec


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: replace(spec, benchmark=replace(spec.benchmark, limit=13)),
        lambda spec: replace(spec, benchmark=replace(spec.benchmark, seed=1)),
        lambda spec: replace(spec, benchmark=replace(spec.benchmark, task="openbookqa")),
        lambda spec: replace(spec, loss_corpus=replace(spec.loss_corpus, n_texts=7)),
        lambda spec: replace(spec, loss_corpus=replace(spec.loss_corpus, seq_len=31)),
        lambda spec: replace(spec, model=replace(spec.model, dtype="bfloat16")),
        lambda spec: replace(spec, model=replace(spec.model, quantization="4bit")),
        lambda spec: replace(spec, block=Block(0, 1)),
    ],
    ids=["more questions", "seed", "task", "more texts", "length", "dtype", "4bit", "block"],
)
def test_another_condition_is_not_contained(curve, change):
    spec = change(evaluation(curve, curve.points[2].block, limit=12, n_texts=6))
    assert service.stored(spec) is None


def test_other_weights_are_not_contained(curve, tiny_folder):
    spec = evaluation(curve, curve.points[2].block, limit=12, n_texts=6)
    other = replace(spec, model=replace(spec.model, source=str(tiny_folder("qwen2"))))
    assert service.stored(other) is None


def test_the_nearest_requests_are_answered_and_lead_with_the_same_block(curve):
    block = curve.points[2].block
    spec = evaluation(curve, block, limit=500, n_texts=6)
    near = service.nearest(spec)
    assert near[0].request.block == block
    for each in near:
        assert service.stored(request(command_line(each.request).split()[3:])) is not None


def test_python_lists_the_nearest_conditions_before_it_computes(curve, capsys, monkeypatch):
    monkeypatch.setattr(service.jobs, "answered", lambda *request, **options: curve)
    block = curve.points[2].block
    layerscope.run(evaluation(curve, block, limit=500, n_texts=6))
    said = "".join(capsys.readouterr())
    assert "Stored under other conditions:" in said
    assert "python -m analysis evaluate" in said
    assert "Takes about" in said


def test_the_readmes_commands_are_answered_by_committed_results():
    for line in (
        "sweep starter --task arc_easy --limit 100",
        "sweep starter",
        "evaluate starter --block 14:5",
        "evaluate starter --block 11:5 --limit 100",
        "evaluate starter",
    ):
        assert answered(request(line.split())).complete, line


def test_committed_healing_runs_of_a_block_come_first_among_the_nearest():
    near = service.nearest(request(["heal", "starter", "--block", "11:5"]))
    runs = [each.request for each in near if each.request.block == Block(11, 5)]
    assert [spec.recipe for spec in runs[:1]] == ["distill"]
    assert "instant" in [spec.recipe for spec in runs]
    assert len(near) <= 5


def test_a_committed_evaluation_with_an_adapter_is_its_healing_runs():
    heal = next(
        near.entry.result
        for near in service.nearest(request(["heal", "starter", "--block", "11:5"]))
        if near.request.recipe == "distill" and not near.request.control
    )
    line = f"evaluate starter --block 11:5 --adapter {heal.adapter}"
    answer = answered(request(line.split()))
    assert answer.point.loss == heal.healed.loss
    assert answer.point.acc == heal.healed.acc
    assert store.find(heal.adapter) is not None


def planned(capsys, *words):
    assert main([*words, "--plan", "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_says_what_is_stored_and_computes_nothing(curve, capsys, monkeypatch):
    monkeypatch.setattr(service.jobs, "answered", lambda *request, **options: pytest.fail("ran"))
    words = command_line(curve.spec).split()[3:]
    assert planned(capsys, *words) == {"is_stored": True, "duration": None, "nearest": []}
    more = planned(capsys, *words, "--limit", "15")
    assert not more["is_stored"]
    assert 0 < more["duration"]["low_s"] <= more["duration"]["high_s"]
    assert more["nearest"] == [command_line(curve.spec)]


def test_the_duration_is_told_before_anything_is_computed(curve, capsys, monkeypatch):
    told = []
    monkeypatch.setattr(
        service.jobs, "answered", lambda *request, **options: told.append(capsys.readouterr().err)
    )
    with contextlib.suppress(AttributeError):  # of the missing result
        main([*command_line(curve.spec).split()[3:], "--limit", "15"])
    assert "Takes about" in told[0]
