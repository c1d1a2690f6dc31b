"""Figures of this machine: peak memory is that of the work that runs now, where the system can
tell.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from analysis.core import host
from analysis.core.errors import ModelNotFoundError, SpecError
from analysis.models.loading import load, machine
from analysis.models.source.model_spec import ModelSpec

LOT, PIECE = 600_000_000, 30_000_000


@pytest.mark.parametrize(("cores", "own", "threads"), [(1, None, 1), (16, None, 2), (1, "2", 2)])
def test_loading_a_model_takes_no_more_threads_than_allowed_cores(
    cores, own, threads, monkeypatch, cache
):
    before = torch.get_num_threads()
    monkeypatch.setattr(host, "cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ModelNotFoundError):
            load.load(ModelSpec("some/model"))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def peak_of_before() -> Iterator[int]:
    """The peak of a process that has used a lot and freed it, all but the end of its heap: the
    allocator keeps the rest.
    """
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system does not let a process reset its peak")
    pieces = [np.ones(PIECE, dtype=np.uint8) for _ in range(LOT // PIECE)]
    last = np.ones(PIECE, dtype=np.uint8)
    del pieces
    yield machine.peak_bytes("cpu")
    del last


def test_reset_peak_measures_only_later_work(peak_of_before):
    assert peak_of_before > LOT
    machine.reset_peak("cpu")
    after = machine.peak_bytes("cpu")
    assert after < peak_of_before - LOT // 2
    again = np.ones(LOT // 2, dtype=np.uint8)
    assert machine.peak_bytes("cpu") > after + LOT // 3
    del again


@pytest.mark.parametrize("device", ["cpu:abc", "cpu:0", "cpu:", "mps:0", "cuda:x", "tpu", ""])
def test_a_device_that_is_none_is_refused(device):
    with pytest.raises(
        SpecError, match=f"Device '{device}' is not available: this machine offers cpu"
    ):
        machine.choose_device(device)


@pytest.mark.parametrize(
    ("quantization", "capability", "advice"),
    [
        ("8bit", (7, 0), "Choose quantization 4bit or none, or device cpu"),
        ("4bit", (5, 2), "Choose quantization none, or"),
    ],
)
def test_a_gpu_without_a_quantization_is_refused_with_the_alternative(
    monkeypatch, quantization, capability, advice
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(SpecError, match=advice):
        machine.check_quantization(quantization, "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    machine.check_quantization(quantization, "cuda")


def test_bfloat16_on_an_old_mac_is_refused_with_the_alternative(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    with pytest.raises(SpecError, match="Choose dtype float16 or float32, or device cpu"):
        machine.choose_dtype("bfloat16", "mps")
    assert machine.choose_dtype("float16", "mps").value == "float16"
