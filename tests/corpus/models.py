"""Model folders and files that are broken: configurations, weights, tokenizers, GGUF."""

import json
import math
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.corpus import Bad, Make, files

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
"""A llama of three layers."""
EMPTY_WEIGHTS = struct.pack("<Q", 2) + b"{}"
"""A safetensors file with nothing in it."""
WORDS = ("<pad>", "<s>", "</s>", "<unk>", "The", "capital", "of", "France", "is", *"abcdefghijklmnopqrstuvwxyz.,?:")


def tokenizer_files() -> dict[str, str]:
    """A tokenizer of a few words."""
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(WORDS))}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": model,
    }
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>"}
    return {"tokenizer.json": json.dumps(whole), "tokenizer_config.json": json.dumps(said)}


def weights(config: dict[str, Any] = CONFIG, **changed: tuple[list[int], bytes] | None) -> bytes:
    """All weights of a llama with this configuration as a safetensors file; `changed` ones of another shape, or None for none."""
    hidden, wide, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    shapes = {
        "model.embed_tokens.weight": [vocabulary, hidden],
        "model.norm.weight": [hidden],
        "lm_head.weight": [vocabulary, hidden],
    }
    for layer in range(config["num_hidden_layers"]):
        within = f"model.layers.{layer}"
        for part in "qkvo":
            shapes[f"{within}.self_attn.{part}_proj.weight"] = [hidden, hidden]
        for part, shape in (("gate", [wide, hidden]), ("up", [wide, hidden]), ("down", [hidden, wide])):
            shapes[f"{within}.mlp.{part}_proj.weight"] = shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{within}.{norm}.weight"] = [hidden]
    contents = {name: (shape, _numbers(shape, place)) for place, (name, shape) in enumerate(shapes.items())}
    contents = {name: one for name, one in (contents | changed).items() if one is not None}
    return safetensors({name: ("F32", *one) for name, one in contents.items()})


def _numbers(shape: list[int], seed: int) -> bytes:
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    return struct.pack(f"<{count}f", *(((seed * 31 + place * 17) % 97 - 48) / 500 for place in range(count)))


def _whole_numbers(which: str, dtype: str, size: int) -> bytes:
    """All weights, one of them of whole numbers."""
    content = weights()
    (length,) = struct.unpack("<Q", content[:8])
    head, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    held = {name: ("F32", said["shape"], body[slice(*said["data_offsets"])]) for name, said in head.items()}
    return safetensors(held | {which: (dtype, head[which]["shape"], b"\1" * size * math.prod(head[which]["shape"]))})


def numbers(shape: list[int], value: float) -> tuple[list[int], bytes]:
    """A weight of one and the same number."""
    return shape, struct.pack("<f", value) * (shape[0] * (shape[1] if len(shape) > 1 else 1))


