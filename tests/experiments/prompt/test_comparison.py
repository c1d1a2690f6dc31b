"""Variants side by side: equal to really cut and healed models, the same at every run, resumable,
watched as they grow.
"""

import json
from dataclasses import replace

import pytest
import torch
import transformers

from analysis.core.blocks import Block
from analysis.core.errors import BlockRangeError, RecipeError, SpecError
from analysis.core.progress import Cancelled
from analysis.experiments.prompt import comparison
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant
from analysis.models.loading import load
from analysis.models.running import adapters, pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import loud

BLOCK = Block(2, 2)
PROMPT = "Once upon a time"


@pytest.fixture
def model(tiny_folder, cache):
    return ModelSpec(str(tiny_folder()), dtype="float32")


@pytest.fixture
def adapter(model):
    """An adapter that really changes the texts of the pruned model, in the cache folder of a
    healing run.
    """
    return loud.adapter_of(model, BLOCK, std=2)


def asked(model, *variants, **settings):
    return CompareSpec(
        model,
        PROMPT,
        variants or (Variant(), Variant("pruned", BLOCK)),
        **{"max_new_tokens": 12, **settings},
    )


def test_pruned_text_is_that_of_a_saved_and_reloaded_model(model, tmp_path):
    result = comparison.run(asked(model))
    loaded = load.load(model)
    pruning.cut(loaded.decoder, BLOCK)
    loaded.model.save_pretrained(tmp_path / "cut")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "cut")
    ids = loaded.tokenizer(PROMPT, return_tensors="pt").input_ids
    written = plain.generate(
        ids, max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None
    )[0, ids.shape[1] :]
    pruned = result.writings[1]
    assert pruned.token_ids == written.tolist()
    assert pruned.text == loaded.tokenizer.decode(written)
    assert (pruned.n_layers, result.n_layers, result.n_prompt_tokens) == (4, 6, ids.shape[1])
    assert (
        result.parts_at(1) == 0
        or result.writings[0].token_ids[: result.parts_at(1)]
        == pruned.token_ids[: result.parts_at(1)]
    )


def test_healed_text_is_that_of_the_pruned_model_with_adapter(model, adapter, cache):
    result = comparison.run(
        asked(model, Variant(), Variant("pruned", BLOCK), Variant("healed", BLOCK, adapter))
    )
    healed = adapters.with_adapter(load.load(model), BLOCK, str(cache / adapter))
    ids = healed.tokenizer(PROMPT, return_tensors="pt").input_ids
    written = healed.model.generate(
        input_ids=ids, max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    assert result.writings[2].token_ids == written[0, ids.shape[1] :].tolist()
    assert result.writings[2].token_ids != result.writings[1].token_ids
    assert all(
        text.complete and len(text.unpruned_surprise) == len(text.token_ids) == 12
        for text in result.writings
    )
    again = comparison.run(asked(model, Variant("healed", BLOCK, str(cache / adapter))))
    assert again.writings[0].token_ids == result.writings[2].token_ids


def test_another_adapter_in_the_same_place_is_another_request(model, adapter, cache):
    spec = asked(model, Variant("healed", BLOCK, adapter))
    before = comparison.resolve(spec).fingerprint()
    assert comparison.resolve(spec).fingerprint() == before
    weights = cache / adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert comparison.resolve(spec).fingerprint() != before


def test_surprisal_of_the_unpruned_model_is_its_own_reading(model):
    result = comparison.run(asked(model, temperature=1.0))
    whole = load.load(model)
    ids = whole.tokenizer(PROMPT).input_ids
    for text in result.writings:
        with torch.inference_mode():
            scores = (
                whole.model(torch.tensor([ids + text.token_ids]), use_cache=False)
                .logits[0]
                .float()
                .log_softmax(-1)
            )
        for index, token in enumerate(text.token_ids):
            assert text.unpruned_surprise[index] == pytest.approx(
                -scores[len(ids) - 1 + index, token].item(), abs=1e-3
            )
    assert result.writings[1].own_surprise != pytest.approx(
        result.writings[1].unpruned_surprise, abs=1e-2
    )


def texts(result):
    return [text.token_ids for text in result.writings]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_same_request_repeats_its_texts_and_another_seed_differs(
    model, temperature, cache, monkeypatch, tmp_path
):
    spec = asked(
        model,
        Variant(),
        Variant("pruned", BLOCK),
        Variant("pruned", BLOCK),
        temperature=temperature,
        seed=5,
    )
    first = comparison.run(spec)
    assert texts(first)[1] == texts(first)[2]
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "other"))
    assert texts(comparison.run(spec)) == texts(first)
    other = comparison.run(replace(spec, seed=6))
    assert (texts(other) == texts(first)) == (temperature == 0)


def test_a_finished_comparison_is_not_written_again(model):
    first = comparison.run(asked(model))
    again = comparison.run(asked(model), load=lambda *_: pytest.fail("loaded"))
    assert again == first


