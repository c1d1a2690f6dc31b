"""Adapter folders that are broken, or made for another model or another cut."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.corpus import Bad, Make, files
from tests.corpus.models import numbers, safetensors

_ASK = (
    "compare",
    "{model}",
    "--dtype",
    "float32",
    "--device",
    "cpu",
    "--prompt",
    "a b",
    "--tokens",
    "1",
    "--block",
    "1:1",
    "--adapter",
    "{here}/a",
)
_DEEP = "[" * 100_000
_NAMES = [f"base_model.model.model.layers.{layer}.mlp.down_proj.lora_{side}.weight" for layer in (0, 1) for side in "AB"]
_CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 2,
    "lora_dropout": 0.0,
    "bias": "none",
    "target_modules": ["down_proj"],
    "base_model_name_or_path": None,
    "inference_mode": True,
}


def _weights(**changed: Any) -> bytes:
    """Adapter weights for two layers of the tiny model, which remain of three without one."""
    shapes = {name: ([2, 24] if "lora_A" in name else [16, 2]) for name in _NAMES}
    contents = {name: numbers(shape, 0.01) for name, shape in shapes.items()} | changed
    return safetensors({name: ("F32", *one) for name, one in contents.items() if one is not None})


def _folder(**changed: bytes | str | None) -> Make:
    """An adapter folder with other contents for some files; None for none."""
    usual = {"adapter_config.json": json.dumps(_CONFIG), "adapter_model.safetensors": _weights()}
    contents = usual | {name.replace("__", "."): content for name, content in changed.items()}
    return files({f"a/{name}": content for name, content in contents.items() if content is not None})


_CONFIGS = {
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "no JSON": "{",
    "deep": _DEEP,
    "no UTF-8": b"\xff",
    "UTF-16": json.dumps(_CONFIG).encode("utf-16"),
    "5000 digits": '{"r": ' + "9" * 5000 + "}",
    "a text": '"LORA"',
}
_VALUES: dict[str, tuple[Any, ...]] = {
    "peft_type": (None, 5, []),
    "r": (0, -1, "2", 2.5, [], {}, 3),
    "target_modules": (["nosuch"], 5, {}, ["down_proj", 5]),
    "lora_alpha": ("x", [], {}),
    "lora_dropout": ("x", 2.0, [], {}),
    "bias": ("nosuch", 5),
    "task_type": ("NOSUCH", 5),
    "layers_to_transform": ([99], "x"),
    "modules_to_save": (5,),
}
"""By field of an adapter's configuration, values that it cannot have."""
_NAN, _INFINITE = float("nan"), float("inf")
_REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"target_modules": "("}, "its target_modules is the pattern "),
    ({"target_modules": "(.*a|.*b|.*c)*x"}, "its target_modules is the pattern "),
    ({"target_modules": ["down_proj", "(a+)+$"]}, "its target_modules has "),
    ({"target_modules": [f"layer{number}" for number in range(20_000)]}, "its target_modules has 20,000 names"),
    ({"exclude_modules": "(a+)+$"}, "its exclude_modules is the pattern "),
    ({"layers_pattern": "(a+)+", "layers_to_transform": [0]}, "its layers_pattern is the pattern "),
    ({"layers_pattern": ["(a+)+"], "layers_to_transform": [0]}, "its layers_pattern has "),
    ({"modules_to_save": ["(.*)*"]}, "its modules_to_save has "),
    ({"layer_replication": [[0, 2]] * 3000}, "its layer_replication copies layers"),
    ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "its megatron_config is for Megatron"),
    ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 10**9}, 'its type "PROMPT_TUNING" is not supported'),
    ({"peft_type": "NOSUCH"}, 'its type "NOSUCH" is not supported'),
    ({"peft_type": ""}, 'its type "" is not supported'),
    ({"peft_type": "VBLORA", "num_vectors": 10**6, "vector_length": 10**6}, 'its type "VBLORA" is not supported'),
    ({"peft_type": "ADALORA", "init_r": 10**9, "total_step": 10}, 'its type "ADALORA" is not supported'),
    ({"peft_type": "IA3", "feedforward_modules": "(a+)+$"}, "its feedforward_modules is the pattern "),
    ({"monteclora_config": {"num_samples": 10**9}}, "its monteclora_config draws as many samples as it names"),
    ({"alora_invocation_tokens": [1, 2]}, "its alora_invocation_tokens acts only after some tokens"),
    ({"peft_type": "XLORA", "adapters": {"0": "/etc"}}, 'its type "XLORA" is not supported'),
    ({"lora_alpha": _NAN}, "its lora_alpha is nan"),
    ({"lora_alpha": 1e308}, "its lora_alpha is 1e+308"),
    ({"lora_alpha": -_INFINITE}, "its lora_alpha is -inf"),
    ({"lora_alpha": 10**400}, "its lora_alpha is a number of 401 digits"),
    ({"r": 10**9}, "its r is 1,000,000,000"),
    ({"alpha_pattern": {"down_proj": _INFINITE}}, "its alpha_pattern of down_proj is inf"),
    ({"rank_pattern": {"down_proj": _INFINITE}}, "its rank_pattern of down_proj is inf"),
    ({"rank_pattern": {"(a+)+$": 2}}, "its rank_pattern has "),
    ({"alpha_pattern": {"(a+)+$": 2}}, "its alpha_pattern has "),
    ({"init_lora_weights": "pissa_niter_1000000"}, "its init_lora_weights "),
    ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4, "loftq_iter": 10**6}}, "its init_lora_weights "),
    ({"lora_dropout": _NAN}, "its lora_dropout is nan"),
    ({"loftq_config": {"x": [_INFINITE]}}, "its loftq_config.x is inf"),
)
"""Fields of an adapter's configuration that are refused before PEFT reads them."""
_HEADS = {
    "nothing": b"",
    "short": b"\1",
    "a huge length": struct.pack("<Q", 2**62),
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "zeros": b"\0" * 100,
    "no weights": struct.pack("<Q", 2) + b"{}",
    "half": _weights()[:-10],
    "a page": b"<html></html>",
}


