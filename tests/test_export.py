"""Exports: folders that plain transformers loads, recipes for mergekit, nothing half-written."""

import json
import subprocess
import sys

import pytest
import torch
import transformers

from analysis import export, models
from analysis.blocks import Block
from analysis.errors import BlockRangeError, SpecError, StorageError
from analysis.pruning import without_block
from analysis.specs import ModelSpec

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def spec(tiny_folder):
    return ModelSpec(str(tiny_folder("qwen3")), dtype="float32")


def test_the_folder_loads_in_plain_transformers_and_gives_the_what_if_logits(spec, tmp_path):
    block = Block(2, 3)
    out = export.export(spec, block, tmp_path / "out")
    reloaded = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    loaded = models.load(spec)
    with torch.inference_mode(), without_block(loaded.decoder, block):
        torch.testing.assert_close(reloaded(ids).logits, loaded.model(ids, use_cache=False).logits)
    assert reloaded.config.num_hidden_layers == len(reloaded.config.layer_types) == 3
    cached, plain = (reloaded.generate(ids, max_new_tokens=8, do_sample=False, use_cache=use) for use in (True, False))
    assert torch.equal(cached, plain)
    card = json.loads((out / "layerscope.json").read_text())
    assert card["removed"]["layers"] == [2, 3, 4]
    assert models.load(ModelSpec(str(out))).facts.n_layers == 3  # and Layerscope itself opens it again


def test_plain_transformers_needs_no_code_of_ours(spec, tmp_path):
    out = export.export(spec, Block(0, 2), tmp_path / "out")
    code = f"from transformers import pipeline; print(pipeline('text-generation', {str(out)!r})('Hi', max_new_tokens=3))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "generated_text" in ran.stdout


def test_mergekit_ranges_are_half_open(spec, tmp_path):
    out = export.export(spec, Block(2, 3), tmp_path / "out", format="mergekit")
    text = (out / "mergekit.yaml").read_text()
    assert "layer_range: [0, 2]" in text
    assert "layer_range: [5, 6]" in text
    assert "layers 2-4 (3 layers), block [2, 5) of 6 layers" in text
    assert export.mergekit_recipe("m", Block(0, 2), 6, "bfloat16").count("layer_range") == 1


def test_what_cannot_work_is_one_sentence(spec, tmp_path, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(SpecError, match="not empty"):
        export.export(spec, Block(1, 1), tmp_path / "used")
    with pytest.raises(SpecError, match="format must be one of"):
        export.export(spec, Block(1, 1), tmp_path / "x", format="onnx")
    with pytest.raises(BlockRangeError):
        export.export(spec, Block(4, 3), tmp_path / "x")
    with pytest.raises(SpecError, match="quantized model is not exported"):
        export.export(ModelSpec(spec.source, quantization="4bit"), Block(1, 1), tmp_path / "x")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(StorageError, match=r"needs about \d+\.\d GB on disk"):
        export.export(spec, Block(1, 1), tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir() if "cache" not in path.name) == ["used"]


def test_a_full_disk_while_saving_leaves_nothing(spec, tmp_path, monkeypatch):
    def full(self, folder, *args, **kwargs):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", full)
    with pytest.raises(StorageError, match="no space left"):
        export.export(spec, Block(1, 1), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
