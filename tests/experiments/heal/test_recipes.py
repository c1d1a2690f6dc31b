"""Recipes: the paper's table to the letter, the choice for a model, and overrides."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from analysis.core.blocks import Block
from analysis.core.errors import RecipeError, SpecError
from analysis.data.spec import CorpusSpec, default_loss_corpus
from analysis.experiments.heal import healing, recipes
from analysis.experiments.heal.heal_spec import HealSpec, judged_by
from analysis.experiments.heal.recipes import sizing
from analysis.models.loading import planning
from analysis.models.source import identity
from analysis.models.source.model_spec import ModelSpec
from tests.support import fakes

BLOCK = Block(11, 5)
PAPER = {
    "meta-llama/Llama-2-7b-hf": (2048, 3e-4, 2),
    "meta-llama/Llama-2-13b-hf": (4096, 3e-4, 64),
    "meta-llama/Llama-2-70b-hf": (4096, 3e-5, 8),
    "Qwen/Qwen-7B": (2048, 3e-4, 64),
    "Qwen/Qwen-14B": (4096, 3e-4, 64),
    "mistralai/Mistral-7B-v0.1": (2048, 3e-6, 4),
    "microsoft/phi-2": (2048, 2e-4, 64),
}


@pytest.mark.parametrize(("model", "row"), PAPER.items())
def test_paper_recipe_equals_the_papers_table(model, row):
    spec = recipes.heal_spec("paper", model=ModelSpec(model), block=BLOCK)
    assert (spec.corpus.seq_len, spec.learning_rate, spec.r) == row
    assert spec.batch_size * spec.gradient_accumulation == 16
    assert (spec.steps, spec.warmup_steps, spec.lora_dropout) == (5000, 100, 0.05)
    assert spec.model.quantization == "4bit"
    assert (spec.corpus.source, spec.corpus.split) == ("c4-train", "train")
    assert (spec.validation.source, spec.validation.split) == ("wiki", "validation")
    assert (spec.same_kind.source, spec.same_kind.split) == ("c4", "validation")


def test_paper_recipe_follows_the_rule_for_an_unknown_model():
    recipe = recipes.get("paper", model="someone/new-model")
    assert (recipe.r, recipe.learning_rate) == (64, 3e-4)
    assert "rank 64" in recipe.why


def test_default_choice():
    assert recipes.for_model("meta-llama/Llama-2-7b-hf", 32, on_gpu=True).r == 2
    assert recipes.for_model("meta-llama/Llama-2-7b-hf", 32, on_gpu=True).name == "paper"
    assert recipes.for_model("/models/Llama-2-7b-hf/", 32, on_gpu=True).name == "paper"
    assert recipes.for_model("meta-llama/Llama-2-7b-hf", 32, on_gpu=False).name == recipes.DEFAULT
    assert (
        recipes.for_model("meta-llama/Llama-2-7b-hf", 24, on_gpu=True).name == recipes.DEFAULT
    )  # not that model after all
    assert recipes.for_model("starter", 30, on_gpu=False).name == recipes.DEFAULT


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(
        RecipeError,
        match="'slow'.*distill, quick, distill-all, instant, first, paper, paper-llama-2-7b",
    ):
        recipes.heal_spec("slow", model=ModelSpec(), block=BLOCK)


def test_unknown_setting_lists_the_known_ones():
    with pytest.raises(RecipeError, match="no setting rank.*lora_dropout"):
        recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK, rank=3)


def test_a_bad_value_is_a_spec_error():
    with pytest.raises(SpecError, match="steps must be at least 1"):
        recipes.heal_spec("paper", model=ModelSpec(), block=BLOCK, steps=0)


def test_overrides_are_named_as_changes():
    changed = recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK, r=4, seq_len=128)
    assert (changed.r, changed.corpus.seq_len, changed.recipe) == (4, 128, "quick, changed")
    same = recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK, r=recipes.QUICK.r, seed=3)
    assert (same.recipe, same.seed) == ("quick", 3)


def test_fewer_steps_shrink_warm_up_and_validation_too():
    spec = recipes.heal_spec("paper", model=ModelSpec(), block=BLOCK, steps=500)
    assert (spec.steps, spec.warmup_steps, spec.eval_every) == (500, 10, 10)
    assert (
        recipes.heal_spec(
            "paper", model=ModelSpec(), block=BLOCK, steps=500, warmup_steps=3
        ).warmup_steps
        == 3
    )


def test_steps_replace_a_time_and_a_time_replaces_steps():
    timed = recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK)
    assert (timed.minutes, timed.steps) == (10.0, 0)
    counted = recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK, steps=60)
    assert (counted.minutes, counted.steps, counted.warmup_steps, counted.eval_every) == (
        None,
        60,
        4,
        10,
    )
    paper = recipes.heal_spec("paper", model=ModelSpec(), block=BLOCK, minutes=30.0)
    assert (paper.minutes, paper.steps, paper.r) == (30.0, 0, 64)


def test_an_older_run_is_copied_for_another_cut():
    old = recipes.heal_spec(
        "distill", model=ModelSpec(), block=BLOCK, n_parameters=10**8, r=4, seq_len=128
    )
    old = replace(
        old,
        corpus=replace(old.corpus, identity="sha256:1"),
        validation=replace(old.validation, identity="2"),
    )
    new = recipes.with_settings_of(old, model=ModelSpec("other"), block=Block(3, 2), seed=9)
    assert (new.block, new.model.source, new.model.quantization) == (Block(3, 2), "other", "none")
    assert (new.r, new.corpus.seq_len, new.distill, new.recipe, new.seed) == (
        4,
        128,
        0.5,
        "distill, changed",
        9,
    )
    assert (new.corpus.identity, new.validation.identity) == ("", "")
    assert recipes.with_settings_of(old, model=ModelSpec(), block=BLOCK, steps=5).minutes is None
    same_kind = replace(old, validation=CorpusSpec("wiki", 8, 256, split="validation"))
    assert (
        recipes.with_settings_of(same_kind, model=ModelSpec(), block=BLOCK).validation
        == default_loss_corpus()
    )


@pytest.mark.parametrize("source", ["wiki", "c4", "c4-train", "my.txt"])
def test_a_heal_is_judged_by_text_of_another_kind(source):
    corpus = CorpusSpec(source, split="train")
    usual, own = default_loss_corpus(), CorpusSpec("mine.txt", 4)
    assert judged_by(corpus).subject != corpus.subject
    assert judged_by(corpus, replace(usual, n_texts=4)) == (
        judged_by(corpus) if "c4" in source else replace(usual, n_texts=4)
    )
    assert judged_by(corpus, own) == own
    assert HealSpec(BLOCK, corpus=corpus).same_kind.subject == corpus.subject


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        (ModelSpec(), None, "4bit"),
        (ModelSpec(), "none", "none"),
        (ModelSpec(quantization="8bit"), None, "8bit"),
        (ModelSpec("model.gguf"), None, "none"),
        (ModelSpec(device="mps"), None, "none"),
        (ModelSpec(dtype="auto"), None, "4bit"),
        (ModelSpec(dtype="float32"), None, "none"),
        (ModelSpec(dtype="bfloat16"), "4bit", "4bit"),
        (ModelSpec(dtype="bfloat16", quantization="8bit"), None, "8bit"),
    ],
)
def test_quantization(model, asked, expected):
    assert (
        recipes.heal_spec("quick", model=model, block=BLOCK, quantization=asked).model.quantization
        == expected
    )


def test_quick_recipes_quantize_only_large_models():
    for name, small in (("quick", "none"), ("distill", "none"), ("paper", "4bit")):
        made = [
            recipes.heal_spec(name, model=ModelSpec(), block=BLOCK, n_parameters=n)
            for n in (10**8, 10**10)
        ]
        assert [spec.model.quantization for spec in made] == [small, "4bit"]


def test_learning_rate_falls_with_the_size_of_the_model():
    sizes = (1_000, 134_515_008, 494_032_768, 1_543_714_304, 70 * 10**9)
    assert [sizing.rate_for(n, on_gpu=False) for n in sizes] == [3e-3, 3e-3, 8.2e-4, 3e-4, 3e-4]
    assert [sizing.rate_for(n, on_gpu=True) for n in sizes] == [1e-3, 1e-3, 3e-4, 3e-4, 3e-4]


@pytest.mark.parametrize("name", [name for name in recipes.NAMES if recipes.get(name).minutes])
def test_timed_recipe_takes_the_rate_of_a_size(name):
    small, large = (
        recipes.heal_spec(name, model=ModelSpec(), block=BLOCK, n_parameters=n)
        for n in (10**8, 494_032_768)
    )
    assert (small.learning_rate, large.learning_rate) == (3e-3, 8.2e-4)
    given = recipes.heal_spec(
        name, model=ModelSpec(), block=BLOCK, n_parameters=494_032_768, learning_rate=2e-3
    )
    assert (given.learning_rate, given.recipe) == (2e-3, f"{name}, changed")


def test_sizes_of_a_stored_result_spare_reading_the_model(tiny_folder, cache, monkeypatch):
    source = str(tiny_folder("llama"))
    own = replace(fakes.MODEL, source=source, identity=identity.of_local(source))
    result = fakes.distances()
    replace(result, spec=replace(result.spec, model=own)).save()
    monkeypatch.setattr(planning, "plan", lambda *args: pytest.fail("the configuration is read"))
    made = recipes.from_options({"model": {"source": source}, "block": Block(1, 2)}, {})
    assert made.model.quantization == "none", "as of a small model"


def test_resolving_a_request_finds_its_learning_rate(tiny_folder, monkeypatch):
    model = ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu")
    asked = recipes.heal_spec("distill", model=model, block=BLOCK)
    assert asked.learning_rate is None
    assert healing.resolve(asked).learning_rate == 3e-3
    large = SimpleNamespace(facts=SimpleNamespace(n_parameters=10**9, n_layers=6))
    monkeypatch.setattr(planning, "plan", lambda model: large)
    assert healing.resolve(asked).learning_rate == sizing.rate_for(10**9, on_gpu=False) < 3e-3
    assert healing.resolve(replace(asked, learning_rate=5e-3)).learning_rate == 5e-3


def test_quick_takes_larger_batches_on_a_gpu():
    cpu, gpu = (
        recipes.heal_spec("quick", model=ModelSpec(), block=BLOCK, on_gpu=on)
        for on in (False, True)
    )
    assert gpu.batch_size * gpu.corpus.seq_len > cpu.batch_size * cpu.corpus.seq_len
    assert (
        recipes.heal_spec("quick", model=ModelSpec(device="cuda:1"), block=BLOCK).batch_size
        == gpu.batch_size
    )
