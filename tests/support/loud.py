"""An adapter of random numbers that changes the outputs of a cut tiny model."""

from operator import attrgetter
from typing import Any

import torch

from analysis.core.blocks import Removal
from analysis.experiments.heal import adapter_files, adapters
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.loading import load
from analysis.models.running import adapters as adapter
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec


def adapter_of(
    spec: ModelSpec, block: Removal, std: float = 0.3, *, fitted: str = "", **settings: Any
) -> str:
    """Save one in the cache, as a heal leaves it, and return its folder relative to that; `fitted`
    is a module with a fit.
    """
    loaded = load.load(spec)
    pruning.cut(loaded.decoder, block)
    heal = HealSpec(block, spec, r=4, **settings)
    torch.manual_seed(2)
    changes = (
        {fitted: std * torch.randn_like(attrgetter(fitted)(loaded.model).weight) / 30}
        if fitted
        else None
    )
    model = adapters.attach(loaded.decoder, heal, 0, changes)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name and parameter.requires_grad:
                parameter.normal_(std=std)
    adapter_files.save(model, heal, base="tiny", steps_done=1, key=heal.fingerprint())
    return adapter.relative(heal.fingerprint())