def safetensors(contents: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """Arrays by name, each of a dtype, a shape and its bytes."""
    head, body = {}, b""
    for name, (dtype, shape, content) in contents.items():
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


def whole(folder: Path) -> None:
    """Write a whole tiny model."""
    files({"config.json": json.dumps(CONFIG), "model.safetensors": weights(), **tokenizer_files()})(folder)


def _folder(**changed: Any) -> Make:
    """A model folder with other contents for some files; None for none. Names with a dot are written with two underscores."""
    usual = {"config.json": json.dumps(CONFIG), "model.safetensors": EMPTY_WEIGHTS, **tokenizer_files()}
    contents = usual | {name.replace("__", "."): content for name, content in changed.items()}
    return files({f"m/{name}": content for name, content in contents.items() if content is not None})


_DEEP = "[" * 100_000 + "]" * 100_000
_CONFIGS = {
    "empty": "",
    "blank": " \n",
    "null": "null",
    "a list": "[]",
    "a number": "5",
    "text": '"llama"',
    "true": "true",
    "NaN": "NaN",
    "half": json.dumps(CONFIG)[:60],
    "no JSON": "model_type: llama",
    "a comma too many": '{"model_type": "llama",}',
    "deep": _DEEP,
    "deep inside": '{"model_type": "llama", "x": ' + _DEEP + "}",
    "UTF-16": json.dumps(CONFIG).encode("utf-16"),
    "no UTF-8": b'{"model_type": "\xff\xfe"}',
    "5000 digits": '{"model_type": "llama", "vocab_size": ' + "9" * 5000 + "}",
    "NUL": b"\0" * 100,
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
}
"""No JSON object at all."""
_TYPES = {
    "nothing": "{}",
    "null": '{"model_type": null}',
    "a number": '{"model_type": 5}',
    "a list": '{"model_type": ["llama"]}',
    "an object": '{"model_type": {}}',
    "empty": '{"model_type": ""}',
    "unknown": '{"model_type": "llama9"}',
    "upper case": '{"model_type": "LLAMA"}',
    "a path": '{"model_type": "../llama"}',
    "own code": '{"model_type": "mine", "auto_map": {"AutoConfig": "c.C"}}',
}
"""A type that no class is there for."""
_VALUES: dict[str, tuple[Any, ...]] = {
    "hidden_size": (0, -16, "16", 1.5, None, [], [16], {}, True, 17, float("nan")),
    "num_hidden_layers": (0, -1, "3", 2.5, None, [], {}, float("inf")),
    "num_attention_heads": (0, -2, "2", 1.5, [], {}),
    "num_key_value_heads": (0, -1, "2", [2]),
    "vocab_size": (0, -1, "64", None, 6.5, [], {}),
    "intermediate_size": (-1, "24", 1.5, [24], {}),
    "head_dim": ("8", 1.5, [8]),
    "hidden_act": ("nosuch", 5, None, [], {}),
    "rope_parameters": ("x", 5, [], {"rope_type": "nosuch", "rope_theta": 1.0}, {"rope_type": "linear", "rope_theta": 1.0}),
    "max_position_embeddings": ("x", -5, [], 0, 1.5),
    "rms_norm_eps": ("x", [], {}),
    "architectures": (5, "LlamaForCausalLM", [5], ["BertModel"], [[]]),
    "pad_token_id": ("x", 64, []),
    "quantization_config": ("x", 5, []),
    "layer_types": ("x", ["full_attention"], 5),
}
"""By field of a configuration, values that it cannot have."""
_NAN, _INFINITE = float("nan"), float("inf")
_NUMBERS: dict[str, tuple[Any, ...]] = {
    "rope_theta": (0, 0.0, -1.0, 1e-300, _NAN, _INFINITE, 1e300),
    "rope_parameters": (
        *({"rope_type": "default", "rope_theta": value} for value in (0, 0.0, -5, _NAN)),
        *({"rope_type": "linear", "rope_theta": 1e4, "factor": value} for value in (0, 0.0, -2.0, _NAN, _INFINITE)),
        *({"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": value} for value in (0, -1.0, 50.0, _NAN)),
        {"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0, "long_factor": [0.0] * 4, "short_factor": [1.0] * 4},
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 0},
    ),
    "rms_norm_eps": (-1.0, _NAN, _INFINITE, 1e300),
    "attention_dropout": (5.0, -0.1, _NAN),
    "attention_multiplier": (_NAN, -_INFINITE),
    "head_dim": (0, -8),
}
"""By field of a configuration, numbers of the right type that no model has."""
_HEADS = {
    "empty": b"",
    "short": b"\1\0",
    "a length and nothing": struct.pack("<Q", 100),
    "a huge length": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "a list": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 4000) + b"[" * 4000,
    "no UTF-8": struct.pack("<Q", 2) + b"\xff\xfe",
    "a page": b"<!DOCTYPE html><html>Not found</html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
    "zeros": b"\0" * 1000,
    "an offset outside": safetensors({"a": ("F32", [1], b"\0" * 4)}).replace(b"[0, 4]", b"[0, 9]"),
    "another shape": safetensors({"a": ("F32", [5], b"\0" * 4)}),
    "an unknown dtype": safetensors({"a": ("X9", [1], b"\0" * 4)}),
    "half": weights()[:-100],
}
"""No safetensors files."""
_GGUF_HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
_GGUFS = {
    "empty": b"",
    "text": b"not a model",
    "another magic": b"GGML" + b"\0" * 100,
    "the magic alone": b"GGUF",
    "version 0": b"GGUF" + struct.pack("<IQQ", 0, 0, 0),
    "version 99": b"GGUF" + struct.pack("<IQQ", 99, 0, 0),
    "another byte order": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "nothing in it": _GGUF_HEAD,
    "zeros behind": _GGUF_HEAD + b"\0" * 100,
    "more keys than there are": b"GGUF" + struct.pack("<IQQ", 3, 0, 5),
    "more arrays than there are": b"GGUF" + struct.pack("<IQQ", 3, 5, 0),
    "a key that is no text": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 4)
    + b"\xff\xfe\xfd\xfc"
    + struct.pack("<II", 4, 1),
    "a key of an unknown type": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 1)
    + b"a"
    + struct.pack("<II", 99, 1),
    "an unknown architecture": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 20)
    + b"general.architecture"
    + struct.pack("<IQ", 8, 6)
    + b"nosuch",
    "an architecture that is a number": b"GGUF"
    + struct.pack("<IQQ", 3, 0, 1)
    + struct.pack("<Q", 20)
    + b"general.architecture"
    + struct.pack("<II", 4, 6),
}
"""No GGUF files."""
_GGUF_SAYS = {
    "empty": "x.gguf is empty. Get it again.",
    "text": "it does not start with the letters GGUF",
    "another magic": "it does not start with the letters GGUF",
    "the magic alone": "it ends within its header",
    "version 0": "its version is 0, but only 2 and 3 can be read",
    "version 99": "its version is 99, but only 2 and 3 can be read",
    "another byte order": "its version is 50331648, but only 2 and 3 can be read",
    "more keys than there are": "it ends within its header",
    "more arrays than there are": "it ends within its header",
    "a key of an unknown type": "one of its settings has the unknown type 99",
}
"""Expected sentences; the others say that their configuration cannot be used."""
_TOKENIZERS = {
    "empty": "",
    "null": "null",
    "a list": "[]",
    "no JSON": "{",
    "deep": _DEEP,
    "no UTF-8": b"\xff\xfe",
    "no model": '{"version": "1.0"}',
    "an unknown kind": '{"version": "1.0", "model": {"type": "Nosuch"}}',
    "no vocabulary": '{"version": "1.0", "model": {"type": "WordLevel"}}',
    "a number for a vocabulary": '{"version": "1.0", "model": {"type": "WordLevel", "vocab": 5, "unk_token": "a"}}',
}
"""No tokenizers."""
_LONG = "a" * 40
_TEMPLATE = {
    "type": "TemplateProcessing",
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
}
_BEGIN, _TEXT = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
_RULES: dict[str, tuple[dict[str, Any], str]] = {
    "a pattern that takes minutes": (
        {
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": r"(a+)+$|(\w+\s?)+$z"},
                "behavior": "Isolated",
                "invert": False,
            }
        },
        "Regex search error",
    ),
    "a pattern that is none": (
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        "Oniguruma error",
    ),
    "a table of letters that is none": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": ""}},
        "Precompiled: Error",
    ),
    "a table of letters that points outside itself": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "CAAAAP//////////YWJj"}},
        "index out of bounds",
    ),
    "a table of letters that takes 4 GB": (
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/" * 80}},
        "takes more than",
    ),
    "a normalizer that grows texts": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "."}, "content": _LONG * 1000}},
        "its rules lengthen a text more than 16 times",
    ),
    "normalizers that grow texts together": (
        {
            "normalizer": {
                "type": "Sequence",
                "normalizers": [{"type": "Replace", "pattern": {"Regex": "."}, "content": _LONG[:9]}] * 6,
            }
        },
        "its rules lengthen a text more than 16 times",
    ),
    "a template of many tokens": (
        {
            "post_processor": _TEMPLATE
            | {"single": [_BEGIN] * 9 + [_TEXT], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
        },
        "it adds 9 tokens around a text, but at most 8 are possible",
    ),
    "a template with the text three times": (
        {"post_processor": _TEMPLATE | {"single": [_TEXT] * 3, "special_tokens": {}}},
        "its template must have the text exactly once",
    ),
    "a template token of 200,000 tokens": (
        {
            "post_processor": _TEMPLATE
            | {
                "single": [_BEGIN, _TEXT],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1] * 200_000, "tokens": ["<s>"] * 200_000}},
            }
        },
        "it adds 200,000 tokens around a text",
    ),
    "one token for every text": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": r"[\s\S]+"}, "content": "a"}},
        "it returns the same tokens for different texts",
    ),
    "no tokens for any text": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": r"[\s\S]+"}, "content": ""}},
        "it returns no tokens",
    ),
}
"""Tokenizers that load, and the fault of their rules."""


