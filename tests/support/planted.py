"""Models with layers that do nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec


def identity_layers(model: ModelSpec, layers: Sequence[int], folder: Path) -> ModelSpec:
    """Save a copy of a tiny Llama model whose layers at some indices do not change the residual
    stream.
    """
    loaded = load.load(model)
    for index in layers:
        loaded.decoder.layers[index].self_attn.o_proj.weight.data.zero_()
        loaded.decoder.layers[index].mlp.down_proj.weight.data.zero_()
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return replace(model, source=str(folder), identity="")
