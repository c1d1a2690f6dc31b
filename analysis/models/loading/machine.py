"""Facts about this machine: its versions, its free memory, and the dtype and device that it is good at."""

import contextlib
import os
import platform
import time
from importlib import metadata
from pathlib import Path

import psutil
import torch

from analysis import __version__
from analysis.core import host
from analysis.core.errors import SpecError
from analysis.models.architecture import float32_products
from analysis.models.loading import cuda
from analysis.models.source.model_spec import Setting

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "numpy", "streamlit")
ALL_GPUS = "cuda:all"
"""The device of a model that is to be spread over all CUDA devices, whether it fits on one or not."""


def versions() -> dict[str, str]:
    """Return the versions that a result was computed with: Python, packages, CPU."""
    versions = {"layerscope": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    versions["processor"] = cpu_name()
    if cuda.is_available():
        versions["accelerator"] = cuda.name()
    return versions


def cpu_name() -> str:
    """The CPU's model name and the number of threads torch uses on it."""
    return f"{host.processor()}, {torch.get_num_threads()} threads"


def share_cores() -> None:
    """Let torch have no more threads than a container may use cores: it starts one for each core of the machine.

    A number that the user sets stays.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), host.cores()))


def free_bytes(device: str) -> int:
    """Memory that is free now on a device: of the accelerator, or of the machine within its container's limits and ours.

    On a machine, freed memory that this process keeps is handed back first.
    """
    if device.startswith("cuda"):
        return cuda.free_bytes(first_gpu(device))
    host.hand_back_freed_memory()
    return host.free_bytes()


def gpus(device: str) -> dict[str, int]:
    """Bytes that are free on each of the CUDA devices that a model may be spread over; none if there is no choice."""
    if device not in ("cuda", ALL_GPUS) or cuda.count() < 2:
        return {}
    return {name: free_bytes(name) for name in map("cuda:{}".format, range(cuda.count()))}


def first_gpu(device: str) -> str:
    """Return the device of a model that is not spread, by its name in torch."""
    return "cuda" if device == ALL_GPUS else device


def _each(device: str) -> list[str]:
    """The CUDA devices on which a model on this device can be."""
    return list(gpus(device)) or [device]


def reset_peak(device: str) -> None:
    """Let `peak_bytes` begin anew with the memory in use now, so that it tells of the work that follows.

    This works on CUDA and on a Linux that lets a process do this. Elsewhere nothing happens, without an error: the peak remains
    that of the whole life of the process.
    """
    if device.startswith("cuda"):
        for gpu in _each(device):
            cuda.reset_peak(gpu)
        return
    host.hand_back_freed_memory()  # memory that an earlier job has freed would count as in use
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Peak memory of this process since `reset_peak`: of the accelerator if it runs there, else resident memory.

    Of a model that is spread over several GPUs, the sum of their peaks.

    If the peak cannot be reset, or was not, it is that of the whole life of the process.
    """
    if device.startswith("cuda"):
        return sum(map(cuda.peak_bytes, _each(device)))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def choose_device(device: str) -> Setting:
    """The device to run on, with the reason.

    Raises:
        SpecError: when the asked device is not there.
    """
    has_cuda, mps = cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        if has_cuda:
            n_more = cuda.count() - 1
            is_present = f"and {n_more} more are available" if n_more else "is available"
            return Setting("cuda", f"cuda: {cuda.name()} {is_present}")
        if mps:
            return Setting("mps", "mps: this is Apple silicon")
        return Setting("cpu", "cpu: no CUDA or Apple accelerator is visible to torch")
    present = {"cpu": True, "cuda": has_cuda, "mps": mps}
    kind = device.partition(":")[0]
    if not present.get(kind, False):
        offered = ", ".join(name for name, is_present in present.items() if is_present)
        raise SpecError(f"Device {device!r} is not available: this machine offers {offered}. Choose one of these, or auto.")
    if device == ALL_GPUS:
        if cuda.count() < 2:
            raise SpecError(f"Device {device!r} needs several CUDA devices, but this machine has one. Choose cuda or auto.")
        return Setting(device, f"{device}: all {cuda.count()} GPUs, chosen by you")
    number = device.partition(":")[2]
    if device != kind and not (kind == "cuda" and number.isascii() and number.isdigit()):
        raise SpecError(
            f"Device {device!r} is not valid: only CUDA devices take a number (cuda:1) or all (cuda:all). "
            f"Choose {kind} or auto."
        )
    if number and int(number[:9]) >= cuda.count():
        raise SpecError(
            f"Device {device!r} is not available: this machine has {cuda.count()} CUDA devices, "
            "counted from 0. Choose one of these, or auto."
        )
    return Setting(device, f"{device}: chosen by you")


def choose(device: str, dtype: str) -> tuple[str, str]:
    """Return the device and the dtype to compute on, as `choose_device` and `choose_dtype` choose them."""
    chosen = choose_device(device).value
    return chosen, choose_dtype(dtype, chosen).value


def seconds_per_flop(device: str, dtype: str) -> float:
    """Return the time of a floating-point operation at best, measured by the product of two small matrices."""
    matrix, times = torch.ones((1024, 1024), dtype=getattr(torch, dtype), device=first_gpu(device)), []
    for _ in range(20):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - started)
    return min(times) / (2 * 1024**3)


