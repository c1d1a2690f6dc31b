"""Heals of mixtures of experts, held against the same model with W + BA written into its weights,
expert by expert.
"""

from operator import attrgetter

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError
from analysis.experiments.heal import adapter_files, adapters, junction, projection
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.architecture.decoder import find_decoder
from analysis.models.architecture.matrices import feed_forward_matrices
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import families
from tests.zoo import models

BLOCK = Block(2, 2)
_IDS = torch.arange(3, 35)[None]
_DENSE = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
_EXPERTS = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}
_SHARED = {f"mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down")}
_GRANITE = {"block_sparse_moe.experts.gate_up_proj", "block_sparse_moe.experts.down_proj"}
ADAPTED = {
    "mixtral": [_EXPERTS] * 4,
    # Dense at first; PEFT would take all of these names but those of the experts for an older
    # layout of the experts.
    "deepseek_v3": [_DENSE, *[_EXPERTS | _SHARED] * 3],
    "gpt_oss": [_EXPERTS] * 4,  # its tensors are (n_experts, in, out)
    "granitemoeshared": [_GRANITE | {"shared_mlp.input_linear", "shared_mlp.output_linear"}] * 4,
}
"""By family, the weights of each layer that a LoRA adapts."""


def cut_model(name):
    decoder = find_decoder(models.build(name))
    pruning.cut(decoder, BLOCK)
    decoder.model.requires_grad_(False)
    return decoder


def logits(model):
    return model(input_ids=_IDS, use_cache=False).logits


def healed(name, **own):
    """A model with an adapter that does something, and the logits before."""
    decoder = cut_model(name)
    with torch.no_grad():
        before = logits(decoder.model)
    model = adapters.attach(
        decoder, HealSpec(**{"block": BLOCK, "model": ModelSpec("someone/tiny"), "r": 3} | own), 0
    ).eval()
    with torch.no_grad():
        assert torch.equal(logits(model), before)
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model, before


def factors(model):
    """By weight, the two factors of its change, (n_experts, r, in) and (n_experts, out, r), and
    their gradients.
    """
    found = {}
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            own = getattr(module, "parameter_name", "weight")
            weight = attrgetter(own)(module.get_base_layer())
            n_experts = len(weight) if weight.dim() == 3 else 1

            def both(
                a, b, n=n_experts
            ):  # PEFT keeps one expert behind the other in the one, and in turn in the other
                return a.view(n, -1, a.shape[1]), b.view(len(b), -1, n).permute(2, 0, 1)

            first, second = module.lora_A["default"].weight, module.lora_B["default"].weight
            turned = weight.dim() == 3 and getattr(module.get_base_layer(), "is_transposed", False)
            grads = None if first.grad is None else both(first.grad, second.grad)
            found[f"{name.replace('.base_layer', '')}.{own}"] = (
                *both(first.data, second.data),
                grads,
                turned,
            )
    return found


def written_into(decoder, found):
    """W + BA in the weights of a plain model."""
    for name, (a, b, _, turned) in found.items():
        change = b @ a
        weight = attrgetter(name)(decoder.model)
        weight.data += (change.transpose(1, 2) if turned else change).view_as(weight)
    return decoder.model


def names(found):
    """By layer, the weights in it."""
    inside = [name.removesuffix(".weight").split("layers.")[1].split(".", 1) for name in found]
    return [{name for layer, name in inside if int(layer) == index} for index in range(4)]


