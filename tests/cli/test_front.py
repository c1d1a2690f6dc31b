"""`python -m analysis front` and `Model.front`: answers, stable fields, and the command of each
missing measurement.
"""

import contextlib
import json
import re
import shlex
from dataclasses import replace

import pytest

import analysis as layerscope
from analysis.cli import main
from analysis.core import store
from analysis.core.errors import SpecError
from tests.support import fakes

NAMES = """
id what kind model is_reference dtype quantization weights_format block n recipe memory_bytes disk_bytes disk_bytes_how
tokens_per_s times times_low times_high speed_how speed_machine n_questions n_texts runtime on_fronts
"""
PARTS = ("", "_low", "_high", "_change", "_change_low", "_change_high", "_change_is_paired")
FIELDS = {
    *re.findall(r"\w+", NAMES),
    *(f"{name}{part}" for name in ("acc", "loss", "bits_per_byte") for part in PARTS),
}


@pytest.fixture
def stored(cache, tmp_path, monkeypatch):
    """A curve in bfloat16 and one in NF4, as the command finds them."""
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    curve = replace(fakes.sweep(5, answers=True), model=replace(fakes.FACTS, layers=fakes.LAYERS))
    quantized = replace(curve.spec.model, quantization="4bit")
    for result in (curve, replace(curve, spec=replace(curve.spec, model=quantized)), fakes.speed()):
        result.save()


@pytest.mark.usefixtures("stored")
def test_json_has_points_answers_and_missing_measurements(capsys):
    assert (
        main.main(
            [
                "front",
                "starter",
                "--bytes",
                "200MB",
                "--speed",
                "1.1",
                "--points",
                "3",
                "--json",
                "-",
            ]
        )
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert list(said) == [
        "model",
        "questions",
        "texts",
        "reference",
        "points",
        "answers",
        "rule",
        "missing",
        "duration_s",
    ]
    assert {frozenset(point) for point in said["points"]} == {frozenset(FIELDS)}
    assert len(said["points"]) == 12
    ids = {point["id"] for point in said["points"]}
    assert said["reference"] in ids
    assert [(answer["goal"], answer["limit"]) for answer in said["answers"]] == [
        ("bytes", 200_000_000),
        ("speed", 1.1),
        ("points", 3),
    ]
    assert all(answer["point"] in ids for answer in said["answers"][:2])
    commands = {one["what"]: one["command"] for one in said["missing"]}
    asked = main.request(commands["accuracy and loss of 8-bit weights"].split()[3:])
    assert (asked.model.quantization, asked.benchmark.limit, asked.max_n) == ("8bit", 100, 5)


@pytest.mark.usefixtures("stored")
def test_answer_names_its_data_and_refuses_models_without_scores(capsys):
    more = fakes.sweep(1, limit=50, answers=True)
    replace(more, model=replace(fakes.FACTS, layers=fakes.LAYERS)).save()
    assert main.main(["front", "starter", "--bytes", "200MB"]) == 0
    first = " ".join(capsys.readouterr().out.split())
    assert "100 ARC-Easy questions and 8 texts of C4." in first
    assert main.main(["front", "starter", "--others", "no/such"]) == 2
    assert 'No scores of "no/such" are stored' in capsys.readouterr().err


@pytest.mark.usefixtures("stored")
def test_python_gives_the_fields_of_the_command(capsys):
    made = layerscope.model("starter").front(bytes="200MB", points=3)
    main.main(["front", "starter", "--bytes", "200MB", "--points", "3", "--json", "-"])
    assert json.loads(json.dumps(made.to_json())) == json.loads(capsys.readouterr().out)
    assert [answer.goal.kind for answer in made.answers] == ["bytes", "points"]
    assert set(made.table()["quantization"]) == {"none", "4bit"}
    assert "speed of NF4, bfloat16 on this machine" in made.missing
    assert made.figure(by="speed").data
    with pytest.raises(SpecError, match="`by` must be 'size' or 'speed', not 'bytes'"):
        made.figure(by="bytes")
    with pytest.raises(SpecError, match="has no setting 'tasks'.* Did you mean task"):
        layerscope.model("starter").front(tasks="boolq")


@pytest.mark.usefixtures("stored")
def test_answers_are_printed_first_and_commands_last(capsys):
    assert main.main(["front", "starter", "--speed", "1.1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("To be 1.1 times as fast: remove ")
    commands = [
        shlex.split(one)
        for one in printed.replace("\\\n", " ").splitlines()
        if one.strip().startswith("python -m")
    ]
    found = layerscope.model("starter").front()
    assert commands == [shlex.split(command) for command in found.missing.values()]


@pytest.mark.usefixtures("cache", "short_texts")
def test_real_runs_in_two_precisions_stand_on_one_front(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    folder = tiny_folder("llama")
    for quantization in ("none", "4bit"):
        model = layerscope.model(folder, dtype="float32", device="cpu", quantization=quantization)
        model.evaluate(task="arc_easy", limit=4, samples=3, seq_len=32, progress=False)
    found = layerscope.model(folder).front(bytes="1GB").content.comparison
    whole, quantized = (
        next(one for one in found.forms if one.model.quantization == name)
        for name in ("none", "4bit")
    )
    assert found.reference is whole
    assert whole.disk.how == "measured"
    assert whole.disk.value >= whole.memory > quantized.memory
    gaps = [
        b - a
        for a, b in zip(whole.scores["loss"].losses, quantized.scores["loss"].losses, strict=True)
    ]
    change = quantized.changes["loss"]
    assert change.paired
    assert min(gaps) <= change.difference <= max(gaps)


def test_model_without_results_gets_the_command_to_measure(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    assert main.main(["front", "starter"]) == 0
    said = capsys.readouterr().out
    assert "No accuracy or loss of this model is stored." in said
    assert (
        "the unpruned model in full precision:\n    python -m analysis evaluate starter --dtype"
        " float32" in said
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--bytes", "400"), "is not an amount of memory. Give a number with its unit"),
        (("--speed", "0.9"), "--speed must be above 1 and finite, not 0.9"),
        (("--points", "100"), "--points must be above 0 and below 100, not 100"),
        (("--points", "-3"), "--points must be above 0 and below 100, not -3"),
    ],
)
def test_goals_that_cannot_be_are_refused(words, complaint, capsys):
    with contextlib.suppress(SystemExit):
        assert main.main(["front", "starter", *words]) == 2
    assert complaint in capsys.readouterr().err
