"""A training step that cannot fit is refused from shapes alone, before anything is loaded, with
settings that would fit.
"""

from dataclasses import replace

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import NotEnoughMemoryError
from analysis.data.spec import CorpusSpec
from analysis.experiments.heal import adapters, healing, memory
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.models.architecture import decoder, layer_sizes
from analysis.models.architecture.decoder import find_decoder
from analysis.models.loading import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes
from tests.zoo import models

GB = 10**9
SPEC = HealSpec(
    block=Block(11, 5),
    model=ModelSpec(dtype="bfloat16", device="cpu"),
    batch_size=64,
    steps=9,
    corpus=CorpusSpec("wiki", seq_len=1024),
)


def test_refusal_names_both_amounts_and_the_largest_fitting_batch():
    needed = memory.step_bytes(SPEC, fakes.FACTS)
    assert memory.shortage(SPEC, fakes.FACTS, needed + GB, "cpu") is None
    sentence = memory.shortage(SPEC, fakes.FACTS, 2 * GB, "cpu")
    assert sentence.startswith(
        "Healing SmolLM2-135M-Instruct with 64 sequences of 1,024 tokens at once needs about "
    )
    assert "and only 2.0 GB are free on cpu. A batch_size of " in sentence
    rows = int(sentence.split("A batch_size of ")[1].split()[0])
    passes = int(sentence.split("gradient_accumulation ")[1].split()[0])
    assert rows * passes >= SPEC.batch_size
    assert memory.shortage(replace(SPEC, batch_size=rows), fakes.FACTS, 2 * GB, "cpu") is None
    assert (
        memory.shortage(replace(SPEC, batch_size=rows + 1), fakes.FACTS, 2 * GB, "cpu") is not None
    )


def test_refusal_names_other_settings_where_no_sequence_fits():
    sentence = memory.shortage(SPEC, fakes.FACTS, GB // 10, "cpu")
    assert sentence.endswith(
        "Not even one sequence fits: choose a lower seq-len, 4bit, a smaller model or more memory."
    )
    sentence = memory.shortage(SPEC, fakes.FACTS, GB // 10, "cuda", alternative="cuda:all")
    assert sentence.endswith(
        "choose a lower seq-len, device cuda:all, 4bit, a smaller model or more memory."
    )


@pytest.mark.parametrize(
    "more",
    [
        {"batch_size": 128},
        {"distill": 0.5},
        {"r": 512},
        {"control": True},
        {"corpus": CorpusSpec("wiki", seq_len=2048)},
    ],
)
def test_more_of_anything_takes_more(more):
    assert memory.step_bytes(replace(SPEC, **more), fakes.FACTS) > memory.step_bytes(
        SPEC, fakes.FACTS
    )


def test_of_experts_their_adapter_and_their_changed_weights_count(cache):
    """Compared with the adapters that PEFT really adds."""
    built = find_decoder(models.build("qwen2_moe"))
    facts = layer_sizes.facts(built, name="tiny", dtype="float32", quantization="none")
    asked = replace(
        SPEC, model=ModelSpec(dtype="float32", device="cpu"), batch_size=1, block=Block(2, 2), r=4
    )
    none = replace(facts, layers=[replace(layer, n_experts=0) for layer in facts.layers])
    more = memory.step_bytes(asked, facts) - memory.step_bytes(asked, none)
    pruning.cut(built, Block(2, 2))
    model = adapters.attach(built, asked, 0)
    trained = sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if ".experts." in name and weight.requires_grad
    )
    written_out = max(adapters.written_out_bytes(layer) for layer in built.layers)
    assert more == pytest.approx(16 * trained + 2 * written_out, rel=0.02)


def test_an_instant_heal_takes_no_step_and_is_never_refused():
    assert memory.shortage(replace(SPEC, steps=0, instant=True), fakes.FACTS, 1, "cpu") is None


def test_logits_of_a_step_are_those_of_one_head_call():
    assert memory.LOGITS_AT_ONCE == decoder._LOGITS_AT_ONCE


def test_run_that_cannot_fit_is_refused_before_loading_its_model(cache, tiny_folder, monkeypatch):
    monkeypatch.setattr(load, "load", lambda *_, **__: pytest.fail("A model was loaded."))
    spec = replace(
        SPEC,
        block=Block(2, 1),
        model=ModelSpec(str(tiny_folder()), dtype="float32"),
        batch_size=4096,
    )
    monkeypatch.setattr(healing.machine, "free_bytes", lambda _: 2 * GB)
    with pytest.raises(
        NotEnoughMemoryError,
        match=r"4,096 sequences of 256 tokens at once needs about .* A batch_size of ",
    ):
        healing.run(replace(spec, corpus=CorpusSpec("wiki", seq_len=256)))
