"""The GPU of each layer, from shapes alone: models that fit, with as much memory left on every GPU
as possible.
"""

import itertools
import random

import bitsandbytes  # noqa: F401  (looks for cards when it is imported first: before a test says that there are some)
import pytest
import torch
import transformers
from accelerate.hooks import AlignDevicesHook, add_hook_to_module

from analysis.core.blocks import Block
from analysis.core.errors import NotEnoughMemoryError, SpecError, UnsupportedModelError
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import layer_sizes
from analysis.models.loading import load, machine, placement, planning
from analysis.models.loading.placement import Needs, Placement
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.sizes import ModelFacts
from tests.support.families import build

GB = 10**9
LLAMA_70B = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
}


@pytest.fixture(scope="module")
def skeleton() -> architecture.Decoder:
    """Llama 2 70B without weights."""
    with torch.device("meta"):
        config = transformers.LlamaConfig(**LLAMA_70B)
        return architecture.find_decoder(
            transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        )


@pytest.fixture(scope="module")
def facts(skeleton: architecture.Decoder) -> ModelFacts:
    """Its sizes."""
    return layer_sizes.facts(skeleton, name="70B", dtype="bfloat16", quantization="none")


def needs(skeleton: architecture.Decoder, facts: ModelFacts, quantization: str = "none") -> Needs:
    return planning.needs(skeleton, facts, "bfloat16", quantization)


def room(found: Placement, asked: Needs, free: dict[str, int]) -> dict[str, int]:
    """Return the bytes left on every device that is used, counted anew."""
    left = {device: free[device] - asked.stream for device in found.devices}
    left[found.first] -= asked.first
    left[found.head_on] -= asked.last + asked.logits
    for device, n_bytes in zip(found.layers, asked.layers, strict=True):
        left[device] -= n_bytes
    return left


@pytest.mark.parametrize(
    ("n", "size", "quantization", "fits"),
    [
        (2, 80, "none", True),
        (8, 24, "none", True),
        (4, 24, "none", False),
        (2, 24, "4bit", True),
        (1, 80, "none", False),
    ],
)
def test_70_billion_parameters(skeleton, facts, n, size, quantization, fits):
    asked, free = (
        needs(skeleton, facts, quantization),
        {f"cuda:{index}": size * GB for index in range(n)},
    )
    found = placement.place(asked, free)
    assert (found is not None) == fits
    if found is None:
        return
    assert len(found.layers) == 80
    assert list(found.layers) == sorted(found.layers), (
        "neighbours stay together, in the order of the cards"
    )
    left = room(found, asked, free)
    assert len(left) == n
    assert min(left.values()) >= 0


def test_no_other_division_leaves_the_fullest_gpu_more_memory():
    draw, tried = random.Random(0), 0
    for _ in range(60):
        tied = draw.random() < 0.5
        layers, ends = (
            [draw.randint(5, 20) << 20 for _ in range(6)],
            [draw.randint(0, 30) << 20 for _ in range(3)],
        )
        asked = Needs(layers, 0 if tied else ends[0], ends[1], tied, 3 << 20, ends[2])
        free = {f"cuda:{index}": draw.randint(20, 90) << 20 for index in range(3)}
        best = None
        for at in itertools.combinations_with_replacement(range(3), 7):
            *of_layers, last = (f"cuda:{index}" for index in at)
            found = Placement("cuda:0", tuple(of_layers), "cuda:0" if tied else last)
            least = min(room(found, asked, free).values())
            best = least if best is None else max(best, least)
        placed = placement.place(asked, free)
        assert (placed is None) == (best < 0)
        if placed is not None:
            tried += 1
            assert min(room(placed, asked, free).values()) >= best
    assert tried > 20


def test_planned_parts_add_up_to_the_whole_model(skeleton, facts):
    asked = needs(skeleton, facts)
    assert sum(asked.layers) + asked.first + asked.last == 2 * sum(
        one.numel() for one in skeleton.model.parameters()
    )


def test_a_card_that_others_use_gets_fewer_layers():
    free = {"cuda:0": 40 << 20, "cuda:1": 90 << 20}
    assert placement.place(Needs([10 << 20] * 12, 5 << 20, 5 << 20, False, 0, 0), free) is None
    found = placement.place(Needs([10 << 20] * 10, 5 << 20, 5 << 20, False, 0, 0), free)
    assert (found.layers.count("cuda:0"), found.layers.count("cuda:1")) == (3, 7)
    assert (
        found.in_words()
        == "layers 0-2 with the embeddings on cuda:0, layers 3-9 with the head on cuda:1"
    )


def test_tied_head_is_on_the_device_of_the_embeddings():
    asked = Needs([10 << 20] * 4, 0, 30 << 20, True, 0, 0)
    found = placement.place(asked, {"cuda:0": 60 << 20, "cuda:1": 45 << 20})
    assert (found.first, found.head_on) == ("cuda:0", "cuda:0")
    assert (
        found.in_words()
        == "layer 0 with the embeddings and the head on cuda:0, layers 1-3 on cuda:1"
    )
    assert found.without(Block(0, 2)).layers == ("cuda:1", "cuda:1")


