"""The text decoder of a multimodal model as a plain causal model, without the other parts.

transformers maps a text configuration to a causal class, and each tensor of the files to a name in
the full model. The causal model gets the tensors of the decoder and the head. It is compared with
the full model on a few tokens, since the full model may use other positions, masks or scales. The
other parts of the full model need no weights for that.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
)
from transformers.conversion_mapping import get_model_conversion_mapping

from analysis.core.errors import UnsupportedModelError
from analysis.models.architecture import families
from analysis.models.architecture.decoder import Decoder, find_decoder
from analysis.models.architecture.layer_removal import take_out
from analysis.models.loading import layers_on_disk, pretrained
from analysis.models.loading.assembly import called
from analysis.models.loading.config import has_text_part, stored_quantization

_IMAGE_FIELDS = ("mrope_section", "mrope_interleaved")
"""Fields that divide rotary positions over the axes of an image; for text all axes are equal."""
_TOKEN_SUFFIXES = ("token_id", "token_index")
"""Suffixes of the configuration fields of image and audio tokens."""
_N_TRIAL_TOKENS = 32
"""Number of tokens of the comparison with the full model."""


@dataclass(frozen=True)
class TextPart:
    """The text part of a multimodal model."""

    name: str
    """Name of the full model, for messages."""
    full_config: Any
    """Configuration of the full model."""
    config: Any
    """Configuration of the plain causal model."""

    @cached_property
    def full_decoder(self) -> Decoder:
        """The decoder inside the full model, without weights."""
        return find_decoder(_weightless(AutoModelForMultimodalLM, self.full_config))

    @cached_property
    def plain_decoder(self) -> Decoder:
        """The plain model, without weights."""
        return find_decoder(_weightless(AutoModelForCausalLM, self.config))


def find(config: Any, name: str) -> TextPart | None:
    """Return the text part of a multimodal model.

    Args:
        config: configuration of the model.
        name: name of the model.

    Returns:
        The text part; None for a plain causal model.

    Raises:
        UnsupportedModelError: If transformers has no causal model for it, or its decoder is not
            found.
    """
    if not has_text_part(config):
        return None
    if stored_quantization(config) is not None:
        raise UnsupportedModelError(
            f"The weights of {name} are quantized, but Layerscope takes a text part only from"
            " unquantized weights. Use the original model."
        )
    text = config.get_text_config(decoder=True)
    full = find_decoder(_weightless(AutoModelForMultimodalLM, config))
    plain = _plain(text, name)
    # The full model decides, whatever its text configuration says.
    plain.tie_word_embeddings = (
        f"{_path(full, full.head)}weight" in full.model.all_tied_weights_keys
    )
    plain.dtype = text.dtype or config.dtype
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if getattr(plain, token, None) is None:
            setattr(plain, token, getattr(config, token, None))
    return TextPart(name, config, plain)


def _plain(text: Any, name: str) -> Any:
    """Return the configuration of the causal model of a text configuration."""
    if type(text) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return copy.deepcopy(text)
    fields = dict(families.of(text).plain)
    if not fields:
        raise UnsupportedModelError(
            f"The text part of {name} is of type {text.model_type!r}, for which this transformers"
            " version has no causal model. Choose a model whose text part is Llama, Qwen, Mistral"
            " or another plain decoder."
        )
    kind = CONFIG_MAPPING[fields.pop("model_type")]
    fields = text.to_dict() | fields
    del fields["model_type"]
    if isinstance(rope := fields.get("rope_parameters"), dict):
        fields["rope_parameters"] = {
            key: value for key, value in rope.items() if key not in _IMAGE_FIELDS
        }
    if (
        hasattr(kind, "head_dim") and fields.get("head_dim") is None
    ):  # otherwise the default of the family is used
        fields["head_dim"] = text.hidden_size // text.num_attention_heads
    return kind.from_dict(fields)


def _weightless(kind: Any, config: Any) -> Any:
    with pretrained.BUILDING, init_empty_weights(include_buffers=False):
        return kind.from_config(copy.deepcopy(config)).eval()


@dataclass(frozen=True)
class Names:
    """Names of the text part in the files."""

    key_mapping: dict[str, str]
    """Mapping of name prefixes in the files to prefixes in the plain model, as for
    `from_pretrained`."""
    other_parts: frozenset[str]
    """Names in the files of the weights of other parts."""


def names(part: TextPart, stored: Iterable[str]) -> Names:
    """Find the tensors of the text part among those of the full model.

    Args:
        part: the text part.
        stored: names in the files.

    Raises:
        UnsupportedModelError: If there are none, or only the full model can read their names.
    """
    full = part.full_decoder
    plain_decoder = part.plain_decoder
    paths = {
        _path(full, module): _path(plain_decoder, plain_module)
        for module, plain_module in (
            (full.owner, plain_decoder.owner),
            (full.head, plain_decoder.head),
        )
    }
    model_names = called(
        full.model, get_model_conversion_mapping(full.model), stored := sorted(stored)
    )
    prefixes: dict[str, str] = {}
    for name, stored_name in model_names.items():
        for path, plain in paths.items():
            within = stored_name.removeprefix(path)
            if within != stored_name and name.endswith(within):
                prefixes[name.removesuffix(within)] = plain
    if not prefixes:
        raise UnsupportedModelError(
            f"{part.name} holds no weights of its text part. Get its files again."
        )
    longest_first = sorted(prefixes, key=len, reverse=True)
    key_mapping = {f"^{prefix.replace('.', r'[.]')}": prefixes[prefix] for prefix in longest_first}
    matched = called(
        plain_decoder.model, get_model_conversion_mapping(plain_decoder.model, key_mapping), stored
    )
    if unmatched := [
        name
        for name, stored_name in model_names.items()
        if stored_name.startswith(tuple(paths)) and name not in matched
    ]:
        raise UnsupportedModelError(
            f"The files of {part.name} store weights of its text part, such as {unmatched[0]},"
            f" under names that only the full {part.full_config.model_type} model has. Layerscope"
            " cannot load its text part alone. Choose a text-only model."
        )
    return Names(
        key_mapping, frozenset(name for name in stored if not name.startswith(tuple(prefixes)))
    )


def _path(decoder: Decoder, module: nn.Module) -> str:
    """Return the prefix of the names of a module's weights."""
    return next(
        f"{name}." for name, candidate in decoder.model.named_modules() if candidate is module
    )