def test_all_texts_grow_in_step(model, adapter, monkeypatch):
    monkeypatch.setattr(comparison, "PUBLISH_EVERY_S", 0.0)
    spec = asked(model, Variant(), Variant("pruned", BLOCK), Variant("healed", BLOCK, adapter))
    seen, loaded = [], load.load(model)

    def watch(progress):
        if progress.phase == "writing":
            stored = CompareResult.load(comparison.resolve(spec))
            seen.append([len(text.token_ids) for text in stored.writings])
            assert progress.values["result_key"] == stored.spec.fingerprint()
            assert not stored.complete
            assert loaded.decoder.n_layers == 6, "between two tokens the shared model is whole"

    comparison.run(spec, watch, load=lambda *_: loaded)
    assert seen[:5] == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1]]
    assert seen[-1] == [12, 12, 12]
    assert max(max(lengths) - min(lengths) for lengths in seen) == 1


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_texts_are_bit_identical_alone_and_together(model, adapter, temperature):
    variants = [
        Variant(),
        Variant("pruned", BLOCK),
        Variant("healed", BLOCK, adapter),
        Variant("pruned", Block(1, 1)),
    ]
    together = comparison.run(asked(model, *variants, temperature=temperature)).writings
    for variant, text in zip(variants, together, strict=True):
        (alone,) = comparison.run(asked(model, variant, temperature=temperature)).writings
        assert (text.token_ids, text.own_surprise) == (alone.token_ids, alone.own_surprise)
        assert text.unpruned_surprise == alone.unpruned_surprise


def test_adapter_lies_on_the_weights_and_leaves_the_model_unchanged(model, adapter, cache):
    loaded = load.load(model)
    before = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    healed = comparison._healed(loaded, Variant("healed", BLOCK, adapter))
    shared = {weight.data_ptr() for weight in loaded.model.parameters()}
    own = [weight for weight in healed.model.parameters() if weight.data_ptr() not in shared]
    assert sum(weight.numel() for weight in own) < 0.1 * loaded.facts.n_parameters
    assert healed.decoder.n_layers == 4
    assert loaded.decoder.n_layers == loaded.model.config.num_hidden_layers == 6
    comparison.run(asked(model, Variant("healed", BLOCK, adapter)), load=lambda *_: loaded)
    after = loaded.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert not [name for name, weight in loaded.model.named_parameters() if "lora" in name]


def test_finished_texts_survive_a_stop_and_others_are_repeated(model, monkeypatch):
    plain = comparison.run(asked(model, max_new_tokens=11))
    stop = plain.writings[1].token_ids[3]
    monkeypatch.setattr(
        "analysis.models.running.generation.stop_tokens",
        lambda *_: {stop} - set(plain.writings[0].token_ids),
    )
    loaded = load.load(model)

    def stop_late(progress):
        if progress.phase == "writing" and progress.done == 12 + 8:
            raise Cancelled

    stopped = comparison.run(asked(model), stop_late, load=lambda *_: loaded)
    assert not stopped.complete
    assert [text.complete for text in stopped.writings] == [False, True]
    assert loaded.decoder.n_layers == 6, "the shared model is whole again"
    told = []
    finished = comparison.run(asked(model), told.append, load=lambda *_: loaded)
    assert finished.complete
    assert finished.writings[1] == stopped.writings[1]
    assert finished.writings[0].token_ids[:8] == stopped.writings[0].token_ids
    assert min(progress.done for progress in told if progress.phase == "writing") == 12
    assert (told[-1].done, told[-1].total) == (24, 24)


@pytest.mark.parametrize(
    ("variant", "settings", "error", "sentence"),
    [
        (Variant("pruned", Block(4, 3)), {}, BlockRangeError, "this model has layers 0..5"),
        (Variant("healed", BLOCK, "nowhere"), {}, RecipeError, "not a PEFT adapter"),
        (Variant(), {"max_new_tokens": 300}, SpecError, "window of tiny-llama.*, 256 tokens"),
    ],
)
def test_bad_requests_are_one_sentence(model, variant, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        comparison.run(asked(model, variant, **settings))


@pytest.mark.parametrize("block", [Block(0, 1), Block(1, 2), Block(0, 4)])
def test_adapter_of_another_cut_is_refused_before_loading(model, adapter, block):
    with pytest.raises(RecipeError, match=r"was healed without layers 2-3 \(2 layers\)"):
        comparison.run(
            asked(model, Variant("healed", block, adapter)), load=lambda *_: pytest.fail("loaded")
        )


def test_an_adapter_of_a_control_is_refused_for_a_cut(model, adapter, cache):
    note = cache / adapter / "layerscope.json"
    noted = json.loads(note.read_text())
    noted["heal"]["control"] = True
    note.write_text(json.dumps(noted))
    with pytest.raises(RecipeError, match="as a control"):
        comparison.resolve(asked(model, Variant("healed", BLOCK, adapter)))
    comparison.resolve(asked(model, Variant("healed", None, adapter)))
