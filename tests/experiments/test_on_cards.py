"""Whole experiments with a model spread over two cards: the figures and files of one device, to the
last bit.
"""

import dataclasses
from pathlib import Path

import pytest

from analysis.core import store
from analysis.core.blocks import Block
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.heal import healing
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps import damage, distance_map
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.prompt import comparison, microscope
from analysis.experiments.prompt.comparison_spec import CompareSpec, Variant
from analysis.experiments.prompt.microscope_spec import MicroscopeSpec
from analysis.exports import export, folders
from analysis.exports.spec import ExportSpec
from analysis.models.loading import machine, placement
from analysis.models.loading.placement import Placement
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents
from tests.support.cards import cards
from tests.support.families import N_LAYERS
from tests.support.levels import few

BLOCK = Block(2, 2)
GB = 1 << 30
_OF_TIME = (
    "wall_s",
    "versions",
    "memory_bytes",
    "tokens_per_s",
    "prefill_s",
    "decode_s",
    "own_identity",
)


def told(value):
    """Return a result without its times, memory and machine."""
    if isinstance(value, dict):
        return {name: told(one) for name, one in value.items() if name not in _OF_TIME}
    return [told(one) for one in value] if isinstance(value, list) else value


def are_alike(result, expected) -> bool:
    """Return whether two results are equal but for rounding, which depends on where a tensor lies
    on some processors.
    """
    if isinstance(expected, dict):
        return result.keys() == expected.keys() and all(
            are_alike(result[name], expected[name]) for name in expected
        )
    if isinstance(expected, list):
        return len(result) == len(expected) and all(map(are_alike, result, expected))
    return (
        result == pytest.approx(expected, rel=1e-5, abs=1e-6)
        if isinstance(expected, float)
        else result == expected
    )


@pytest.fixture
def on_cards(tmp_path, monkeypatch, with_starter):
    """A function that runs something with every model spread over two cards, and an empty cache
    folder.
    """

    def run(work):
        with monkeypatch.context() as patch:
            patch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "other")))
            patch.setattr(machine, "gpus", lambda device: {"cpu:0": GB, "cpu:1": GB})
            patch.setattr(machine, "free_bytes", lambda device: 1 if device == "cpu" else GB)
            # Reading weights to their cards is transformers' work; here they are read to host
            # memory, and moved.
            patch.setattr(placement, "device_map", lambda *_: {})
            half = N_LAYERS // 2
            patch.setattr(
                placement,
                "place",
                lambda *_: Placement(
                    "cpu:0", ("cpu:0",) * half + ("cpu:1",) * (N_LAYERS - half), "cpu:1"
                ),
            )
            with cards(2):
                return work()

    return run


@pytest.fixture
def model(cache, tiny_folder) -> ModelSpec:
    return ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")


@pytest.fixture
def texts(tmp_path) -> CorpusSpec:
    return CorpusSpec(documents.two_kinds(tmp_path)[0], n_texts=4, seq_len=32)


def test_maps_curves_and_prompts(on_cards, model, texts, questions):
    distances = DistanceSpec(model, texts)
    asked = [
        (distance_map, distances),
        (damage, DamageSpec(model, texts, distances, max_size=2)),
        (
            sweep,
            SweepSpec(model, benchmark=questions, loss_corpus=texts, distances=distances, max_n=4),
        ),
        (microscope, MicroscopeSpec(model, "The river ran under the bridge", Block(3, 2))),
        (
            comparison,
            CompareSpec(
                model, "The river", (Variant(), Variant("pruned", BLOCK)), max_new_tokens=6
            ),
        ),
    ]

    def all_of_them():
        return [module.run(spec) for module, spec in asked]

    expected = all_of_them()
    for whole, spread in zip(expected, on_cards(all_of_them), strict=True):
        assert are_alike(told(spread.to_json()), told(whole.to_json())), spread.kind
        assert (whole.ran_on, spread.ran_on) == ("cpu", "cpu x2")
        assert spread.spec.fingerprint() == whole.spec.fingerprint(), (
            "a result is found again on a machine with other cards"
        )


def heal(model: ModelSpec, texts: CorpusSpec, **settings) -> HealSpec:
    return HealSpec(
        model=model,
        corpus=dataclasses.replace(texts, n_texts=100, split="train"),
        validation=dataclasses.replace(
            texts, source=texts.source.replace("texts.jsonl", "others.jsonl"), n_texts=3
        ),
        benchmark=None,
        batch_size=2,
        warmup_steps=1,
        learning_rate=1e-2,
        eval_every=2,
        **{"block": BLOCK, "steps": 3, "r": 4, "lora_dropout": 0.0, **settings},
    )


HEALS = {
    "LoRA": {},
    "drawn to the unpruned model": {"distill": 0.5},
    "instant": {"instant": True},
    "at the border": {"block": Block(1, 2), "instant": True},
    "all of a card": {"block": Block(3, 3), "instant": True},
}


@pytest.mark.parametrize("kind", few(HEALS, "drawn to the unpruned model", "at the border"))
def test_a_heal(on_cards, model, texts, cache, short_texts, kind):
    spec = dataclasses.replace(heal(model, texts), **HEALS[kind])

    def healed():
        result = healing.run(spec)
        return (
            result,
            (store.cache_dir() / result.adapter / "adapter_model.safetensors").read_bytes(),
        )

    expected, weights = healed()
    found, spread_weights = on_cards(healed)
    assert found.ran_on == "cpu x2"
    assert told(found.to_json()) == told(expected.to_json())
    assert spread_weights == weights


@pytest.mark.long
def test_a_heal_whose_sums_are_in_another_order(on_cards, model, texts, cache, short_texts):
    """Behind the last layer of one card begins another: three gradients that meet there are added
    where they meet.
    """
    spec = heal(model, texts, block=Block(3, 3), distill=0.5)
    expected = healing.run(spec)
    found = on_cards(lambda: healing.run(spec))
    assert [step.loss for step in found.steps] == pytest.approx(
        [step.loss for step in expected.steps], rel=1e-6
    )
    assert found.text_losses["healed"] == pytest.approx(expected.text_losses["healed"], rel=1e-6)


@pytest.mark.long
def test_an_export_with_its_heal(on_cards, model, texts, cache, short_texts):
    def exported() -> dict[str, bytes]:
        made = healing.run(heal(model, texts))
        both = (Variant(), Variant("healed", BLOCK, made.adapter))
        beside = CompareSpec(model, "The river", both, max_new_tokens=4)
        written = told(comparison.run(beside).to_json())
        result = export.run(ExportSpec(BLOCK, "healed", model, made.adapter))
        assert result.check.relative_difference <= result.check.tolerance
        weights: list[Path] = sorted(folders.folder("healed").glob("*.safetensors"))
        return {"written": written, **{file.name: file.read_bytes() for file in weights}}

    assert on_cards(exported) == exported()