@pytest.fixture
def two_cards(monkeypatch):
    """A machine that says it has two cards; nothing is put on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (GB, 2 * GB))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))


def test_devices_that_are_not_there_are_refused(two_cards, monkeypatch):
    with pytest.raises(
        SpecError,
        match="'cuda:3' is not available: this machine offers cpu, cuda, cuda:0, cuda:1, cuda:all",
    ):
        machine.choose_device("cuda:3")
    assert machine.choose_device("cuda:all").reason == "cuda:all: all 2 GPUs, chosen by you"
    assert machine.choose_device("auto").reason == "cuda: Card and 1 more are available"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        SpecError,
        match="'cuda:all' is not available: this machine offers cpu, cuda, cuda:0[.] Choose one",
    ):
        machine.choose_device("cuda:all")


def plan(tiny_folder, device: str, needed: int, monkeypatch) -> planning.Plan:
    monkeypatch.setattr(planning, "_WORKING_TOKENS", 1)
    monkeypatch.setattr(planning.sizes, "weight_bytes", lambda *_, **__: needed)
    return planning.plan(ModelSpec(str(tiny_folder("llama")), dtype="float32", device=device))


@pytest.mark.parametrize(
    ("device", "needed", "where"),
    [
        ("auto", GB // 2, "cuda"),
        ("cuda", GB + 1, "cuda x2"),
        ("auto", GB + 1, "cuda x2"),
        ("cuda:1", GB + 1, "cuda:1"),
        ("cuda:all", GB // 2, "cuda x2"),
    ],
)
def test_models_use_one_gpu_if_enough_else_all(
    two_cards, tiny_folder, monkeypatch, device, needed, where
):
    planned = plan(tiny_folder, device, needed, monkeypatch)
    assert planned.where == where
    assert planned.fits == (device != "cuda:1")
    assert planned.spec.device == ("cuda" if device == "auto" else device), (
        "the number of GPUs is not part of the request"
    )
    if planned.placement is not None:
        assert planned.free_bytes == 2 * GB
        assert (
            "1.0 GB on cuda:0, 1.0 GB on cuda:1), so it is spread over 2 of them: layers 0-"
            in planned.how
        )
        assert planned.modules[""] == "cuda:0"
        assert planned.modules["lm_head"] == planned.modules["model.norm"] == "cuda:1"
        assert planned.modules.keys() == {
            "",
            "model.norm",
            "lm_head",
            *(f"model.layers.{index}" for index in range(6)),
        }
        assert planned.versions()["device"] == "cuda x2"


def test_8_bit_weights_stay_on_one_card(two_cards, tiny_folder, monkeypatch):
    monkeypatch.setattr(planning, "_WORKING_TOKENS", 1)
    folder = str(tiny_folder("llama"))
    with pytest.raises(
        SpecError,
        match=(
            "8bit weights cannot be spread over several GPUs. Choose quantization none or 4bit, or"
            " device cuda"
        ),
    ):
        planning.plan(ModelSpec(folder, device="cuda:all", quantization="8bit"))
    monkeypatch.setattr(planning.sizes, "weight_bytes", lambda *_, **__: GB + 1)
    assert planning.plan(ModelSpec(folder, device="cuda", quantization="8bit")).placement is None
    assert (
        planning.plan(ModelSpec(folder, device="cuda", quantization="4bit")).placement is not None
    )


def test_too_little_memory_lists_the_free_memory_of_each_gpu(two_cards, tiny_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2_000_000, GB))
    with pytest.raises(
        NotEnoughMemoryError,
        match=r"only 4\.0 MB are free on 2 GPUs \(2\.0 MB on cuda:0, 2\.0 MB on cuda:1\)",
    ):
        load.load(ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cuda"))


def test_hooks_of_transformers_for_several_devices_are_removed():
    decoder = architecture.find_decoder(build("llama"))
    for module in decoder.model.modules():
        add_hook_to_module(module, AlignDevicesHook(io_same_device=True))
    decoder.model.hf_device_map = {"": "cpu"}
    placement.spread(decoder, Placement("cpu", ("cpu",) * 6, "cpu"))
    assert not any(
        hasattr(module, "_hf_hook") or "forward" in vars(module)
        for module in decoder.model.modules()
    )
    assert not hasattr(decoder.model, "hf_device_map")


def test_a_family_that_mixes_its_layers_is_refused():
    decoder = architecture.find_decoder(build("llama"))

    def mixes(*args, **kwargs):
        raise RuntimeError("Expected all tensors to be on the same device")

    decoder.body.forward = mixes
    with pytest.raises(
        UnsupportedModelError,
        match="cannot be spread over 2 devices. Choose one device that fits all of it",
    ):
        placement.spread(decoder, Placement("cpu", ("cpu",) * 6, "cpu:0"))
