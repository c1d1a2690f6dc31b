"""How a GGUF file stretches positions is read as its own program computes it, or the file is
refused.
"""

import os
import time

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from transformers import Gemma3TextConfig, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from analysis.core.errors import UnsupportedModelError
from analysis.models.source import gguf

THETA, HEAD = 500_000.0, 128


def file(tmp_path, architecture="llama", divisors=None, tables=False, **scaling):
    """A GGUF file that says so, and has nothing else in it."""
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, architecture)
    for key, value in scaling.items():
        name = f"{architecture}.rope.scaling.{key}"
        (
            writer.add_string(name, value)
            if isinstance(value, str)
            else writer.add_float32(name, value)
        )
    writer.add_tensor("output_norm.weight", np.ones(4, np.float32))
    if divisors is not None:
        writer.add_tensor("rope_freqs.weight", np.asarray(divisors, np.float32))
    if tables:
        writer.add_tensor("rope_factors_long.weight", np.ones(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama(**scaling):
    return LlamaConfig(
        hidden_size=2 * HEAD,
        num_attention_heads=2,
        head_dim=HEAD,
        max_position_embeddings=131_072,
        rope_parameters={"rope_type": "default", "rope_theta": THETA, **scaling},
    )


def frequencies(config):
    return LlamaRotaryEmbedding(config).inv_freq.double()


@pytest.mark.parametrize(("age_s", "n_readings"), [(60, 2), (0, 4)])
def test_a_header_is_read_once_for_a_settled_file(tmp_path, monkeypatch, age_s, n_readings):
    readings, reader = [], gguf._HeaderReader
    monkeypatch.setattr(
        gguf, "_HeaderReader", lambda content: readings.append(1) or reader(content)
    )
    for factor in (2.0, 4.0):  # of one size
        path = file(tmp_path, type="linear", factor=factor)
        then = time.time() - age_s - factor
        os.utime(path, (then, then)) if age_s else None
        for _ in range(2):
            settings, tensors = gguf.contents(path)
            assert settings.pop("llama.rope.scaling.factor") == factor
            assert [entry.name for entry in tensors] == ["output_norm.weight"]
    assert len(readings) == n_readings


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_the_divisors_of_llama_3_are_its_rule(tmp_path, factor):
    rule = {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    }
    expected = frequencies(llama(**rule, original_max_position_embeddings=8192))
    divisors = frequencies(llama()) / expected  # as llama.cpp's converter writes them
    config = llama()
    gguf.complete(config, file(tmp_path, divisors=divisors.numpy()))
    assert config.rope_parameters["rope_type"] == "llama3"
    assert torch.equal(frequencies(config), expected)


@pytest.mark.parametrize("divisors", [None, np.ones(HEAD // 2)])
def test_neutral_divisors_leave_positions_unchanged(tmp_path, divisors):
    config = llama()
    gguf.complete(config, file(tmp_path, divisors=divisors, type="none"))
    assert torch.equal(frequencies(config), frequencies(llama()))


def test_linear_factor_applies_to_full_attention_layers(tmp_path):
    config = llama()
    gguf.complete(config, file(tmp_path, type="linear", factor=4.0))
    torch.testing.assert_close(frequencies(config), frequencies(llama()) / 4)
    gemma = Gemma3TextConfig()
    before = dict(gemma.rope_parameters["sliding_attention"])
    gguf.complete(gemma, file(tmp_path, "gemma3", type="linear", factor=8.0))
    assert (
        gemma.rope_parameters["full_attention"] | {"rope_type": "linear", "factor": 8.0}
        == gemma.rope_parameters["full_attention"]
    )
    assert gemma.rope_parameters["sliding_attention"] == before


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            {"type": "yarn", "factor": 4.0},
            "scales its rotary positions by the rule yarn, which Layerscope cannot read",
        ),
        (
            {"divisors": np.linspace(1, 3, HEAD // 2)},
            "with frequency divisors that differ from those of Llama 3.1",
        ),
        ({"divisors": [1.0, 8.0]}, "with frequency divisors that differ from those of Llama 3.1"),
        ({"tables": True}, "with separate tables for short and long texts"),
    ],
    ids=["yarn", "other divisors", "too few", "longrope"],
)
def test_scaling_beyond_a_configuration_is_refused(tmp_path, told, sentence):
    with pytest.raises(UnsupportedModelError, match=sentence):
        gguf.complete(llama(), file(tmp_path, **told))
