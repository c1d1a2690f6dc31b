"""Layers that compute with the number of all layers: a saved cut model computes the same."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from analysis.core.blocks import LayerSet
from analysis.models.loading import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.zoo import models
from tests.zoo.truth import Truth

IDS = list(range(40, 72))
REMOVED = (0, 3)


@pytest.mark.usefixtures("no_trial")
def test_settings_by_number_of_layers_follow_the_cut_and_return_with_the_layers(tmp_path):
    models.save("minicpm3", tmp_path / "unpruned")
    decoder = load.load(
        ModelSpec(str(tmp_path / "unpruned"), dtype="float32", device="cpu")
    ).decoder
    before = decoder.config.scale_depth
    with pruning.without_block(decoder, LayerSet(REMOVED)):
        assert decoder.config.scale_depth == pytest.approx(before * (4 / 6) ** 0.5)
    assert decoder.config.scale_depth == before
    pruning.cut(decoder, LayerSet(REMOVED))
    decoder.model.save_pretrained(tmp_path / "cut")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "cut").eval()
    with torch.inference_mode():
        logits = reloaded(torch.tensor([IDS])).logits[0]
    expected = Truth(tmp_path / "unpruned").logits(IDS, REMOVED)
    assert (logits - expected).norm() / expected.norm() < 1e-5
