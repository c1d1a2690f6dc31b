"""The configuration of a model, read and checked: a causal decoder, or a model with one, without code of its own.

Weights that are stored quantized are dequantized exactly while loading if that needs no other package, else refused. Unpacked
they are a plain model in the requested dtype, the same on every machine, that can be pruned, healed and exported. Computed with
as they are stored, on GPUs that can, scores would differ from machine to machine.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MULTIMODAL_LM_MAPPING
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from analysis.core import failures, input_files
from analysis.core.errors import LayerscopeError, ModelNotFoundError, SpecError, UnsupportedModelError
from analysis.core.progress import Cancelled
from analysis.models.architecture import families
from analysis.models.loading import pretrained
from analysis.models.source import gguf, plausible
from analysis.models.source.location import Source

_MOST_BYTES = 16 << 20
"""Of a config.json."""


def read_config(source: Source) -> Any:
    """The model's configuration, checked to be a causal decoder, or to have one among its parts, that needs no code of its own.

    Raises:
        UnsupportedModelError: an encoder, an encoder-decoder, or a model that brings its own code.
    """
    if source.gguf_file is None:
        raw = _raw_config(source)
        family = raw.get("model_type", "")
        if not isinstance(family, str) or family not in CONFIG_MAPPING:
            raise UnsupportedModelError(
                f"{source.name} is of type {family!r}, which the installed transformers version does not support. "
                "Layerscope never runs code that comes with a model. Choose a model of another type."
            )
        plausible.check(raw, source.name)
    else:
        plausible.check(gguf.header(source.folder / source.gguf_file), source.name)
    with reading_errors_explained(source, "configuration"):
        config = pretrained.config(source.folder, source.gguf_file)
        if source.gguf_file is not None:
            gguf.complete(config, source.folder / source.gguf_file)
        names = getattr(config, "architectures", None) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("architectures must be a list of names")
        window = getattr(config.get_text_config(), "max_position_embeddings", None)
        if window is not None and window < 1:
            raise ValueError(f"max_position_embeddings must be at least 1, not {window}")
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not getattr(config, "is_encoder_decoder", False)
    if names and not any(name.endswith(families.of(config).classes) for name in names):
        causal = False
    if not causal and not has_text_part(config):
        raise UnsupportedModelError(
            f"{source.name} ({', '.join(names) or config.model_type}) is not a causal language model: it has no "
            "left-to-right decoder to remove layers from. Choose a model such as Llama, Qwen or GPT-2."
        )
    return config


def _raw_config(source: Source) -> dict[str, Any]:
    try:
        return input_files.parsed_object(input_files.read(source.folder / "config.json", _MOST_BYTES).decode())
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"The config.json of {source.name} cannot be read: {error}. Get its files again.") from error


@contextlib.contextmanager
def reading_errors_explained(source: Source, part: str) -> Iterator[None]:
    """Around a library's reading of a part of a model: of one that is broken they raise dozens of unrelated types.

    Args:
        source: the model.
        part: of the model, to name in the sentence.

    Raises:
        UnsupportedModelError: when it is broken; our own errors, and those about memory or a disk, stay as they are.
    """
    try:
        yield
    except (LayerscopeError, Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # those written in Rust panic past Exception
        if failures.is_of_machine(error):
            raise
        family = failures.model_type(error)
        by = f", in the code of {family} models in transformers" if family else ""
        raise UnsupportedModelError(
            f"The {part} of {source.name} cannot be used: {failures.clause(error)}{by}. Get its files again."
        ) from error


def has_text_part(config: Any) -> bool:
    """Return whether a configuration is of a model with other parts around a text decoder, that is no causal model as it is."""
    is_multimodal = type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    return is_multimodal and config.get_text_config(decoder=True) is not config


_UNPACKED = {"fp8": ("FP8", FineGrainedFP8Config), "mxfp4": ("MXFP4", Mxfp4Config)}
_NAMES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "compressed-tensors": "compressed-tensors",
    "bitsandbytes": "bitsandbytes",
    "torchao": "torchao",
    "bitnet": "BitNet",
}


def stored_quantization(config: Any) -> str | None:
    """How the files' weights are quantized, as the configuration names it; None if they are not."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    name = stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", None)
    if name is None and isinstance(stored, dict) and (stored.get("load_in_4bit") or stored.get("load_in_8bit")):
        return "bitsandbytes"  # as its first versions wrote it
    return str(getattr(name, "value", name))


def quantization_name(config: Any) -> str:
    """Return the name of the format that weights are stored quantized in, for example "FP8"; "" if they are not."""
    stored = stored_quantization(config) or ""
    return _UNPACKED[stored][0] if stored in _UNPACKED else _NAMES.get(stored, stored)


def check_quantization(config: Any, name: str, quantization: str) -> None:
    """See to it that weights as they are stored can be loaded.

    Args:
        config: of transformers.
        name: of the model, to show.
        quantization: that is asked for besides, as in `ModelSpec`.

    Raises:
        UnsupportedModelError: when they are quantized in a way that is not unpacked here.
        SpecError: when they would be quantized once more.
    """
    stored = stored_quantization(config)
    if stored is None:
        return
    if stored not in _UNPACKED:
        called = _NAMES.get(stored, repr(stored))
        raise UnsupportedModelError(
            f"The weights of {name} are quantized with {called}, which Layerscope cannot unpack. Use the original "
            "model with --quantization 4bit, or a GGUF file of it."
        )
    if quantization != "none":
        raise SpecError(
            f"The weights of {name} are already quantized as {_UNPACKED[stored][0]}, so they cannot be quantized "
            "again. Choose quantization none, which unpacks them, or use the original model."
        )


def unquantized(config: Any) -> dict[str, Any]:
    """The options of `from_pretrained` that unpack weights stored quantized; none if nothing is."""
    stored = stored_quantization(config)
    return {} if stored is None else {"quantization_config": _UNPACKED[stored][1](dequantize=True)}
