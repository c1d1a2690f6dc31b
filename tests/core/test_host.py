"""Free memory within containers, on folders that look like those of the kernel; freed memory and
waiting threads.
"""

import os
import re
from pathlib import Path

import psutil
import pytest

from analysis.cli import main as cli
from analysis.core import host
from analysis.jobs.runner import worker

GB = 1024**3
NO_LIMIT = 9223372036854771712


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with 64 GB free."""
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64 * GB})
    )


@pytest.fixture
def sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)


def belongs_to(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")


def group(root: Path, path: str, **files: object) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / re.sub("^(memory|cpu)_", r"\1.", name)).write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("there", "visible", "n"),
    [(0, None, 0), (2, None, 2), (2, "1", 1), (2, "", 0), (8, "0,1,5", 3), (1, "0,1", 1)],
)
def test_cards_are_those_of_the_driver_that_may_be_used(monkeypatch, there, visible, n):
    monkeypatch.setattr(host, "_n_cards", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert host.cards() == n


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fpu avx2 avx512f avx512_bf16", "AMD EPYC (AVX-512 BF16)"),
        ("fpu avx2", "AMD EPYC (AVX2)"),
        ("fpu", "AMD EPYC"),
        ("avx2 avx512f amx_bf16 avx512_bf16", "AMD EPYC (AMX)"),
    ],
)
def test_processors_of_one_name_and_other_instructions_differ(monkeypatch, flags, name):
    monkeypatch.setattr(host, "cpuinfo", {"model name": "AMD EPYC", "flags": flags}.get)
    assert host.processor() == name


def test_the_least_limit_on_the_way_up_counts(tmp_path):
    belongs_to(tmp_path, "0::/team/one/job")
    group(tmp_path, "team", memory_max=16 * GB, memory_current=13 * GB)
    group(tmp_path, "team/one", memory_max=8 * GB, memory_current=4 * GB)
    group(tmp_path, "team/one/job", memory_max="max", memory_current=1 * GB)
    assert host.free_bytes(tmp_path) == 3 * GB
    assert [path.name for path in host.control_groups("memory", tmp_path)] == [
        "job",
        "one",
        "team",
        "cgroup",
    ]


def test_files_that_the_kernel_would_give_up_count_as_free(tmp_path):
    belongs_to(tmp_path, "0::/")
    stat = f"anon {GB}\nfile {6 * GB}\ninactive_file {5 * GB}\nactive_file {GB}"
    group(tmp_path, "", memory_max=8 * GB, memory_current=7 * GB, memory_stat=stat)
    assert host.free_bytes(tmp_path) == 6 * GB


def test_version_1_is_read_too_with_memory_of_groups_below(tmp_path):
    belongs_to(tmp_path, "4:cpu,cpuacct:/other", "3:memory:/docker/a/b", "0::/")
    stat = f"inactive_file 0\ntotal_inactive_file {2 * GB}"
    group(tmp_path, "memory", memory_limit_in_bytes=NO_LIMIT, memory_usage_in_bytes=9 * GB)
    group(
        tmp_path,
        "memory/docker/a",
        memory_limit_in_bytes=8 * GB,
        memory_usage_in_bytes=7 * GB,
        memory_stat=stat,
    )
    group(
        tmp_path, "memory/docker/a/b", memory_limit_in_bytes=NO_LIMIT, memory_usage_in_bytes=1 * GB
    )
    assert host.free_bytes(tmp_path) == 3 * GB


def test_a_container_that_sees_the_outside_path_finds_its_limit(tmp_path):
    belongs_to(tmp_path, "3:memory:/docker/abc", "0::/../outside")
    group(tmp_path, "memory", memory_limit_in_bytes=4 * GB, memory_usage_in_bytes=GB)
    assert host.free_bytes(tmp_path) == 3 * GB


def test_overuse_leaves_nothing_and_nonsense_is_passed_over(tmp_path):
    belongs_to(tmp_path, "0::/full", "nonsense")
    group(tmp_path, "full", memory_max=GB, memory_current=2 * GB, memory_stat="no numbers here")
    assert host.free_bytes(tmp_path) == 0


@pytest.mark.parametrize(
    ("quota", "n"),
    [
        ("max 100000", 16),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("5000 100000", 1),
        ("9999999 1", 16),
    ],
)
def test_cores_are_limited_by_a_group_around_this_one(quota, n, tmp_path, sixteen_cores):
    belongs_to(tmp_path, "0::/pod/container")
    group(tmp_path, "pod", cpu_max=quota)
    group(tmp_path, "pod/container", cpu_max="1600000 100000")
    assert host.cores(tmp_path) == n


@pytest.mark.parametrize(("quota", "n"), [(-1, 16), (400_000, 4), ("nonsense", 16)])
def test_cores_are_limited_by_groups_of_version_1(quota, n, tmp_path, sixteen_cores):
    belongs_to(tmp_path, "3:cpu,cpuacct:/docker/a", "2:memory:/docker/a")
    group(tmp_path, "cpu/docker/a", cpu_cfs_quota_us=quota, cpu_cfs_period_us=100_000)
    assert host.cores(tmp_path) == n


def test_the_limit_of_memory_is_named_where_it_binds(monkeypatch):
    assert host.free_in_words(2_000_000_000, "cpu") == "2.0 GB are free on cpu"
    monkeypatch.setenv(host.MEMORY, "2GB")
    assert (
        host.free_in_words(2_000_000_000, "cpu")
        == "2.0 GB are allowed by --memory (LAYERSCOPE_MEMORY)"
    )
    assert host.free_in_words(1_900_000_000, "cpu") == "1.9 GB are free on cpu", (
        "less was free than the limit"
    )


@pytest.mark.parametrize("begin", [cli.main, worker.main])
@pytest.mark.parametrize(("own", "then"), [(None, "5000"), ("7", "7")])
def test_commands_and_workers_set_how_threads_wait(begin, own, then, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", own or "")
    if own is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    with pytest.raises(SystemExit):
        begin(["--help"])
    assert os.environ["GOMP_SPINCOUNT"] == then
