"""A model whose decoder layers are divided over the processes that heal it, for a model larger than the memory of each.

Each process holds the embeddings, the final norm and the head, and its part of every weight of every layer (FSDP2,
`fully_shard`). It holds all of a layer only while that layer works. In a step all processes run the same layers in the same
order. Rank 0 alone reads and measures, as with an undivided model: before each layer it asks the others for their parts.
The trained weights are an adapter, which each process has whole, so that checkpoints and results are those of any healing run.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from analysis.core.progress import OnProgress
from analysis.experiments.heal.group import Group, Order
from analysis.models.loading import load as models
from analysis.models.loading.load import LoadedModel
from analysis.models.source.model_spec import ModelSpec

ORDER = "layer"
"""Order of rank 0 before a layer works for it alone; `index` is the layer's in the unpruned model."""
WHY = "{name} does not fit into one process, so its layers are divided over {n} processes. The results are the same."
_NF4 = ("quant_type", "compress_statistics", "quant_state")
"""Attributes of a weight in 4 bits that its readers need."""


class Layers:
    """The layers of the unpruned model in one of the processes."""

    def __init__(self, layers: Sequence[FSDPModule]) -> None:
        """Keep them by their place, for a cut changes it."""
        self._layers = layers

    def give(self, order: Order) -> None:
        """Give this process's part of the layer that rank 0 asks for."""
        layer = self._layers[order.values["index"]]
        _gather(layer)
        layer.reshard()


def load(spec: ModelSpec, group: Group, on_progress: OnProgress, reason: str) -> tuple[LoadedModel, Layers]:
    """Load a model with all ranks at once, each rank its part of every layer.

    Args:
        spec: the model.
        group: the ranks; all of them call this.
        on_progress: gets the progress of loading.
        reason: a sentence for the person who waits.

    Raises:
        ModelNotFoundError, UnsupportedModelError: as in `models.load`; also when its layers cannot be read one by one.
        PeerLost: when another rank is gone.
    """
    loaded = models.load_layers_on_disk(spec, on_progress, reason=reason)
    decoder = loaded.decoder
    assert decoder.on_disk is not None
    everybody: Any = dist.group.WORLD
    mesh = DeviceMesh.from_group(everybody, decoder.device.type)
    layers = [_divided(layer, index, mesh, group) for index, layer in enumerate(decoder.on_disk.for_good())]
    group.divides = True
    in_memory = replace(decoder, on_disk=None)
    with group.in_step():
        in_memory.check()
    return replace(loaded, decoder=in_memory), Layers(layers)


def _divided(layer: nn.Module, index: int, mesh: DeviceMesh, group: Group) -> FSDPModule:
    """Divide a layer over the ranks, and bring it together whenever it works."""
    weights: dict[Any, Any] = {part: getattr(part, "weight", None) for part in layer.modules()}
    # True: a layer is the root of its own tree here, and roots stay whole by default.
    divided = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    for part, weight in weights.items():
        if hasattr(weight, "quant_state"):
            # A gathered weight is a plain tensor: bitsandbytes looks for its quantization on the module, PEFT on the weight.
            part.quant_state = weight.quant_state
            part.weight.__dict__.update({name: getattr(weight, name) for name in _NF4})

    def come_together(module: Any, *_: Any) -> None:
        if not group.is_in_step:
            group.order(ORDER, {"index": index})
        _gather(module)

    def go_apart(module: Any, *_: Any) -> None:
        if not group.is_in_step:  # where a backward pass may follow, it is looked after
            module.reshard()

    layer.register_forward_pre_hook(come_together, prepend=True)
    # A hook that reads the input of a layer may end the pass there, before the layer has worked.
    layer.register_forward_hook(go_apart, always_call=True)
    return divided


def _gather(layer: FSDPModule) -> None:
    """Bring all of a layer together, with all ranks; measuring must not leave tensors that cannot be trained through."""
    with torch.inference_mode(False), torch.no_grad():
        layer.unshard()
