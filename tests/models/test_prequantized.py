"""Checkpoints that are stored quantized: unpacked to the very numbers that their codes stand for,
or refused in a sentence.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GptOssConfig

from analysis.core.errors import SpecError, UnsupportedModelError
from analysis.models.loading import load, planning
from analysis.models.source.model_spec import ModelSpec
from tests.support.families import build

pytestmark = pytest.mark.usefixtures("cache", "no_trial")
BLOCK = 16
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
"""Values of the codes 0 to 7 of MXFP4; those from 8 on are the same with a minus."""


def stored(folder: Path, model, tokenizer, weights: Mapping[str, Tensor], told: dict) -> Path:
    """A checkpoint of these weights whose configuration says so."""
    folder.mkdir()
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": told}))
    save_file(
        {name: weight.contiguous() for name, weight in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return folder


def fp8(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return matrices of layers as codes with a scale for each square of them; and the values of
    the codes.
    """
    codes, meant = dict(weights), dict(weights)
    for name, weight in weights.items():
        if ".layers." not in name or weight.ndim != 2:
            continue
        rows, columns = weight.shape
        squares = weight.view(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scale = squares.abs().amax((1, 3), keepdim=True) / 448
        code = (squares / scale).to(torch.float8_e4m3fn)
        codes[name] = code.reshape(rows, columns)
        codes[name.replace(".weight", ".weight_scale_inv")] = scale.reshape(
            rows // BLOCK, columns // BLOCK
        )
        meant[name] = (code.float() * scale).reshape(rows, columns)
    return codes, meant


def mxfp4(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return experts as random codes, two in a byte, with a power of two for each 32 of them; and
    the values of the codes.
    """
    codes, meant = dict(weights), dict(weights)
    draw = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            continue
        experts, into, out = weight.shape
        low, high = torch.randint(0, 16, (2, experts, out, into // 32, 16), generator=draw)
        powers = torch.randint(120, 126, (experts, out, into // 32), generator=draw)
        del codes[name]
        codes[f"{name}_blocks"], codes[f"{name}_scales"] = (
            (low + 16 * high).to(torch.uint8),
            powers.to(torch.uint8),
        )
        values = torch.tensor([*E2M1, *(-value for value in E2M1)])[torch.stack([low, high], -1)]
        scaled = values.flatten(-2) * 2.0 ** (powers[..., None] - 127)
        meant[name] = scaled.flatten(-2).transpose(1, 2).contiguous()
    return codes, meant


def gpt_oss(vocab_size: int):
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        pad_token_id=0,
    )
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", ["fp8", "mxfp4"])
def test_loaded_weights_equal_their_codes_in_a_plain_model(
    small_tokenizer, tmp_path, capfd, way, dtype
):
    model = (
        build("llama", vocab_size=len(small_tokenizer))
        if way == "fp8"
        else gpt_oss(len(small_tokenizer))
    )
    codes, meant = {"fp8": fp8, "mxfp4": mxfp4}[way](model.state_dict())
    told = {"quant_method": way} | ({"weight_block_size": [BLOCK, BLOCK]} if way == "fp8" else {})
    assert len(codes) > len(meant)
    loaded = load.load(
        ModelSpec(
            str(stored(tmp_path / way, model, small_tokenizer, codes, told)),
            dtype=dtype,
            device="cpu",
        )
    )
    assert loaded.facts.weights_format == told["quant_method"].upper()
    found = loaded.model.state_dict()
    assert set(found) == set(meant)
    for name, weight in meant.items():
        assert torch.equal(found[name], weight.to(getattr(torch, dtype))), name
    assert getattr(loaded.model.config, "quantization_config", None) is None
    assert "requires" not in capfd.readouterr().err, (
        "no message asks for a package that would change the scores"
    )


@pytest.mark.parametrize(
    ("told", "called"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "'gptq'"),
        ({"load_in_8bit": True}, "'bitsandbytes'"),
        ({"quant_method": "of tomorrow"}, "'of tomorrow'"),
    ],
)
def test_unsupported_quantized_formats_are_refused_with_an_alternative(
    small_tokenizer, tmp_path, told, called
):
    model = build("llama", vocab_size=len(small_tokenizer))
    folder = stored(tmp_path / "model", model, small_tokenizer, {}, told)
    with pytest.raises(
        UnsupportedModelError, match=f"are quantized with {called}.*Use the original model"
    ):
        planning.plan(ModelSpec(str(folder), device="cpu"))


def test_stored_quantized_weights_are_not_quantized_again(small_tokenizer, tmp_path):
    model = build("llama", vocab_size=len(small_tokenizer))
    folder = stored(tmp_path / "model", model, small_tokenizer, {}, {"quant_method": "fp8"})
    with pytest.raises(
        SpecError,
        match=(
            "already quantized as FP8, so they cannot be quantized again. Choose quantization none"
        ),
    ):
        planning.plan(ModelSpec(str(folder), device="cpu", quantization="4bit"))
