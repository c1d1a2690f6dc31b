"""Calls of libraries that load models and adapters, on folders checked by `model_files`."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from analysis.models.source import model_files

if TYPE_CHECKING:  # imports bitsandbytes, which takes seconds
    from peft import PeftModel


BUILDING = threading.RLock()
"""Lock held while a library builds a model, because it changes the default dtype of torch
meanwhile."""


def config(folder: Path, gguf_file: str | None = None) -> Any:
    """Return the transformers configuration of a model.

    Args:
        folder: folder of the model.
        gguf_file: name of the file in the folder, for a GGUF model.
    """
    with model_files.reading(folder, gguf_file) as (path, options):
        loaded = AutoConfig.from_pretrained(path, trust_remote_code=False, **options)
    if gguf_file is not None:
        loaded.name_or_path = str(folder)
    return loaded


def tokenizer(folder: Path, gguf_file: str | None = None) -> Any:
    """Return the tokenizer of a model; arguments as in `config`."""
    with model_files.reading(folder, gguf_file) as (path, options):
        loaded = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **options)
    if gguf_file is not None:
        loaded.name_or_path = str(folder)
    return loaded


def model(folder: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a causal language model and the names of weights that are missing, unexpected or of
    another shape.

    Args:
        folder: folder of the model.
        options: options of `from_pretrained`.
    """
    # By default transformers does not report weights of another shape.
    options = {
        **options,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,
        "trust_remote_code": False,
    }
    gguf_file = options.pop("gguf_file", None)
    with BUILDING, model_files.reading(folder, gguf_file) as (path, gguf_options):
        pair: Any = AutoModelForCausalLM.from_pretrained(path, **options, **gguf_options)
    loaded, info = pair
    if gguf_file is not None:
        loaded.config.name_or_path = loaded.name_or_path = str(folder)
    return loaded, info


def with_adapter(base: Any, folder: Path) -> "PeftModel":
    """Return a model with the adapter of a folder."""
    from peft import PeftModel

    with model_files.checked(folder):
        # On the meta device first, so that a rank in the configuration takes no memory.
        return PeftModel.from_pretrained(base, str(folder), low_cpu_mem_usage=True)


def names(file: Path) -> set[str]:
    """Return the names of the weights in a safetensors file of a folder."""
    with model_files.checked(file.parent), safe_open(file, framework="pt") as weights:
        return set(weights.keys())


def tensors(file: Path) -> dict[str, Tensor]:
    """Return the weights in a safetensors file of a folder, by name."""
    with model_files.checked(file.parent):
        return load_file(file)
