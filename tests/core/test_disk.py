"""Drafts, their leftovers, and access rights."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from analysis import jobs
from analysis.core import disk, store
from analysis.core.errors import StorageError
from analysis.jobs.queue import table
from tests.support.worker import request

KILLED = """
import os, signal, sys
from pathlib import Path
from analysis.core import store
def fill(folder):
    (folder / "weights").write_bytes(b"1" * 5000)
    print("half", flush=True)
    if sys.argv[2] == "waits":
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
store.write_folder(Path(sys.argv[1]), fill)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def exporting(path, how: str) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "half\n"
    return child


def drafts(folder) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def ages(draft) -> None:
    """Set the times of a draft two hours back."""
    for path in (draft, *draft.rglob("*")):
        os.utime(path, (time.time() - 7200,) * 2)


def test_leftovers_of_killed_processes_go_and_drafts_in_use_stay(cache, caplog):
    assert exporting(cache / "exports" / "dead", "ends").wait(20) == -signal.SIGKILL
    living = exporting(cache / "exports" / "living", "waits")
    (dead,) = (cache / "exports").glob(".dead*")
    ages(dead)
    store.remove_leftovers()
    (left,) = drafts(cache / "exports")
    assert "living" in left
    assert "freed 0.0 MB" in caplog.text
    living.kill()
    living.communicate()


def test_leftovers_outside_the_cache_go_with_the_next_export_there(tmp_path):
    exporting(tmp_path / "out", "ends").wait(20)
    ages(tmp_path / drafts(tmp_path)[0])
    store.write_folder(tmp_path / "other", lambda folder: None)
    assert drafts(tmp_path) == []


def test_a_draft_whose_files_are_written_to_stays(cache):
    draft = cache / ".model.0123456789ab.part"
    draft.mkdir(parents=True)
    ages(draft)
    (draft / "weights").write_bytes(b"1")
    os.utime(draft, (0, 0))
    assert disk.remove_leftovers(cache, deep=True) == {}


def test_names_that_are_not_ours_are_never_taken_for_leftovers(cache):
    for name in (
        ".model.finetune",
        ".hidden",
        ".model.0123456789ab.partly",
        "model.0123456789ab.part",
    ):
        (cache / "exports" / name).mkdir(parents=True)
    (cache / "exports" / ".link.0123456789ab.part").symlink_to(cache)
    os.mkfifo(cache / "exports" / ".fifo.0123456789ab.part")
    assert disk.remove_leftovers(cache, deep=True) == {}
    assert len(list((cache / "exports").iterdir())) == 6


def test_paths_set_aside_for_deletion_go_with_the_next_sweep(cache):
    (cache / "results" / "sweep" / "abc").mkdir(parents=True)
    aside = disk.aside(cache / "results" / "sweep" / "abc")
    ages(aside)
    store.remove_leftovers()
    assert not list((cache / "results" / "sweep").iterdir())
    assert disk.aside(cache / "nothing") is None


def _ends_between_two_renames(target: str) -> None:
    os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
    store.write_folder(store.Path(target), lambda folder: (folder / "a").write_text("new"))


def test_old_folder_returns_after_a_kill_between_two_renames(cache):
    target = cache / "exports" / "model"
    store.write_folder(target, lambda folder: (folder / "a").write_text("old"))
    child = multiprocessing.get_context("fork").Process(
        target=_ends_between_two_renames, args=(str(target),)
    )
    child.start()
    child.join(20)
    assert child.exitcode == -signal.SIGKILL
    assert not target.exists()
    store.remove_leftovers()
    assert (target / "a").read_text() == "old"


def test_a_rename_that_fails_halfway_puts_the_old_folder_back(cache, monkeypatch):
    target = cache / "model"
    store.write_folder(target, lambda folder: (folder / "a").write_text("old"))

    def fails(*paths):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(store.StorageError, match="cannot be written"):
        store.write_folder(target, lambda folder: (folder / "a").write_text("new"))
    assert (target / "a").read_text() == "old"
    assert [path.name for path in cache.iterdir()] == ["model"]


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_files_elsewhere_get_the_umask_and_older_ones_keep_modes(tmp_path, umask):
    store.write_atomic(tmp_path / "new" / "a.json", b"1")
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "a.json")) == (0o750, 0o640)
    (tmp_path / "new" / "a.json").chmod(0o604)
    store.write_atomic(tmp_path / "new" / "a.json", b"2")
    assert mode(tmp_path / "new" / "a.json") == 0o604
    store.write_folder(tmp_path / "folder", lambda folder: None)
    assert mode(tmp_path / "folder") == 0o750


def test_all_files_in_the_cache_are_for_their_owner(cache):
    job = jobs.submit(request("quick"))
    store.write_atomic(cache / "uploads" / "a", b"1")
    db = table.connect()
    db.execute("SELECT * FROM jobs").fetchall()
    folders = [cache, cache / "uploads", cache / "jobs", job.folder]
    assert {mode(folder) for folder in folders} == {0o700}
    files = [cache / "uploads" / "a", job.folder / "spec.json", *cache.glob("jobs.sqlite*")]
    assert len(files) == 5
    assert {mode(file) for file in files} == {0o600}
    db.close()


def test_a_lock_whose_file_its_holder_removed_is_none(tmp_path):
    path = tmp_path / "a.lock"
    first = disk.lock(path)
    assert disk.lock(path) is None
    path.unlink()
    first.release()
    second = disk.lock(path)
    assert path.exists()
    assert disk.lock(path) is None
    second.release()


def test_a_folder_deleted_while_it_is_used_is_named(tmp_path):
    log = tmp_path / "gone" / "log.txt"
    with (
        pytest.raises(StorageError, match="its folder was deleted or moved meanwhile"),
        store.disk_errors_explained(log),
    ):
        log.open("ab")
