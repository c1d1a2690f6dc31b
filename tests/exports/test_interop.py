"""How other tools read an export: mergekit the recipe, and vLLM, SGLang and MLX a folder."""

import json
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file

from analysis.core.blocks import Block, LayerSet
from analysis.exports import export, formats, forms
from analysis.models.source.model_spec import ModelSpec
from tests.support import families, small_words
from tests.support.levels import few

pytestmark = pytest.mark.usefixtures("cache", "no_trial")
CUT = LayerSet((1, 3, 4))
LISTS = {
    "smollm3": ["no_rope_layers", "layer_types"],
    "qwen3_moe": [],
    "gemma3_text": ["layer_types"],
    "llama": [],
}
"""By family the lists of its configuration with an entry for each layer."""


@pytest.fixture(autouse=True)
def _one_text(monkeypatch):
    monkeypatch.setattr(
        export, "_texts", lambda tokenizer: [tokenizer(small_words.TEXT[0]).input_ids]
    )


def saved(folder, family):
    families.build(family).save_pretrained(folder)
    small_words.byte_level().save_pretrained(folder)
    return ModelSpec(str(folder), dtype="float32", device="cpu")


def weights(folder):
    return {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def passed_through(recipe: str) -> dict[str, torch.Tensor]:
    """Return the weights of a recipe by mergekit's documentation of passthrough: each slice's
    layers after those before.

    Weights outside of layers stay. Each slice has one source, and layers are numbered on through
    all of them.
    """
    read = yaml.safe_load(recipe)
    assert read.keys() == {"slices", "merge_method", "dtype"}
    assert read["merge_method"] == "passthrough"
    made, dtype, place = {}, getattr(torch, read["dtype"]), 0
    for part in read["slices"]:
        (source,) = part["sources"]
        held = weights(Path(source["model"]))
        made |= {name: tensor.to(dtype) for name, tensor in held.items() if ".layers." not in name}
        for layer in range(*source["layer_range"]):
            prefix = f"model.layers.{layer}."
            for name in (name for name in held if name.startswith(prefix)):
                made[f"model.layers.{place}.{name.removeprefix(prefix)}"] = held[name].to(dtype)
            place += 1
    return made


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("removed", few([CUT, Block(0, 2)], CUT), ids=["set", "block"])
def test_a_recipe_makes_the_weights_of_the_folder(removed, tmp_path):
    spec = saved(tmp_path / "m", "llama")
    recipe = export.export(spec, removed, tmp_path / "recipe", format="mergekit") / "mergekit.yaml"
    folder = export.export(spec, removed, tmp_path / "folder")
    assert same(passed_through(recipe.read_text()), weights(folder))


@pytest.mark.parametrize("family", ["llama", "smollm3", "gemma3_text"])
def test_a_recipe_says_where_mergekit_stops(family):
    lists = getattr(families.build(family).config, "layer_types", None)
    assert bool(formats.mergekit_stops(family)) == bool(lists)
    written = formats.mergekit("me/model", CUT, 6, "float32", "", formats.mergekit_stops(family))
    assert ("Export a model folder (hf) instead" in written) == bool(lists)
    assert yaml.safe_load(written)["merge_method"] == "passthrough"


@pytest.mark.parametrize("family", few(LISTS, "smollm3"))
def test_names_and_configuration_are_those_of_a_smaller_model(family, tmp_path):
    folder = export.export(saved(tmp_path / "m", family), CUT, tmp_path / "out")
    told, held = json.loads((folder / "config.json").read_text()), weights(folder)
    n_layers = families.N_LAYERS - len(CUT.layers)
    assert told["num_hidden_layers"] == n_layers
    assert {int(name.split(".")[2]) for name in held if ".layers." in name} == set(range(n_layers))
    assert {name: len(told[name]) for name in LISTS[family]} == dict.fromkeys(
        LISTS[family], n_layers
    )
    assert not [
        name
        for name, value in told.items()
        if isinstance(value, list) and len(value) == families.N_LAYERS
    ]
    assert told["dtype"] == "float32"
    assert {tensor.dtype for tensor in held.values()} == {torch.float32}
    if family == "qwen3_moe":
        assert told["mlp_only_layers"] == [0], "layer 4 is gone, and so is its number"
    plain = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.from_pretrained(folder)
    )
    tied = {"lm_head.weight"} if told["tie_word_embeddings"] else set()
    assert plain.state_dict().keys() - tied >= {name for name in held if ".experts." not in name}


@pytest.mark.parametrize("family", ["smollm3", "gemma3_text"])
def test_readers_of_older_fields_rotate_positions_as_far(family, tmp_path):
    folder = export.export(saved(tmp_path / "m", family), CUT, tmp_path / "out")
    told = json.loads((folder / "config.json").read_text())
    rope = told.pop("rope_parameters")
    older = transformers.AutoConfig.for_model(**told)
    assert older.rope_parameters == rope
    assert told["rope_theta"] == {"smollm3": 2_000_000.0, "gemma3_text": 1_000_000.0}[family]


def test_scaled_positions_are_written_in_older_fields_too():
    rope = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6, "partial_rotary_factor": 0.5}
    older = {
        "rope_theta": 1e6,
        "partial_rotary_factor": 0.5,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    assert forms._by_older_names({"rope_parameters": rope}) == older
    config = transformers.LlamaConfig(**older)
    assert config.rope_parameters == rope
    assert forms._by_older_names({"model_type": "gpt2"}) == {}
    newer = {
        kind: {"rope_type": "proportional", "rope_theta": 1e6}
        for kind in ("full_attention", "sliding_attention")
    }
    assert forms._by_older_names({"rope_parameters": newer}) == {}
    assert forms._by_older_names({"rope_parameters": newer | {"full_attention": None}}) == {}
