"""A GGUF file is converted once: the folder holds the same model to the bit, and is read from then
on.
"""

import dataclasses
import shutil
from collections import namedtuple

import gguf as library
import pytest
import torch
from transformers import AutoModelForCausalLM, GgufConfig

from analysis.core import sandbox
from analysis.core.errors import SpecError
from analysis.data import starter
from analysis.models.loading import load, machine, tokenizer
from analysis.models.source import conversions, location
from analysis.models.source.model_spec import ModelSpec
from tests.support import gguf_files
from tests.support.levels import few
from tests.support.on_disk import load_from_disk


@pytest.fixture
def looks(monkeypatch):
    """How often a GGUF file was taken apart."""
    counted, own = [], library.GGUFReader

    class Counted(own):
        def __init__(self, path, *given):
            counted.append(path)
            super().__init__(path, *given)

    monkeypatch.setattr(library, "GGUFReader", Counted)
    return counted


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("architecture", few(["llama", "gemma2", "qwen3moe", "gpt2"], "gpt2"))
def test_converted_model_is_the_same_to_the_bit(tmp_path, looks, architecture):
    file = gguf_files.write(tmp_path / "m.gguf", architecture)
    looks.clear()
    spec = ModelSpec(str(file), dtype="float32", device="cpu")
    first = load.load(spec)
    assert len(looks) == 1
    again = load.load(spec)
    assert len(looks) == 1
    assert again.spec == first.spec
    plain = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    expected, found = plain.state_dict(), again.model.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert library.GGUFReader.__name__ == "Counted"


def test_starter_is_read_once_without_a_trial(tmp_path, looks, monkeypatch):
    file = gguf_files.write(tmp_path / "m.gguf", "llama")
    looks.clear()
    monkeypatch.setattr(tokenizer, "_passed", set())
    monkeypatch.setattr(starter, "gguf_file", lambda: file)
    monkeypatch.setattr(
        sandbox, "answer", lambda *given, **named: pytest.fail("its tokenizer was tried out")
    )
    loaded = load.load(ModelSpec("starter", dtype="float32", device="cpu"))
    assert conversions.is_converted(loaded.spec.identity)
    assert len(looks) == 1


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_gguf_file_is_quantized_as_the_folder_of_its_weights(tmp_path, quantization):
    file = gguf_files.write(tmp_path / "m.gguf", "llama")
    spec = ModelSpec(str(file), dtype="float32", device="cpu", quantization=quantization)
    quantized = load.load(spec)
    folder = conversions.folder_of(location.locate(spec).identity)
    expected = load.load(dataclasses.replace(spec, source=str(folder))).model.state_dict()
    assert any(weight.dtype in (torch.uint8, torch.int8) for weight in expected.values())
    assert expected.keys() == quantized.model.state_dict().keys()
    assert all(
        torch.equal(weight, quantized.model.state_dict()[name]) for name, weight in expected.items()
    )


@pytest.mark.long
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_short_disk_or_memory_reads_the_gguf_file_with_notice(tmp_path, monkeypatch, place):
    file = gguf_files.write(tmp_path / "m.gguf", "llama")
    if place == "memory":
        free = iter([machine.free_bytes("cpu"), 100_000])  # for the plan, and for the conversion
        monkeypatch.setattr(machine, "free_bytes", lambda device: next(free))
    else:
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 100_000))
    told = []
    load.load(ModelSpec(str(file), dtype="float32", device="cpu"), told.append)
    assert any("is unpacked at every start" in one.message and place in one.message for one in told)
    if place == "disk":
        quantized = ModelSpec(str(file), dtype="float32", device="cpu", quantization="8bit")
        for load_quantized in (load.load, load_from_disk):
            with pytest.raises(
                SpecError,
                match="memory or disk is too small for that folder.*choose quantization none",
            ):
                load_quantized(quantized)
    assert not conversions.stored_conversions()


def test_conversions_are_listed_and_made_again_after_deletion(tmp_path):
    file = gguf_files.write(tmp_path / "m.gguf", "llama")
    spec = ModelSpec(str(file), dtype="float32", device="cpu")
    identity = load.load(spec).spec.identity
    [(kept_identity, name, n_bytes)] = conversions.stored_conversions()
    assert (kept_identity, name) == (identity, "m.gguf")
    assert conversions.delete(identity) == n_bytes > 100_000
    assert conversions.stored_conversions() == []
    assert conversions.delete(identity) == 0
    assert load.load(spec).spec.identity == identity
