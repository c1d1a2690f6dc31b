"""Helpers of benchmarks: how work is counted and shown, and that each benchmark names its dtype."""

import importlib

import pytest
import torch

from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import operations
from analysis.models.loading import machine
from benchmarks import by_layer, work
from tests.support.families import build

COMPUTING = (
    "by_layer",
    "card",
    "cluster",
    "distance_speed",
    "evaluation_speed",
    "healing_speed",
    "limits",
    "scaling",
)


@pytest.mark.parametrize("name", COMPUTING)
def test_every_benchmark_that_computes_with_a_model_takes_a_dtype(name, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert "--dtype {" in capsys.readouterr().out


def test_work_counts_model_computation_within_it_and_adds_up():
    decoder = architecture.find_decoder(build("llama"))
    operations.watch(decoder)
    ids = torch.tensor([[5, 6, 7]])
    with work.metered() as once:
        decoder.model(ids)
    decoder.model(ids)
    total = work.Work()
    for _ in range(2):
        with work.metered(total):
            decoder.model(ids)
    assert once.layer_tokens == 3 * decoder.n_layers
    assert once.flop > 2 * 3 * decoder.head.weight.numel()
    assert once.seconds > 0
    assert (total.flop, total.layer_tokens) == (2 * once.flop, 2 * once.layer_tokens)


def test_the_typical_repeat_has_the_median_of_each_figure():
    found = [work.Work(3.0, 10.0, 4), work.Work(1.0, 10.0, 4), work.Work(2.0, 16.0, 4)]
    assert work.typical(found) == work.Work(2.0, 10.0, 4)


def test_work_is_taken_in_turns():
    done = []
    found = work.interleaved(2, ours=lambda: done.append("ours"), theirs=lambda: done.append("theirs"))
    assert done == ["ours", "theirs"] * 2
    assert {name: len(runs) for name, runs in found.items()} == {"ours": 2, "theirs": 2}


def test_speed_is_shown_with_the_speed_of_products_here(monkeypatch, capsys):
    monkeypatch.setattr(machine, "_measured_flop_s", lambda *_: 2e11)
    monkeypatch.setattr(machine, "_keep", lambda key, value: value)
    monkeypatch.setattr(machine, "_cached_content", lambda file: {})
    monkeypatch.setattr(work, "_lasting_flop_s", lambda device, dtype: 1.6e11)
    place = work.here("bfloat16", "cpu")
    told = capsys.readouterr().out
    assert told.startswith(machine.cpu_name() + ", load ")
    assert told.endswith(", products reach 200 GFLOP/s in bfloat16, and 160 over a second\n")
    assert place.speed(work.Work(2.0, 1e11)) == "50.0 GFLOP/s, 25% of the peak"


def test_a_kept_model_of_another_size_or_dtype_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"dtype": "bfloat16", "num_hidden_layers": 6}')
    (tmp_path / "model-0.safetensors").write_bytes(b"12345")
    assert by_layer.written(tmp_path, 6, "bfloat16") == 5
    for n_layers, dtype in ((6, "float32"), (8, "bfloat16")):
        with pytest.raises(SystemExit, match="has 6 layers in bfloat16, not"):
            by_layer.written(tmp_path, n_layers, dtype)
