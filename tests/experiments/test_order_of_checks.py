"""Bad texts and questions are refused before any model is looked for, on the command line and in a job."""

import importlib

import pytest

from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import LayerscopeError
from analysis.core.experiment import RUNNERS
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import load, planning

COMMANDS = ("distances", "damage", "sweep", "evaluate", "heal")
ENDLESS = CorpusSpec("/dev/zero")
REQUESTS = [
    DistanceSpec(corpus=ENDLESS),
    DamageSpec(corpus=ENDLESS),
    SweepSpec(loss_corpus=ENDLESS),
    SweepSpec(benchmark=BenchmarkSpec("missing.jsonl")),
    EvaluateSpec(loss_corpus=ENDLESS),
    EvaluateSpec(benchmark=BenchmarkSpec("missing.jsonl")),
    HealSpec(block=Block(3, 2), corpus=ENDLESS),
    HealSpec(block=Block(3, 2), validation=ENDLESS),
    HealSpec(block=Block(3, 2), benchmark=BenchmarkSpec("missing.jsonl")),
]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch, tmp_path):
    """Fail the test at any request for a model, even by its name only."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    for module, name in ((planning, "resolve"), (planning, "plan"), (planning, "locate"), (load, "load")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: pytest.fail(f"A model was asked for by {name}."))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_endless_text_is_refused_before_the_model_is_sought(capsys, command):
    block = ["--block", "3:2"] if command == "heal" else []
    assert main.main([command, "starter", "--texts", "/dev/zero", *block]) == 2
    assert "(it is a device, not a regular file)" in capsys.readouterr().err


@pytest.mark.parametrize("spec", REQUESTS, ids=lambda spec: spec.kind)
def test_a_job_is_refused_before_its_loader_is_called(spec):
    module, name = RUNNERS[spec.kind].split(":")
    run = getattr(importlib.import_module(module), name)
    with pytest.raises(LayerscopeError, match="cannot be read"):
        run(spec, load=lambda *_: pytest.fail("A model was loaded."))