@torch.inference_mode()
def check(part: TextPart, decoder: Decoder) -> None:
    """Check that the text part gives the logits of the full model on text.

    Args:
        part: the text part.
        decoder: the loaded model, or a part of it with one layer of every kind
            (`layers_on_disk.in_part`).

    Raises:
        UnsupportedModelError: If the logits differ.
    """
    full = find_decoder(_weightless(AutoModelForMultimodalLM, part.full_config))
    ids = torch.tensor([_text_tokens(part, decoder)], device=decoder.device)
    for path, buffer in list(full.model.named_buffers()):
        layers_on_disk.put(full.model, {path: buffer.to(decoder.device)})
    if type(full.owner) is type(decoder.owner):
        full.model.set_submodule(_path(full, full.owner)[:-1], decoder.owner)
    else:
        if decoder.n_layers < full.n_layers and (others := layers_on_disk.repeated_layers(full)):
            take_out(full, others)
        _share(part, full.owner, decoder.owner)
    full.model.set_submodule(_path(full, full.head)[:-1], decoder.head)
    for path, weight in list(full.model.named_parameters()):
        if (
            weight.is_meta
        ):  # of a part that text does not reach; some models look up the device of the first one
            layers_on_disk.put(
                full.model, {path: torch.empty(0, dtype=decoder.dtype, device=decoder.device)}
            )
    expected = full.model(input_ids=ids, use_cache=False).logits[0]
    logits = decoder.model(input_ids=ids, use_cache=False).logits[0]
    if not decoder.agree(logits, expected, all_tokens=True):
        raise _differs(part)


def _share(part: TextPart, target: nn.Module, source: nn.Module) -> None:
    """Share the weights of one module with another one that has the same names and no weights."""
    for path, module in source.named_modules():
        if isinstance(module, nn.Linear):  # the full module, since quantized weights need its state
            target.set_submodule(path, module)
            continue
        for name, weight in module.named_parameters(recurse=False):
            owner = target.get_submodule(path)
            if not isinstance(getattr(owner, name, None), nn.Parameter):
                raise _differs(part)
            setattr(owner, name, weight)
    if any(weight.is_meta for weight in target.parameters()):
        raise _differs(part)


def _text_tokens(part: TextPart, decoder: Decoder) -> list[int]:
    """Return trial tokens that are no image or audio tokens."""
    tokens = {
        value
        for name, value in vars(part.full_config).items()
        if name.endswith(_TOKEN_SUFFIXES) and isinstance(value, int)
    }
    return [token for token in decoder.trial_tokens(_N_TRIAL_TOKENS) if token not in tokens]


def _differs(part: TextPart) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The text part of {part.name} gives other outputs as a plain {part.config.model_type}"
        f" model than in the full {part.full_config.model_type} model. Layerscope cannot load it"
        " alone. Choose a text-only model."
    )
