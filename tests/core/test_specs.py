"""Specs: JSON round trips, fingerprints that miss nothing, sentences for bad values."""

import dataclasses

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import SpecError
from analysis.core.record import Spec, spec_dataclass
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search.search_spec import SearchSpec
from analysis.experiments.speed.speed_spec import SpeedSpec
from analysis.models.source.model_spec import ModelSpec

EXAMPLES = [
    DistanceSpec(
        ModelSpec("some/model", revision="abc", dtype="bfloat16"), CorpusSpec("wiki", 3, 64)
    ),
    SweepSpec(benchmark=BenchmarkSpec("mmlu", None, 3), loss_corpus=None, max_n=4),
    HealSpec(Block(11, 5), steps=7),
    DamageSpec(max_size=4),
    EvaluateSpec(generation=GenerationSpec(n_sums=3)),
    SpeedSpec(ns=(0, 3), repeats=2),
]


def leaves(spec, path=()):
    """Every scalar field of a spec, nested ones included, with a value it does not have."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, (*path, field.name))
        else:
            yield (*path, field.name), value


def changed(spec, path, value):
    head, *rest = path
    return dataclasses.replace(
        spec, **{head: changed(getattr(spec, head), rest, value) if rest else value}
    )


OTHERS = {
    "dtype": "float16",
    "quantization": "8bit",
    "metric": "relative-l2",
    "task": "boolq",
    "strategy": "deepest",
    "runtime": "llama.cpp",
    "damage": DamageSpec(),
    "generation": GenerationSpec(),
    "block": Block(1, 1),
    "benchmark": BenchmarkSpec("copa"),
    "ns": (0, 1),
    "shots": 1,
    "subset": ("stem",),
    "protocol": "paper",
    "limit": 7,
    "max_n": 9,
    "lora_dropout": 0.5,
    "minutes": 2.0,
    "control": True,
    "distill": 0.5,
    "loss": "cross-entropy",
    "instant": True,
    "lora_on": "attention",
    "separate_documents": False,
    "search": SearchSpec(),
}


def test_manual_blocks_are_part_of_the_fingerprint_alone():
    manual = SweepSpec(strategy="manual", blocks=(Block(1, 2),))
    assert manual.fingerprint() != SweepSpec(strategy="manual", blocks=(Block(1, 3),)).fingerprint()
    with pytest.raises(SpecError, match="manual"):
        SweepSpec(strategy="manual")
    with pytest.raises(SpecError, match="manual"):
        SweepSpec(blocks=(Block(1, 2),))


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.kind)
def test_every_field_is_part_of_the_fingerprint(spec):
    seen = {spec.fingerprint()}
    for path, value in leaves(spec):
        if path[-1] in (
            "loss_corpus",
            "blocks",
            "top_k",
            "as_file",
            "adapters",
        ):  # a part of its own, and fields that need others
            continue
        if path[-1] in OTHERS:
            other = OTHERS[path[-1]]
        else:
            other = f"{value}x" if isinstance(value, str) or value is None else value + 1
        if path[-1] == "split":
            other = next(split for split in ("all", "train") if split != value)
        fingerprint = changed(spec, path, other).fingerprint()
        assert fingerprint not in seen, path
        seen.add(fingerprint)


def test_unknown_and_missing_fields_are_refused():
    with pytest.raises(SpecError, match="has no field speed"):
        DistanceSpec.from_json({"speed": 1})
    with pytest.raises(SpecError, match="block"):
        HealSpec.from_json({"steps": 3})


@spec_dataclass
class Shorter(Spec):
    """A request that lost two fields; one of them came after results were stored."""

    kind = "tiny"
    later = ("extra",)
    withdrawn = {"way": "short", "extra": 0}

    n: int = 1


@spec_dataclass
class Longer(Spec):
    """The same request before."""

    kind = "tiny"
    later = ("extra",)

    n: int = 1
    way: str = "short"
    extra: int = 0


def test_stored_request_without_its_withdrawn_fields_keeps_its_fingerprint():
    before = Longer(n=3)
    now = Shorter.from_json(before.to_json())
    assert now == Shorter(n=3)
    assert now.fingerprint() == before.fingerprint()


@pytest.mark.parametrize("field", [{"way": "long"}, {"extra": 1}])
def test_stored_request_with_a_withdrawn_value_is_refused(field):
    with pytest.raises(SpecError, match=f"{next(iter(field))} .* was withdrawn from tiny"):
        Shorter.from_json({"n": 3} | field)