def _with_rules(**rules: Any) -> str:
    return json.dumps(json.loads(tokenizer_files()["tokenizer.json"]) | rules)


_ELSEWHERE = (
    "/etc/passwd",
    "../../../etc/passwd",
    "..",
    "./x.safetensors",
    "x/../x.safetensors",
    "..\\x.safetensors",
    "C:x.safetensors",
    "x.safetensors\0",
    "",
    "~/x.safetensors",
    "pytorch_model.bin",
    "file:///etc/passwd",
    "X\u2215x",
)
"""Names in an index that are no safetensors file of the folder."""
_NAMING: tuple[tuple[str, str, Any], ...] = (
    ("config.json", "transformers_weights", "../other.safetensors"),
    ("config.json", "transformers_weights", "nosuch.safetensors"),
    ("config.json", "configuration_files", ["config.4.0.0.json"]),
    ("tokenizer_config.json", "fast_tokenizer_files", ["../tokenizer.4.0.0.json"]),
    ("tokenizer_config.json", "vocab_file", "/etc/hostname"),
    ("tokenizer_config.json", "merges_file", "../merges.txt"),
    ("tokenizer_config.json", "tokenizer_file", "/etc/hostname"),
    ("tokenizer_config.json", "vocab", "/etc/hostname"),
    ("tokenizer_config.json", "merges", "../merges.txt"),
    ("tokenizer_config.json", "init_inputs", ["/etc/hostname"]),
    ("special_tokens_map.json", "tokenizer_file", "/etc/hostname"),
    ("special_tokens_map.json", "vocab_file", "vocab.json"),
)
"""Documents of a model that name a file elsewhere: the document, the key and the name."""
_ASK = ("microscope", "{here}/m", "--prompt", "a b", "--dtype", "float32", "--device", "cpu")
_PLAN = ("models", "{here}/m", "--dtype", "float32", "--device", "cpu")


