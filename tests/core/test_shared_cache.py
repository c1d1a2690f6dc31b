"""Cache folders that machines share over a network, or that are no folder at all: allowed files and
refusals.
"""

import os
from typing import NamedTuple

import pytest

from analysis import jobs
from analysis.core import index, mounts, store
from analysis.core.errors import StorageError
from analysis.core.index import ResultFilter
from analysis.core.meter import Meter
from analysis.jobs.queue import processes, table
from analysis.jobs.runner import remote
from tests.support import fakes
from tests.support.worker import request


class Mount(NamedTuple):
    """A mounted file system, as psutil lists it."""

    mountpoint: str
    fstype: str


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """A function that sets the kinds of file systems that the system reports for folders."""

    def say(**types: str) -> None:
        listed = [("/", "ext4"), *((str(tmp_path / name), kind) for name, kind in types.items())]
        monkeypatch.setattr(
            mounts.psutil, "disk_partitions", lambda all: [Mount(*mount) for mount in listed]
        )
        mounts.kind.cache_clear()

    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "share" / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    monkeypatch.delenv("LAYERSCOPE_LOCAL", raising=False)
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "none")
    yield say
    mounts.kind.cache_clear()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("share/cache", "nfs4"), ("shared", "ext4"), ("share/cache/inner/deep", "cifs")],
)
def test_a_folder_lies_on_the_nearest_mount_above_it(mounted, tmp_path, folder, kind):
    mounted(share="nfs4", **{"share/cache/inner": "cifs"})
    assert mounts.kind(tmp_path / folder) == kind


def test_the_later_of_two_mounts_counts(mounted, tmp_path):
    mounted(**{"my share": "ext4", "my share/": "fuse.sshfs"})
    assert mounts.kind(tmp_path / "my share" / "cache") == "fuse.sshfs"


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_on_a_network_jobs_and_index_stay_on_this_machine(mounted, tmp_path, kind):
    mounted(share=kind)
    made = fakes.distances()
    made.save()
    job = jobs.submit(request("quick"))
    with processes.lock():
        pass
    assert [entry.key for entry in index.entries(ResultFilter(("distances",)))] == [
        made.spec.fingerprint()
    ]
    here = {path.name.split("-")[0] for path in store.local_dir().iterdir()}
    there = {path.name for path in store.cache_dir().iterdir()}
    assert store.local_dir().is_relative_to(tmp_path / "home" / "state")
    assert {"jobs.sqlite", "index", "worker.lock"} <= here
    assert there == {"results", "jobs"}
    assert (store.cache_dir() / "jobs" / job.id / "spec.json").exists()
    assert os.stat(store.local_dir() / "jobs.sqlite").st_mode & 0o077 == 0
    assert os.stat(store.local_dir()).st_mode & 0o077 == 0


def test_machines_with_one_cache_share_results_and_keep_own_jobs(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4")
    made = {}
    for name in ("one", "other"):
        monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / name))
        made[name] = fakes.sweep(limit=len(name))
        made[name].save()
        jobs.submit(request("quick"))
    for name in ("one", "other"):
        monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / name))
        keys = {entry.key for entry in index.entries(ResultFilter(("sweep",)))}
        assert keys == {result.spec.fingerprint() for result in made.values()}
        assert len(jobs.list_jobs()) == 1


def test_without_a_local_disk_the_error_names_the_setting(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4", home="nfs4")
    with pytest.raises(
        StorageError,
        match=r"on network file systems \(nfs4, nfs4\).*Set LAYERSCOPE_LOCAL to a folder on a disk",
    ):
        jobs.list_jobs()
    monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / "disk"))
    assert jobs.list_jobs() == []


def test_a_remote_runner_without_a_disk_needs_no_jobs_list(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4")
    job = jobs.submit(request("quick"))
    taken = table.take(job.id)
    mounted(share="nfs4", home="nfs4")
    monkeypatch.setattr(remote, "LOADER", "tests.support.fake_worker:Models")
    fakes.sweep().save()
    assert type(fakes.sweep()).all_of(fakes.MODEL) == [fakes.sweep()]
    own = remote.report(taken.id, taken.attempts, Meter())
    own.say("done", result_key="0" * 20)
    assert remote.of(taken).status().state == "done"
    assert remote.of(taken).status().work.seconds > 0


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/cache", "gs://bucket", "hf://buckets/x", "memory://", "simplecache::s3://x"],
)
def test_an_address_of_an_object_store_is_refused_in_words(monkeypatch, address):
    monkeypatch.setenv("LAYERSCOPE_CACHE", address)
    with pytest.raises(StorageError, match="but it must be a folder") as refused:
        store.cache_dir()
    assert address in str(refused.value)
