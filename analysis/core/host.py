"""CPU, GPUs and free memory of this machine, read without torch."""

import contextlib
import ctypes
import functools
import importlib.util
import os
import platform
import time
from pathlib import Path

import numpy as np
import psutil

from analysis.core import units

MEMORY = "LAYERSCOPE_MEMORY"
"""Environment variable with the memory limit of a model and its measurements, as parsed by
`units.read_size`."""
VIEWER = (
    "This is a viewer without torch: it shows the gallery and result packs, and starts no jobs. Run"
    " `pip install -r requirements.txt` to measure models."
)
"""Error message if torch is not installed."""
_MATRIX = 1024
"""Rows of the timed matrices; smaller ones do not reach the speed of larger ones."""
_PRODUCTS = 5
_LOOKS = 5000
"""Spin count of a waiting OpenMP thread, about 0.1 ms."""


@functools.cache
def is_viewer() -> bool:
    """Return whether this installation only shows stored results, because torch is not
    installed.
    """
    return importlib.util.find_spec("torch") is None


def cores(root: Path = Path("/")) -> int:
    """Return the number of CPU cores that this process may use, within the limits of its container,
    rounded up.

    Args:
        root: folder that contains `proc` and `sys`.
    """
    limits = [_cores_of_group(group) for group in control_groups("cpu", root)]
    scheduled = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min([scheduled, *(limit for limit in limits if limit is not None)])


def _cores_of_group(group: Path) -> int | None:
    """Return the core limit of a control group, rounded up; None if it has none."""
    with contextlib.suppress(OSError, ValueError):
        if (file := group / "cpu.max").exists():
            quota, period = map(int, file.read_text().split())
        else:
            quota, period = (
                int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
            )
        return -(-quota // period) if quota > 0 and period > 0 else None
    return None


def cards() -> int:
    """Return the number of visible NVIDIA GPUs according to their driver, for pages, which do not
    import torch.

    Jobs use torch instead (`models.loading.machine`), which also supports other GPUs and MIG
    devices.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        _n_cards()
        if visible is None
        else min(_n_cards(), len([name for name in visible.split(",") if name.strip()]))
    )


@functools.cache  # called thousands of times per page
def _n_cards() -> int:
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


_INSTRUCTION_SETS = (
    ("amx_bf16", "AMX"),
    ("avx512_bf16", "AVX-512 BF16"),
    ("avx512f", "AVX-512"),
    ("avx2", "AVX2"),
)
"""Flags and names of x86 instruction sets, the fastest for matrix products first."""


def processor() -> str:
    """Return the model name of the CPU with its fastest instruction set: "AMD EPYC (AVX2)".

    Clouds use one model name for CPUs whose speeds differ several times.
    """
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    flags = cpuinfo("flags").split()
    fastest = next((title for flag, title in _INSTRUCTION_SETS if flag in flags), "")
    return f"{name} ({fastest})" if fastest else name


@functools.cache
@functools.cache
def flop_per_s() -> float:
    """Return the floating-point operations per second of a matrix product in float32 on this
    machine's processor, the best of some; it takes a fraction of a second.
    """
    matrix = np.ones((_MATRIX, _MATRIX), np.float32)
    seconds = []
    for _ in range(_PRODUCTS):
        started = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - started)
    return float(2 * _MATRIX**3 / min(seconds))


def cpuinfo(key: str) -> str:
    """Return an entry of the first CPU in /proc/cpuinfo; "" on other systems."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return ""


def wait_asleep() -> None:
    """Make waiting OpenMP threads sleep early, in this process and its children.

    By default GNU's OpenMP, which torch uses on Linux, spins for milliseconds. If another program
    occupies a core, this blocks the thread that is waited for: next to one such program a layer
    took 260 ms in a background job instead of 23 ms. Call this before torch is imported. It does
    not override settings of the user.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(_LOOKS))


def hand_back_freed_memory() -> None:
    """Return freed memory to the system, so that it counts as free."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def control_groups(controller: str, root: Path = Path("/")) -> list[Path]:
    """Return the control groups (version 1 or 2) of this process, innermost first; none on other
    systems than Linux.

    Args:
        controller: "memory" or "cpu".
        root: folder that contains `proc` and `sys`.
    """
    groups: list[Path] = []
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / (controller if controllers else "")
            # Inside a container the path may be that of the host, while only its own group is
            # visible, at the top.
            own_group = top / path.lstrip("/")
            around = [
                group for group in (own_group, *own_group.parents) if group.is_relative_to(top)
            ]
            groups += [group for group in around if ".." not in group.parts and group.is_dir()]
    return groups


def free_bytes(root: Path = Path("/")) -> int:
    """Return the free memory in bytes, within the limits of the machine, of its container and of
    `MEMORY`.

    Reclaimable page cache counts as free.

    Args:
        root: folder that contains `proc` and `sys`.

    Raises:
        SpecError: if `MEMORY` is not an amount of memory.
    """
    own_limit = [units.read_size(os.environ[MEMORY])] if os.environ.get(MEMORY) else []
    group_limits = [_free_of_group(group) for group in control_groups("memory", root)]
    return min(
        [
            *own_limit,
            int(psutil.virtual_memory().available),
            *(free for free in group_limits if free is not None),
        ]
    )


def free_in_words(n_bytes: int, where: str) -> str:
    """Describe an amount of free memory, naming the limit `MEMORY` if it determines the amount.

    Args:
        n_bytes: value returned by `free_bytes`.
        where: device, such as "cpu" or "this machine".

    Returns:
        "2.0 GB are free on cpu", or "2.0 GB are allowed by --memory (LAYERSCOPE_MEMORY)".
    """
    if os.environ.get(MEMORY) and units.read_size(os.environ[MEMORY]) == n_bytes:
        return f"{units.size(n_bytes)} are allowed by --memory ({MEMORY})"
    return f"{units.size(n_bytes)} are free on {where}"


def _free_of_group(group: Path) -> int | None:
    """Return the free bytes within the limit of a control group; None if it has no limit."""
    limits = [
        _number(group / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
    ]
    used = next(
        (
            n
            for name in ("memory.current", "memory.usage_in_bytes")
            if (n := _number(group / name)) is not None
        ),
        None,
    )
    limit_bytes = min((limit for limit in limits if limit is not None), default=None)
    return (
        None
        if limit_bytes is None or used is None
        else max(0, limit_bytes - max(0, used - _reclaimable(group)))
    )


def _reclaimable(group: Path) -> int:
    """Return the bytes of inactive page cache of a control group and its children."""
    with contextlib.suppress(OSError, ValueError):
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Version 1 counts only the group itself under the plain name.
        return int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
    return 0


def _number(file: Path) -> int | None:
    """Return the integer in a file; None if there is none, as for a limit that is not set."""
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text())
    return None
