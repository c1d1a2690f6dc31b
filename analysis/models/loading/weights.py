"""Loads all weights, or all but the decoder layers. Missing weights are errors, and unused ones are
reported.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import init_empty_weights
from tqdm import tqdm
from transformers import AutoModelForCausalLM, modeling_gguf_pytorch_utils
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.utils import logging as transformers_logging

from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import layers_on_disk, pretrained
from analysis.models.loading.assembly import Assembly, called
from analysis.models.loading.weight_files import WeightFiles

_MAX_NAMES = 3
"""Maximum number of missing weights that an error names."""


def load_all(
    name: str,
    folder: Path,
    options: dict[str, Any],
    on_progress: OnProgress = ignore,
    other_parts: Collection[str] = (),
) -> Any:
    """Load a transformers causal language model with all weights from its files.

    Args:
        name: name of the model, for messages.
        folder: folder of its files.
        options: options of `from_pretrained`.
        on_progress: receives a message about unused weights.
        other_parts: weights in the files that belong to other parts than the text part, which
            `load` reports.

    Raises:
        UnsupportedModelError: If weights are missing or have another shape than in the
            configuration.
    """
    _quiet()
    before = transformers_logging.get_verbosity()
    if other_parts:
        # transformers would list all weights of the other parts
        transformers_logging.set_verbosity_error()
    try:
        model, info = pretrained.model(folder, options)
    except RuntimeError as error:
        if "automatic conversion of the weights" not in str(error):
            raise
        raise _not_joined(name) from error
    finally:
        transformers_logging.set_verbosity(before)
    if (
        "gguf_file" not in options
        and getattr(pretrained.config(folder), "quantization_config", None) is None
    ):
        steps = get_model_conversion_mapping(model, options.get("key_mapping"))
        _check_numbers(name, model, called(model, steps, WeightFiles(folder).integers))
    if "key_mapping" in options:
        del model._weight_conversions  # save it under the usual names of its family
    _check(name, SimpleNamespace(conversion_errors=None, **info), on_progress, other_parts)
    return model


def _quiet() -> None:
    """Disable the progress bars of transformers, which would fill the log of a job."""
    transformers_logging.disable_progress_bar()
    setattr(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=True))  # noqa: B010 (not covered by the line above)


def _check(name: str, report: Any, on_progress: OnProgress, other_parts: Collection[str]) -> None:
    """Refuse a model if transformers reports missing or mismatched weights."""
    if report.conversion_errors:
        raise _not_joined(name)
    missing = sorted(report.missing_keys)
    if missing:
        raise UnsupportedModelError(
            f"{name} lacks {listed(missing)}, which would be filled with random numbers. Get its"
            " files again, or the configuration that belongs to them."
        )
    if report.mismatched_keys:
        key, shape, expected = min(report.mismatched_keys)
        raise UnsupportedModelError(
            f"{name} has {listed(sorted(key for key, *_ in report.mismatched_keys))} in another"
            f" shape than in its configuration ({key}: {tuple(shape)}, not {tuple(expected)}). They"
            " would be filled with random numbers. Get the configuration that belongs to the"
            " weights."
        )
    unexpected = sorted(set(report.unexpected_keys) - set(other_parts))
    if unexpected:
        on_progress(
            Progress(
                "loading the model",
                0,
                1,
                f"{name} also holds {listed(unexpected)}, which its configuration does not use."
                " They are left out.",
            )
        )


def _check_numbers(name: str, model: Any, places: Mapping[str, str]) -> None:
    """Refuse integer weights, which transformers would use without a scale.

    Args:
        name: name of the model, for the error.
        model: transformers model.
        places: names in the model of integer tensors, by their names in the files. Buffers, such as
            masks, are allowed.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    if wrong := sorted(stored for stored, model_name in places.items() if model_name in weights):
        raise UnsupportedModelError(
            f"{name} stores {listed(wrong)} as integers, but its configuration declares no"
            " quantization with their scale. Get the model in float32, float16 or bfloat16."
        )


def _not_joined(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} lacks weights: some weights that are joined on loading, such as those of experts,"
        " are missing or do not match. Get its files again."
    )


def listed(names: Sequence[str]) -> str:
    """Return the number of names and the first few: "3 weights (a, b, c)"."""
    ellipsis = ", …" if len(names) > _MAX_NAMES else ""
    return (
        f"{len(names)} {'weight' if len(names) == 1 else 'weights'}"
        f" ({', '.join(names[:_MAX_NAMES])}{ellipsis})"
    )


def without_layers(
    name: str,
    path: Path,
    config: Any,
    *,
    dtype: torch.dtype,
    device: str,
    quantization: Any,
    identity: str,
    on_progress: OnProgress = ignore,
    key_mapping: dict[str, str] | None = None,
    other_parts: Collection[str] = (),
) -> Decoder:
    """Load a model with its decoder layers on disk (`Decoder.on_disk`).

    Args:
        name: name of the model, for messages.
        path: the folder of its files, or a GGUF file.
        config: transformers configuration.
        dtype: compute dtype.
        device: device of the other parts.
        quantization: bitsandbytes configuration, or None.
        identity: identity of the weights and of their compute precision.
        on_progress: receives a message about unused weights.
        key_mapping: renaming of the names in the files, as for `from_pretrained`.
        other_parts: as in `load_all`.

    Raises:
        UnsupportedModelError: If weights are missing, or the files or the family do not allow
            reading layers one by one.
    """
    _quiet()
    checkpoint = WeightFiles(path)
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedModelError(
            f"{name} is quantized in its files, which cannot be read layer by layer. Use the"
            " original weights."
        )
    with pretrained.BUILDING, init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)
    assembly = Assembly(
        model,
        checkpoint,
        dtype=dtype,
        device=device,
        quantization=quantization,
        key_mapping=key_mapping,
    )
    model.eval()
    _check(name, assembly.report, on_progress, other_parts)
    if path.is_dir():
        _check_numbers(name, model, assembly.integers)
    decoder = architecture.find_decoder(model)
    layers = layers_on_disk.LayersOnDisk(decoder, assembly, identity=identity)
    decoder = replace(decoder, on_disk=layers)
    # before a trial, in which layers of the same kind share weights
    decoder.check_layers_are_apart()
    report = assembly.load(checkpoint.places.keys() - layers.stored - set(other_parts))
    model.tie_weights(missing_keys=report.missing_keys, recompute_mapping=False)
    for buffer_name, buffer in list(model.named_buffers()):
        if not buffer.is_meta:
            layers_on_disk.put(model, {buffer_name: buffer.to(device)})
    return decoder
