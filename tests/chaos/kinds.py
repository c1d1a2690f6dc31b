"""A small request of every kind on a tiny random model, and the part of its answer that no disturbance may change."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.cli import main as command_line
from analysis.core.blocks import Block
from analysis.core.record import Spec
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.exports.spec import ExportSpec
from analysis.models.source.model_spec import InspectSpec, ModelSpec
from tests.support import documents

_OF_THE_MOMENT = re.compile(r".*(_s|_bytes)$|versions|fits|notes")
"""Fields with the duration of a step, or with free memory, on this machine at this moment."""
_TIMINGS = {"speed": ("points", "prefill", "decode")}
"""Fields that hold nothing but such numbers."""


@dataclass(frozen=True)
class Ground:
    """Base of every run: a tiny model and texts, made once and only read."""

    folder: Path

    @property
    def model(self) -> ModelSpec:
        return ModelSpec(str(self.folder / "model"), dtype="float32", device="cpu")

    def text(self, name: str, **amounts: Any) -> CorpusSpec:
        return CorpusSpec(str(self.folder / f"{name}.jsonl"), **{"n_texts": 6, "seq_len": 64, **amounts})


def prepare(folder: Path) -> Ground:
    """Make the tiny model, with the starter's tokenizer, and the texts."""
    from transformers import AutoTokenizer

    from analysis.models.loading import gguf_conversion
    from tests.support.families import build

    tokenizer = AutoTokenizer.from_pretrained(gguf_conversion.model_folder())
    build("llama", vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    documents.two_kinds(folder)
    return Ground(folder)


def requests(ground: Ground) -> dict[str, Spec]:
    """Return a request of every kind that a worker answers, by kind, and the export as one GGUF file."""
    model, text, other = ground.model, ground.text("texts"), ground.text("others")
    distances = DistanceSpec(model, text)
    questions = BenchmarkSpec(limit=12)
    heal = HealSpec(
        Block(2, 2),
        model,
        corpus=ground.text("texts", n_texts=60, seq_len=32, split="train"),
        validation=ground.text("others", n_texts=3, seq_len=32),
        benchmark=BenchmarkSpec(limit=4),
        steps=8,
        batch_size=2,
        warmup_steps=2,
        learning_rate=1e-2,
        r=4,
        eval_every=2,
    )
    asked = (
        InspectSpec(model, load=True),
        distances,
        DamageSpec(model, other, distances, max_size=2),
        SweepSpec(model, questions, other, distances, max_n=3),
        EvaluateSpec(model, Block(2, 2), benchmark=questions, loss_corpus=other),
        heal,
        SpeedSpec(model, (0, 2), prompt_tokens=16, new_tokens=4, repeats=2),
        CompareSpec(model, "The river", (Variant(), Variant("pruned", Block(2, 2))), max_new_tokens=24),
        MicroscopeSpec(model, "The river runs to the harbour."),
        GridSpec((model,), (questions,), (other,), (text,), max_n=2),
        MethodsSpec(model, ("similarity", "deepest"), ("instant",), (2,), BenchmarkSpec(limit=4), other),
        ExportSpec(Block(2, 2), "without-2-3", model),
    )
    return {spec.kind: spec for spec in asked} | {"gguf": ExportSpec(Block(2, 2), "without-2-3.gguf", model, format="gguf")}


def arguments(spec: Spec) -> list[str]:
    """The words of the command line that ask for it."""
    return shlex.split(command_line.command_line(spec))[3:]  # after `python -m analysis`


def figures(kind: str, data: Mapping[str, Any], cache: Path) -> Any:
    """Return the part of a stored answer that is the same in every run: its numbers, and the weights it wrote."""
    kept = {name: value for name, value in data.items() if name not in _TIMINGS.get(kind, ())}
    return {"data": _steady(kept), "weights": _weights(cache)}


def _steady(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _steady(entry) for name, entry in value.items() if not _OF_THE_MOMENT.fullmatch(name)}
    return [_steady(entry) for entry in value] if isinstance(value, list) else value


def _weights(cache: Path) -> dict[str, str]:
    files = [
        file
        for top in ("adapters", "exports")
        for file in sorted((cache / top).rglob("*"))
        if file.suffix in (".safetensors", ".gguf") and file.is_file()
    ]
    return {str(file.relative_to(cache)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stored(kind: str, key: str, cache: Path) -> Any:
    """The figures of the result with this key in a cache folder; an error where it is not there, or not whole."""
    folder = cache / "results" / kind / key
    envelope = json.loads((folder / "result.json").read_bytes())
    for name, digest in envelope["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, f"{name} of {kind} is not whole"
    return figures(kind, envelope["data"], cache) | {"arrays": sorted(envelope["files"].values())}


def halves(cache: Path) -> list[str]:
    """Return files that look whole and are not: results that do not fit their checksums, folders without their last file."""
    found = []
    for file in cache.glob("results/*/*/result.json"):
        try:
            stored(file.parent.parent.name, file.parent.name, cache)
        except (ValueError, KeyError, OSError, AssertionError) as error:
            found.append(f"{file}: {error!r}")
    for folder in [path for path in cache.glob("exports/*") if not path.name.startswith(".")]:
        if not (folder / "layerscope.json").exists():
            found.append(f"{folder} has no layerscope.json")
    return found


def hidden(cache: Path) -> list[str]:
    """Temporary files and folders that nobody will finish."""
    tops = ("results", "adapters", "exports", "checkpoints", "jobs", "models")
    return [str(path) for top in tops for path in (cache / top).rglob(".*") if path.name.startswith(".")]
