"""Loads the model of a `ModelSpec`, after a check of its memory."""

import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from analysis.core import units
from analysis.core.errors import NotEnoughMemoryError, SpecError, UnsupportedModelError
from analysis.core.meter import Meter
from analysis.core.progress import OnProgress, Progress, ignore
from analysis.models.architecture import decoder as architecture
from analysis.models.architecture import float32_products, residual
from analysis.models.architecture.decoder import Decoder
from analysis.models.loading import (
    layers_on_disk,
    machine,
    placement,
    planning,
    quantized_products,
    text_part,
    weights,
)
from analysis.models.loading import tokenizer as tokenizers
from analysis.models.loading.config import reading_errors_explained, unquantized
from analysis.models.loading.gguf_conversion import converted, unpacked
from analysis.models.loading.placement import Placement
from analysis.models.loading.text_part import Names
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.source import gguf
from analysis.models.source import identity as identities
from analysis.models.source.location import Source, locate
from analysis.models.source.model_spec import ModelSpec
from analysis.models.source.resolving import resolve_model
from analysis.models.source.sizes import ModelFacts


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model with its parts."""

    model: Any
    """The transformers model, in eval mode."""
    tokenizer: Any
    decoder: Decoder
    spec: ModelSpec
    """Resolved: concrete dtype, device and identity."""
    facts: ModelFacts
    placement: Placement | None = None
    """Devices of its parts, if it is spread over several."""

    def versions(self) -> dict[str, str]:
        """Return the versions of a result: `machine.versions`, and the devices if there are
        several.
        """
        return planning.versions(self.placement)


def load(
    spec: ModelSpec, on_progress: OnProgress = ignore, *, by_layer: bool = False
) -> LoadedModel:
    """Load a model.

    Args:
        spec: the model.
        on_progress: receives progress.
        by_layer: whether the layers may stay on disk (`Decoder.on_disk`) if the model does not fit
            in memory. Only `hidden_states.finals` and `hidden_states.all_token_streams` support
            such a model.

    Raises:
        ModelNotFoundError, UnsupportedModelError: as in `locate` and `read_config`; also if the
            weights have another identity than the spec.
        NotEnoughMemoryError: If the estimate exceeds the free memory; nothing has been loaded then.
    """
    with gguf.shared_reader() if spec.is_gguf else contextlib.nullcontext():
        return _load(spec, on_progress, by_layer)


def _load(spec: ModelSpec, on_progress: OnProgress, by_layer: bool) -> LoadedModel:
    machine.share_cores()
    planned = planning.plan(spec, on_progress)
    resolved = planned.spec
    if not planned.fits and not (by_layer and planned.streams):
        least = (
            f" (layer by layer from the disk it needs {units.size(planned.layered_bytes)})"
            if by_layer
            else ""
        )
        precision = resolved.dtype
        if resolved.quantization != "none":
            precision += f" with {resolved.quantization} layers"
        raise NotEnoughMemoryError(
            f"{planned.source.name} needs about"
            f" {units.size(planned.weight_bytes + planned.working_bytes)} in {precision},"
            f" but only {planning.free_in_words(planned)}{least}. Choose {_smaller(resolved)}."
        )
    source = locate(resolved, on_progress)  # of the commit of the plan
    if spec.identity not in ("", source.identity):
        raise UnsupportedModelError(
            f"The weights of {source.name} are {source.identity}, but the request names"
            f" {spec.identity[:60]}. They were replaced since, or the identity is wrong. Send the"
            " request without an identity."
        )
    if source.gguf_file and planned.fits:
        source = converted(
            source, planned.facts.n_parameters, machine.free_bytes("cpu"), on_progress
        )
    if (
        source.gguf_file and resolved.quantization != "none"
    ):  # bitsandbytes reads only safetensors files
        raise SpecError(
            f"{source.name} is quantized from the folder that it is converted to, and memory or"
            " disk is too small for that folder. Free some, or choose quantization none."
        )
    if not planned.fits:
        return _by_layer(planned, source, on_progress)
    message = planned.how or f"Loading {source.name} in {resolved.dtype} on {planned.where}."
    on_progress(Progress("loading the model", 0, 1, message))
    options: dict[str, Any] = {"dtype": getattr(torch, resolved.dtype)}
    if source.gguf_file:
        options |= unpacked(source, planned.config)
    else:
        options |= {"use_safetensors": True, **unquantized(planned.config)}
    if resolved.quantization != "none":
        options |= {
            "quantization_config": _bitsandbytes(resolved),
            "device_map": planned.modules or {"": planned.where},
        }
    elif planned.modules and not source.gguf_file:
        options |= {"device_map": planned.modules}
    tokenizer = tokenizers.load(source, planned.facts.vocab_size)
    with reading_errors_explained(source, "weights"):
        names = _names(planned, source, on_progress)
        if names is not None:
            options |= {"config": planned.config, "key_mapping": names.key_mapping}
        model: Any = weights.load_all(
            source.name, source.folder, options, on_progress, names.other_parts if names else ()
        )
        _check_unchanged(source)
    if source.gguf_file:
        for (
            parameter
        ) in model.parameters():  # a transposed one sums in another order and rounds differently
            parameter.data = parameter.data.contiguous()
    if "device_map" not in options and planned.placement is None:
        model.to(planned.where)
    model.eval()
    quantized_products.prepare(model)
    tokenizers.refuse_missing_tokens(model, tokenizer)
    with reading_errors_explained(
        source, "configuration"
    ):  # a wrong configuration may show only in a forward pass
        decoder = architecture.find_decoder(model)
        if planned.placement is not None:
            placement.spread(decoder, planned.placement)
        if planned.part is not None:
            text_part.check(planned.part, decoder)
        float32_products.prepare(decoder.model.modules())
        residual.widen(decoder)
        decoder.check()
        residual.check(decoder)
    Meter.device = machine.Device(str(decoder.head_device))
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(model, tokenizer, decoder, resolved, planned.facts, planned.placement)


def _check_unchanged(source: Source) -> None:
    """Refuse a folder whose files changed while they were loaded.

    Raises:
        UnsupportedModelError: If they did.
    """
    if (
        source.identity.startswith("files:")
        and identities.of_folder(source.folder) != source.identity
    ):
        raise UnsupportedModelError(
            f"The files of {source.name} changed while they were read. Wait until they are"
            " complete, and run it again."
        )


def _by_layer(planned: planning.Plan, source: Source, on_progress: OnProgress) -> LoadedModel:
    """Load the model with its layers on disk, and check it on a few tokens with one layer of each
    kind.
    """
    spec = planned.spec
    on_progress(Progress("loading the model", 0, 1, planned.how))
    tokenizer = tokenizers.load(source, planned.facts.vocab_size)
    with reading_errors_explained(source, "weights"):
        path = source.folder / source.gguf_file if source.gguf_file else source.folder
        names = _names(planned, source, on_progress)
        decoder = weights.without_layers(
            source.name,
            path,
            planned.config,
            dtype=getattr(torch, spec.dtype),
            device=planned.where,
            quantization=None if spec.quantization == "none" else _bitsandbytes(spec),
            identity=f"{spec.identity} {spec.dtype} {spec.quantization} {spec.device}",
            on_progress=on_progress,
            key_mapping=names.key_mapping if names else None,
            other_parts=names.other_parts if names else (),
        )
        _check_unchanged(source)
        quantized_products.prepare(decoder.model)
        float32_products.prepare(decoder.model.modules())
        tokenizers.refuse_missing_tokens(decoder.model, tokenizer)
        assert decoder.on_disk is not None
        decoder.on_disk.room_bytes = planned.room_bytes
        residual.widen(decoder)
    with reading_errors_explained(source, "configuration"), layers_on_disk.in_part(decoder) as part:
        if planned.part is not None:
            text_part.check(planned.part, part)
        part.check()
        layers_on_disk.check(part)
        residual.check(part)
    Meter.device = machine.Device(str(decoder.head_device))
    on_progress(Progress("loading the model", 1, 1))
    return LoadedModel(decoder.model, tokenizer, decoder, spec, planned.facts)


def _names(planned: planning.Plan, source: Source, on_progress: OnProgress) -> Names | None:
    """Return the names of a text part in the files, and report the omitted parts; None without a
    text part.
    """
    part = planned.part
    if part is None:
        return None
    names = text_part.names(part, WeightFiles(source.folder).places)
    left_out = weights.listed(sorted(names.other_parts)) if names.other_parts else "nothing"
    message = (
        f"Layerscope loads the text part of {source.name}, a {part.full_config.model_type} model,"
        f" as a plain {part.config.model_type} model. It leaves out {left_out} of other parts."
    )
    on_progress(Progress("loading the model", 0, 1, message))
    return names


def _is_no_cast(record: logging.LogRecord) -> bool:
    """Filter out the warning about casts to float16, which bitsandbytes repeats for each matrix and
    pass.
    """
    return not str(record.msg).startswith("MatMul8bitLt: inputs will be cast")


def _bitsandbytes(spec: ModelSpec) -> BitsAndBytesConfig:
    if spec.quantization == "8bit":
        # The inspection of a model reports it once, as a note.
        logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_no_cast)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, spec.dtype),
    )


def _smaller(spec: ModelSpec) -> str:
    """Return the settings that take less memory."""
    choices = ["bfloat16"] * (spec.dtype == "float32") + ["4bit"] * (spec.quantization != "4bit")
    return ", ".join([*choices, "a smaller model"]) + " or another device"


class Loader:
    """Loader of models for experiments, without a cache."""

    def __call__(
        self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False
    ) -> LoadedModel:
        """Load a model. Other loaders may share it, so callers must not modify it."""
        return load(spec, on_progress, by_layer=by_layer)

    def clear(self) -> None:
        """Free the memory of cached models."""


FRESH = Loader()
"""Default loader of experiments."""


class ReadyModel(Loader):
    """Loader that returns an already loaded model."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Hold the model."""
        self._loaded = loaded

    def __call__(
        self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False
    ) -> LoadedModel:
        """Return the model."""
        return self._loaded


class WarmModels(Loader):
    """Loader that caches the last model, for a worker that runs one job after another."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self._loaded: LoadedModel | None = None

    def __call__(
        self, spec: ModelSpec, on_progress: OnProgress = ignore, /, *, by_layer: bool = False
    ) -> LoadedModel:
        """Return the cached model if it is the requested one, else load it."""
        resolved = resolve_model(spec)
        loaded = self._loaded
        if (
            loaded is None
            or loaded.spec != resolved
            or (loaded.decoder.on_disk is not None and not by_layer)
        ):
            loaded = None  # otherwise two models would be in memory
            self.clear()
            loaded = self._loaded = load(resolved, on_progress, by_layer=by_layer)
        return loaded

    def clear(self) -> None:
        """Release the model and its memory."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
