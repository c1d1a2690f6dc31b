"""Requests from outside: every field is of its type and within its bounds before anything is
compared or expanded.
"""

import json
import math
import re
import tracemalloc
import typing
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.core import blocks
from analysis.core.blocks import Block, LayerSet, parse_removal, written
from analysis.core.bounds import MOST_LAYERS
from analysis.core.errors import BlockRangeError, CorruptResultError, LayerscopeError, SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.core.record import Spec
from analysis.core.store import StoredResult
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.distance_spec import DistanceResult
from analysis.experiments.prompt.comparison_spec import Variant
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes
from tests.support.made_up import json_values, refusal

PARTS = (Block, LayerSet, ModelSpec, CorpusSpec, BenchmarkSpec, GenerationSpec, Variant)
SMALL = 4 << 20
"""Bytes that a refusal may take."""


def test_an_impossible_removal_is_refused_before_its_layers_are_listed():
    tracemalloc.start()
    try:
        for text in (
            "0:50000000",
            "0:1+1:50000000",
            "49999999:1",
            "+".join(["0:900"] * 900),
            "1:" + "9" * 5000,
            "0:" + "9" * 30,
        ):
            with pytest.raises(BlockRangeError) as refused:
                parse_removal(text)
            assert len(str(refused.value)) < 200
        for wrong in (
            {"start": 0, "size": 50_000_000},
            {"layers": [1, 50_000_000]},
            {"start": 0, "size": math.nan},
        ):
            with pytest.raises(LayerscopeError):
                EvaluateSpec.from_json({"block": wrong})
        assert tracemalloc.get_traced_memory()[1] < SMALL
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@given(st.text(alphabet="0123456789:+- x", max_size=30) | st.text(max_size=10))
def test_any_text_is_a_cut_within_bounds_or_refused(text):
    if not refusal(lambda: parse_removal(text)):
        cut = parse_removal(text)
        assert 0 <= cut.start < MOST_LAYERS
        assert parse_removal(written(cut)) == cut


@given(st.sets(st.integers(0, MOST_LAYERS - 1), min_size=1))
def test_every_set_of_layers_survives_being_written(layers):
    cut = blocks.removal(layers)
    assert set(cut.layers) == layers
    assert parse_removal(written(cut)) == cut


def every_field():
    for kind in (*(entry.spec for entry in EXPERIMENTS.values()), *PARTS):
        for field in fields(kind):
            yield kind, field.name


def test_every_number_of_a_request_has_an_end():
    for kind, name in every_field():
        hint = typing.get_type_hints(kind)[name]
        if int not in (hint, *typing.get_args(hint)) and float not in (
            hint,
            *typing.get_args(hint),
        ):
            continue
        needed = {
            HealSpec: {"block": {"start": 1, "size": 1}},
            Block: {"start": 1, "size": 1},
            GridSpec: {"models": [ModelSpec().to_json()]},
        }.get(kind, {})
        for value in (10**20, -(10**20), math.nan, "3", True):
            with pytest.raises(SpecError, match=f"{name} must be"):
                kind.from_json(
                    needed | {name: [value] if typing.get_origin(hint) is tuple else value}
                )


def unbounded(hint, name, parts):
    """Yield the numbers of a type that have no bounds; nested dataclasses go to `parts`."""
    if hint in (int, float):
        yield name
    if typing.get_origin(hint) is not typing.Annotated:
        for part in typing.get_args(hint):
            yield from unbounded(part, name, parts)
    if is_dataclass(hint) and not issubclass(hint, Spec):
        parts.append(hint)


def test_every_number_of_a_result_has_bounds():
    parts = [entry.result for entry in EXPERIMENTS.values()]
    for kind in parts:  # it grows
        hints = typing.get_type_hints(kind, include_extras=True)
        open_ended = [
            f"{kind.__name__}.{name}"
            for field in fields(kind)
            for name in unbounded(hints[field.name], field.name, parts)
        ]
        assert not open_ended
    assert {"Point", "ModelFacts", "SpeedLine"} <= {part.__name__ for part in parts}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("wall_s",), -1.0, "wall_s must be at least 0, not -1.0."),
        (("wall_s",), math.nan, "wall_s must be a finite number, not NaN."),
        (("n_texts",), -1, "n_texts must be at least 0, not -1."),
        (("mean", 0, 0), 1e300, "mean must be at most 1,000,000,000,000, not 1e+300."),
        (("best", 0, "distance"), math.inf, "best.distance must be a finite number, not "),
        (("wins",), [[1.5]], "wins must be at most 1, not 1.5."),
        (("model", "n_layers"), 2**60, "model.n_layers must be at most 9,007,199,254,740,992,"),
    ],
)
def test_a_stored_number_out_of_range_is_refused_with_its_field(path, value, said, tmp_path):
    data = json.loads(json.dumps(fakes.distances().to_json()))
    part = data
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(CorruptResultError, match=re.escape(said)):
        DistanceResult.read(StoredResult(tmp_path, data, {}, False, 0.0))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"r": 1_000_000}, "r must be 1..4,096, not 1,000,000."),
        ({"r": 2.5}, "r must be a whole number, not 2.5."),
        ({"steps": 10**5000}, "steps must be 0..1,000,000, not a number of 5001 digits."),
        ({"learning_rate": math.nan}, "learning_rate must be above 0 and at most 10, not NaN."),
        ({"lora_dropout": 1}, "lora_dropout must be at least 0 and below 1, not 1.0."),
        ({"seed": -1}, "seed must be at least 0, not -1."),
        ({"minutes": []}, "minutes must be a number, not []."),
        ({"corpus": {"n_texts": None}}, "corpus.n_texts must be a whole number, not null."),
        (
            {"benchmark": {"limit": 10**9}},
            "benchmark.limit must be 1..1,000,000, not 1,000,000,000.",
        ),
        ({"model": []}, "model must be an object with fields by name, not []."),
        (
            {"benchmark": {"limits": 3}},
            "benchmark has no field limits. Its fields are identity, limit, protocol, seed, shots, subset,"
            " task. Did you mean limit?",
        ),
        (
            {"block": {"start": 1, "size": 2, "layers": [1]}},
            "block.layers, block.size, block.start cannot be given together. Give the fields of one"
            " form.",
        ),
        ({"control": 1}, "control must be true or false, not 1."),
    ],
)
def test_the_error_of_a_field_names_the_possible_values(data, said):
    with pytest.raises(SpecError) as refused:
        HealSpec.from_json({"block": {"start": 1, "size": 1}} | data)
    assert str(refused.value) == said


def test_several_values_are_each_held_to_the_bound():
    with pytest.raises(SpecError, match=r"ns must be 0\.\.1,000, not -1"):
        SpeedSpec(ns=(0, -1))
    with pytest.raises(SpecError, match="ns must be a list, not 3"):
        SpeedSpec.from_json({"ns": 3})


@given(st.sampled_from(sorted(EXPERIMENTS)), st.data())
def test_any_json_makes_a_request_or_a_sentence(kind, data):
    names = [field.name for field in fields(EXPERIMENTS[kind].spec)]
    content = data.draw(
        st.dictionaries(st.sampled_from(names), json_values, max_size=4) | json_values
    )
    try:
        spec = EXPERIMENTS[kind].spec.from_json(content)
    except LayerscopeError:
        return
    assert EXPERIMENTS[kind].spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert len(spec.fingerprint()) == 20