def _linked(here: Path) -> None:
    (here / "m").symlink_to(here / "n")
    (here / "n").symlink_to(here / "m")


def _loop_inside(here: Path) -> None:
    (here / "m").mkdir()
    (here / "m" / "config.json").symlink_to(here / "m" / "config.json")


def _folder_for_config(here: Path) -> None:
    (here / "m" / "config.json").mkdir(parents=True)
    (here / "m" / "model.safetensors").write_bytes(EMPTY_WEIGHTS)


def _folder_for_weights(here: Path) -> None:
    _folder()(here)
    (here / "m" / "model.safetensors").unlink()
    (here / "m" / "model.safetensors").mkdir()


def _dangling_weights(here: Path) -> None:
    _folder()(here)
    (here / "m" / "model.safetensors").unlink()
    (here / "m" / "model.safetensors").symlink_to("/nowhere/blob")


def _names() -> Iterator[Bad]:
    """Models that are not there, by any name."""
    say = "There is no model at "
    for name in (
        "/nosuch",
        "./nosuch",
        "~/nosuch-at-all",
        "../..nosuch",
        "a/b/c",
        "nosuch.gguf",
        "a b",
        "http://x/y",
        "-",
        "*",
    ):
        word = name if name != "-" else "./-"
        yield Bad(f"model {name}", ("distances", word), say)
    yield Bad("a model with NUL", ("models", "a\0b"), say)
    yield Bad("a hub id of other letters", ("models", "ä/b"), '"ä/b" is not a valid id of a model on the Hub')
    yield Bad("a model of 5000 letters", ("models", "/" + "x" * 5000), say)
    yield Bad("a model of a name too long", ("models", "./" + "x" * 300), say)
    yield Bad("a model of a name too long, a GGUF", ("models", "x" * 300 + ".gguf"), say)
    yield Bad("a model that is no UTF-8", ("models", "/\udcff\udcfe"), say)
    yield Bad("a model that is a device", ("models", "/dev/null"), say)
    yield Bad(
        "a hub id that is nowhere", ("models", "nobody-at-all/nothing"), "is neither a local folder nor in the local Hub cache"
    )
    yield Bad("a hub id with dots", ("models", "a/.."), '"a/.." is not a valid id of a model on the Hub')
    yield Bad(
        "a revision that is nowhere",
        ("models", "nobody-at-all/nothing", "--revision", "x"),
        "blocks requests to the Hub",
    )
    yield Bad("a folder that is empty", ("models", "{here}"), "has no config.json, so it is not a Hugging Face model folder")
    yield Bad("a link to itself", _PLAN, say, _linked)
    yield Bad(
        "a configuration that links to itself",
        _PLAN,
        "has no config.json, so it is not a Hugging Face model folder",
        _loop_inside,
    )
    yield Bad(
        "a folder for a configuration",
        _PLAN,
        "The model m cannot be read: config.json: it is a folder, not a regular file",
        _folder_for_config,
    )
    yield Bad(
        "a folder for weights",
        _PLAN,
        "The model m cannot be read: model.safetensors: it is a folder, not a regular file",
        _folder_for_weights,
    )
    yield Bad(
        "weights that link to nowhere",
        _PLAN,
        "model.safetensors in m is a link that leads out of this folder",
        _dangling_weights,
    )
    yield Bad(
        "no weights", _PLAN, "has a config.json but no .safetensors weights. Add the weights.", _folder(model__safetensors=None)
    )
    pickled = _folder(model__safetensors=None, **{"pytorch_model__bin": b"\x80\x02."})
    yield Bad(
        "pickled weights",
        _PLAN,
        "has only pickled weights (pytorch_model.bin), which can run code when loaded. Convert them with `python -m analysis convert",
        pickled,
    )
    no_gguf = "is not a GGUF file: its name does not end in .gguf. "
    yield Bad("a file that is no model", ("models", "{here}/m/config.json"), no_gguf, _folder())
    yield Bad("a text for a model", ("models", "{here}/starter.txt"), no_gguf, files({"starter.txt": "a text"}))
    yield Bad(
        "weights without their folder",
        ("models", "{here}/m/model.safetensors"),
        "For safetensors weights, give their folder",
        _folder(),
    )
    for name in ("starter.txt", "nosuch/model.safetensors", "./a.bin", "model.GGUF", "a/b.json", "/nosuch/x.zip"):
        yield Bad(f"a file that is not there, {name}", ("models", name), f"The file {name!r} does not exist, and its name")


