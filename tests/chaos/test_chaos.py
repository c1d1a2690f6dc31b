"""A short part of `make chaos` at fixed moments: a kill and a fault of every sort that needs no dashboard."""

import os
import random
from functools import partial

import pytest

from tests.chaos import children, faults, kills, kinds, stage
from tests.chaos.__main__ import SCENES, main, table
from tests.chaos.stage import Row, Stage
from tests.support.levels import few

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def on(starter_folder, tmp_path_factory):
    """Where all scenes take place, with processes that have imported everything."""
    children.get_ready()
    return Stage(kinds.prepare(tmp_path_factory.mktemp("chaos")), random.Random(1))


PLAYS = {
    "worker killed in a map": (kills.worker, "distances"),
    "worker killed in a heal": (kills.worker, "heal"),
    "command line killed": (kills.command, "evaluate"),
    "a write fails": (faults.failing_disk, "distances", "EIO"),
    "read-only cache": (faults.read_only, "distances"),
    "clock set": (faults.clock, "distances"),
}


@pytest.mark.parametrize("name", few(PLAYS, "a write fails", "read-only cache", "clock set"))
def test_all_recover_the_undisturbed_figures_and_leave_nothing_behind(on, name):
    play, *given = PLAYS[name]
    row = stage.row(name, [partial(play, on, *given)])
    assert row.is_right, table([row])


def test_different_figures_and_leftover_files_are_reported():
    good, bad = Row("good", 2, 2, 2), Row("bad", 2, 2, 1, leftovers=["process 7 still runs"], wrong=["the figures differ"])
    assert good.is_right
    assert not bad.is_right
    assert not Row("never").is_right
    *lines, _, first, second = table([good, bad])
    assert [line.split()[1:] for line in lines[1:]] == [["2", "2", "2", "0"], ["2", "2", "1", "1"], ["4", "4", "3", "1"]]
    assert (first, second) == ("bad: the figures differ", "bad: left behind: process 7 still runs")


def test_comparison_leaves_out_only_numbers_of_the_moment(tmp_path):
    data = {"acc": 0.5, "wall_s": 3.0, "versions": {}, "steps": [{"loss": 1.0, "tokens_per_s": 9.0, "memory_bytes": 5}]}
    assert kinds.figures("heal", data, tmp_path)["data"] == {"acc": 0.5, "steps": [{"loss": 1.0}]}


def test_an_unknown_scene_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["worker", "flood"])
    assert f"there are {', '.join(SCENES)}" in capsys.readouterr().err


def test_write_fails_once_and_only_in_kept_files(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", os.fsync)
    monkeypatch.setattr(os, "replace", os.replace)
    children.FAULTS["fails-at"]("EIO 2")
    (tmp_path / "results").mkdir()
    outcomes = []
    for number, folder in enumerate((tmp_path, tmp_path / "results", tmp_path / "results", tmp_path / "results")):
        (tmp_path / "x").write_text("x")
        try:
            os.replace(tmp_path / "x", folder / f"{number}")
            outcomes.append("")
        except OSError as error:
            outcomes.append(error.strerror)
    assert outcomes == ["", "", "Input/output error", ""]
