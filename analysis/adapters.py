"""LoRA adapters: which modules they go on, putting them there, and saving them as a standard PEFT folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis import storage
from analysis.architecture import Decoder
from analysis.errors import RecipeError
from analysis.specs import HealSpec

FEED_FORWARD_NAMES = ("mlp", "feed_forward", "ffn", "feedforward")
"""What families call the feed-forward part of a decoder layer."""
FEED_FORWARD_LINEARS = ("fc1", "fc2")
"""Feed-forward weights of families that keep them in the layer itself (OPT)."""
_EXPERTS = ("moe", "expert", "router")


def feed_forward_modules(decoder: Decoder) -> list[str]:
    """Full names of every feed-forward weight of the remaining decoder layers, and of nothing else.

    Names are matched inside the feed-forward part only: PEFT's usual matching by suffix would also adapt the attention
    output of families that call both `c_proj`.

    Returns:
        Names as in `model.named_modules()`, first layer first.

    Raises:
        RecipeError: for mixtures of experts, and for layers without a recognised feed-forward part.
    """
    paths = {module: name for name, module in decoder.model.named_modules()}
    found: list[str] = []
    for index, layer in enumerate(decoder.layers):
        parts = [child for name, child in layer.named_children() if name in FEED_FORWARD_NAMES]
        parts += [child for name, child in layer.named_children() if name in FEED_FORWARD_LINEARS]
        if any(_is_mixture(module) for module in layer.modules()):
            raise RecipeError(
                f"Layer {index} of this {decoder.config.model_type} model is a mixture of experts, and a heal adapts one "
                f"feed-forward part per layer; choose a dense model."
            )
        names = [paths[module] for part in parts for module in part.modules() if isinstance(module, nn.Linear | Conv1D)]
        if not names:
            raise RecipeError(
                f"Layer {index} of this {decoder.config.model_type} model has no feed-forward part that is recognised "
                f"({', '.join((*FEED_FORWARD_NAMES, *FEED_FORWARD_LINEARS))}), so there is nothing to put LoRA on; choose "
                f"another family."
            )
        found += names
    return found


def _is_mixture(module: nn.Module) -> bool:
    return any(word in type(module).__name__.lower() for word in _EXPERTS)


def attach(decoder: Decoder, spec: HealSpec, init_seed: int, changes: Mapping[str, Tensor] | None = None) -> PeftModel:
    """Put a LoRA adapter on the feed-forward modules of a cut model; but for `changes` it does nothing until it is trained.

    Args:
        decoder: the cut model; its base weights are frozen.
        spec: r, lora_dropout.
        init_seed: seed of the random start of the A matrices (B starts at 0).
        changes: by module name, (out_features, in_features) to add to its weight: a LoRA of full rank that is not trained.

    Raises:
        RecipeError: see `feed_forward_modules`.
    """
    targets = feed_forward_modules(decoder)
    transposed = any(isinstance(decoder.model.get_submodule(name), Conv1D) for name in targets)
    full = {name: min(change.shape) for name, change in (changes or {}).items()}
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.r,
        rank_pattern=full,
        alpha_pattern=full,
        lora_dropout=spec.lora_dropout,
        target_modules=targets,
        fan_in_fan_out=transposed,
        bias="none",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(init_seed)
    model = get_peft_model(decoder.model, config)
    for name, change in (changes or {}).items():
        _set(model.get_base_model().get_submodule(name), change)
    return model


def _set(module: Any, change: Tensor) -> None:
    """Make a LoRA of full rank amount to `change`, and keep it so: no gradient, no dropout."""
    first, second = module.lora_A["default"].weight, module.lora_B["default"].weight
    n_out, n_in = change.shape
    with torch.no_grad():
        first.copy_(change if n_out <= n_in else torch.eye(n_in))
        second.copy_(torch.eye(n_out) if n_out <= n_in else change)
    first.requires_grad_(False)
    second.requires_grad_(False)
    module.lora_dropout["default"] = nn.Identity()


def folder(fingerprint: str) -> Path:
    """Where the adapter of the heal with this key lies."""
    return storage.cache_dir() / "adapters" / fingerprint


def relative(fingerprint: str) -> str:
    """The same, relative to the cache folder."""
    return folder(fingerprint).relative_to(storage.cache_dir()).as_posix()


def save(model: PeftModel, spec: HealSpec, *, base: str, steps_done: int) -> Path:
    """Save the adapter as a standard PEFT folder, atomically, over an older one of the same heal.

    Args:
        model: the healed model.
        spec: resolved.
        base: what the base model is called: a hub id or a folder.
        steps_done: optimizer steps taken, for the card.

    Raises:
        StorageError: when the disk is full; an older folder is intact.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base

    def fill(target: Path) -> None:
        # False: else PEFT asks the hub whether the vocabulary was resized
        model.save_pretrained(str(target), safe_serialization=True, save_embedding_layers=False)
        (target / "README.md").write_text(card(spec, base=base, steps_done=steps_done), encoding="utf-8")
        (target / "layerscope.json").write_text(json.dumps({"heal": spec.to_json(), "steps_done": steps_done}, indent=1))

    path = folder(spec.fingerprint())
    storage.write_folder(path, fill)
    return path


def card(spec: HealSpec, *, base: str, steps_done: int) -> str:
    """The adapter's model card: what to cut before it is applied, and how it was made."""
    block = spec.block
    return f"""---
library_name: peft
---
# LoRA heal of {base} without {block.describe()}

Remove {block.describe()} of the base model (0-based) first: this adapter fits only what is left.

    from torch import nn
    from transformers import AutoModelForCausalLM
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained({base!r})
    layers = model.model.layers  # where this family keeps them
    kept = [layer for index, layer in enumerate(layers) if not {block.start} <= index < {block.stop}]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    model.model.layers = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    model = PeftModel.from_pretrained(model, "this folder")

Trained for {steps_done} of {spec.steps} steps of {spec.batch_size * spec.gradient_accumulation} x {spec.corpus.seq_len} \
tokens of {spec.corpus.source} text on the feed-forward modules: r {spec.r}, peak learning rate {spec.learning_rate:g}, base \
weights {spec.model.quantization if spec.model.quantization != "none" else "unquantized"}. Method: Gromov et al., The \
Unreasonable Ineffectiveness of the Deeper Layers, arXiv:2403.17887.
"""