def _devices() -> Iterator[Bad]:
    for device in (
        "cpu:abc",
        "cpu:0",
        "cpu:-1",
        "cpu:",
        "cpu: ",
        "mps:x",
        "cuda",
        "cuda:0",
        "cuda:abc",
        "cuda:-1",
        "cuda:all",
        "tpu",
        "CPU",
        "meta",
        "",
        "a\0b",
        "x" * 3000,
    ):
        words = ("models", "{model}", "--dtype", "float32", f"--device={device}")
        yield Bad(f"a device {device[:9]!r}", words, "Device ")


def entries() -> Iterator[Bad]:
    """All of this file."""
    yield from _names()
    yield from _devices()
    for name, content in _CONFIGS.items():
        yield Bad(f"a config.json: {name}", _PLAN, "The config.json of m cannot be read", _folder(config__json=content))
    for name, content in _TYPES.items():
        yield Bad(
            f"a model_type: {name}",
            _PLAN,
            "which the installed transformers version does not support",
            _folder(config__json=content),
        )
    for field, values in _VALUES.items():
        for value in values:
            make = _folder(config__json=json.dumps(CONFIG | {field: value}))
            yield Bad(f"a config.json: {field}={value!r}", _PLAN, _refusal(field, value), make)
    for field, values in _NUMBERS.items():
        for value in values:
            make = _folder(config__json=json.dumps(CONFIG | {field: value}))
            says = f"m cannot be a language model: {_named(value) or field} of its configuration "
            yield Bad(f"a config.json: {field} is {value!r}", _PLAN, says, make)
    for field, value in (
        ("_attn_implementation", "someone/code"),
        ("attn_implementation", {"text_config": "someone/code:f"}),
        ("_experts_implementation", "someone/code"),
        ("kernel_config", {"RMSNorm": ["someone/code"]}),
    ):
        make = _folder(config__json=json.dumps(CONFIG | {field: value}))
        yield Bad(
            f"a config.json that names code: {field}", _PLAN, f"m is not loaded: {field} of its configuration names code", make
        )
    single = _folder(config__json=json.dumps(CONFIG | {"num_hidden_layers": 1}))
    yield Bad("a model of one layer", _PLAN, "m has only one layer, so no layer can be removed", single)
    for family in ("bert", "t5", "vit", "clip", "whisper"):
        text = json.dumps({"model_type": family})
        says = "does not find 12 decoder layers" if family == "bert" else f"m ({family}) is not a causal language model"
        yield Bad(f"a {family}", _PLAN, says, _folder(config__json=text))
    for name, content in _HEADS.items():
        yield Bad(f"weights: {name}", _ASK, "The weights of m cannot be used: ", _folder(model__safetensors=content))
    for name, content in _GGUFS.items():
        yield Bad(
            f"a GGUF file: {name}",
            ("models", "{here}/x.gguf", "--device", "cpu"),
            _GGUF_SAYS.get(name, "The configuration of x cannot be used: "),
            files({"x.gguf": content}),
        )
    good = weights()
    for name, content in _TOKENIZERS.items():
        yield Bad(
            f"a tokenizer: {name}",
            _ASK,
            "The tokenizer of m cannot be used: ",
            _folder(model__safetensors=good, tokenizer__json=content),
        )
    for name, (rules, says) in _RULES.items():
        make = _folder(model__safetensors=good, tokenizer__json=_with_rules(**rules))
        yield Bad(f"a tokenizer with {name}", _ASK, says, make)
    beyond = {
        "id": 200,
        "content": "ZZZ",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }
    vocabulary = {**json.loads(tokenizer_files()["tokenizer.json"])["model"]["vocab"], "ZZZ": 200}
    yield Bad(
        "a text with a token that the model does not have",
        (*_ASK[:3], "a ZZZ", *_ASK[4:]),
        "A text has the token 'ZZZ' (200), but the model has only the tokens 0..63",
        _folder(
            model__safetensors=good,
            tokenizer__json=_with_rules(
                added_tokens=[beyond], model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
            ),
        ),
    )
    for name, content in {"null": "null", "a list": "[]", "no JSON": "{", "deep": _DEEP, "no UTF-8": b"\xff"}.items():
        yield Bad(
            f"a tokenizer_config: {name}",
            _ASK,
            "The tokenizer of m cannot be used: ",
            _folder(model__safetensors=good, tokenizer_config__json=content),
        )
    none = _folder(model__safetensors=good, tokenizer__json=None, tokenizer_config__json=None)
    yield Bad("no tokenizer", _ASK, "The tokenizer of m cannot be used: ", none)
    yield from _indices()
    yield from _pickles()
    yield from _shapes()