def n_gpus() -> int:
    """Return the number of accelerators that torch has and that can hold a model each: worker processes get one of them each.

    `host.cards` returns the same if torch must not be loaded, for NVIDIA GPUs on Linux alone. A worker pool that relied on it
    would put all of its processes on the first GPU of another maker.
    """
    return cuda.count()


def choose_dtype(dtype: str, device: str) -> Setting:
    """The dtype to compute in, with the reason.

    Raises:
        SpecError: when the device cannot compute in the requested one.
    """
    if dtype != "auto":
        _refuse_dtype(dtype, device)
        return Setting(dtype, f"{dtype}: chosen by you")
    if device.startswith("cuda"):
        if cuda.has_bfloat16():
            return Setting("bfloat16", "bfloat16: this GPU computes in it natively")
        return Setting("float16", "float16: this GPU has no native bfloat16")
    if device == "mps":
        return Setting("float16", "float16: the widest supported fast type on Apple silicon")
    flags = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in host.cpuinfo("flags").split()]
    has = f"this CPU has {' and '.join(flags)}" if flags else "this CPU lists no bfloat16 instructions"
    if flags and not float32_products.is_here(torch.bfloat16):
        return Setting("bfloat16", f"bfloat16: {has}, which is faster than float32")
    return Setting("float32", f"float32: {has}, and float32 is faster")


def _refuse_dtype(dtype: str, device: str) -> None:
    """Refuse a dtype that a device cannot compute in, with the alternative."""
    is_old_mac = device == "mps" and dtype == "bfloat16" and not torch.backends.mps.is_macos_or_newer(14, 0)
    if is_old_mac:
        raise SpecError("bfloat16 on mps needs macOS 14 or newer. Choose dtype float16 or float32, or device cpu.")


_NEEDED = {"8bit": (7, 5), "4bit": (6, 0)}
"""Compute capability of NVIDIA GPUs that quantized weights need (bitsandbytes 0.50, installation guide)."""


def refuse_quantization(quantization: str, device: str) -> None:
    """Refuse quantized weights that a GPU cannot compute with, and name the alternative.

    Raises:
        SpecError: if its compute capability is too low.
    """
    needed = _NEEDED.get(quantization, (0, 0))
    if not device.startswith("cuda") or torch.version.hip or (own := _capability(device)) >= needed:
        return
    other = "4bit or none" if quantization == "8bit" and own >= _NEEDED["4bit"] else "none"
    raise SpecError(
        f"{quantization} weights need a GPU of compute capability {needed[0]}.{needed[1]}, but this one has {own[0]}.{own[1]}. "
        f"Choose quantization {other}, or device cpu."
    )


def _capability(device: str) -> tuple[int, int]:
    return cuda.capability(first_gpu(device))


class Device:
    """The device that a model is on (`core.meter.MeteredDevice`)."""

    def __init__(self, name: str) -> None:
        """Store the name of the device in torch."""
        self._name = name

    def peak_bytes(self) -> int:
        """Return `machine.peak_bytes` of the device."""
        return peak_bytes(self._name)

    def reset_peak(self) -> None:
        """Call `machine.reset_peak` for the device."""
        reset_peak(self._name)
