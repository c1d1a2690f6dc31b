"""One row for each kind of bad input, with the sentence that answers it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.results.packs import opening
from tests.corpus import Bad, Make, files, packs
from tests.corpus.models import (
    ADAPTER,
    CONFIG,
    LORA,
    adapter,
    adapter_weights,
    folder,
    numbers,
    tokenizer_files,
    weights,
    whole,
    whole_numbers,
)
from tests.support import packed

_DEEP = "[" * 100_000
_ON_CPU = ("--dtype", "float32", "--device", "cpu")
_PLAN = ("models", "{here}/m", *_ON_CPU)
_ASK = ("microscope", "{here}/m", "--prompt", "a b", *_ON_CPU)
_HEAL = ("heal", "starter", "--block", "1:1", "--quantization", "none")
_TEXTS = ("distances", "{model}", *_ON_CPU, "--samples", "2", "--seq-len", "16", "--texts")
_QUESTIONS = ("evaluate", "{model}", *_ON_CPU, "--block", "1:1", "--task")
_COMPARE = ("compare", "{model}", *_ON_CPU, "--prompt", "a b", "--tokens", "1", "--block", "1:1")
_ADAPTER = (*_COMPARE, "--adapter", "{here}/a")
_OPEN = ("open", f"{{here}}/{packs.FILE}")


def arguments() -> Iterator[Bad]:
    """Options and settings that make no request."""
    for name, words, says in (
        ("no command", (), "The following arguments are required: COMMAND"),
        ("an unknown command", ("nosuch",), "There is no command 'nosuch'."),
        ("an unknown option", ("distances", "starter", "--nosuch"), "Unknown argument: --nosuch."),
        ("a needed option", ("heal", "starter"), "The following arguments are required: --block"),
        (
            "no whole number",
            ("sweep", "starter", "--max-n=1.5"),
            "--max-n must be a whole number, not 1.5.",
        ),
        (
            "a number out of bounds",
            ("distances", "starter", "--seq-len", "15"),
            "--seq-len must be 16..1,048,576, not 15.",
        ),
        ("no block", ("evaluate", "starter", "--block=1-2"), "A block is written START:SIZE"),
        (
            "a name that is a path",
            ("export", "starter", "--block=1:1", "--name=../up"),
            "is not the name of an export",
        ),
        (
            "a prompt of no text",
            ("compare", "starter", "--prompt=caf\udce9"),
            "The prompt is not valid text.",
        ),
        ("no model", ("models", "  "), "No model is given"),
        ("a job that is a path", ("jobs", "show", "../../etc"), "There is no job "),
        (
            "a deep setting",
            ("distances", "starter", "--set", f"corpus.seed={_DEEP}"),
            "corpus.seed must be a whole number",
        ),
        ("a setting out of bounds", (*_HEAL, "--set", "r=0"), "r must be 1..4,096, not 0."),
        (
            "a setting of a missing part",
            ("sweep", "starter", "--set", "generation.seed=1"),
            "generation.seed cannot be set because generation is not set",
        ),
        ("a request that lacks a field", ("run", "heal"), "it lacks block."),
    ):
        yield Bad(name, words, says)


def model_files() -> Iterator[Bad]:
    """Models that are absent, elsewhere or broken."""
    yield Bad("a model that is absent", ("distances", "/nosuch"), "There is no model at ")
    yield Bad(
        "an absent Hub id",
        ("models", "nobody-at-all/nothing"),
        "is neither a local folder nor in the local Hub cache",
    )
    yield Bad(
        "an empty folder",
        ("models", "{here}"),
        "has no config.json, so it is not a Hugging Face model folder",
    )
    yield Bad(
        "an unknown device",
        ("models", "{model}", "--dtype", "float32", "--device=cpu:abc"),
        "Device ",
    )
    yield Bad(
        "a pipe for weights",
        _PLAN,
        "The model m cannot be read: model.safetensors: it is not a regular file",
        _piped,
    )
    yield Bad(
        "weights of another model",
        _PLAN,
        "model.safetensors in m is a link that leads out of this folder",
        _linked,
    )
    pickled = folder(model__safetensors=None, pytorch_model__bin=b"\x80\x02.")
    yield Bad("pickled weights", _PLAN, "pickled weights", pickled)
    cannot = "m cannot be a language model: "
    for name, content, says in (
        ("no JSON", "model_type: llama", "The config.json of m cannot be read"),
        (
            "own code",
            '{"model_type": "mine", "auto_map": {"AutoConfig": "c.C"}}',
            "transformers version does not support",
        ),
        (
            "code by name",
            _config(_attn_implementation="someone/code"),
            "_attn_implementation of its configuration names code",
        ),
        (
            "no whole number",
            _config(hidden_size=1.5),
            f"{cannot}hidden_size of its configuration must be a whole number",
        ),
        (
            "a part of another type",
            _config(layer_types="x"),
            "The configuration of m cannot be used: ",
        ),
        (
            "a number of no model",
            _config(rms_norm_eps=float("nan")),
            f"{cannot}rms_norm_eps of its configuration ",
        ),
        ("no causal model", '{"model_type": "t5"}', "m (t5) is not a causal language model"),
    ):
        yield Bad(f"a configuration: {name}", _PLAN, says, folder(config__json=content))
    nan, norm = {"lm_head.weight": numbers([64, 16], float("nan"))}, "model.norm.weight"
    for name, weight_file, says in (
        ("half", weights()[:-100], "The weights of m cannot be used: "),
        ("NaN", weights(**nan), "has NaN or infinite weights"),
        (
            "integers",
            whole_numbers("lm_head.weight", "I8", 1),
            "m stores 1 weight (lm_head.weight) as integers",
        ),
        ("one missing", weights(**{norm: None}), f"m lacks 1 weight ({norm})"),
    ):
        yield Bad(f"weights: {name}", _ASK, says, folder(model__safetensors=weight_file))
    index = {
        "model.safetensors.index__json": '{"weight_map": {"lm_head.weight": "../../etc/passwd"}}'
    }
    yield Bad(
        "an index: a path", _ASK, "index.json of m names ", folder(model__safetensors=None, **index)
    )
    for name, content, says in (
        ("text", b"not a model", "it does not start with the letters GGUF"),
        (
            "the first bytes",
            b"GGUF" + b"\3\0\0\0" + b"\0" * 8 + b"\5" + b"\0" * 7,
            "it ends within its header",
        ),
    ):
        yield Bad(
            f"a GGUF file: {name}",
            ("models", "{here}/x.gguf", "--device", "cpu"),
            says,
            files({"x.gguf": content}),
        )
    usual = json.loads(tokenizer_files()["tokenizer.json"])
    slow = {
        "type": "Split",
        "pattern": {"Regex": r"(a+)+$|(\w+\s?)+$z"},
        "behavior": "Isolated",
        "invert": False,
    }
    long = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 40_000}
    for name, content, says in (
        (
            "a pattern that takes minutes",
            json.dumps(usual | {"pre_tokenizer": slow}),
            "Regex search error",
        ),
        (
            "a rule that grows texts",
            json.dumps(usual | {"normalizer": long}),
            "lengthen a text more than 16 times",
        ),
    ):
        yield Bad(
            f"a tokenizer: {name}",
            _ASK,
            says,
            folder(model__safetensors=weights(), tokenizer__json=content),
        )
    elsewhere = json.dumps(
        json.loads(tokenizer_files()["tokenizer_config.json"]) | {"vocab_file": "/etc/hostname"}
    )
    make = folder(model__safetensors=weights(), tokenizer_config__json=elsewhere)
    yield Bad("a tokenizer: a file elsewhere", _ASK, "tokenizer_config.json of m names ", make)


def data() -> Iterator[Bad]:
    """Texts, questions and saved recipes that cannot be used."""
    for name, ending, content, says in (
        (
            "no JSON",
            "jsonl",
            '{"text": "a',
            'Line 1 of t.jsonl is not a JSON object with a field "text"',
        ),
        ("Latin-1", "txt", b"caf\xe9 and more", "t.txt is not UTF-8 text (byte "),
        ("nothing", "txt", " \n", "t.txt is empty"),
    ):
        yield Bad(
            f"texts: {name}",
            (*_TEXTS, f"{{here}}/t.{ending}"),
            says,
            files({f"t.{ending}": content}),
        )
    yield Bad("texts that are absent", (*_TEXTS, "/nosuch.txt"), "The text file ")
    yield Bad(
        "texts that are a folder",
        (*_TEXTS, "{here}/t.txt"),
        "it is a folder, not a regular file",
        files({"t.txt/a": ""}),
    )
    for name, ending, content, says in (
        (
            "a row that is null",
            "jsonl",
            "null",
            "row 1: not a JSON object with the fields question, choices and answer",
        ),
        ("a deep row", "jsonl", _DEEP, "row 1: not valid JSON ("),
        (
            "a column too many",
            "csv",
            "question,A,B,answer\nWhich?,a,b,c,A\n",
            "5 columns, 4 are expected",
        ),
        (
            "no Parquet",
            "parquet",
            b"PAR1" + b"\0" * 100 + b"PAR1",
            "q.parquet is not a readable Parquet file",
        ),
    ):
        yield Bad(
            f"questions: {name}",
            (*_QUESTIONS, f"{{here}}/q.{ending}"),
            says,
            files({f"q.{ending}": content}),
        )
    for name, content in (("no JSON", "{"), ("a wrong value", _recipe(r=2.5))):
        make = files({"cache/recipes/mine.json": content})
        yield Bad(
            f"a recipe: {name}",
            (*_HEAL, "--recipe", "mine"),
            "The saved recipe 'mine' cannot be used: ",
            make,
        )


def adapters() -> Iterator[Bad]:
    """Adapters that are broken, or made for another model or block."""
    fits = "does not fit this model without layer 1 (1 layer) ("
    nan = {LORA[0]: numbers([2, 24], float("nan"))}
    other = json.dumps({"heal": {"block": {"start": 0, "size": 1}}})
    for name, make, says in (
        ("absent", None, "has no adapter_config.json, so it is not a PEFT adapter"),
        ("another type", _adapter(peft_type="XLORA"), 'its type "XLORA" is not supported'),
        ("a pattern", _adapter(target_modules="(a+)+$"), "its target_modules is the pattern "),
        ("a huge rank", _adapter(r=10**9), "its r is 1,000,000,000"),
        (
            "another shape",
            adapter(adapter_model__safetensors=adapter_weights(**{LORA[0]: numbers([5, 5], 0.1)})),
            fits,
        ),
        (
            "NaN",
            adapter(adapter_model__safetensors=adapter_weights(**nan)),
            "has NaN or infinite weights",
        ),
        ("terabytes", _sparse, "are free on this machine. Give a smaller adapter"),
        (
            "another block",
            adapter(layerscope__json=other),
            "was healed without layer 0 (1 layer), but you remove",
        ),
        ("a bridge", adapter(bridge__safetensors=b""), "needs its bridge.safetensors"),
    ):
        yield Bad(f"an adapter: {name}", _ADAPTER, says, make)
    yield Bad("a block of other layers", (*_COMPARE[:-1], "3:1"), "this model has layers 0..2")


def hostile_packs() -> Iterator[Bad]:
    """Packs that are changed, incomplete or oversized."""
    name, manifest = f"sweep/{'0' * 20}/result.json", packed.entry("pack.json")
    for fault, make, says in (
        ("a wrong checksum", packs.changed(_spoilt), "does not match its checksum"),
        (
            "a path outside",
            packs.changed(packed.renamed("../../evil/result.json")),
            "is not a file of such an archive",
        ),
        (
            "a script",
            packs.changed(packed.renamed(f"sweep/{'0' * 20}/run.py")),
            "is not a file of such an archive",
        ),
        (
            "a newer version",
            packs.changed(packed.manifest(version=2)),
            "has version 2 of the format",
        ),
        (
            "a deep manifest",
            packs.changed(lambda held: held.update({"pack.json": b"[" * 100_000})),
            "nested too deeply",
        ),
        ("NaN", packs.changed(packed.result(_nan)), "NaN or infinite"),
        (
            "a zip bomb",
            packs.written(
                lambda: packed.archive(
                    (manifest, b"{}"), (packed.entry(name), b" " * (opening.FILE_BYTES + 1))
                )
            ),
            "unpacks to 67.1 MB, and at most",
        ),
    ):
        yield Bad(f"a pack: {fault}", _OPEN, says, make)


def every() -> list[Bad]:
    """All rows."""
    return [*arguments(), *model_files(), *data(), *adapters(), *hostile_packs()]


def _config(**changed: Any) -> str:
    return json.dumps(CONFIG | changed)


def _adapter(**changed: Any) -> Make:
    return adapter(adapter_config__json=json.dumps(ADAPTER | changed))


def _recipe(**changed: Any) -> str:
    return json.dumps(
        {"format": 1, "name": "mine", "heal": {"block": {"start": 1, "size": 1}} | changed}
    )


def _piped(here: Path) -> None:
    folder(model__safetensors=None)(here)
    os.mkfifo(here / "m" / "model.safetensors")


def _linked(here: Path) -> None:
    whole(here / "other")
    folder(model__safetensors=None)(here)
    (here / "m" / "model.safetensors").symlink_to(here / "other" / "model.safetensors")


def _sparse(here: Path) -> None:
    adapter()(here)
    os.truncate(here / "a" / "adapter_model.safetensors", 1 << 42)


def _spoilt(contents: dict[str, bytes]) -> None:
    name = next(name for name in contents if name != "pack.json")
    contents[name] = contents[name].replace(b"1", b"2", 1)


def _nan(stored: dict[str, Any]) -> None:
    stored["data"]["wall_s"] = float("nan")