def _empty(here: Path) -> None:
    (here / "a").mkdir()


def _file(here: Path) -> None:
    (here / "a").write_text("adapter")


def _loop(here: Path) -> None:
    (here / "a").symlink_to(here / "a")


def _pipe(here: Path, make: Make) -> None:
    make(here)
    os.mkfifo(here / "a" / "adapter_model.safetensors")


def _sparse(here: Path, make: Make) -> None:
    """Adapter weights that take no space on the disk and would take terabytes in memory."""
    make(here)
    os.truncate(here / "a" / "adapter_model.safetensors", 1 << 42)


def entries() -> Iterator[Bad]:
    """All of this file."""
    no = "has no adapter_config.json, so it is not a PEFT adapter"
    yield Bad("an adapter that is nowhere", _ASK, no)
    yield Bad("an adapter folder that is empty", _ASK, no, _empty)
    yield Bad("an adapter that is a file", _ASK, no, _file)
    yield Bad("an adapter that links to itself", _ASK, no, _loop)
    yield Bad("an adapter of no name", (*_ASK[:-1], ""), no)
    yield Bad("an adapter of a name too long", (*_ASK[:-1], "x" * 300), no)
    yield Bad("an adapter with NUL", (*_ASK[:-1], "a\0b"), no)
    yield Bad("an adapter of the cache that is not there", (*_ASK[:-1], "adapters/0123456789abcdef"), no)
    yield Bad("an adapter above those of the cache", (*_ASK[:-1], "adapters/../models"), no)
    yield Bad("an adapter without weights", _ASK, "The adapter ", _folder(adapter_model__safetensors=None))
    pickled = _folder(adapter_model__safetensors=None, adapter_model__bin=b"\x80\x02.")
    yield Bad("an adapter with pickled weights", _ASK, "The adapter ", pickled)
    for name, content in _CONFIGS.items():
        yield Bad(f"an adapter_config.json: {name}", _ASK, "The adapter_config.json of ", _folder(adapter_config__json=content))
    fits = "does not fit this model without layer 1 (1 layer), block [1, 2) ("
    for field, values in _VALUES.items():
        for value in values:
            text = json.dumps(_CONFIG | {field: value})
            yield Bad(f"an adapter_config.json: {field}={value!r}", _ASK, fits, _folder(adapter_config__json=text))
    for fields, says in _REFUSED:
        text = json.dumps(_CONFIG | fields)
        yield Bad(f"an adapter_config.json: {str(fields)[:70]}", _ASK, says, _folder(adapter_config__json=text))
    wide = json.dumps(_CONFIG | {"r": 900_000, "target_modules": ["down_proj", "lm_head"]})
    yield Bad("an adapter_config.json: a rank that the weights do not have", _ASK, fits, _folder(adapter_config__json=wide))
    piped = _folder(adapter_model__safetensors=None)
    yield Bad("adapter weights that are a pipe", _ASK, "adapter_model.safetensors of ", lambda here: _pipe(here, piped))
    yield Bad(
        "adapter weights that do not fit in memory",
        _ASK,
        "are free on this machine. Give a smaller adapter",
        lambda here: _sparse(here, _folder()),
    )
    for name, content in _HEADS.items():
        yield Bad(f"adapter weights: {name}", _ASK, fits, _folder(adapter_model__safetensors=content))
    for name in _NAMES[:2]:
        yield Bad(f"an adapter without {name[-13:]}", _ASK, fits, _folder(adapter_model__safetensors=_weights(**{name: None})))
        other = _weights(**{name: numbers([5, 5], 0.1)})
        yield Bad(f"an adapter with {name[-13:]} of another shape", _ASK, fits, _folder(adapter_model__safetensors=other))
        for value in (float("nan"), float("inf")):
            shape = [2, 24] if "lora_A" in name else [16, 2]
            content = _weights(**{name: numbers(shape, value)})
            yield Bad(
                f"an adapter with {name[-13:]} {value}",
                _ASK,
                "has NaN or infinite weights",
                _folder(adapter_model__safetensors=content),
            )
    more = _weights(**{_NAMES[0].replace(".0.", ".2."): numbers([2, 24], 0.1)})
    yield Bad("an adapter for more layers", _ASK, fits, _folder(adapter_model__safetensors=more))
    yield Bad("an adapter with a bridge", _ASK, "needs its bridge.safetensors", _folder(bridge__safetensors=b""))
    for name, heal, says in (
        (
            "another cut",
            {"block": {"start": 0, "size": 1}},
            "was healed without layer 0 (1 layer), block [0, 1), but you remove layer 1",
        ),
        ("a control", {"block": {"start": 1, "size": 1}, "control": True}, "was healed as a control, with no layer removed"),
    ):
        yield Bad(f"an adapter of {name}", _ASK, says, _folder(layerscope__json=json.dumps({"heal": heal})))
    for block, says in (
        ("3:1", "this model has 3 layers"),
        ("0:3", "this model has 3 layers and must keep at least 1"),
        ("2:2", "this model has 3 layers"),
    ):
        words = ("compare", "{model}", "--dtype", "float32", "--device", "cpu", "--prompt", "a b", "--block", block)
        yield Bad(f"a cut {block} of three layers", words, says)
        yield Bad(f"a cut {block} of three layers, in the microscope", ("microscope", *words[1:]), says)
