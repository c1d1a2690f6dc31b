"""Name of this machine, its load and its free memory, read without a model library."""

import contextlib
import ctypes
import functools
import importlib.util
import os
import platform
from pathlib import Path

import psutil

from analysis.core import units

MEMORY = "LAYERSCOPE_MEMORY"
"""Environment variable: the most memory that a model may take with its measurements, as `units.read_size` reads it."""
VIEWER = (
    "This is a viewer without torch: it shows the gallery and result packs, and starts no jobs. Run `pip install -r "
    "requirements.txt` to measure models."
)
"""The sentence for all that needs a model where there is no torch."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's options, in its `malloc.h`."""
_LARGEST_KEPT = 32 << 20
"""Bytes of the largest piece that glibc can use again; larger ones always come from the system."""
_MOST_KEPT = 256 << 20
"""Bytes that stay at the end of the heap: a layer and the head take a fraction of it for a batch of 2,048 tokens."""
_LOOKS = 5000
"""How often a waiting thread looks before it sleeps: for a tenth of a millisecond, as Python takes between two operations."""


@functools.cache
def is_viewer() -> bool:
    """Return whether this installation only shows stored results, because torch is not installed; nothing is imported."""
    return importlib.util.find_spec("torch") is None


def cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, within every limit that a container sets; a part of a core counts as one.

    Args:
        root: the folder that holds `proc` and `sys`, for limits.
    """
    limits = [_cores_of_group(group) for group in control_groups("cpu", root)]
    scheduled = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([scheduled, *(limit for limit in limits if limit is not None)])


def _cores_of_group(group: Path) -> int | None:
    """Return the cores that a control group may use, rounded up; None where it has no limit."""
    with contextlib.suppress(OSError, ValueError):
        if (file := group / "cpu.max").exists():
            quota, period = map(int, file.read_text().split())
        else:
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return -(-quota // period) if quota > 0 and period > 0 else None
    return None


def cards() -> int:
    """Count the NVIDIA GPUs that this process may use, by their driver: pages, which load no torch, offer them.

    Runs ask torch (`models.machine`), which knows of other GPUs too, and of parts of one.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _n_cards() if visible is None else min(_n_cards(), len([name for name in visible.split(",") if name.strip()]))


@functools.cache  # a command line that a page shows asks thousands of times
def _n_cards() -> int:
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


_INSTRUCTION_SETS = (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))
"""Flags of x86 processors with their names, the fastest for matrix products first."""


def processor() -> str:
    """The processor's model name with its fastest instruction set: "AMD EPYC (AVX2)".

    Clouds give one name to several kinds of processor, whose speeds differ by several times.
    """
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    flags = cpuinfo("flags").split()
    fastest = next((title for flag, title in _INSTRUCTION_SETS if flag in flags), "")
    return f"{name} ({fastest})" if fastest else name


@functools.cache
def cpuinfo(key: str) -> str:
    """Return Linux's entry of the first CPU under this key; "" elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def wait_asleep() -> None:
    """Let threads that wait for the other parts of an operation sleep soon, in this process and all that it starts.

    GNU's OpenMP, which torch uses on Linux, lets them look for milliseconds. Where another program has a core, that takes the
    other core from the thread that is waited for. Beside one such program a layer took 260 ms in a background job, and takes
    23 ms so. This has to come before torch is imported. Settings of the user stay.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_LOOKS))


def keep_freed_memory() -> None:
    """Let this process use freed memory again, where its allocator is glibc's.

    By default glibc hands pieces of megabytes back to the system, which clears each page before it lends it again. In float32
    this took a tenth of the CPU time of a layer.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)


def hand_back_freed_memory() -> None:
    """Give memory that this process has freed back to the system, so that it counts as free."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def control_groups(controller: str, root: Path = Path("/")) -> list[Path]:
    """The control groups that this process counts to, its own first, then those around it as far as they can be seen.

    Version 2 of control groups and version 1 are read the same way; outside of Linux there is none.

    Args:
        controller: the kind of limit: "memory" or "cpu".
        root: the folder that holds `proc` and `sys`.
    """
    groups: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / (controller if controllers else "")
            # A container may be told the path that its group has outside, where only the top is to be seen: its own group.
            own_group = top / path.lstrip("/")
            around = [group for group in (own_group, *own_group.parents) if group.is_relative_to(top)]
            groups += [group for group in around if ".." not in group.parts and group.is_dir()]
    return groups


def free_bytes(root: Path = Path("/")) -> int:
    """Memory that is free now: of the machine, within every limit that a container sets, and within `MEMORY`; the least.

    Pages of files that the kernel would give up count as free, as they do in the machine's own figure.

    Args:
        root: the folder that holds `proc` and `sys`, for limits.

    Raises:
        SpecError: when `MEMORY` names no amount.
    """
    own_limit = [units.read_size(os.environ[MEMORY])] if os.environ.get(MEMORY) else []
    group_limits = [_free_of_group(group) for group in control_groups("memory", root)]
    return min([*own_limit, int(psutil.virtual_memory().available), *(free for free in group_limits if free is not None)])


def free_in_words(n_bytes: int, where: str) -> str:
    """Return an amount of free memory as a clause, which names the limit where that is the amount.

    Args:
        n_bytes: as `free_bytes` returned it.
        where: the device: "cpu" or "this machine".

    Returns:
        "2.0 GB are free on cpu", or "2.0 GB are allowed by --memory (LAYERSCOPE_MEMORY)".
    """
    if os.environ.get(MEMORY) and units.read_size(os.environ[MEMORY]) == n_bytes:
        return f"{units.size(n_bytes)} are allowed by --memory ({MEMORY})"
    return f"{units.size(n_bytes)} are free on {where}"


def _free_of_group(group: Path) -> int | None:
    """Return the free part of a control group's limit, bytes; None where it has none."""
    limits = [_number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    used = next((n for name in ("memory.current", "memory.usage_in_bytes") if (n := _number(group / name)) is not None), None)
    limit_bytes = min((limit for limit in limits if limit is not None), default=None)
    return None if limit_bytes is None or used is None else max(0, limit_bytes - max(0, used - _reclaimable(group)))


def _reclaimable(group: Path) -> int:
    """Bytes of files kept in memory that were not read lately, in the group and those below it."""
    with contextlib.suppress(OSError, ValueError):
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Version 1 counts only the group itself under the plain name.
        return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
    return 0


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none, as of a limit that is not set."""
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text())
    return None