def _refusal(field: str, value: Any) -> str:
    is_core = field in ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads")
    if is_core and value is not None and not isinstance(value, list) and (type(value) is not int or value < 1):
        return f"m cannot be a language model: {field} of its configuration must be a whole number of at least 1, not "
    if field == "architectures" and value == ["BertModel"]:
        return "m (BertModel) is not a causal language model"
    return "The configuration of m cannot be used: "


def _named(value: Any) -> str:
    """The entry of a part of a configuration that is wrong: the last one, or its rope_theta where there is no other."""
    if not isinstance(value, dict):
        return ""
    return "long_factor" if "long_factor" in value else list(value)[-1]


def _indices() -> Iterator[Bad]:
    index = "model.safetensors.index.json"
    unread, outside = "The index of the weights in m cannot be read: ", f"{index} of m names "
    for name, (content, says) in {
        "empty": ("", unread),
        "null": ("null", unread),
        "a list": ("[]", unread),
        "no JSON": ("{", unread),
        "deep": (_DEEP, unread),
        "no map": ("{}", unread),
        "no UTF-8": (b"\xff", unread),
        "a map that is a list": ('{"weight_map": []}', unread),
        "a map of numbers": ('{"weight_map": {"a": 5}}', outside),
        "a file that is not there": (
            '{"weight_map": {"lm_head.weight": "nosuch.safetensors"}}',
            "The weights of m cannot be used: ",
        ),
        **{f"a name {path!r}": (json.dumps({"weight_map": {"lm_head.weight": path}}), outside) for path in _ELSEWHERE},
    }.items():
        make = _folder(model__safetensors=None, **{"model-00001-of-00001__safetensors": weights()})
        yield Bad(
            f"an index: {name}",
            _ASK,
            says,
            lambda here, make=make, content=content: _both(here, make, f"m/{index}", content),
        )
    for document, key, value in _NAMING:
        name = f"{document}: {key}={value!r}"
        make = _folder(
            model__safetensors=weights(), **{document.replace(".", "__"): json.dumps(_usual(document) | {key: value})}
        )
        yield Bad(f"a file elsewhere in {name}", _ASK, f"{document} of m names ", make)
    yield Bad(
        "a model with an adapter in its folder",
        _PLAN,
        "m holds a model and an adapter",
        _folder(adapter_config__json='{"peft_type": "LORA", "base_model_name_or_path": "/nosuch"}'),
    )
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        yield Bad(f"a pipe for {name}", _PLAN, f"The model m cannot be read: {name}: it is a pipe", _piped(name, _folder()))
        yield Bad(f"a link for {name}", _PLAN, f"{name} in m is a link that leads out of this folder", _linked_to(name))


