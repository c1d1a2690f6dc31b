"""GGUF files without some layers. The bytes of the remaining tensors are unchanged, and their
layers are renumbered.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf as library
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from torch import Tensor

from analysis.core.blocks import Removal
from analysis.core.progress import OnProgress, ignore
from analysis.models.loading import load
from analysis.models.loading.planning import Plan
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.running import adapters
from analysis.models.source import adapter_config, gguf
from analysis.models.source.gguf_families import BLOCK
from analysis.models.source.location import gguf_of

_WRITTEN_BY_LIBRARY = ("general.architecture", "general.alignment")
_SIZE_LABEL = "general.size_label"
_NOT_PER_LAYER = ("rope.dimension_sections", "rope.scaling.factors")
"""Endings of the keys of arrays that may have as many entries as the model has layers, but are not
one for each."""


def write(
    source: Path,
    cut: Removal | None,
    out: Path,
    changed: Mapping[str, Tensor] | None = None,
    *,
    in_float32: bool = False,
) -> None:
    """Write a GGUF file without some layers.

    Args:
        source: the file.
        cut: full layers that `refusal` allows.
        out: the new file.
        changed: new weights by the name of the tensor in the new file, in the row order of
            llama.cpp. They are quantized to the original type if `gguf` can write it, else to Q8_0,
            or to F16 if a row is not a multiple of the block size.
        in_float32: write every tensor in float32, so that llama.cpp does not round activations.

    Raises:
        UnsupportedModelError: If the file is broken.
    """
    reader = _checked(source)
    fields = reader.fields
    family = fields["general.architecture"].contents()
    n_layers = int(fields[f"{family}.block_count"].contents())
    kept = [layer for layer in range(n_layers) if cut is None or layer not in cut.layers]
    file = library.GGUFWriter(out, family)
    for key, field in fields.items():
        value = field.contents()
        kind = field.types[0]
        if key.startswith("GGUF.") or key in _WRITTEN_BY_LIBRARY:
            continue
        if key == _SIZE_LABEL and len(kept) < n_layers:  # that of the whole model
            continue
        if key == f"{family}.block_count":
            value = len(kept)
        elif (
            kind == library.GGUFValueType.ARRAY
            and len(value) == n_layers
            and key.startswith(f"{family}.")
        ):
            value = value if key.endswith(_NOT_PER_LAYER) else [value[layer] for layer in kept]
        file.add_key_value(
            key, value, kind, field.types[1] if kind == library.GGUFValueType.ARRAY else None
        )
    for tensor in reader.tensors:
        match = BLOCK.fullmatch(tensor.name)
        name = tensor.name
        if match is not None:
            if int(match[1]) not in kept:
                continue
            name = f"blk.{kept.index(int(match[1]))}.{match[2]}"
        if changed and name in changed:
            data, kind = _quantized(changed[name], tensor.tensor_type)
            file.add_tensor(name, data, raw_dtype=kind)
        elif in_float32:
            file.add_tensor(
                name, library.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            )
        else:
            file.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(file)


def finish(file: Any) -> None:
    """Write header, metadata and tensors of a `GGUFWriter`, and close it."""
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def heal(
    planned: Plan, cut: Removal, adapter: str, out: Path, on_progress: OnProgress = ignore
) -> None:
    """Write the file of a healed model: pruned, with its changed matrices merged and quantized
    again.

    Args:
        planned: the model, a GGUF file.
        cut: full layers that `refusal` allows.
        adapter: folder of the PEFT adapter.
        out: the new file.
        on_progress: receives progress.

    Raises:
        RecipeError: If the adapter does not fit.
    """
    source = gguf_of(planned.spec)
    assert source is not None, "a model without a file is refused"
    healed = adapters.with_adapter(
        load.load(planned.spec, on_progress), cut, str(adapter_config.located(adapter))
    )
    write(source, cut, out, changed(source, cut, healed.model.merge_and_unload()))


def changed(source: Path, cut: Removal, model: Any) -> dict[str, Tensor]:
    """Return the matrices of a healed model that differ from its file, by their name in the pruned
    file.

    Args:
        source: the file that the model was loaded from.
        cut: the removed layers.
        model: pruned transformers model with the adapter merged.
    """
    return {
        name: reorder(heads, weight.cpu())
        for name, weight, heads, _ in _changed(source, cut, model)
    }


@torch.no_grad()
def round_as_file(source: Path, cut: Removal, model: Any) -> None:
    """Round the changed matrices of a healed model as `write` does.

    Args:
        source: the file that the model was loaded from.
        cut: the removed layers.
        model: pruned transformers model with the adapter merged.
    """
    for _, weight, heads, kind in _changed(source, cut, model):
        numbers = torch.from_numpy(
            library.dequantize(*_quantized(reorder(heads, weight.cpu()), kind)).copy()
        )
        weight.copy_(reorder(heads, numbers.reshape(weight.shape), is_file=True))


def _changed(source: Path, cut: Removal, model: Any) -> Iterator[tuple[str, Tensor, int, Any]]:
    """Yield the name in the pruned file, the weight, the number of heads with permuted rows, and
    the type in the file.
    """
    stored = {tensor.name: tensor for tensor in _checked(source).tensors}
    config = model.config
    n_kept = model.config.num_hidden_layers
    kept = [layer for layer in range(n_kept + len(cut.layers)) if layer not in cut.layers]
    family = gguf.header(source)["general.architecture"]
    names = tensor_names(family, n_kept)
    for key, weight in model.state_dict().items():
        name = names.get_name(key, try_suffixes=(".weight",))
        block = BLOCK.fullmatch(name or "")
        if block is None or weight.dim() != 2:
            continue
        n_heads = reordered_heads(family, config, str(name))
        original = stored[f"blk.{kept[int(block[1])]}.{block[2]}"]
        numbers = torch.from_numpy(library.dequantize(original.data, original.tensor_type).copy())
        if not torch.equal(numbers.to(weight.dtype), reorder(n_heads, weight.cpu())):
            yield str(name), weight, n_heads, original.tensor_type


def tensor_names(family: str, n_layers: int) -> Any:
    """Return the map of `gguf` from the names of weights in transformers to those in a file."""
    return library.get_tensor_name_map(
        {name: arch for arch, name in library.MODEL_ARCH_NAMES.items()}[family], n_layers
    )


def reordered_heads(family: str, config: Any, name: str) -> int:
    """Return the number of heads of a matrix whose rows are in another order in the file, 0 if its
    rows are not.

    Args:
        family: architecture of the file.
        config: of the model in transformers.
        name: of the matrix in the file.
    """
    if family != "llama":
        return 0
    counts = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    return int(counts.get(name.removesuffix(".weight").rpartition(".")[2], 0))


def reorder(n_heads: int, weight: Tensor, *, is_file: bool = False) -> Tensor:
    """Permute rows between the file, with adjacent rotary pairs, and transformers, with the halves
    of a head.
    """
    if not n_heads:
        return weight
    half = len(weight) // n_heads // 2
    sizes = (half, 2) if is_file else (2, half)
    return weight.reshape(n_heads, *sizes, -1).transpose(1, 2).reshape(weight.shape)


def _checked(path: Path) -> Any:
    """Return the reader of a file, after a check that its tensors are complete and of known
    types.
    """
    WeightFiles(path)
    return library.GGUFReader(path)


def _quantized(weight: Tensor, kind: Any) -> tuple[np.ndarray, Any]:
    numbers = weight.detach().float().cpu().contiguous().numpy()
    for written in (kind, Kind.Q8_0, Kind.F16):
        try:
            return library.quantize(numbers, written), written
        except (NotImplementedError, library.QuantError):
            continue
    raise AssertionError("F16 supports every shape")
