"""Adapters: on the feed-forward modules and nowhere else, changing nothing at first, and plain PEFT
on disk.
"""

import copy
import json

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers.pytorch_utils import Conv1D

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.experiments.heal import adapter_files
from analysis.experiments.heal import adapters as heal_adapters
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.architecture.decoder import find_decoder
from analysis.models.architecture.matrices import feed_forward_matrices
from analysis.models.loading import quantized_products
from analysis.models.running import adapters, pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import families

BLOCK = Block(2, 2)
SPEC = HealSpec(block=BLOCK, model=ModelSpec("someone/tiny"), r=4)
EXPECTED = {
    "llama": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "gemma2": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "phi": {"mlp.fc1", "mlp.fc2"},
    "phi3": {"mlp.gate_up_proj", "mlp.down_proj"},
    "gpt_neox": {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    "gpt2": {"mlp.c_fc", "mlp.c_proj"},  # and not attn.c_proj
    "opt": {"fc1", "fc2"},
}
DENSE = [family for family in families.FAMILIES if "moe" not in family]


def cut_model(family: str = "llama"):
    model = families.build(family)
    decoder = find_decoder(model)
    pruning.cut(decoder, BLOCK)
    return model, decoder


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 35)[None]).logits


def adapted(model) -> set[str]:
    """Names of the modules that carry LoRA, without PEFT's prefix."""
    return {
        name.removeprefix("base_model.model.")
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


@pytest.mark.parametrize("family", DENSE)
def test_exactly_the_feed_forward_modules_of_every_layer_are_adapted(family):
    model, decoder = cut_model(family)
    wanted = feed_forward_matrices(decoder).modules
    weights = {
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    assert set(wanted) <= weights
    assert not [name for name in wanted if "attn" in name or "attention" in name]
    if family in EXPECTED:
        per_layer = {
            tuple(name.split("layers." if ".layers." in name else "h.", 1)[1].split(".", 1))
            for name in wanted
        }
        assert per_layer == {(str(layer), part) for layer in range(4) for part in EXPECTED[family]}
    before = logits(model)
    healed = heal_adapters.attach(decoder, SPEC, 0).eval()
    assert adapted(healed) == set(wanted)
    assert torch.equal(logits(healed), before)  # B starts at 0


def test_only_lora_weights_are_trainable_in_float32():
    _, decoder = cut_model()
    healed = heal_adapters.attach(decoder, SPEC, 0)
    trainable = {
        name: parameter for name, parameter in healed.named_parameters() if parameter.requires_grad
    }
    assert all("lora_" in name for name in trainable)
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}
    assert sum(parameter.numel() for parameter in trainable.values()) == 4 * 3 * 4 * (
        32 + 48
    )  # layers x modules x r x (in + out)


def test_the_start_is_a_function_of_the_seed():
    def start(seed):
        return {
            name: value.clone()
            for name, value in heal_adapters.attach(cut_model()[1], SPEC, seed).named_parameters()
        }

    one, same, other = start(0), start(0), start(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_layer_without_a_known_feed_forward_part_is_refused():
    _, decoder = cut_model()
    decoder.layers[1].strange, decoder.layers[1].mlp = decoder.layers[1].mlp, nn.Identity()
    with pytest.raises(
        RecipeError, match="Layer 1 of this llama model has no known feed-forward part"
    ):
        feed_forward_matrices(decoder)


def perturbed():
    """A healed model whose adapter does something, and the same cut model without an adapter."""
    model, decoder = cut_model()
    plain = copy.deepcopy(model)
    healed = heal_adapters.attach(decoder, SPEC, 0).eval()
    with torch.no_grad():
        for name, parameter in healed.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return healed, plain


def test_saved_adapter_is_standard_peft(cache):
    healed, plain = perturbed()
    folder = adapter_files.save(healed, SPEC, base="someone/tiny", steps_done=7, key="heal")
    assert folder == cache / adapters.relative("heal")
    assert not torch.equal(logits(plain), logits(healed))
    again = PeftModel.from_pretrained(plain, folder)
    assert torch.equal(logits(again), logits(healed))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (
        4,
        4,
        "someone/tiny",
    )
    readme = (folder / "README.md").read_text()
    assert "layers 2-3 (2 layers)" in readme
    assert "7 of 50 steps" in readme
    assert HealSpec.from_json(json.loads((folder / "layerscope.json").read_text())["heal"]) == SPEC


def test_the_cards_own_code_runs(cache, tmp_path):
    healed, _ = perturbed()
    base = tmp_path / "base"
    families.build("llama").save_pretrained(base)
    folder = adapter_files.save(healed, SPEC, base=str(base), steps_done=1, key="heal")
    code = [
        line[4:]
        for line in (folder / "README.md").read_text().splitlines()
        if line.startswith("    ")
    ]
    names: dict = {}
    exec("\n".join(code).replace("this folder", str(folder)), names)
    assert torch.equal(logits(names["model"].eval()), logits(healed))


def test_an_evaluation_leaves_4bit_weights_differentiable():
    """bitsandbytes' repacked 4-bit weights have no backward pass: gradients were wrong without any
    error.
    """
    from bitsandbytes.nn import Linear4bit

    torch.manual_seed(0)
    layer = Linear4bit(
        64, 64, bias=False, quant_type="nf4", compress_statistics=True, compute_dtype=torch.float32
    ).to("cpu")
    quantized_products.prepare(nn.ModuleList([layer]))
    states = torch.randn(4, 64)
    with torch.no_grad():
        layer.eval()(states)  # would repack where the processor has AVX512-BF16
    assert not getattr(layer.weight.quant_state, "packing_format_for_cpu", False)
    states.requires_grad_()
    layer(states).sum().backward()
    weight = torch.autograd.functional.jacobian(layer, torch.zeros(64))  # (out, in)
    torch.testing.assert_close(states.grad, weight.sum(0).expand(4, 64))
