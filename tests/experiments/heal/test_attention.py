"""Attention of packed rows in pieces: values and gradients of the full attention, under every mask that a row can have."""

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.experiments.heal import adapters, attention
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.training import Trainer
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from tests.experiments.heal.test_training import BLOCK
from tests.support import families


class Heads(torch.nn.Module):
    """An attention module as transformers passes it, with so many heads for each key."""

    def __init__(self, each: int) -> None:
        super().__init__()
        self.num_key_value_groups, self.is_causal = each, True


def documents(*rows: tuple[int, ...], window: int = 10**6) -> Tensor:
    """A mask of packed documents: each token sees those before it in its own document, as far as the window."""
    mask = torch.zeros(len(rows), 1, sum(rows[0]), sum(rows[0]), dtype=torch.bool)
    for row, lengths in enumerate(rows):
        ends = np.cumsum(lengths)
        for start, end in zip(ends - lengths, ends, strict=True):
            mask[row, 0, start:end, start:end] = torch.ones(end - start, end - start).tril().triu(1 - window).bool()
    return mask


def attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """All pairs, then the masked ones left out: the definition, in float64."""
    each = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
    scores = (query @ key.transpose(2, 3)) * scale
    seen = torch.ones(scores.shape[-2:]).tril().bool() if mask is None else mask
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value).transpose(1, 2)


MASKS = {
    "documents": documents((5, 40, 19), (64,), (1, 1, 62)),
    "one mask for all rows": documents((30, 34)),
    "local": documents((50, 14), (64,), (20, 44), window=7),
    "none": None,
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("longest", [7, 96])
def test_values_and_gradients_are_those_of_all_pairs(mask, longest, monkeypatch):
    monkeypatch.setattr(attention, "LONGEST", longest)
    torch.manual_seed(0)
    shapes = (3, 6, 64, 8), (3, 2, 64, 8), (3, 2, 64, 5)
    states = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    outer = torch.randn(3, 64, 6, 5, dtype=torch.float64)
    mask = None if mask is None else mask.clone()
    ours, _ = attention._attend(Heads(3), *states, mask, scaling=0.3)
    expected = attended(*states, mask, 0.3)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(ours, states, outer)
    for gradient, right in zip(gradients, torch.autograd.grad(expected, states, outer), strict=True):
        torch.testing.assert_close(gradient, right, rtol=0, atol=1e-12)


def test_half_precision_rounds_only_inputs_and_results(monkeypatch):
    monkeypatch.setattr(attention.products, "is_here", lambda dtype: False)
    torch.manual_seed(0)
    states = [torch.randn(1, 2, 64, 8).bfloat16().requires_grad_() for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        ours, _ = attention._attend(Heads(1), *states, documents((20, 44)))
    expected = attended(*(state.double() for state in states), documents((20, 44)), 8**-0.5)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, expected.bfloat16())


def test_weights_in_half_precision_round_less_than_fused_attention(monkeypatch):
    monkeypatch.setattr(attention.products, "is_here", lambda dtype: dtype == torch.bfloat16)
    torch.manual_seed(0)
    shapes = (2, 6, 256, 64), (2, 2, 256, 64), (2, 2, 256, 64)
    states = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
    exact = [state.detach().double().requires_grad_() for state in states]
    mask, outer = documents((200, 56), (256,)), torch.randn(2, 256, 6, 64).bfloat16()
    right = [expected := attended(*exact, mask, 0.125), *torch.autograd.grad(expected, exact, outer.double())]

    def errors(output: Tensor) -> list[float]:
        found = [output, *torch.autograd.grad(output, states, outer)]
        return [float((value - wanted).norm() / wanted.norm()) for value, wanted in zip(found, right, strict=True)]

    ours = errors(attention._attend(Heads(3), *states, mask)[0])
    fused = torch.nn.functional.scaled_dot_product_attention(*states, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    assert max(ours) < 0.004
    assert sum(ours) < sum(errors(fused))


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (torch.zeros(1, 1, 16, 16).masked_fill(~documents((16,)), -torch.inf), {}),
        (documents((16,)).repeat(1, 2, 1, 1), {}),
        (None, {"position_bias": torch.zeros(1, 2, 16, 16)}),
        (None, {"is_causal": False}),
    ],
)
def test_other_kinds_of_attention_run_as_before(mask, options, monkeypatch):
    states = [torch.randn(1, 2, 16, 8) for _ in range(3)]
    expected, _ = attention.sdpa_attention_forward(Heads(1), *states, mask, **options)
    monkeypatch.setattr(attention._Attention, "apply", None)
    ours, _ = attention._attend(Heads(1), *states, mask, **options)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen2_window", "smollm3"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_training_step_learns_the_same_as_with_whole_attention(family, recomputes, monkeypatch):
    rows = np.random.default_rng(0).integers(3, 300, size=(2, 40))
    positions = np.concatenate([np.arange(15), np.arange(25)])[None].repeat(2, 0)

    def gradients() -> dict[str, Tensor]:
        decoder = find_decoder(families.build(family))
        pruning.cut(decoder, BLOCK)
        spec = HealSpec(block=BLOCK, steps=1, batch_size=2, r=4, lora_dropout=0.0, learning_rate=1e-2)
        model = adapters.attach(decoder, spec, 0)
        trainer = Trainer(model, find_decoder(model), rows, spec, positions=positions)
        if recomputes:
            decoder.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        for name, parameter in trainer.parameters.items():  # else only one factor has a gradient
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
        trainer._accumulate(0)
        assert decoder.config._attn_implementation == "sdpa"
        return {name: parameter.grad.clone() for name, parameter in trainer.parameters.items()}

    ours = gradients()
    calls: list[int] = []
    monkeypatch.setattr(attention, "_pieces", lambda *_, **__: calls.append(1))
    whole = gradients()
    assert calls, "the family does not use this attention"
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6)
