"""A cache folder that machines share over a network, or that is no folder at all: what may lie there, and what is refused."""

import os
import time
from pathlib import Path

import pytest

from analysis import jobs
from analysis.core import disk, index, mounts, store
from analysis.core.errors import StorageError
from analysis.core.index import Wanted
from analysis.jobs import errand, local, table
from tests.support import fakes
from tests.support.worker import request


@pytest.fixture
def mounted(tmp_path, monkeypatch):
    """A function that lets the system say on what file systems folders lie."""

    def say(**types: str) -> None:
        lines = ["22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw"]
        for number, (name, kind) in enumerate(types.items(), start=30):
            point = str(tmp_path / name).replace(" ", "\\040")
            lines.append(f"{number} 22 0:{number} / {point} rw,relatime shared:2 master:3 - {kind} server:/share rw,vers=4.2")
        file = tmp_path / f"mountinfo-{len(list(tmp_path.glob('mountinfo-*')))}"
        file.write_text("\n".join(lines) + "\n")
        monkeypatch.setattr(mounts, "TABLE", file)

    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "share" / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    monkeypatch.delenv("LAYERSCOPE_LOCAL", raising=False)
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "none")
    return say


@pytest.mark.parametrize(("folder", "kind"), [
    ("share/cache", "nfs4"), ("share", "nfs4"), ("shared", "ext4"), ("share/cache/inner/deep", "cifs"), ("", "ext4"),
])  # fmt: skip
def test_a_folder_lies_on_the_mount_that_is_nearest_above_it(mounted, tmp_path, folder, kind):
    mounted(share="nfs4", **{"share/cache/inner": "cifs"})
    assert mounts.kind(tmp_path / folder) == kind


def test_of_two_mounts_at_one_place_the_later_one_counts_and_spaces_are_read(tmp_path, monkeypatch):
    lines = [f"{number} 1 0:1 / {tmp_path}/my\\040share rw - {kind} a b" for number, kind in enumerate(("ext4", "fuse.sshfs"))]
    (tmp_path / "table").write_text("half a line\n" + "\n".join(lines))
    monkeypatch.setattr(mounts, "TABLE", tmp_path / "table")
    assert mounts.kind(tmp_path / "my share" / "cache") == "fuse.sshfs"
    monkeypatch.setattr(mounts, "TABLE", tmp_path / "none")
    assert mounts.kind(tmp_path) == ""


def test_on_a_disk_of_the_machine_all_is_in_the_cache(mounted, tmp_path):
    mounted(other="nfs")
    assert store.local_dir() == store.cache_dir()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "lustre", "gpfs", "ceph", "fuse.sshfs", "9p"])
def test_on_a_network_results_lie_in_the_cache_and_jobs_and_index_on_this_machine(mounted, tmp_path, kind):
    mounted(share=kind)
    made = fakes.distances()
    made.save()
    job = jobs.submit(request("quick"))
    with local.lock():
        pass
    assert [entry.key for entry in index.entries(Wanted(("distances",)))] == [made.spec.fingerprint()]
    here = {path.name.split("-")[0] for path in store.local_dir().iterdir()}
    there = {path.name for path in store.cache_dir().iterdir()}
    assert store.local_dir().is_relative_to(tmp_path / "home" / "state")
    assert {"jobs.sqlite", "index", "worker.lock"} <= here
    assert there == {"results", "jobs"}
    assert (store.cache_dir() / "jobs" / job.id / "spec.json").exists()
    assert os.stat(store.local_dir() / "jobs.sqlite").st_mode & 0o077 == 0
    assert os.stat(store.local_dir()).st_mode & 0o077 == 0


def test_two_machines_that_share_a_cache_see_each_others_results_and_have_jobs_of_their_own(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4")
    made = {}
    for name in ("one", "other"):
        monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / name))
        made[name] = fakes.sweep(limit=len(name))
        made[name].save()
        jobs.submit(request("quick"))
    for name in ("one", "other"):
        monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / name))
        keys = {entry.key for entry in index.entries(Wanted(("sweep",)))}
        assert keys == {result.spec.fingerprint() for result in made.values()}
        assert len(jobs.list_jobs()) == 1


def test_without_a_disk_of_its_own_a_machine_is_told_what_to_name(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4", home="nfs4")
    with pytest.raises(
        StorageError, match=r"on network file systems \(nfs4, nfs4\).*Set LAYERSCOPE_LOCAL to a folder on a disk"
    ):
        jobs.list_jobs()
    monkeypatch.setenv("LAYERSCOPE_LOCAL", str(tmp_path / "disk"))
    assert jobs.list_jobs() == []


def test_an_errand_on_a_machine_without_a_disk_needs_no_list_of_jobs(mounted, tmp_path, monkeypatch):
    mounted(share="nfs4")
    job = jobs.submit(request("quick"))
    taken = table.take(job.id)
    mounted(share="nfs4", home="nfs4")
    monkeypatch.setattr(errand, "LOADER", "tests.support.fake_worker:Models")
    fakes.sweep().save()
    assert type(fakes.sweep()).all_of(fakes.MODEL) == [fakes.sweep()]
    own = errand._Attempt(taken.id, taken.attempts)
    own.say("done", result_key="0" * 20)
    assert errand.seen(taken).state == "done"
    assert errand.seen(taken).work.seconds > 0


@pytest.mark.parametrize("address", ["s3://bucket/cache", "gs://bucket", "hf://buckets/x", "memory://", "simplecache::s3://x"])
def test_an_address_of_a_store_of_objects_is_refused_in_a_sentence(monkeypatch, address):
    monkeypatch.setenv("LAYERSCOPE_CACHE", address)
    with pytest.raises(StorageError, match="but it must be a folder") as refused:
        store.cache_dir()
    assert address in str(refused.value)


@pytest.mark.parametrize("kind", ["fuse.s3fs", "fuse.gcsfuse", "fuse.mountpoint-s3", "fuse.rclone"])
def test_a_store_of_objects_that_is_mounted_can_be_looked_at_and_nothing_is_computed_into_it(mounted, kind):
    mounted()
    made = fakes.distances()
    made.save()
    mounted(share=kind)
    assert [entry.key for entry in index.entries(Wanted(("distances",)))] == [made.spec.fingerprint()]
    assert type(made).load(made.spec) == made
    with pytest.raises(StorageError, match=r"copies files instead of renaming them.*point LAYERSCOPE_CACHE at another folder"):
        store.check_writable()


def test_what_another_machine_makes_just_now_is_no_leftover_on_a_network(mounted, tmp_path):
    mounted(share="nfs4")
    folder = Path(store.cache_dir(), "results")
    folder.mkdir(parents=True)
    for name, age_s in (("new", 60), ("old", 30 * 86400)):
        draft = folder / f".{name}.0123456789ab.part"
        draft.write_text("")
        os.utime(draft, (time.time() - age_s,) * 2)
    store.sweep()
    assert [path.name for path in folder.iterdir()] == [".new.0123456789ab.part"]
    assert disk.sweep(folder, deep=True)