def _usual(document: str) -> dict[str, Any]:
    return CONFIG if document == "config.json" else json.loads(tokenizer_files().get(document, "{}"))


def _piped(name: str, make: Make) -> Make:
    """Make the folder with a pipe in place of a file, which opening would wait for."""

    def write(here: Path) -> None:
        make(here)
        (here / "m" / name).unlink(missing_ok=True)
        os.mkfifo(here / "m" / name)

    return write


def _linked_to(name: str) -> Make:
    """A folder in which a file is a link to the same file of another model."""

    def write(here: Path) -> None:
        whole(here / "other")
        _folder(model__safetensors=weights())(here)
        (here / "m" / name).unlink()
        (here / "m" / name).symlink_to(here / "other" / name)

    return write


def _pickles() -> Iterator[Bad]:
    """Folders with pickled weights that cannot be converted."""
    ask = ("convert", "{here}/m", "--out", "{here}/new")
    plain, larger = "Only plain tensors can be converted", "because they share numbers"
    for name, says in {
        "an expanded tensor": larger,
        "one tensor by 3,000 names": larger,
        "a sparse tensor": plain,
        "a sparse matrix": plain,
        "a tensor without numbers": plain,
        "a quantized tensor": plain,
        "a nested tensor": plain,
        "complex numbers": plain,
        "half a pair in a name": "which a safetensors file cannot hold",
    }.items():
        yield Bad(f"pickled weights: {name}", ask, says, _pickled(name))
    usual = _folder(model__safetensors=None)
    yield Bad(
        "a pipe for pickled weights",
        ask,
        "pytorch_model.bin of m cannot be read: it is a pipe",
        _piped("pytorch_model.bin", usual),
    )
    yield Bad(
        "a link to pickled weights", ask, "pytorch_model.bin in m is a link that leads out of this folder", _linked_pickle
    )
    yield Bad("a link beside pickled weights", ask, "notes.txt in m is a link that leads out of this folder", _linked_notes)


