"""Contract of every kind of experiment."""

import dataclasses
from pkgutil import resolve_name

import pytest

from analysis.core.experiment import EXPERIMENTS
from tests.support import fakes
from tests.support.usual import usual


@pytest.mark.parametrize("kind", EXPERIMENTS)
def test_experiment(kind):
    experiment = EXPERIMENTS[kind]
    assert (experiment.spec.kind, experiment.result.kind, experiment.result.spec_type) == (
        kind,
        kind,
        experiment.spec,
    )
    assert experiment.title
    named = [experiment.run, experiment.shards, experiment.figure, experiment.panel]
    assert all(callable(resolve_name(name)) for name in named if name)
    assert all(cls.__dataclass_params__.frozen for cls in (experiment.spec, experiment.result))
    spec = usual(experiment, fakes.MODEL)
    if spec is not None:
        assert experiment.spec.from_json(spec.to_json()) == spec
        assert len(spec.fingerprint()) == 20
        assert (
            "model" not in {field.name for field in dataclasses.fields(spec)}
            or spec.model == fakes.MODEL
        )
