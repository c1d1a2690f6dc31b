"""The configuration of a model, read and checked: a causal decoder, or a model with one, without code of its own."""

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
)

from analysis.core import documents, failures, given
from analysis.core.errors import LayerscopeError, ModelNotFoundError, UnsupportedModelError
from analysis.core.progress import Cancelled
from analysis.models.architecture import families
from analysis.models.loading import pretrained, text_part
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
    with as_it_should_be(source, "configuration"):
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
    if not causal and not text_part.is_there(config):
        raise UnsupportedModelError(
            f"{source.name} ({', '.join(names) or config.model_type}) is not a causal language model: it has no "
            "left-to-right decoder to remove layers from. Choose a model such as Llama, Qwen or GPT-2."
        )
    return config


def _raw_config(source: Source) -> dict[str, Any]:
    try:
        return documents.parsed_object(given.read(source.folder / "config.json", _MOST_BYTES).decode())
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(f"The config.json of {source.name} cannot be read: {error}. Get its files again.") from error


@contextlib.contextmanager
def as_it_should_be(source: Source, part: str) -> Iterator[None]:
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
            f"The {part} of {source.name} cannot be used: {failures.reason(error)}{by}. Get its files again."
        ) from error
