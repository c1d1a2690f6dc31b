"""Files from the Hub come whole, resume where they stopped, and equal its list; each way of failing
is a sentence.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analysis import hub
from analysis.core.errors import HubError, StorageError
from analysis.core.progress import Cancelled

BIG = random.Random(0).randbytes(3_000_000)
FILES = {"config.json": b'{"a": 1}', "model.safetensors": BIG}
WEIGHTS = "model.safetensors"


@pytest.fixture
def there(loopback):
    loopback.add("org/model", FILES)
    return loopback


def look():
    return hub.cache.resolve("org/model")


def fetched(on_progress=lambda progress: None):
    repository = look()
    return hub.download.fetch(repository, repository.files, on_progress)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_come_whole_and_once(there):
    folder = fetched()
    assert contents(folder) == FILES
    n_asked = len(there.asked)
    assert fetched() == folder
    assert len(there.asked) == n_asked + 1  # for the commit of the branch alone


def test_files_are_copied_on_a_file_system_without_links(there, monkeypatch):
    def refused(path, target):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    assert contents(fetched()) == FILES


def test_files_fetched_by_huggingface_hub_are_found(there, tmp_path):
    code = "from huggingface_hub import snapshot_download\nprint(snapshot_download('org/model'))"
    environ = {
        **os.environ,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    sent = there.sent("/cdn/")
    assert sent == len(BIG)
    assert str(fetched()) == done.stdout.strip()
    assert there.sent("/cdn/") == sent


def test_interrupted_transfer_resumes_at_its_end(there):
    there.fault("/cdn/", cut_after=1_000_000, times=2)
    assert contents(fetched()) == FILES
    begins = [one.begin for one in there.asked if "/cdn/" in one.path]
    assert begins[0] == 0 < begins[1] < begins[2]


def test_failed_transfer_keeps_its_bytes(there, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    there.fault("/cdn/", cut_after=2_000_000, times=1)
    there.fault("/cdn/", cut_after=0)
    with pytest.raises(
        HubError, match=r"The download of model.safetensors of org/model failed: .* resume where"
    ):
        fetched()
    there.faults.clear()
    assert hub.cache.missing_bytes(look(), look().files) < 1_100_000
    assert contents(fetched()) == FILES


def test_download_restarts_where_the_server_cannot_resume(there):
    there.fault("/cdn/", cut_after=1_000_000, times=1)
    there.fault("/cdn/", no_ranges=True)
    assert contents(fetched()) == FILES


def test_a_cancel_is_noticed_while_the_server_is_silent(there):
    repository = look()
    there.fault("/cdn/", silent=True)
    started = time.monotonic()

    def stop(progress):
        if time.monotonic() - started > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        hub.download.fetch(repository, repository.files, stop)
    assert time.monotonic() - started < 5
    there.faults.clear()
    assert contents(fetched()) == FILES


def test_another_process_resumes_the_download_of_a_killed_one(there):
    there.fault("/cdn/", bytes_per_s=1_000_000)
    code = (
        "from huggingface_hub import constants\nfrom analysis import"
        " hub\nconstants.DOWNLOAD_CHUNK_SIZE = 1 << 16\nfound ="
        " hub.repository.look('org/model')\nhub.download.fetch(found, found.files)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    try:
        until = time.monotonic() + 60
        while there.sent("/cdn/") < 1_000_000 and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    there.faults.clear()
    before = len(there.asked)
    assert contents(fetched()) == FILES
    [again] = [one for one in there.asked[before:] if "/cdn/" in one.path]
    assert again.begin > 500_000


def test_other_content_is_thrown_away_and_said(there):
    there.fault("/cdn/", body=bytes(len(BIG)))
    with pytest.raises(HubError, match="checksum that differs from its list"):
        fetched()
    there.faults.clear()
    assert contents(fetched()) == FILES


def test_the_disk_is_looked_at_before_anything_is_fetched(there, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 2_000_000))
    with pytest.raises(StorageError, match=r"org/model needs 3.0 MB, but only 2.0 MB are free"):
        fetched()
    assert not there.sent("/cdn/")


def test_a_revision_is_a_commit_and_stays_one(there):
    first = look().commit
    second = there.models["org/model"].commit({**FILES, "config.json": b'{"a": 2}'})
    assert look().commit == second
    assert hub.repository.look("org/model", first).commit == first


@pytest.mark.parametrize("revision", ["../../etc", "/etc", "a/../b", "-x", "a b", ""])
def test_a_revision_that_is_none_names_no_file(there, revision):
    with pytest.raises(HubError, match="is not a valid revision"):
        hub.cache.recall(hub.repository.MODEL, "org/model", revision)


@pytest.mark.parametrize("path", ["../out.safetensors", "/etc/passwd", "a/../../b"])
def test_a_hub_cannot_write_elsewhere(there, path):
    there.models["org/model"].commit({path: b"x"})
    with pytest.raises(HubError, match="in a form that the Hub does not use"):
        look()


def test_a_token_goes_to_the_hub_alone(there, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", there.token)
    fetched()
    assert all(
        one.token == f"Bearer {there.token}" for one in there.asked if "/cdn/" not in one.path
    )
    assert not any(one.token for one in there.asked if "/cdn/" in one.path)


def test_search_lists_models_with_access_and_size(there):
    there.add("org/other", FILES, gated=True)
    found = hub.repository.search("org")
    assert [(one.id, bool(one.gated), one.safetensors.total) for one in found] == [
        ("org/model", False, 1234),
        ("org/other", True, 1234),
    ]
    assert hub.repository.search("nothing") == []


def test_repositories_on_this_machine_are_listed_and_deleted(there, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    fetched()
    there.fault("/cdn/", cut_after=100_000, times=1)
    there.fault("/cdn/", cut_after=0)
    there.add("org/half", {WEIGHTS: BIG[::-1]})
    half = hub.repository.look("org/half")
    with pytest.raises(HubError):
        hub.download.fetch(half, half.files)
    kept = hub.cache.cached_repositories()
    assert [id for _, id, _ in kept] == ["org/model", "org/half"]
    assert kept[0][2] >= len(BIG)
    assert 0 < kept[1][2] < len(BIG)
    assert hub.cache.delete(hub.repository.MODEL, "org/model") == kept[0][2]
    assert [id for _, id, _ in hub.cache.cached_repositories()] == ["org/half"]
    assert hub.cache.delete(hub.repository.MODEL, "org/model") == 0


def test_two_at_once_fetch_a_file_once(there):
    there.fault("/cdn/", bytes_per_s=6_000_000)
    repository = look()
    with ThreadPoolExecutor(2) as both:
        folders = list(
            both.map(lambda _: hub.download.fetch(repository, repository.files), range(2))
        )
    assert contents(folders[0]) == contents(folders[1]) == FILES
    assert there.sent("/cdn/") == len(BIG)
