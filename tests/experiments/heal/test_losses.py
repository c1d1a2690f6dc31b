"""Training losses: their value and gradient in chunks against the formulas, and a loss from a file
outside the package.
"""

from dataclasses import replace

import pytest
import torch

from analysis.core.blocks import Block
from analysis.core.errors import SpecError
from analysis.experiments.heal import losses
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import head_loss
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture.decoder import find_decoder
from tests.support import families

SPEC = HealSpec(block=Block(2, 2))


@pytest.fixture
def reverse():
    @losses.loss("reverse", is_taught=True)
    def reverse(logs, targets, teacher, spec):
        return (logs.exp() * (logs - teacher)).sum(-1)

    yield "reverse"
    losses.LOSSES.remove("reverse")


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere"])
def test_loss_in_chunks_equals_that_of_transformers(family, monkeypatch):
    """Value and gradient, with the family's own scaling of logits, however small the chunks are."""
    model = families.build(family)
    decoder = find_decoder(model)
    monkeypatch.setattr(architecture, "_LOGITS_AT_ONCE", 300 * 7)
    ids = torch.arange(3, 51).reshape(2, 24)
    states = decoder.body(input_ids=ids).last_hidden_state.detach().requires_grad_()
    loss = head_loss(decoder, states[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), None, SPEC)
    (gradient,) = torch.autograd.grad(loss * 2, states)
    expected = torch.nn.functional.cross_entropy(
        decoder.logits(states)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    )
    (expected_gradient,) = torch.autograd.grad(expected * 2, states)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss.detach(), model(input_ids=ids, labels=ids).loss.detach())
    torch.testing.assert_close(gradient, expected_gradient)


def divergence(student, teacher, k):
    """Divergence in float64 from all tokens, or from the k most likely ones and the sum of the
    others.
    """
    if k:
        tokens = teacher.topk(k).indices
        student, teacher = (
            torch.cat([near := p.gather(1, tokens), 1 - near.sum(1, True)], 1)
            for p in (student, teacher)
        )
    return (teacher * (teacher / student).log()).sum(-1).mean()


@pytest.mark.parametrize("distill", [0.3, 1.0])
@pytest.mark.parametrize("k", [0, 1, 64, 299])
def test_loss_and_gradient_match_the_formula(k, distill, monkeypatch):
    decoder = find_decoder(families.build("llama"))
    monkeypatch.setattr(architecture, "_LOGITS_AT_ONCE", 300 * 3)
    generator = torch.Generator().manual_seed(0)
    states, teacher = (3 * torch.randn(10, 32, generator=generator) for _ in range(2))
    targets = torch.randint(3, 300, (10,), generator=generator)
    in_chunks, at_once = states.clone().requires_grad_(), states.clone().requires_grad_()
    loss = head_loss(decoder, in_chunks, targets, teacher, replace(SPEC, distill=distill, top_k=k))
    student, taught = decoder.logits(at_once).double(), decoder.logits(teacher).detach().double()
    text = torch.nn.functional.cross_entropy(student, targets)
    expected = (1 - distill) * text + distill * divergence(
        student.softmax(-1), taught.softmax(-1), k
    )
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected.float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(in_chunks.grad, at_once.grad, rtol=1e-3, atol=1e-6)


def test_a_registered_loss_is_a_setting_and_its_name_is_checked(reverse):
    spec = replace(SPEC, distill=1.0, loss=reverse)
    assert spec.is_taught
    assert not replace(spec, distill=0.0).is_taught
    assert spec.fingerprint() != replace(spec, loss="divergence").fingerprint()
    logs = torch.randn(4, 9).log_softmax(-1)
    assert torch.equal(
        losses.mixture(spec, logs, torch.zeros(4, 1, dtype=torch.long), logs), torch.zeros(4)
    )
    with pytest.raises(
        SpecError, match="loss must be one of cross-entropy, divergence, reverse, not 'mse'"
    ):
        replace(SPEC, loss="mse")
