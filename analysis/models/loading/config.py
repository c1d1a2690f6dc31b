"""The configuration of a model, read and checked: a causal decoder, or a model that contains one,
without custom code.

Weights stored quantized are dequantized exactly while loading if that needs no other package, else
refused. Dequantized, they are a plain model in the requested dtype that can be pruned, healed and
exported, with the same scores on every machine.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MULTIMODAL_LM_MAPPING,
)
from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from analysis.core import failures, input_files
from analysis.core.errors import (
    LayerscopeError,
    ModelNotFoundError,
    SpecError,
    UnsupportedModelError,
)
from analysis.core.progress import Cancelled
from analysis.models.architecture import families
from analysis.models.loading import pretrained
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.source import gguf, plausible
from analysis.models.source.location import Source

_MAX_BYTES = 16 << 20
"""Maximum size of a config.json."""


def read_config(source: Source) -> Any:
    """Return the configuration of a model, checked to be or to contain a causal decoder without
    custom code.

    Raises:
        UnsupportedModelError: for an encoder, an encoder-decoder, or a model with custom code.
    """
    if source.gguf_file is None:
        raw = _raw_config(source)
        family = raw.get("model_type", "")
        if not isinstance(family, str) or family not in CONFIG_MAPPING:
            raise UnsupportedModelError(
                f"{source.name} is of type {family!r}, which the installed transformers version"
                " does not support. Layerscope never runs code that comes with a model. Choose a"
                " model of another type."
            )
        plausible.check(raw, source.name)
    else:
        plausible.check(gguf.header(source.folder / source.gguf_file), source.name)
        WeightFiles(
            source.folder / source.gguf_file
        )  # transformers names no cause of a truncated file or an unknown type
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
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not getattr(
        config, "is_encoder_decoder", False
    )
    if names and not any(name.endswith(families.of(config).classes) for name in names):
        causal = False
    if not causal and not has_text_part(config):
        raise UnsupportedModelError(
            f"{source.name} ({', '.join(names) or config.model_type}) is not a causal language"
            " model: it has no left-to-right decoder to remove layers from. Choose a model such as"
            " Llama, Qwen or GPT-2."
        )
    return config


def _raw_config(source: Source) -> dict[str, Any]:
    try:
        return input_files.parsed_object(
            input_files.read(source.folder / "config.json", _MAX_BYTES).decode()
        )
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"The config.json of {source.name} cannot be read: {error}. Get its files again."
        ) from error


@contextlib.contextmanager
def reading_errors_explained(source: Source, part: str) -> Iterator[None]:
    """Convert the errors of libraries that read a broken model into one type.

    Args:
        source: the model.
        part: part of the model, for the error message.

    Raises:
        UnsupportedModelError: If the part is broken. Errors of Layerscope, and of memory or disk,
            are raised unchanged.
    """
    try:
        yield
    except (LayerscopeError, Cancelled, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # panics of libraries in Rust are no Exception
        if failures.is_of_machine(error):
            raise
        family = failures.model_type(error)
        by = f", in the code of {family} models in transformers" if family else ""
        raise UnsupportedModelError(
            f"The {part} of {source.name} cannot be used: {failures.clause(error)}{by}. Get its"
            " files again."
        ) from error


def has_text_part(config: Any) -> bool:
    """Return whether a configuration is multimodal, with a text decoder among its parts."""
    is_multimodal = (
        type(config) in MODEL_FOR_MULTIMODAL_LM_MAPPING
        and type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING
    )
    return is_multimodal and config.get_text_config(decoder=True) is not config


_UNPACKED = {"fp8": ("FP8", FineGrainedFP8Config), "mxfp4": ("MXFP4", Mxfp4Config)}
"""Name and configuration class of the quantization methods that transformers dequantizes without
another package."""


def stored_quantization(config: Any) -> str | None:
    """Return the quantization method of the stored weights by the configuration; None if they are
    not quantized.
    """
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    name = (
        stored.get("quant_method")
        if isinstance(stored, dict)
        else getattr(stored, "quant_method", None)
    )
    if (
        name is None
        and isinstance(stored, dict)
        and (stored.get("load_in_4bit") or stored.get("load_in_8bit"))
    ):
        return "bitsandbytes"  # as its first versions wrote it
    return str(getattr(name, "value", name))


def quantization_name(config: Any) -> str:
    """Return the name of the format of quantized stored weights, for example "FP8"; "" if they are
    not quantized.
    """
    stored = stored_quantization(config)
    return "" if stored is None else _UNPACKED[stored][0]


def check_quantization(config: Any, name: str, quantization: str) -> None:
    """Check that the stored weights can be loaded.

    Args:
        config: transformers configuration.
        name: name of the model, for the error.
        quantization: requested quantization, as in `ModelSpec`.

    Raises:
        UnsupportedModelError: If their quantization is not supported.
        SpecError: If they would be quantized again.
    """
    stored = stored_quantization(config)
    if stored is None:
        return
    if stored not in _UNPACKED:
        raise UnsupportedModelError(
            f"The weights of {name} are quantized with {stored!r}, which Layerscope cannot unpack."
            " Use the original model with --quantization 4bit, or a GGUF file of it."
        )
    if quantization != "none":
        raise SpecError(
            f"The weights of {name} are already quantized as {_UNPACKED[stored][0]}, so they cannot"
            " be quantized again. Choose quantization none, which unpacks them, or use the"
            " original model."
        )


def unquantized(config: Any) -> dict[str, Any]:
    """Return the options of `from_pretrained` that dequantize stored weights; empty if they are not
    quantized.
    """
    stored = stored_quantization(config)
    return {} if stored is None else {"quantization_config": _UNPACKED[stored][1](dequantize=True)}
