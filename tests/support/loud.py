"""An adapter of random numbers that changes the outputs of a cut tiny model."""

import torch

from analysis.core.blocks import Removal
from analysis.experiments.heal import adapter_files, adapters
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.loading import load
from analysis.models.running import adapters as adapter
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec


def adapter_of(spec: ModelSpec, block: Removal, std: float = 0.3) -> str:
    """Save one in the cache, as a heal leaves it, and return its folder relative to that."""
    loaded = load.load(spec)
    pruning.cut(loaded.decoder, block)
    heal = HealSpec(block, spec, r=4)
    model = adapters.attach(loaded.decoder, heal, 0)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=std)
    adapter_files.save(model, heal, base="tiny", steps_done=1, key=heal.fingerprint())
    return adapter.relative(heal.fingerprint())
