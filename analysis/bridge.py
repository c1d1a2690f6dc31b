"""The explicit small layer in place of a removed block: a linear map on the residual stream behind the cut.

Used only where no weight can take in what the block added, because a norm stands between every projection and the stream. No
plain transformers model has room for it, so it is kept beside the adapter and put on by us when the adapter is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from analysis.architecture import Decoder

FILE = "bridge.safetensors"
"""Its name in an adapter folder."""


@dataclass(frozen=True)
class Bridge:
    """x[start] of the cut model becomes x + change x."""

    start: int
    """Where the removed block began: the stream that enters the layer behind it is changed."""
    change: Tensor
    """(hidden_size, hidden_size), float32."""


def lay(decoder: Decoder, bridge: Bridge, *, n_layers: int) -> RemovableHandle:
    """Put it on a model; it acts only while the model has `n_layers` layers, so not while the block is back for a moment.

    Args:
        decoder: the model.
        bridge: the map.
        n_layers: layers of the cut model.
    """
    place = decoder.layers[bridge.start] if bridge.start < decoder.n_layers else decoder.norm
    change = bridge.change.clone().to(decoder.device)  # one that was fitted in inference mode cannot be trained through

    def cross(_: Any, args: tuple, named: dict) -> tuple[tuple, dict] | None:
        if decoder.n_layers != n_layers:
            return None
        stream = args[0] if args else named["hidden_states"]
        moved = stream + (stream.float() @ change.T).to(stream.dtype)
        return ((moved, *args[1:]), named) if args else (args, {**named, "hidden_states": moved})

    return place.register_forward_pre_hook(cross, with_kwargs=True)


def write(bridge: Bridge, folder: Path) -> None:
    """Keep it in an adapter folder."""
    save_file({"change": bridge.change.contiguous(), "start": torch.tensor(bridge.start)}, folder / FILE)


def read(folder: Path) -> Bridge | None:
    """The one in an adapter folder; None where there is none."""
    if not (folder / FILE).exists():
        return None
    found = load_file(folder / FILE)
    return Bridge(int(found["start"]), found["change"])
