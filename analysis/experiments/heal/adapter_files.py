"""The folder of a healing run's adapter: a standard PEFT folder with a model card."""

import json
from pathlib import Path

from peft import PeftModel

from analysis.core import blocks, store
from analysis.core.blocks import ATTENTION, FEED_FORWARD, Removal
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.running.adapters import folder


def save(
    model: PeftModel, spec: HealSpec, *, base: str, steps_done: int, key: str, part_of: str = ""
) -> Path:
    """Save the adapter as a standard PEFT folder, atomically, over an older one of the same run.

    Args:
        model: The healed model.
        spec: The resolved request.
        base: Name of the base model, a Hub id or a folder.
        steps_done: Number of optimizer steps taken, for the card.
        key: Key of the healing run.
        part_of: For the text model of a multimodal model, the family of the full model; ""
            otherwise.

    Raises:
        StorageError: If the disk is full; an older folder stays intact.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = base

    def fill(target: Path) -> None:
        # save_embedding_layers=False, because otherwise PEFT asks the Hub whether the vocabulary
        # was resized.
        model.save_pretrained(str(target), safe_serialization=True, save_embedding_layers=False)
        note = _TEXT_PART.format(base=base, whole=part_of) if part_of else ""
        (target / "README.md").write_text(
            card(spec, base=base, steps_done=steps_done) + note, encoding="utf-8"
        )
        record = {"heal": spec.to_json(), "steps_done": steps_done}
        (target / "layerscope.json").write_text(json.dumps(record, indent=1))

    path = folder(key)
    store.write_folder(path, fill)
    return path


def card(spec: HealSpec, *, base: str, steps_done: int) -> str:
    """Return the model card of the adapter: the layers to remove before loading it, and its
    training.
    """
    block = spec.block
    weights = spec.model.quantization
    description = (
        "the unpruned model, as a control"
        if spec.control
        else f"the model without {block.describe()}"
    )
    first = "" if spec.control else _how_to_cut(base, block)
    trained = {
        "feed_forward": "the feed-forward modules",
        "attention": "the attention",
        "both": "the attention and the feed-forward modules",
    }[spec.lora_on]
    fitted = (
        "Started from a closed-form refit of the layer before the removed block. "
        if spec.instant
        else ""
    )
    return f"""---
library_name: peft
---
# Healed {base}: {description}
{first}
{fitted}Trained for {steps_done} of {spec.steps} steps of \
{spec.batch_size * spec.gradient_accumulation} x {spec.corpus.seq_len} tokens of \
{spec.corpus.source} text on {trained}. Settings: r {spec.r}, peak learning rate \
{spec.peak_rate:g}, base weights {weights if weights != "none" else "unquantized"}. Method: \
Gromov et al., The Unreasonable Ineffectiveness of the Deeper Layers, arXiv:2403.17887.
"""


def _how_to_cut(base: str, block: Removal) -> str:
    matrix = {ATTENTION: "self_attn.o_proj", FEED_FORWARD: "mlp.down_proj"}
    single = [f"layers[{layer}].{matrix[part]}" for layer, part in blocks.single_parts(block)]
    zeros = _ZEROS.format(matrices=", ".join(single)) if single else ""
    return _HOW_TO_CUT.format(
        base=base, removed=sorted(block.layers), cut=block.describe(), zeros=zeros
    )


_ZEROS = """\
    # The output matrix of each removed sublayer, by its name in this architecture.
    for matrix in ({matrices},):
        matrix.weight.data.zero_()  # and its bias, if it has one
"""
_HOW_TO_CUT = """
First remove {cut} (0-based) from the base model: this adapter fits only the remaining layers.

    from torch import nn
    from transformers import AutoModelForCausalLM
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained({base!r})
    layers = model.model.layers  # where this architecture keeps them
{zeros}    kept = [layer for index, layer in enumerate(layers) if index not in {removed}]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    model.model.layers = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    model = PeftModel.from_pretrained(model, "this folder")
"""
_TEXT_PART = """
{base} is a {whole} model. This adapter belongs to its text part alone, as a plain causal model: \
decoder and head, as Layerscope loads and exports it. Do not apply it to the {whole} model.
"""
