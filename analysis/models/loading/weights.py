"""Weights read whole, or all but the decoder layers: none is made up, none is left out without a word."""

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
from transformers.core_model_loading import WeightConverter
from transformers.utils import logging as transformers_logging

from analysis.core.errors import UnsupportedModelError
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import layers_on_disk, pretrained
from analysis.models.loading.assembly import Assembly, called
from analysis.models.loading.weight_files import WeightFiles

_NAMED = 3
"""Maximum number of missing weights that an error names."""


def whole(
    name: str,
    folder: Path,
    options: dict[str, Any],
    on_progress: OnProgress = ignore,
    beside: Collection[str] = (),
) -> Any:
    """A transformers causal language model, all of whose weights come from its files: none is made up.

    Args:
        name: to show.
        folder: where its files are.
        options: of `from_pretrained`.
        on_progress: receives reports of weights that the configuration has no place for.
        beside: weights in the files that are of other parts than the text part, which `load` reports.

    Raises:
        UnsupportedModelError: when weights are missing, or of another shape than the configuration asks for.
    """
    _quiet()
    before = transformers_logging.get_verbosity()
    if beside:
        transformers_logging.set_verbosity_error()  # the parts left out are known, and transformers would list all of them
    try:
        model, info = pretrained.model(folder, options)
    except RuntimeError as error:
        if "automatic conversion of the weights" not in str(error):
            raise
        raise _not_joined(name) from error
    finally:
        transformers_logging.set_verbosity(before)
    whole_numbers = set() if "gguf_file" in options else pretrained.whole_numbers(folder)
    if whole_numbers and getattr(pretrained.config(folder), "quantization_config", None) is None:
        steps = get_model_conversion_mapping(model, options.get("key_mapping"))
        _check_numbers(name, model, called(model, steps, whole_numbers))
    if "key_mapping" in options:
        del model._weight_conversions  # it is saved as any model of its family, and not under the names that it was read by
    _check(name, SimpleNamespace(conversion_errors=None, **info), on_progress, beside)
    return model


def _quiet() -> None:
    """Keep the bars of transformers away: progress is ours to show, and in a job's log they hide the messages that matter."""
    transformers_logging.disable_progress_bar()
    setattr(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=True))  # noqa: B010 (which that does not reach)


def _check(name: str, report: Any, on_progress: OnProgress, beside: Collection[str]) -> None:
    """Refuse a model if transformers reports weights that are missing, do not fit together or have another shape."""
    if report.conversion_errors:
        raise _not_joined(name)
    missing = sorted(report.missing_keys)
    if missing:
        raise UnsupportedModelError(
            f"{name} lacks {listed(missing)}, which would be filled with random numbers. Get its files again, or "
            "the configuration that belongs to them."
        )
    if report.mismatched_keys:
        key, shape, expected = min(report.mismatched_keys)
        raise UnsupportedModelError(
            f"{name} has {listed(sorted(key for key, *_ in report.mismatched_keys))} in another shape than in its "
            f"configuration ({key}: {tuple(shape)}, not {tuple(expected)}). They would be filled with random "
            "numbers. Get the configuration that belongs to the weights."
        )
    unexpected = sorted(set(report.unexpected_keys) - set(beside))
    if unexpected:
        on_progress(
            Progress(
                "loading the model",
                0,
                1,
                f"{name} also holds {listed(unexpected)}, which its configuration does not use. They are left out.",
            )
        )


def _check_numbers(name: str, model: Any, places: Mapping[str, str]) -> None:
    """Refuse weights that are stored as whole numbers, which transformers would take for the weights themselves.

    Args:
        name: of the model, to show.
        model: of transformers.
        places: names in the model of such tensors, by their names in the files; buffers, such as masks, may be.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    if wrong := sorted(stored for stored, model_name in places.items() if model_name in weights):
        raise UnsupportedModelError(
            f"{name} stores {listed(wrong)} as integers, but its configuration declares no quantization with "
            "their scale. Get the model in float32, float16 or bfloat16."
        )


def _not_joined(name: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} lacks weights: some weights that are joined on loading, such as those of experts, are "
        "missing or do not match. Get its files again."
    )


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many there are: "3 weights (a, b, c)"."""
    ellipsis = ", …" if len(names) > _NAMED else ""
    return f"{len(names)} {'weight' if len(names) == 1 else 'weights'} ({', '.join(names[:_NAMED])}{ellipsis})"


def joins(decoder: Decoder) -> bool:
    """Return whether weights of its family are joined or split on loading, as those of experts are."""
    return any(isinstance(step, WeightConverter) for step in get_model_conversion_mapping(decoder.model))


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
    beside: Collection[str] = (),
) -> Decoder:
    """A model whose decoder layers stay on the disk (`Decoder.on_disk`); the rest of it is in memory.

    Args:
        name: to show.
        path: the folder of its files, or a GGUF file.
        config: of transformers.
        dtype: of its computation.
        device: where.
        quantization: of bitsandbytes, as transformers wants it, or None.
        identity: of the weights and of how they are computed with.
        on_progress: receives reports of weights that the configuration has no place for.
        key_mapping: how names of the files are changed beforehand, as `from_pretrained` wants it.
        beside: as in `whole`.

    Raises:
        UnsupportedModelError: when weights are missing, or its files or its family do not let its layers be read one by one.
    """
    _quiet()
    checkpoint = WeightFiles(path)
    if getattr(config, "quantization_config", None) is not None:
        raise UnsupportedModelError(
            f"{name} is quantized in its files, which cannot be read layer by layer. Use the original weights."
        )
    with pretrained.BUILDING, init_empty_weights(include_buffers=False):
        model: Any = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype)
    assembly = Assembly(model, checkpoint, dtype=dtype, device=device, quantization=quantization, key_mapping=key_mapping)
    model.eval()
    _check(name, assembly.report, on_progress, beside)
    if path.is_dir():
        _check_numbers(name, model, assembly.of_whole_numbers)
    decoder = architecture.find_decoder(model)
    layers = layers_on_disk.LayersOnDisk(decoder, assembly, identity=identity)
    decoder = replace(decoder, on_disk=layers)
    decoder.check_layers_are_apart()  # later on layers that are like each other share weights, for a trial
    report = assembly.load(checkpoint.places.keys() - layers.stored - set(beside))
    model.tie_weights(missing_keys=report.missing_keys, recompute_mapping=False)
    for buffer_name, buffer in list(model.named_buffers()):
        if not buffer.is_meta:
            layers_on_disk.put(model, {buffer_name: buffer.to(device)})
    return decoder
