"""The unpruned model behind the pruned one, and documents that are read separately."""

import copy

import numpy as np
import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.heal import adapters, teacher
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import Teacher, Top, head_loss
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from tests.support import families
from tests.support.families import build

BLOCK = Block(2, 2)
SPEC = HealSpec(block=BLOCK, r=4)
ROWS = torch.randint(3, 300, (4, 12), generator=torch.Generator().manual_seed(0)).numpy()
TOGETHER = ("opt", "bloom", "mpt")
"""Families that make nothing of the places where documents begin."""


def healed(family: str = "llama", **options):
    """An unpruned model, and the same cut, with an adapter that does something."""
    model = families.build(family)
    whole = copy.deepcopy(model)
    decoder = find_decoder(model)
    cut = pruning.cut(decoder, BLOCK)
    adapted = adapters.attach(decoder, HealSpec(**{"block": BLOCK, "r": 4, **options}), 0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name and parameter.requires_grad:
                parameter.add_(0.05)
    return whole, adapted, find_decoder(adapted), cut


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_it_answers_as_the_unpruned_model_and_restores_the_pruned(family):
    whole, adapted, decoder, cut = healed(family)
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    ids = torch.from_numpy(ROWS)
    adapted.eval()
    with torch.no_grad():
        before = decoder.body(input_ids=ids, use_cache=False).last_hidden_state
        expected = whole.base_model(input_ids=ids, use_cache=False)
    adapted.train()
    taught = Teacher(adapted, decoder, cut)(ROWS, None)
    torch.testing.assert_close(taught, expected.last_hidden_state, rtol=2e-3, atol=2e-3)
    assert adapted.training
    assert {name for name, parameter in adapted.named_parameters() if parameter.requires_grad} == trained
    adapted.eval()
    with torch.no_grad():
        assert torch.equal(decoder.body(input_ids=ids, use_cache=False).last_hidden_state, before)
    assert decoder.n_layers == families.N_LAYERS - BLOCK.size


@pytest.mark.parametrize("family", [*families.FAMILIES, *families.BY_ROW, *families.BY_MASK])
def test_documents_are_read_separately_except_in_listed_families(family):
    decoder = find_decoder(families.build(family))
    if not teacher.can_separate(decoder):
        assert family in TOGETHER
        return
    assert family not in TOGETHER
    for n_one, n_two in ((7, 5), (90, 80)):  # the second beyond every window of these families
        random = np.random.default_rng(0)
        one, two = (random.integers(3, 300, (1, n)) for n in (n_one, n_two))
        positions = np.array([[*range(n_one), *range(n_two)]])
        with torch.no_grad():
            together = teacher.run_rows(decoder, np.concatenate([one, two], axis=1), positions)
            torch.testing.assert_close(together[:, n_one:], teacher.run_rows(decoder, two, None), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(together[:, :n_one], teacher.run_rows(decoder, one, None), rtol=1e-3, atol=1e-3)


def test_slightly_leaking_documents_are_not_called_separate(monkeypatch):
    decoder = find_decoder(families.build("llama"))
    run = teacher.run_rows
    assert teacher.can_separate(decoder)
    monkeypatch.setattr(
        teacher, "run_rows", lambda d, rows, positions: run(d, rows, positions) * (1 if positions is None else 1.01)
    )
    assert not teacher.can_separate(decoder)


def divergence_of_top(decoder, states, teacher_logits, k):
    """By autograd: the most likely tokens one by one, all others summed, against the student's sums."""
    own, given = decoder.logits(states).log_softmax(-1).double(), teacher_logits.log_softmax(-1).double()
    kept = given.topk(k)
    near = own.gather(1, kept.indices)
    rest, left = (1 - kept.values.exp().sum(-1)), (1 - near.exp().sum(-1))
    return ((kept.values.exp() * (kept.values - near)).sum(-1) + rest * (rest / left).log()).mean()


@pytest.mark.parametrize("distill", [1.0, 0.4])
@pytest.mark.parametrize("k", [1, 7, 64])
def test_top_k_loss_and_gradient_match_the_formula(k, distill):
    decoder = find_decoder(build("llama"))
    drawn = torch.Generator().manual_seed(0)
    states, teacher = (3 * torch.randn(11, 32, generator=drawn) for _ in range(2))
    targets = torch.randint(0, 300, (11,), generator=drawn)
    ours, plain = states.clone().requires_grad_(), states.clone().requires_grad_()
    with torch.no_grad():
        top = Top.of(decoder, teacher, k)
    found = head_loss(decoder, ours, targets, top, distill)
    text = torch.nn.functional.cross_entropy(decoder.logits(plain), targets)
    wanted = (1 - distill) * text + distill * divergence_of_top(decoder, plain, decoder.logits(teacher).detach(), k)
    found.backward()
    wanted.backward()
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-4)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=1e-6)


def test_nearly_all_of_the_distribution_is_nearly_the_whole_loss():
    decoder = find_decoder(build("llama"))
    drawn = torch.Generator().manual_seed(0)
    states, teacher = (3 * torch.randn(5, 32, generator=drawn) for _ in range(2))
    targets = torch.zeros(5, dtype=torch.long)
    with torch.no_grad():
        losses = [head_loss(decoder, states, targets, given, 1.0) for given in (teacher, Top.of(decoder, teacher, 299))]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-3)
    assert float(losses[0]) > 0.1
