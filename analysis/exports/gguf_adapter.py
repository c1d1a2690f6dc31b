"""The LoRA adapter of a healing run as a GGUF file, which llama.cpp applies to the cut file."""

from pathlib import Path
from typing import Any

import gguf as library
from safetensors.torch import load_file

from analysis.models.loading import pretrained
from analysis.models.running import gguf_cut
from analysis.models.running.adapters import WEIGHTS_FILE
from analysis.models.source import adapter_config, gguf

_PREFIX = "base_model.model."
_A = ".lora_A.weight"
_B = ".lora_B.weight"
_NOT_PLAIN = (
    "use_dora",
    "use_rslora",
    "lora_bias",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
)
"""Settings of PEFT for which llama.cpp has no tensors."""


def refusal(source: Path, adapter: Path) -> str | None:
    """Return why an adapter cannot be written for llama.cpp, None if it can.

    Args:
        source: the GGUF file of the unpruned model.
        adapter: folder of the adapter.
    """
    config = adapter_config.read(adapter)
    modules = _modules(adapter)
    unusual = [name for name in _NOT_PLAIN if config.get(name)]
    unusual += sorted(
        {*(config.get("rank_pattern") or ()), *(config.get("alpha_pattern") or ())} - set(modules)
    )
    unusual += [] if config.get("peft_type") == "LORA" else [f"type {config.get('peft_type')}"]
    settings = gguf.header(source)
    family = settings["general.architecture"]
    names = gguf_cut.tensor_names(family, settings[f"{family}.block_count"])
    for module in modules:
        name = names.get_name(module) or ""
        # Rows of a joined matrix may be in another order in the file.
        unusual += [] if name.startswith("blk.") and not name.endswith("attn_qkv") else [module]
    if not unusual:
        return None
    return (
        f"llama.cpp cannot apply this adapter, because it is not plain LoRA ({unusual[0]}). Use the"
        " healed file instead."
    )


def write(source: Path, adapter: Path, config: Any, out: Path) -> None:
    """Write an adapter for llama.cpp, which multiplies each pair of matrices by alpha / rank, with
    one alpha for all.

    Args:
        source: the GGUF file of the unpruned model.
        adapter: folder of an adapter that `refusal` allows.
        config: of the pruned model in transformers.
        out: the new file.
    """
    peft = adapter_config.read(adapter)
    family = gguf.header(source)["general.architecture"]
    alphas = peft.get("alpha_pattern") or {}
    names = gguf_cut.tensor_names(family, config.num_hidden_layers)
    alpha = float(peft["lora_alpha"])
    weights = load_file(adapter / WEIGHTS_FILE)
    file = library.GGUFWriter(out, family)
    file.add_type("adapter")
    file.add_string(library.Keys.Adapter.TYPE, "lora")
    file.add_float32(library.Keys.Adapter.LORA_ALPHA, alpha)
    for module in _modules(adapter):
        name = names.get_name(module)
        a, b = (weights[f"{_PREFIX}{module}{end}"].float() for end in (_A, _B))
        b = gguf_cut.reorder(
            gguf_cut.reordered_heads(family, config, name), b * (alphas.get(module, alpha) / alpha)
        )
        file.add_tensor(f"{name}.weight.lora_a", a.numpy())
        file.add_tensor(f"{name}.weight.lora_b", b.contiguous().numpy())
    gguf_cut.finish(file)


def _modules(adapter: Path) -> list[str]:
    """Return the names of the adapted modules in the pruned model."""
    names = sorted(pretrained.names(adapter / WEIGHTS_FILE))
    return [name.removeprefix(_PREFIX).removesuffix(_A) for name in names if name.endswith(_A)]
