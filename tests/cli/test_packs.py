"""The commands of result packs: write, open, list, remove, upload to the Hub and open by an id."""

import json
import shutil

import pytest
from huggingface_hub import constants

import analysis as layerscope
from analysis.cli import main
from analysis.core import store
from analysis.results import library
from tests.support import fakes, packed

SOURCE = fakes.MODEL.source


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    packed.opened_here(monkeypatch)
    packed.made(tmp_path)


@pytest.fixture
def there(loopback, monkeypatch):
    """The hub with a token that may write under org."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", loopback.token)
    return loopback


def away():
    """Let this machine have no result of its own."""
    shutil.rmtree(store.cache_dir() / "results")


def test_results_are_packed_opened_listed_and_removed(tmp_path, capsys):
    file = tmp_path / "mine.zip"
    assert (
        main.main(["pack", SOURCE, "--out", str(file), "--kinds", "distances,sweep", "--json", "-"])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in said["results"]] == ["distances", "sweep", "sweep"]
    away()
    assert main.main(["open", str(file)]) == 0
    out = capsys.readouterr().out
    assert "Opened " in out
    assert "3 results" in out
    assert len(library.find("sweep", fakes.MODEL)) == 2
    assert main.main(["packs", "--json", "-"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["packs"]
    assert main.main(["packs", "remove", listed["id"]]) == 0
    assert main.main(["packs"]) == 0
    assert "No opened packs." in capsys.readouterr().out
    assert library.find("sweep", fakes.MODEL) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("pack", SOURCE), "needs a target"),
        (("pack", SOURCE, "--out", "x.zip", "--kinds", "nosuch"), "no kind of result"),
        (("pack", "ORG/NAME", "--out", "x.zip"), "no finished result to pack"),
        (("open", "absent.zip"), "cannot be opened: No such file"),
        (("open", "results.zip", "--revision", "main"), "A file has no revision"),
        (("open", "org"), "cannot be opened: No such file"),
        (("packs", "remove"), "needs the id"),
        (("packs", "remove", "00"), "names no opened pack"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main.main(list(words)) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.zip").exists()


def test_a_pack_goes_to_the_hub_and_opens_by_id(there, tmp_path, capsys):
    push = ["pack", SOURCE, "--push", "org/results"]
    assert main.main(push) == 0
    assert "Nothing uploaded. Add --yes to upload." in capsys.readouterr().out
    assert there.data_sets == {}
    assert main.main([*push, "--yes"]) == 0
    assert f"Uploaded to {there.endpoint}/datasets/org/results" in capsys.readouterr().out
    repo = there.data_sets["org/results"]
    files = repo.commits[repo.refs["main"]]
    assert sorted(files) == [".gitattributes", "README.md", "results.zip"]
    assert repo.private
    assert b"python -m analysis open org/results" in files["README.md"]
    assert there.models == {}
    assert main.main([*push, "--yes"]) == 0, "the same results are there already"
    away()
    assert main.main(["open", "org/results"]) == 0
    assert len(library.find("sweep", fakes.MODEL)) == 2


def test_a_dataset_without_a_pack_is_refused(there, capsys):
    there.data_sets["org/other"] = type(there.add("org/x", {}))("org/other")
    there.data_sets["org/other"].commit({"rows.jsonl": b"{}"})
    assert main.main(["open", "org/other"]) == 2
    assert "has no results.zip, so it is no result pack" in capsys.readouterr().err


def test_python_writes_and_opens_a_pack(tmp_path):
    file = layerscope.pack(SOURCE, tmp_path / "mine.zip", kinds=["sweep"])
    away()
    opened = layerscope.open_pack(file)
    assert [one.kind for one in opened.manifest.results] == ["sweep", "sweep"]
    assert len(library.find("sweep", fakes.MODEL)) == 2
