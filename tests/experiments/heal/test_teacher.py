"""The unpruned model behind the pruned one, and documents that are read separately."""

import copy

import numpy as np
import pytest
import torch

from analysis.core.blocks import Block
from analysis.experiments.heal import adapters, teacher
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.heal.teacher import Teacher
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from tests.support import families

BLOCK = Block(2, 2)
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
    assert {
        name for name, parameter in adapted.named_parameters() if parameter.requires_grad
    } == trained
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
            torch.testing.assert_close(
                together[:, n_one:], teacher.run_rows(decoder, two, None), rtol=1e-3, atol=1e-3
            )
            torch.testing.assert_close(
                together[:, :n_one], teacher.run_rows(decoder, one, None), rtol=1e-3, atol=1e-3
            )


def test_slightly_leaking_documents_are_not_called_separate(monkeypatch):
    decoder = find_decoder(families.build("llama"))
    run = teacher.run_rows
    assert teacher.can_separate(decoder)
    monkeypatch.setattr(
        teacher,
        "run_rows",
        lambda d, rows, positions: run(d, rows, positions) * (1 if positions is None else 1.01),
    )
    assert not teacher.can_separate(decoder)
