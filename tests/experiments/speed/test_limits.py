"""`make bench-limits`: the stages of a run add up to it, and no limit is above the time that a run took."""

import time

import pytest
import torch

from analysis.data import questions
from analysis.models.architecture import decoder as architecture
from benchmarks import limits, stages
from benchmarks.stages import Event
from tests.support.families import build

WHOLE = "layerscope: Python between operations"


def test_own_time_of_each_event_belongs_to_one_stage():
    profile = stages.attributed(
        [
            Event(WHOLE, 0, 100_000),
            Event("layerscope: tokenizing", 10_000, 30_000),
            Event("aten::copy_", 12_000, 20_000),
            Event("aten::linear", 40_000, 70_000),
            Event("aten::mm", 45_000, 65_000, shapes=((8, 4), (4, 2)), dtype="float"),
            Event("aten::mm", 72_000, 80_000, shapes=((8, 4), (4, 2)), dtype="double"),
            Event("aten::copy_", 80_000, 90_000),
        ],
        "float",
    )
    microseconds = {stage: round(seconds * 1e6) for stage, seconds in profile.seconds.items()}
    assert microseconds == {
        stages.TOKENIZING: 20,
        stages.PRODUCTS: 28,
        stages.COPIES: 10,
        stages.OTHER: 10,
        stages.PYTHON: 32,
    }
    assert profile.whole_s == pytest.approx(100e-6)
    assert profile.flop == 2 * 8 * 4 * 2, "products of another dtype are no part of the limit"


def test_backward_pass_belongs_to_the_stage_of_its_forward_pass():
    profile = stages.attributed(
        [
            Event(WHOLE, 0, 100),
            Event("layerscope: adapters", 0, 10),
            Event("aten::mm", 0, 10, sequence=7),
            Event("aten::mm", 10, 20, sequence=8),
            Event("autograd::engine::evaluate_function: MmBackward0", 50, 70, sequence=8, is_backward=True),
            Event("aten::mm", 50, 70),
            Event("autograd::engine::evaluate_function: MmBackward0", 70, 100, sequence=7, is_backward=True),
            Event("aten::mm", 70, 100),
        ],
        "float",
    )
    seconds = {stage: round(value * 1e9) for stage, value in profile.seconds.items()}
    assert seconds == {stages.ADAPTERS: 40, stages.PRODUCTS: 30, stages.PYTHON: 30}


def test_products_in_unpacked_weights_are_products():
    profile = stages.attributed([Event(WHOLE, 0, 9), Event("bitsandbytes::x", 0, 9), Event("aten::mm", 4, 9)], "float")
    assert {stage: round(value * 1e9) for stage, value in profile.seconds.items()} == {stages.PRODUCTS: 5, stages.WEIGHTS: 4}


def test_a_product_that_adds_has_its_factors_shapes():
    shapes = ((5, 1), (5, 8), (8, 3), (), (), (5, 3))
    profile = stages.attributed([Event(WHOLE, 0, 9), Event("aten::addmm", 0, 9, shapes=shapes, dtype="float")], "float")
    assert profile.products == [stages.Product(1, 5, 8, 3, 9e-9)]


def test_products_of_attention_count_in_any_dtype():
    product = Event("aten::bmm", 2, 9, shapes=((6, 4, 16), (6, 16, 5)), dtype="float")
    profile = stages.attributed([Event(WHOLE, 0, 9), Event("layerscope: attention", 0, 9), product], "c10::BFloat16")
    assert {stage: round(value * 1e9) for stage, value in profile.seconds.items()} == {stages.ATTENTION: 9}
    assert profile.flop == 2 * 6 * 4 * 16 * 5
    assert profile.products == []


def test_attention_counts_half_of_a_causal_square():
    shape = (2, 3, 8, 16)
    kernel = "aten::_scaled_dot_product_flash_attention_for_cpu"
    square = stages.attributed([Event(WHOLE, 0, 9), Event(kernel, 0, 9, shapes=(shape, shape, shape))], "float")
    assert square.flop == 2 * (2 * 2 * 3 * 8 * 8 * 16) / 2
    wide = (2, 3, 24, 16)
    mask = (2, 1, 8, 24)
    others = stages.attributed([Event(WHOLE, 0, 9), Event(kernel, 0, 9, shapes=(shape, wide, wide, mask))], "float")
    assert others.flop == 2 * (2 * 2 * 3 * 8 * 24 * 16)
    back = Event(f"{kernel}_backward", 0, 9, shapes=(shape, shape, wide, wide, shape))
    assert stages.attributed([Event(WHOLE, 0, 9), back], "float").flop == 4 * (2 * 2 * 3 * 8 * 24 * 16)


