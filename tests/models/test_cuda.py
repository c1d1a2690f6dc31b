"""CUDA GPUs: one module asks torch about them, pretended ones are read right, and a real one has
the CPU's figures.
"""

import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.maps import distances
from analysis.experiments.scoring import likelihood
from analysis.models.loading import load, machine
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec

needs_card = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA card, and none is here"
)
CUTS = [None, Block(1, 2), Block(3, 3)]
TEXTS = [[5, 9, 200, 31, 7, 8], [11, 3, 4, 250]]


@pytest.fixture
def pretended_cards(monkeypatch):
    """Two GPUs that answer questions about themselves, and the devices that were asked about."""
    seen = []

    def note(value):
        return lambda device=None: (seen.append(str(device)), value)[1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", note("Card"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", note((30, 80)))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", note(7))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", note(None))
    return seen


def test_peak_on_all_gpus_is_the_sum(pretended_cards):
    assert machine.peak_bytes("cuda:all") == 14
    machine.reset_peak("cuda:all")
    asked = [device for device in pretended_cards if device != "None"]
    assert asked[-2:] == ["cuda:0", "cuda:1"]
    assert machine.peak_bytes("cuda:1") == 7
    assert machine.free_bytes("cuda:all") == 30


def test_peak_is_not_reset_before_torch_uses_a_gpu(pretended_cards, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    machine.reset_peak("cuda:1")
    assert pretended_cards == []


def test_versions_name_the_gpu(pretended_cards):
    assert machine.versions()["accelerator"] == "Card"


@pytest.mark.cuda
@needs_card
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox", "qwen3_moe"])
def test_a_gpu_has_the_figures_of_the_cpu(tiny_folder, cache, family):
    on_cpu, on_gpu = (
        load.load(ModelSpec(str(tiny_folder(family)), dtype="float32", device=name))
        for name in ("cpu", "cuda")
    )
    losses = [likelihood.text_losses(loaded.decoder, TEXTS, CUTS) for loaded in (on_cpu, on_gpu)]
    assert torch.allclose(*map(torch.tensor, losses), atol=1e-4)
    maps = []
    for loaded in (on_cpu, on_gpu):
        streams = hidden_states.token_streams(loaded.decoder, TEXTS)
        maps.append(distances.text_distances(streams, [len(ids) for ids in TEXTS])["angular"].cpu())
    assert torch.allclose(*maps, atol=1e-3)
    assert machine.peak_bytes("cuda") > 0
