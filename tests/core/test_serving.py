"""Rights of visitors are read from the environment, right or refused, and no file outside of the
roots can be named.
"""

from dataclasses import fields
from pathlib import Path

import pytest

from analysis.core import serving
from analysis.core.errors import AccessError, SpecError
from analysis.core.serving import Serving
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import ModelSpec


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def test_visitors_meet_all_of_them():
    read = serving.read({}, shared=True)
    assert (read.roots, read.job_hours) == ((), 12.0)
    assert read.uploads_gb
    assert read.results_gb


def test_settings_hold_for_private_and_shared_servers():
    given = {"LAYERSCOPE_ROOTS": "/a:/b", "LAYERSCOPE_MODE": "team", "LAYERSCOPE_JOB_HOURS": "none"}
    for shared in (True, False):
        read = serving.read(given, shared=shared)
        assert (read.roots, read.mode, read.job_hours) == ((Path("/a"), Path("/b")), "team", None)


@pytest.mark.parametrize(
    "setting",
    [
        "MODE=maybe",
        "PROXIES=*",
        "ROOTS=relative",
        "UPLOADS_GB=-1",
        "JOB_HOURS=inf",
        "CONNECTIONS=0",
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(setting):
    name, _, value = setting.partition("=")
    with pytest.raises(SpecError, match=f"LAYERSCOPE_{name} "):
        serving.read({f"LAYERSCOPE_{name}": value}, shared=True)


@pytest.fixture
def limited(tmp_path) -> Serving:
    (tmp_path / "open" / "model").mkdir(parents=True)
    (tmp_path / "closed").mkdir()
    (tmp_path / "open" / "out").symlink_to(tmp_path / "closed")
    (tmp_path / "in").symlink_to(tmp_path / "open")
    return Serving(roots=(tmp_path / "open",))


@pytest.mark.parametrize(
    "inside", ["open/model", "in/model", "open/../open/model", "cache/uploads/x.txt", "open"]
)
def test_files_under_the_roots_may_be_named(limited, tmp_path, inside):
    limited.check_file(f"{tmp_path}/{inside}")


@pytest.mark.parametrize(
    "name",
    [
        "starter",
        "c4",
        "c4-train",
        "arc_easy",
        "Qwen/Qwen3-0.6B",
        "gpt2",
        "adapters/0123456789abcdef0123",
    ],
)
def test_names_that_are_no_paths_pass(limited, name):
    limited.check_file(name)


@pytest.mark.parametrize(
    "outside",
    [
        "closed",
        "not-there",
        "open/out",
        "open/../closed",
        "open-beside",
        "cache",
        "cache/access.json",
        "",
        "open\0",
        "x" * 5000,
    ],
)
def test_files_outside_get_one_answer_whether_present_or_not(limited, tmp_path, outside):
    named = f"{tmp_path}/{outside}"
    with pytest.raises(AccessError) as refused:
        limited.check_file(named)
    assert (
        str(refused.value)
        .partition(" is outside ")[2]
        .startswith("the folders that this dashboard allows")
    )
    assert str(refused.value).partition(" is outside ")[0] == repr(named[:200])


@pytest.mark.parametrize(
    "outside",
    [
        "~",
        "~nobody-of-this-name/x",
        "..",
        "README.md",
        "cache/precomputed",
        "/",
        "file:///etc/passwd",
    ],
)
def test_no_other_way_to_write_a_path_leads_outside(limited, outside):
    with pytest.raises(AccessError):
        limited.check_file(outside)


@pytest.mark.parametrize(
    "spec",
    [
        DistanceSpec(model=ModelSpec(source="/etc")),
        DistanceSpec(corpus=CorpusSpec(source="/etc/passwd")),
        SweepSpec(benchmark=BenchmarkSpec(task="/etc/x.jsonl")),
        SweepSpec(loss_corpus=CorpusSpec(source="/etc/passwd")),
        SweepSpec(distances=DistanceSpec(corpus=CorpusSpec(source="/etc/passwd"))),
        EvaluateSpec(adapter="/etc"),
        CompareSpec(prompt="a", variants=(Variant("healed", None, "/etc"),)),
    ],
    ids=lambda spec: spec.kind,
)
def test_no_part_of_a_request_names_a_file_outside(limited, spec):
    with pytest.raises(AccessError):
        limited.check_files(spec)
    Serving().check_files(spec)


def test_a_prompt_is_no_file(limited):
    limited.check_files(CompareSpec(prompt="/etc/passwd", variants=(Variant(),)))


def test_usual_requests_pass(limited):
    from analysis.core.blocks import Block

    for spec in (
        DistanceSpec(),
        SweepSpec(),
        EvaluateSpec(),
        HealSpec(block=Block(3, 2)),
        ExportSpec(Block(3, 2), "mine"),
    ):
        limited.check_files(spec)


def test_the_page_on_serving_lists_every_setting_and_default():
    page = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "serving.md").read_text(
        encoding="utf-8"
    )
    page = page.partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = {
        row.split("|")[1].strip(" `"): row.split("|")[3].strip()
        for row in page.splitlines()
        if row.startswith("| `LAYER")
    }
    assert set(rows) == {f"LAYERSCOPE_{field.name.upper()}" for field in fields(Serving)}
    defaults = serving.read({}, shared=True)
    for name in ("uploads_gb", "results_gb", "job_hours", "connections"):
        assert float(rows[f"LAYERSCOPE_{name.upper()}"]) == getattr(defaults, name)
