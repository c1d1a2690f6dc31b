"""A disk that fills up in the middle of a heal: the job fails with that reason, and the earlier
saved files are intact.
"""

import contextlib
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis import jobs
from analysis.core import store
from analysis.core.errors import StorageError
from analysis.experiments.heal import checkpoints
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.jobs.queue import attempt
from tests.support import little_heal
from tests.support.heal_child import work
from tests.support.worker import wait_for, wait_state

pytestmark = pytest.mark.timeout(400)

DISK_BYTES = 32 * 1024 * 1024


@pytest.fixture
def heal(tiny_folder, tmp_path):
    """A function that makes a heal of a tiny model, of so many steps, with a checkpoint at every
    other one.
    """

    def make(steps: int) -> HealSpec:
        return little_heal.spec(
            tiny_folder("llama"), tmp_path, steps=steps, warmup_steps=2, eval_every=2
        )

    return make


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A cache folder on a disk of its own, of 32 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root and the mount command")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        monkeypatch.setenv("LAYERSCOPE_CACHE", str(folder))
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def worker(small_disk, monkeypatch):
    """A worker that has imported everything already, as a copy of a process that has."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.heal_child"])
    process = context.Process(target=work, args=(str(small_disk),))
    process.start()
    yield process
    process.kill()
    process.join(10)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\1" * size) == size:
                    pass
    assert shutil.disk_usage(path.parent).free < 4096


@pytest.mark.long
def test_a_heal_on_a_disk_that_fills_up(small_disk, heal, worker):
    job = jobs.submit(heal(4000))
    key = wait_for(lambda: jobs.get(job.id).result_key, 200)
    folder = checkpoints.folder(key)
    wait_for(lambda: len(list(folder.glob("step-*"))) == 2, 100)
    fill(small_disk / "filler")
    failed = wait_state(job, "failed", 60)
    assert "no space left on the disk" in failed.error
    assert not (small_disk / "worker.reserve").exists(), (
        "what was kept back took the row of the failure"
    )
    assert jobs.list_jobs()[0].state == "failed", "pages can read the list on a full disk"
    intact = checkpoints.newest(key)
    assert intact is not None
    assert not list(folder.glob(".*")), "nothing half-written is left"
    (small_disk / "filler").unlink()
    jobs.resume(job.id)
    wait_for(
        lambda: any(
            "Resuming from the checkpoint" in event["message"] for event in jobs.events(job.id)[0]
        ),
        60,
    )
    said = next(e["message"] for e in jobs.events(job.id)[0] if "Resuming" in e["message"])
    assert said == f"Resuming from the checkpoint at step {intact.step}."
    wait_for(lambda: jobs.get(job.id).values.get("step", 0) > intact.step, 60)
    jobs.pause(job.id)
    assert wait_state(job, "paused", 60).attempts == 2
    assert worker.is_alive(), "the worker outlived the full disk"
    assert checkpoints.newest(key).step > intact.step


def test_reserve_is_freed_once_and_then_the_writing_waits(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(attempt, "_AGAIN_S", 0.0)
    attempt.reserve_disk_space()
    assert (tmp_path / "worker.reserve").stat().st_size == attempt.SIZE_BYTES
    seen = []

    def write() -> None:
        seen.append((tmp_path / "worker.reserve").exists())
        if len(seen) < 4:
            raise StorageError(store.NO_SPACE)

    attempt.write_down(write)
    assert seen == [True, False, False, False]
    attempt.reserve_disk_space()
    assert attempt.free_reserve()
    assert not attempt.free_reserve()