def test_stages_of_a_tiny_model_add_up_to_its_run():
    decoder = architecture.find_decoder(build("llama"))
    ids = torch.randint(0, 100, (4, 64))
    took = []

    def run() -> None:
        started = time.perf_counter()
        with torch.inference_mode():
            for _ in range(5):
                decoder.logits(decoder.body(input_ids=ids, use_cache=False)[0])
        took.append(time.perf_counter() - started)

    profile = stages.take(run, "float32")
    assert profile.whole_s == pytest.approx(took[0], rel=0.1, abs=0.1)
    assert {stages.PRODUCTS, stages.ATTENTION, stages.HEAD, stages.PYTHON} <= profile.seconds.keys()
    assert min(profile.seconds.values()) > 0
    head = decoder.head.weight.numel()
    n_weights = sum(weight.numel() for layer in decoder.layers for weight in layer.parameters() if weight.dim() > 1)
    products = sum(product.flop for product in profile.products)
    assert products == pytest.approx(5 * 2 * ids.numel() * (n_weights + head), rel=1e-6)
    assert stages.limit(profile, "float32").seconds <= profile.whole_s


def test_a_run_of_products_alone_stays_below_its_limit(monkeypatch):
    monkeypatch.setattr(stages, "_COPIED_BYTES", 1 << 20)
    left, right = torch.randn(512, 512), torch.randn(512, 512)
    profile = stages.take(lambda: [left @ right for _ in range(20)], "float32")
    limit = stages.limit(profile, "float32")
    assert limit.flop == 20 * 2 * 512**3
    assert 0.02 < limit.compute_s / profile.whole_s <= 1.05


def test_adapters_count_apart_from_the_weights_beside_them():
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_layer = torch.nn.Linear(64, 64)
            self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(64, 4)})

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.base_layer(states).sum() + self.lora_A["default"](states).sum()

    layer = stages.watch_adapters(Layer())
    seconds = stages.take(lambda: layer(torch.randn(8, 64)).backward(), "float32").seconds
    assert seconds[stages.ADAPTERS] > 0
    assert seconds[stages.PRODUCTS] > 0


def test_regions_are_taken_off_again():
    before = questions.load
    with stages.laid(stages.REGIONS):
        assert questions.load is not before
    assert questions.load is before


def test_parts_of_a_release_add_up_to_it():
    traffic = [
        {"at": 1010.0, "sent": True},
        {"at": 1060.0, "sent": False},
        {"at": 1080.0, "sent": False},
        {"at": 1150.0, "sent": False},
    ]
    parts = limits.page_parts(100.0, 1000.0, traffic)
    assert {part: round(seconds * 1e3) for part, seconds in parts.items()} == {
        limits.BEFORE: 10,
        limits.ANSWER: 50,
        limits.ARRIVAL: 20,
        limits.DRAWING: 20,
    }


def test_a_measured_kind_of_work_is_described_with_its_shares():
    found = limits.Measured("map", {stages.PRODUCTS: 3.0, stages.PYTHON: 1.0}, 2.0, "a reason", cpu_s=2.5)
    assert found.describe().splitlines() == [
        "map: 4.00 s, 50% of the limit, 80% by CPU seconds (2.50 s a thread)",
        "   75.0%      3.00 s  matrix products",
        "   25.0%      1.00 s  Python between operations",
        "  limit 2.00 s: a reason",
    ]
    assert "| map | 4.00 s | 2.00 s | 50% | 80% | matrix products 75%" in limits.table([found])


def test_an_unknown_kind_of_work_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["limits.py", "--only", "curve,cook"])
    with pytest.raises(SystemExit):
        limits.main()
    assert "no kind of work cook: choose from curve, map, heal, instant, search, page" in capsys.readouterr().err
