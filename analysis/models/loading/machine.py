"""Facts about this machine: versions, free memory, and the default dtype and device."""

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
from analysis.models.source.model_spec import Setting

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "datasets", "numpy", "streamlit")
ALL_GPUS = "cuda:all"
"""Device of a model that is spread over all CUDA devices, even if it fits on one."""


def versions() -> dict[str, str]:
    """Return the versions of a result: Python, packages, CPU, GPU."""
    versions = {"layerscope": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    versions["processor"] = cpu_name()
    if torch.cuda.is_available():
        versions["accelerator"] = torch.cuda.get_device_name()
    return versions


def cpu_name() -> str:
    """Return the name of the CPU and the number of threads of torch."""
    return f"{host.processor()}, {torch.get_num_threads()} threads"


def share_cores() -> None:
    """Limit the threads of torch to the cores of the container, unless the user sets
    `OMP_NUM_THREADS`.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), host.cores()))


def free_bytes(device: str) -> int:
    """Return the free memory of the accelerator, or of the machine within the limits of the
    container and of `--memory`.

    On a CPU, freed memory that this process keeps is returned to the system first.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(first_gpu(device))[0])
    host.hand_back_freed_memory()
    return host.free_bytes()


def gpus(device: str) -> dict[str, int]:
    """Return the free bytes of each CUDA device that a model may be spread over; empty without a
    choice of devices.
    """
    if device not in ("cuda", ALL_GPUS) or torch.cuda.device_count() < 2:
        return {}
    return {
        name: free_bytes(name) for name in map("cuda:{}".format, range(torch.cuda.device_count()))
    }


def first_gpu(device: str) -> str:
    """Return the torch name of the device of a model that is not spread."""
    return "cuda" if device == ALL_GPUS else device


def _each(device: str) -> list[str]:
    """Return the CUDA devices of a model on this device."""
    return list(gpus(device)) or [device]


def reset_peak(device: str) -> None:
    """Reset `peak_bytes` to the memory in use now.

    This works on CUDA, and on Linux if the process has the permission. Elsewhere it does nothing,
    and the peak is that of the lifetime of the process.
    """
    if device.startswith("cuda"):
        for gpu in _each(device) if torch.cuda.is_initialized() else ():
            torch.cuda.reset_peak_memory_stats(gpu)
        return
    host.hand_back_freed_memory()  # otherwise memory freed by an earlier job counts as in use
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: str) -> int:
    """Return the peak memory of this process since `reset_peak`: of the accelerator, or resident
    memory on a CPU.

    On several GPUs it is the sum of their peaks. Without a reset it is the peak of the lifetime of
    the process.
    """
    if device.startswith("cuda"):
        return sum(int(torch.cuda.max_memory_allocated(gpu)) for gpu in _each(device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)


def choose_device(device: str) -> Setting:
    """Return the device to run on, with the reason.

    Raises:
        SpecError: If the requested device is not available.
    """
    has_cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if device == "auto":
        if has_cuda:
            n_more = torch.cuda.device_count() - 1
            availability = f"and {n_more} more are available" if n_more else "is available"
            return Setting("cuda", f"cuda: {torch.cuda.get_device_name()} {availability}")
        if mps:
            return Setting("mps", "mps: this is Apple silicon")
        return Setting("cpu", "cpu: no CUDA or Apple accelerator is visible to torch")
    n_gpus = torch.cuda.device_count() if has_cuda else 0
    offered = [
        "cpu",
        *["mps"] * mps,
        *["cuda"] * has_cuda,
        *(f"cuda:{index}" for index in range(n_gpus)),
    ]
    offered += [ALL_GPUS] * (n_gpus > 1)
    if device not in offered:
        raise SpecError(
            f"Device {device!r} is not available: this machine offers {', '.join(offered)}. Choose"
            " one of these, or auto."
        )
    return Setting(
        device, f"{device}: {f'all {n_gpus} GPUs, ' if device == ALL_GPUS else ''}chosen by you"
    )


def choose(device: str, dtype: str) -> tuple[str, str]:
    """Return the device and dtype of `choose_device` and `choose_dtype`."""
    chosen = choose_device(device).value
    return chosen, choose_dtype(dtype, chosen).value


def seconds_per_flop(device: str, dtype: str) -> float:
    """Return the shortest time of a floating-point operation, measured on a product of two small
    matrices.
    """
    matrix = torch.ones((1024, 1024), dtype=getattr(torch, dtype), device=first_gpu(device))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - started)
    return min(times) / (2 * 1024**3)


def n_gpus() -> int:
    """Return the number of CUDA devices, of which each worker process gets one.

    `host.cards` counts without torch, but only NVIDIA GPUs on Linux. A worker pool that relied on
    it would put all of its processes on the first GPU of another vendor.
    """
    return torch.cuda.device_count()


def choose_dtype(dtype: str, device: str) -> Setting:
    """Return the compute dtype, with the reason.

    Raises:
        SpecError: If the device does not support the requested dtype.
    """
    if dtype == "bfloat16" and device == "mps" and not torch.backends.mps.is_macos_or_newer(14, 0):
        raise SpecError(
            "bfloat16 on mps needs macOS 14 or newer. Choose dtype float16 or float32, or device"
            " cpu."
        )
    if dtype != "auto":
        return Setting(dtype, f"{dtype}: chosen by you")
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Setting("bfloat16", "bfloat16: this GPU computes in it natively")
        return Setting("float16", "float16: this GPU has no native bfloat16")
    if device == "mps":
        return Setting("float16", "float16: the widest supported fast type on Apple silicon")
    flags = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in host.cpuinfo("flags").split()]
    has = (
        f"this CPU has {' and '.join(flags)}"
        if flags
        else "this CPU lists no bfloat16 instructions"
    )
    if flags and not float32_products.is_here(torch.bfloat16):
        return Setting("bfloat16", f"bfloat16: {has}, which is faster than float32")
    return Setting("float32", f"float32: {has}, and float32 is faster")


_NEEDED = {"8bit": (7, 5), "4bit": (6, 0)}
"""Minimum compute capability for quantized weights (bitsandbytes 0.50, installation guide)."""


def check_quantization(quantization: str, device: str) -> None:
    """Check that a device supports quantized weights.

    Raises:
        SpecError: If it does not.
    """
    if quantization == "none":
        return
    if device == "mps":
        raise SpecError(
            f"{quantization} weights are not supported on mps. Choose quantization none, or device"
            " cpu."
        )
    if device == ALL_GPUS and quantization == "8bit":
        raise SpecError(
            "8bit weights cannot be spread over several GPUs. Choose quantization none or 4bit, or"
            " device cuda."
        )
    if not device.startswith("cuda") or torch.version.hip:
        return
    needed = _NEEDED[quantization]
    capability = torch.cuda.get_device_capability(first_gpu(device))
    if capability < needed:
        alternative = (
            "4bit or none" if quantization == "8bit" and capability >= _NEEDED["4bit"] else "none"
        )
        raise SpecError(
            f"{quantization} weights need a GPU of compute capability {needed[0]}.{needed[1]}, but"
            f" this one has {capability[0]}.{capability[1]}. Choose quantization {alternative}, or"
            " device cpu."
        )


class Device:
    """The device of a model (`core.meter.MeteredDevice`)."""

    def __init__(self, name: str) -> None:
        """Store the torch name of the device."""
        self._name = name

    def peak_bytes(self) -> int:
        """Return `machine.peak_bytes` of the device."""
        return peak_bytes(self._name)

    def reset_peak(self) -> None:
        """Call `machine.reset_peak` for the device."""
        reset_peak(self._name)
