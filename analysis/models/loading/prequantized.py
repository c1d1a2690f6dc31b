"""Weights that are stored quantized: unpacked exactly as they are loaded where that needs nothing else, else refused.

Unpacked they are a plain model in the dtype that was asked for, the same on every machine, that can be cut, healed and
exported. Computed with as they are stored, on cards that can, scores would differ from machine to machine.
"""

from typing import Any

from transformers.utils.quantization_config import FineGrainedFP8Config, Mxfp4Config

from analysis.core.errors import SpecError, UnsupportedModelError

_UNPACKED = {"fp8": ("FP8", FineGrainedFP8Config), "mxfp4": ("MXFP4", Mxfp4Config)}
_NAMES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "compressed-tensors": "compressed-tensors",
    "bitsandbytes": "bitsandbytes",
    "torchao": "torchao",
    "bitnet": "BitNet",
}


def method(config: Any) -> str | None:
    """How the files' weights are quantized, as the configuration names it; None where they are not."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    name = stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", None)
    if name is None and isinstance(stored, dict) and (stored.get("load_in_4bit") or stored.get("load_in_8bit")):
        return "bitsandbytes"  # as its first versions wrote it
    return str(getattr(name, "value", name))


def name(config: Any) -> str:
    """Return the name of the format that weights are stored quantized in, for example "FP8"; "" where they are not."""
    stored = method(config) or ""
    return _UNPACKED[stored][0] if stored in _UNPACKED else _NAMES.get(stored, stored)


def check(config: Any, name: str, quantization: str) -> None:
    """See to it that weights as they are stored can be loaded.

    Args:
        config: of transformers.
        name: of the model, to show.
        quantization: that is asked for besides, as in `ModelSpec`.

    Raises:
        UnsupportedModelError: when they are quantized in a way that is not unpacked here.
        SpecError: when they would be quantized once more.
    """
    stored = method(config)
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


def unpacked(config: Any) -> dict[str, Any]:
    """The options of `from_pretrained` that unpack weights stored quantized; none where nothing is."""
    stored = method(config)
    return {} if stored is None else {"quantization_config": _UNPACKED[stored][1](dequantize=True)}
