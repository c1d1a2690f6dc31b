"""Bad texts and questions are refused before any model is looked for, on the command line and in a
job.
"""

import importlib
from dataclasses import replace
from pkgutil import resolve_name

import pytest

from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import EXPERIMENTS
from analysis.data import corpora
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.precision_spec import PrecisionSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.experiments.heal import recipes
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search.search_spec import SearchSpec
from analysis.models.loading import load, planning
from analysis.models.source import resolving
from analysis.models.source.model_spec import ModelSpec

COMMANDS = ("distances", "damage", "sweep", "evaluate", "heal")

for runner in (
    entry.run for entry in EXPERIMENTS.values()
):  # not first while a function that they import is replaced
    importlib.import_module(runner.split(":")[0])


@pytest.fixture(autouse=True)
def _no_model(monkeypatch, tmp_path):
    """Fail the test at any request for a model, even by its name only."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    for module, name in (
        (resolving, "resolve_model"),
        (planning, "plan"),
        (planning, "locate"),
        (load, "load"),
    ):
        monkeypatch.setattr(
            module,
            name,
            lambda *_, name=name, **__: pytest.fail(f"A model was asked for by {name}."),
        )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_endless_text_is_refused_before_the_model_is_sought(capsys, command):
    block = ["--block", "3:2"] if command == "heal" else []
    assert main.main([command, "starter", "--texts", "/dev/zero", *block]) == 2
    assert "(it is not a regular file)" in capsys.readouterr().err


@pytest.fixture
def model(tiny_folder, monkeypatch):
    """A tiny model whose configuration may be read, and whose weights may not."""
    monkeypatch.undo()
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("A model was loaded."))
    return ModelSpec(str(tiny_folder()), dtype="float32", device="cpu")


@pytest.fixture
def unreadable(tmp_path):
    """Texts and questions that exist and cannot be read."""
    text, asked = tmp_path / "texts.txt", tmp_path / "questions.jsonl"
    text.write_bytes(b"caf\xe9 " * 40)
    asked.write_text("{}\n")
    return CorpusSpec(str(text)), BenchmarkSpec(str(asked))


KINDS = {
    "distances": lambda model, text, asked: [DistanceSpec(model, text)],
    "damage": lambda model, text, asked: [DamageSpec(model, text)],
    "sweep": lambda model, text, asked: [
        SweepSpec(model, loss_corpus=text),
        SweepSpec(model, benchmark=asked),
    ],
    "evaluate": lambda model, text, asked: [
        EvaluateSpec(model, loss_corpus=text),
        EvaluateSpec(model, benchmark=asked),
    ],
    "search": lambda model, text, asked: [
        SearchSpec(model, corpus=text),
        SearchSpec(model, validation=text),
    ],
    "precision": lambda model, text, asked: [
        PrecisionSpec(replace(model, dtype="bfloat16"), asked)
    ],
    "grid": lambda model, text, asked: [
        GridSpec((model,), (asked,)),
        GridSpec((model,), loss_corpora=(text,)),
    ],
    "methods": lambda model, text, asked: [
        MethodsSpec(model, benchmark=asked),
        MethodsSpec(model, loss_corpus=text),
    ],
    "heal": lambda model, text, asked: [
        HealSpec(Block(2, 1), model, text),
        HealSpec(Block(2, 1), model, validation=text),
        HealSpec(Block(2, 1), model, benchmark=asked),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_content_is_refused_before_any_weight_is_read(kind, model, unreadable, cache):
    for spec in KINDS[kind](model, *unreadable):
        with pytest.raises(LayerscopeError, match=r"is not UTF-8 text|No question can be read"):
            resolve_name(EXPERIMENTS[kind].run)(spec, load=Unloaded())


def test_text_from_the_hub_is_refused_without_a_network_before_any_weight_is_read(
    model, cache, monkeypatch
):
    def unreachable(*asked):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(corpora, "_hub_rows", unreachable)
    spec = recipes.heal_spec("paper", model=model, block=Block(2, 1))
    with pytest.raises(
        LayerscopeError, match="'c4-train' cannot be streamed .* Connect to the network"
    ):
        resolve_name(EXPERIMENTS["heal"].run)(spec, load=Unloaded())


class Unloaded:
    """A loader that no run may ask for a model."""

    def __call__(self, *_, **__):
        pytest.fail("A model was loaded.")

    def clear(self, **_):
        pass

    def kept(self, key, make):
        return make()
