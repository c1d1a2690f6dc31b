"""A power cut after any operation on files: the old state is stored whole, or the new one."""

import numpy as np
import pytest

from analysis import jobs
from analysis.core import disk, store
from analysis.core.progress import Progress
from analysis.jobs.queue import attempt, table
from analysis.jobs.queue.processes import Process
from tests.support import power
from tests.support.worker import request


@pytest.fixture
def recorder(tmp_path, monkeypatch):
    """Record all operations in the cache folder."""
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "none")
    # The test's own patches lie over these, and all go in one: undone apart, a test would leave its recorder to the next one.
    recorder = power.Recorder(tmp_path / "cache", monkeypatch)
    yield recorder
    recorder.close()


@pytest.fixture
def each(recorder, tmp_path, monkeypatch):
    """A function that looks at the cache folder as every power cut would leave it, after nothing more is recorded."""

    def look(check) -> int:
        number, moments = 0, list(recorder.moments)
        for index, (name, trees) in enumerate(moments):
            for kept, tree in trees.items():
                number += 1
                left = tmp_path / f"left-{number}"
                power.restore(tree, left)
                monkeypatch.setenv("LAYERSCOPE_CACHE", str(left))
                check(index, f"after operation {index}, {name}, where the disk kept {kept}")
        return number

    return look


def saved(value: int) -> None:
    store.save_result("sweep", "abc", {"value": value}, [{"states": np.full(3, value)}])


def test_a_result_is_old_or_new_after_any_power_cut(recorder, each):
    saved(1)
    began = len(recorder.moments)
    saved(2)
    ended = len(recorder.moments)
    recorder.moments.append(recorder.moments[-1])

    def check(index: int, when: str) -> None:
        stored = store.load_result("sweep", "abc")
        if stored is None:
            assert index < began - 1, when
            return
        assert stored.arrays()["states"].tolist() == [stored.data["value"]] * 3, when
        assert stored.data["value"] == 1 if index < began else stored.data["value"] in (1, 2), when
        assert stored.data["value"] == 2 or index < ended, when

    assert each(check) > 40


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_old_or_new_after_any_power_cut(recorder, each, tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(disk, "_exchanged", lambda one, other: False)

    def written(value: str) -> None:
        def fill(folder):
            (folder / "inside").mkdir()
            for name in ("a", "inside/b"):
                (folder / name).write_text(value)

        store.write_folder(store.cache_dir() / "exports" / "model", fill)

    written("old")
    began = len(recorder.moments)
    written("new")
    ended = len(recorder.moments)
    recorder.moments.append(recorder.moments[-1])

    def check(index: int, when: str) -> None:
        store.remove_leftovers()
        folder = store.cache_dir() / "exports" / "model"
        if index < began - 1 and not folder.exists():
            return
        found = {(folder / name).read_text() for name in ("a", "inside/b")}
        assert found <= {"old", "new"}, when
        assert len(found) == 1, when
        assert found == {"new"} or index < ended, when
        assert [path.name for path in folder.parent.iterdir()] == ["model"], f"{when}: nothing else is left"

    each(check)


def test_no_job_or_state_is_lost_after_any_power_cut(recorder, each):
    promised: list[tuple[int, str, str]] = []

    def promise(job: jobs.Job, state: str) -> None:
        promised.append((len(recorder.moments) - 1, job.id, state))

    first, second = jobs.submit(request("quick")), jobs.submit(request("sleepy"))
    promise(first, "queued")
    promise(second, "queued")
    taken = table.claim(Process.current())
    promise(first, "running")
    run, before = attempt.Run(taken), [name for name, _ in recorder.moments]
    for done in range(5):
        run.write(Progress("counting", done, 5))
    table.update(taken, heartbeat_at=1.0)
    assert [name for name, _ in recorder.moments] == before, "progress and signs of life wait for no disk"
    table.finish(taken, "done", result_key="0" * 20)
    promise(first, "done")
    jobs.cancel(second.id)
    promise(second, "cancelled")
    recorder.moments.append(recorder.moments[-1])
    order = ["queued", "running", "done", "cancelled"]

    def check(index: int, when: str) -> None:
        found = {job.id: job for job in jobs.list_jobs()}
        for at, job_id, state in promised:
            if at <= index:
                assert job_id in found, f"{when} a job is lost"
                assert order.index(found[job_id].state) >= order.index(state), f"{when} a state is lost"
        for job in found.values():
            assert (job.folder / "spec.json").exists(), f"{when} a job is without its request"

    assert each(check) > 30
