"""Every call of `torch.cuda`: the CUDA GPUs of this machine, and their memory.

Nothing else asks torch about them, so a test can put one GPU in the place of all (`tests/models/test_cuda.py`).
"""

import torch


def is_available() -> bool:
    """Return whether torch can use a CUDA GPU here."""
    return torch.cuda.is_available()


def count() -> int:
    """Return the number of CUDA GPUs that torch can use."""
    return torch.cuda.device_count()


def name(device: str = "cuda") -> str:
    """Return the name of a GPU, such as "NVIDIA H100"."""
    return torch.cuda.get_device_name(torch.device(device))


def free_bytes(device: str) -> int:
    """Return the memory of a GPU that is free now."""
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def capability(device: str) -> tuple[int, int]:
    """Return the compute capability of a GPU, major and minor."""
    return torch.cuda.get_device_capability(torch.device(device))


def has_bfloat16() -> bool:
    """Return whether the GPU computes in bfloat16 natively."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def reset_peak(device: str) -> None:
    """Let `peak_bytes` begin anew; before torch has used a GPU there is nothing to reset."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats(torch.device(device))


def peak_bytes(device: str) -> int:
    """Return the peak of the memory that this process had on a GPU since `reset_peak`."""
    return int(torch.cuda.max_memory_allocated(torch.device(device)))


def release_memory() -> None:
    """Give memory back that torch keeps for later tensors; without a GPU nothing happens."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def wait(device: str) -> None:
    """Wait until an accelerator has finished its work; a CPU has always."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(torch.device(device))
    elif kind != "cpu":
        getattr(torch, kind).synchronize()
