"""Weights read whole, or all but the decoder layers: none is made up, none is left out without a word."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models import decoder as architecture
from analysis.models import layerwise
from analysis.models.checkpoint import Checkpoint
from analysis.models.decoder import Decoder
from analysis.models.layerwise import LayersOnDisk

_NAMED = 3
"""Weights that are named where many are missing."""


def whole(name: str, folder: Path, options: dict[str, Any], on_progress: OnProgress = ignore) -> Any:
    """A transformers causal language model, all of whose weights come from its files: none is made up.

    Args:
        name: to show.
        folder: where its files are.
        options: of `from_pretrained`.
        on_progress: told about weights that the configuration has no place for.

    Raises:
        UnsupportedModelError: when weights are missing, or of another shape than the configuration asks for.
    """
    try:
        # By default transformers names no weight of another shape.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except RuntimeError as error:
        if "automatic conversion of the weights" not in str(error):
            raise
        raise UnsupportedModelError(
            f"{name} lacks weights: some of those that are joined on loading, such as those of experts, are missing or do not "
            f"fit together; get its files again."
        ) from error
    model, said = loaded
    missing = sorted(said["missing_keys"])
    if missing:
        raise UnsupportedModelError(
            f"{name} lacks {_listed(missing)}, which would be filled with random numbers; get its files again, or give the "
            f"configuration that belongs to them."
        )
    if said["mismatched_keys"]:
        key, found, expected = min(said["mismatched_keys"])
        raise UnsupportedModelError(
            f"{name} has {_listed(sorted(key for key, *_ in said['mismatched_keys']))} in another shape than its configuration "
            f"asks for ({key}: {tuple(found)}, not {tuple(expected)}), which would be filled with random numbers; give the "
            f"configuration that belongs to the weights."
        )
    unexpected = sorted(said["unexpected_keys"])
    if unexpected:
        on_progress(
            Progress(
                "loading the model",
                0,
                1,
                f"{name} also holds {_listed(unexpected)}, which its configuration has no place for: left out.",
            )
        )
    return model


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are: "3 weights (a, b, c)"."""
    more = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} {'weight' if len(names) == 1 else 'weights'} ({', '.join(names[:_NAMED])}{more})"


def without_layers(
    name: str, folder: Path, config: Any, *, dtype: torch.dtype, device: str, nf4: bool, identity: str
) -> Decoder:
    """A model whose decoder layers stay on the disk (`Decoder.on_disk`); the rest of it is in memory.

    Args:
        name: to show.
        folder: where its files are.
        config: of transformers.
        dtype: what is computed in.
        device: where.
        nf4: whether the matrices of the layers are rounded to NF4, as bitsandbytes would hold them.
        identity: of the weights.

    Raises:
        UnsupportedModelError: when its files or its family do not let its layers be read one by one.
    """
    checkpoint = Checkpoint(folder)
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedModelError(f"{name} is quantized in its files, which are only read whole; give the original weights.")
    with init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    model.eval()
    if dtype != torch.float32 and (model._keep_in_fp32_modules or model._keep_in_fp32_modules_strict):
        raise UnsupportedModelError(
            f"{name} ({config.model_type}) keeps some weights in float32 whatever the dtype, which is only done where it is "
            f"loaded whole; choose float32."
        )
    decoder = architecture.find_decoder(model)
    known = _stored_names(model, checkpoint)

    def convert(part: nn.Module, own: str, stored: Tensor) -> Tensor:
        weight = stored.to(device, dtype if stored.is_floating_point() else None)
        return _through_nf4(weight) if nf4 and _is_matrix(part, own) else weight

    path = next(name for name, module in model.named_modules() if module is decoder.layers)
    called = layerwise.names(model, "", known, checkpoint, outside=f"{path}.")
    stored = checkpoint.read(called.values())
    layerwise.put(model, {own: stored.pop(file).to(device, dtype) for own, file in called.items()})
    model.tie_weights()
    for buffer, value in list(model.named_buffers()):
        layerwise.put(model, {buffer: value.to(device)})
    return replace(decoder, on_disk=LayersOnDisk(decoder, checkpoint, known, convert, identity=identity))


def _stored_names(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """Names in the files by the names in the model, of all weights that are stored as they are computed with.

    What is joined, split or turned on loading, as experts are, is left out.
    """
    steps = get_model_conversion_mapping(model)
    renamings = [step for step in steps if isinstance(step, WeightRenaming)]
    converters = [step for step in steps if isinstance(step, WeightConverter)]
    of_model, found = model.state_dict(), {}
    for stored in checkpoint.places:
        own, converted = rename_source_key(stored, renamings, converters, model.base_model_prefix, of_model)
        if converted is None:
            found[own] = stored
    return found


def _is_matrix(part: nn.Module, own: str) -> bool:
    path, _, last = own.rpartition(".")
    return last == "weight" and isinstance(part.get_submodule(path), nn.Linear)


def _through_nf4(weight: Tensor) -> Tensor:
    """What bitsandbytes computes with where it holds a matrix in NF4 with double quantization."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    found: Tensor = functional.dequantize_4bit(packed, state)
    return found.to(weight.dtype)
