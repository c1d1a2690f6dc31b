"""`python -m analysis sheet`: the decision sheet in three formats, and its complaints."""

import json
from dataclasses import replace

import pytest

from analysis.cli import main
from analysis.core import store
from tests.support import fakes

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def stored(cache):
    for result in (fakes.distances(), fakes.sweep(answers=True), fakes.alike_heal(), fakes.speed()):
        result.save()


def ask(*words: str) -> int:
    return main.main(["sheet", "starter", "--block", "11:5", *words])


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.html", b"<!doctype html>"), ("a.md", b"# Decision: "), ("a.pdf", b"%PDF-")],
)
def test_each_format_is_written_with_the_recommendation(tmp_path, capsys, name, start):
    assert ask("--out", str(tmp_path / name)) == 0
    assert (tmp_path / name).read_bytes().lstrip().startswith(start)
    assert capsys.readouterr().out.startswith("Don't. Loss change +")


def test_the_tolerance_changes_the_recommendation(tmp_path, capsys):
    accept = ("--accept-points", "40", "--accept-nats", "9", "--json", "-")
    assert ask("--out", str(tmp_path / "a.md"), *accept) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recommendation"] == "go"
    assert said["numbers"][0]["name"] == "Accuracy change"
    assert "up to 40 points and a loss rise of up to 9 nats/token" in said["rule"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--out", "a.doc"), "not a.doc. Change the extension"),
        (
            ("--out", "a.md", "--accept-points", "-1"),
            "It must be a number of at least 0 (default: 3)",
        ),
        (
            ("--out", "a.md", "--task", "boolq"),
            "has no stored curve for --task boolq. Stored curves: --task arc_easy --limit ",
        ),
        (("--out", "a.md", "--limit", "0"), "limit"),
        (("--out", "a.md", "--healed-by", "paper"), "uses the recipe 'paper'. Stored recipes: "),
    ],
)
def test_complaints_name_the_fix(tmp_path, capsys, monkeypatch, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert ask(*words) == 2
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_the_named_dataset_is_judged(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    curve = fakes.sweep(answers=True)
    curve.save()
    benchmark = replace(curve.spec.benchmark, task="arc_challenge", limit=50, identity="c")
    points = [replace(point, n_samples=50) for point in curve.points]
    replace(
        curve,
        spec=replace(curve.spec, benchmark=benchmark),
        points=points,
        n_questions=50,
        questions=[],
    ).save()
    for task, limit, said in (
        ("arc_easy", "100", "100 ARC-Easy questions"),
        ("arc_challenge", "50", "50 ARC-Challenge questions"),
    ):
        assert (
            ask("--out", str(tmp_path / "a.md"), "--task", task, "--limit", limit, "--json", "-")
            == 0
        )
        made = json.loads(capsys.readouterr().out)
        assert said in " ".join(made["reasons"])
        assert f"--task {task} " in made["commands"][-1]


def test_the_keyed_result_counts_before_others(tmp_path, capsys):
    first, second = fakes.sweep(strategy="deepest"), fakes.sweep(strategy="reverse")
    for curve in (first, second):
        curve.save()
    for curve in (first, second):
        key = curve.spec.fingerprint()
        assert ask("--out", str(tmp_path / "a.md"), "--first", key, "--json", "-") == 0
        assert (
            f"--strategy {curve.spec.strategy}"
            in json.loads(capsys.readouterr().out)["commands"][-1]
        )
