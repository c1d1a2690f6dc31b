"""A model spread over real cards: the figures of one card up to rounding. Skipped where there are
fewer than two.
"""

import pytest
import torch

from analysis.core.blocks import Block
from analysis.models.loading import load, placement
from analysis.models.running import hidden_states
from analysis.models.source.model_spec import ModelSpec
from tests.models.test_spread import figures

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        torch.cuda.device_count() < 2,
        reason=f"needs two CUDA cards, and {torch.cuda.device_count()} are here",
    ),
]
CUTS = [None, Block(1, 2), Block(3, 3)]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neox"])
def test_all_cards_have_the_figures_of_one(tiny_folder, cache, family, monkeypatch):
    one = load.load(ModelSpec(str(tiny_folder(family)), dtype="float32", device="cuda:0"))
    half = one.decoder.n_layers // 2

    def in_halves(needs: placement.Needs, free: dict[str, int]) -> placement.Placement:
        first, last = list(free)[:2]
        return placement.Placement(
            first, (first,) * half + (last,) * half, first if needs.tied else last
        )

    monkeypatch.setattr(placement, "place", in_halves)
    spread = load.load(ModelSpec(str(tiny_folder(family)), dtype="float32", device="cuda:all"))
    assert {str(device) for device in spread.decoder.layers_on} == {"cuda:0", "cuda:1"}
    batches = [hidden_states.Inputs(hidden_states.right_padded([[5, 9, 200, 31]]), CUTS)]
    expected, found = (
        list(hidden_states.finals(loaded.decoder, batches)) for loaded in (one, spread)
    )
    for (*key, states), (*other, again) in zip(expected, found, strict=True):
        assert key == other
        assert torch.allclose(states.cpu(), again.cpu(), atol=1e-5)
    losses, again = (figures(loaded.decoder)["losses"] for loaded in (one, spread))
    assert torch.allclose(torch.tensor(losses), torch.tensor(again), atol=1e-4)
