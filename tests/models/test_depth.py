"""Layers that compute with their number, or with the number of all layers: a saved cut model computes the same."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from analysis.core.blocks import LayerSet
from analysis.models.loading import load
from analysis.models.running import pruning, settling
from analysis.models.source.model_spec import ModelSpec
from tests.zoo import models
from tests.zoo.truth import Truth

IDS = list(range(40, 72))
pytestmark = pytest.mark.usefixtures("no_trial")
REMOVED = (0, 3)


@pytest.mark.parametrize("name", ["minicpm3", "diffllama", "beam"])
def test_cut_of_depth_dependent_layers_reloads_with_the_same_logits(tmp_path, name):
    models.save(name, tmp_path / "whole")
    decoder = load.load(ModelSpec(str(tmp_path / "whole"), dtype="float32", device="cpu")).decoder
    pruning.cut(decoder, LayerSet(REMOVED))
    settling.settle(decoder, [layer for layer in range(models.N_LAYERS) if layer not in REMOVED])
    decoder.model.save_pretrained(tmp_path / "cut")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "cut").eval()
    with torch.inference_mode():
        found = again(torch.tensor([IDS])).logits[0]
    expected = Truth(tmp_path / "whole").logits(IDS, REMOVED)
    assert (found - expected).norm() / expected.norm() < 1e-5


def test_settings_by_number_of_layers_are_restored_with_the_layers(tmp_path):
    models.save("minicpm3", tmp_path / "whole")
    decoder = load.load(ModelSpec(str(tmp_path / "whole"), dtype="float32", device="cpu")).decoder
    before = decoder.config.scale_depth
    with pruning.without_block(decoder, LayerSet(REMOVED)):
        assert decoder.config.scale_depth == pytest.approx(before * (4 / 6) ** 0.5)
    assert decoder.config.scale_depth == before