def _pickled(name: str) -> Make:
    """A folder with pickled weights that hold one strange thing."""

    def write(here: Path) -> None:
        import torch

        with warnings.catch_warnings(action="ignore"):
            held = {
                "an expanded tensor": lambda: {"a": torch.zeros(1).expand(1000, 1000, 1400)},
                "one tensor by 3,000 names": lambda: dict.fromkeys(map(str, range(3000)), torch.zeros(500, 1000)),
                "a sparse tensor": lambda: {"a": torch.eye(4).to_sparse()},
                "a sparse matrix": lambda: {"a": torch.eye(4).to_sparse_csr()},
                "a tensor without numbers": lambda: {"a": torch.empty(4, device="meta")},
                "a quantized tensor": lambda: {"a": torch.quantize_per_tensor(torch.eye(4), 0.1, 0, torch.qint8)},
                "a nested tensor": lambda: {"a": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])},
                "complex numbers": lambda: {"a": torch.zeros(4, dtype=torch.complex128)},
                "half a pair in a name": lambda: {"a\ud800": torch.zeros(4)},
            }[name]()
            _folder(model__safetensors=None)(here)
            torch.save(held, here / "m" / "pytorch_model.bin")

    return write


def _linked_pickle(here: Path) -> None:
    _folder(model__safetensors=None)(here)
    (here / "other.bin").write_bytes(b"\x80\x02.")
    (here / "m" / "pytorch_model.bin").symlink_to(here / "other.bin")


def _linked_notes(here: Path) -> None:
    _folder(model__safetensors=None, pytorch_model__bin=b"\x80\x02.")(here)
    (here / "m" / "notes.txt").symlink_to("/etc/hostname")


def _both(here: Path, make: Make, name: str, content: bytes | str) -> None:
    make(here)
    files({name: content})(here)


def _shapes() -> Iterator[Bad]:
    """Whole files of other weights."""
    nan, infinite = float("nan"), float("inf")
    for name, value in (("NaN", nan), ("infinite", infinite), ("-infinite", -infinite)):
        for which, shape in (
            ("lm_head.weight", [64, 16]),
            ("model.norm.weight", [16]),
            ("model.layers.1.mlp.up_proj.weight", [24, 16]),
        ):
            content = weights(**{which: numbers(shape, value)})
            yield Bad(f"{name} weights in {which}", _ASK, "has NaN or infinite weights", _folder(model__safetensors=content))
    for which, (dtype, size) in {
        "lm_head.weight": ("I8", 1),
        "model.layers.1.mlp.up_proj.weight": ("U8", 1),
        "model.norm.weight": ("I64", 8),
    }.items():
        says = f"m stores 1 weight ({which}) as integers"
        yield Bad(f"{dtype} numbers in {which}", _ASK, says, _folder(model__safetensors=_whole_numbers(which, dtype, size)))
    for which in ("lm_head.weight", "model.norm.weight", "model.layers.2.self_attn.q_proj.weight"):
        content = weights(**{which: None})
        yield Bad(f"weights without {which}", _ASK, f"m lacks 1 weight ({which})", _folder(model__safetensors=content))
        content = weights(**{which: numbers([3, 3], 0.1)})
        yield Bad(
            f"weights with {which} of another shape",
            _ASK,
            f"m has 1 weight ({which}) in another shape",
            _folder(model__safetensors=content),
        )
    yield Bad("nothing but a head of weights", _ASK, "which would be filled with random numbers", _folder())
    more = json.dumps(CONFIG | {"num_hidden_layers": 4})
    yield Bad("one layer too few", _ASK, "m lacks 9 weights", _folder(model__safetensors=weights(), config__json=more))