@pytest.mark.parametrize("name", ADAPTED)
def test_model_gradients_and_saved_adapter_match_the_weights_written_out(name, cache):
    model, before = healed(name)
    found = factors(model)
    assert names(found) == ADAPTED[name]
    torch.manual_seed(1)
    direction = torch.randn_like(before)
    changed = logits(model)
    (changed * direction).sum().backward()
    assert (changed - before).abs().max() > 0.05
    assert all(
        ("lora_" in one) == (weight.grad is not None) for one, weight in model.named_parameters()
    )

    plain = written_into(cut_model(name), found)
    for one in found:
        attrgetter(one)(plain).requires_grad_(True)
    expected = logits(plain)
    torch.testing.assert_close(changed, expected, rtol=1e-5, atol=1e-5)
    (expected * direction).sum().backward()
    for one, (a, b, (of_a, of_b), turned) in factors(model).items():
        gradient = attrgetter(one)(plain).grad
        gradient = (
            gradient.transpose(1, 2) if turned else gradient.view(len(a), b.shape[1], a.shape[2])
        )
        torch.testing.assert_close(of_a, b.transpose(1, 2) @ gradient, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(of_b, gradient @ a.transpose(1, 2), rtol=1e-4, atol=1e-4)

    folder = adapter_files.save(
        model, HealSpec(block=BLOCK, r=3), base="someone/tiny", steps_done=1, key=name
    )
    with torch.no_grad():
        again = PeftModel.from_pretrained(cut_model(name).model, folder).eval()
        assert torch.equal(logits(again), changed)
        torch.testing.assert_close(logits(again.merge_and_unload()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_linear_map_is_found_exactly_and_put_into_each_expert(name, monkeypatch):
    """The weights of a mixture compensate a layer that adds a linear map of the mixture's
    output.
    """
    monkeypatch.setattr(junction, "RIDGE", 1e-9)
    decoder = find_decoder(models.build(name))
    with torch.no_grad():
        for one, weight in decoder.model.named_parameters():
            if one.endswith("_bias"):
                weight.copy_(
                    0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
                )
    before = {one: value.clone() for one, value in decoder.model.state_dict().items()}
    own, mixture = projection.output_projection(decoder, 3)
    assert own == "model.layers.2.mlp"
    assert all(torch.equal(before[one], value) for one, value in decoder.model.state_dict().items())
    change = 0.3 * torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    kept = {}
    handle = projection.watched(mixture, lambda put_out: kept.update(out=put_out))
    decoder.layers[3].forward = lambda hidden_states, *args, **kwargs: (
        hidden_states + kept["out"] @ change.T
    )
    texts = families.own_texts(decoder, 12)
    found = junction.fit(decoder, Block(3, 1), texts, families.own_texts(decoder, 3, seed=1))
    assert (found.report.module, found.report.strength) == (own, 1.0)
    torch.testing.assert_close(found.changes[own], change, rtol=1e-2, atol=1e-2)
    with torch.no_grad():
        expected = logits(decoder.model)
        handle.remove()
        del decoder.layers[3].forward
        pruning.cut(decoder, Block(3, 1))
        decoder.model.requires_grad_(False)
        spec = HealSpec(block=Block(3, 1), instant=True, steps=0, r=3)
        model = adapters.attach(decoder, spec, 0, {own: change}).eval()
        torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
        assert not [
            one
            for one, w in model.named_parameters()
            if w.requires_grad and "layers.2.mlp.experts.lora_" in one
        ]
        torch.testing.assert_close(logits(model.merge_and_unload()), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["afmoe", "granitemoe"])
def test_module_behind_a_mixture_is_not_folded_into_it(name):
    """A norm stands behind it, or a factor of the residual."""
    decoder = find_decoder(models.build(name))
    if name == "granitemoe":
        for layer in decoder.layers:
            layer.residual_multiplier = 0.5
    with pytest.raises(RecipeError, match="a norm or a scale stands between"):
        projection.output_projection(decoder, 3)


def test_lora_adapts_attention_on_request():
    """AFMoE's attention has a `gate_proj`, which PEFT would take for one of the experts."""
    attention = {f"self_attn.{part}_proj" for part in ("q", "k", "v", "o", "gate")}
    for lora_on, others in (
        ("attention", [set()] * 4),
        ("both", [_DENSE, *[_EXPERTS | _SHARED] * 3]),
    ):
        model, _ = healed("afmoe", lora_on=lora_on)
        found = factors(model)
        assert names(found) == [attention | other for other in others]
        with torch.no_grad():
            expected = logits(written_into(cut_model("afmoe"), found))
            torch.testing.assert_close(logits(model), expected, rtol=1e-5, atol=1e-5)
    decoder = find_decoder(families.build("gpt2"))
    found = adapters.trained_matrices(decoder, HealSpec(block=BLOCK, lora_on="attention"))
    assert found.names == [
        f"transformer.h.{n}.attn.{part}" for n in range(6) for part in ("c_attn", "c_proj")
    ]


@pytest.mark.parametrize("name", ["deepseek_v3", "laguna"])
def test_weights_that_peft_misreads_are_refused_before_measuring(name, monkeypatch):
    """Modules of the names of older experts, as where they are quantized; and an adapter that it
    reads under other names.
    """
    if name == "deepseek_v3":
        monkeypatch.setattr(
            adapters, "_targets", lambda decoder, names: {name: name for name in names}
        )
    says = {
        "deepseek_v3": (
            "PEFT takes 12 weights of this deepseek_v3 model, such as model.layers.0.mlp.down_proj,"
            " for experts"
        ),
        "laguna": "PEFT cannot load its own adapter for this laguna model",
    }[name]
    spec = HealSpec(block=BLOCK, r=3)
    with pytest.raises(RecipeError, match=says):
        adapters.check(cut_model(name), spec)
    with pytest.raises(RecipeError, match=says):
        adapters.attach(cut_model(name), spec, 0)
    monkeypatch.undo()
    for fine in ("deepseek_v3", "jetmoe", "gpt_oss"):
        adapters.check(cut_model(fine), spec)


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("qwen2_moe", "mlp.shared_expert_gate"),
        ("hunyuan_v1_moe", "mlp.gate.wg"),
        ("afmoe", "mlp.router.gate"),
        ("jetmoe", "mlp.router.layer"),
    ],
)
def test_routers_and_gates_that_are_linear_modules_are_left_alone(name, gates):
    decoder = find_decoder(models.build(name))
    found = feed_forward_matrices(decoder)
    assert decoder.layers[3].get_submodule(gates) is not None
    assert not any(one.endswith(gates) for one in found.modules)
    assert found.experts
