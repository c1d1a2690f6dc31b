"""A cut as other programs write it."""

import pytest
import yaml

from analysis.core.blocks import Block, LayerSet
from analysis.exports import formats
from analysis.models.source.model_spec import ModelSpec


@pytest.mark.parametrize(
    ("cut", "runs"),
    [
        (Block(2, 3), [(0, 2), (5, 6)]),
        (Block(0, 2), [(2, 6)]),
        (Block(4, 2), [(0, 4)]),
        (LayerSet((1, 3)), [(0, 1), (2, 3), (4, 6)]),
    ],
)
def test_a_mergekit_configuration_is_yaml_with_the_layers_that_stay(cut, runs):
    read = yaml.safe_load(formats.mergekit("me/model", cut, 6, "bfloat16"))
    assert [slice_["sources"][0]["layer_range"] for slice_ in read["slices"]] == [
        list(run) for run in runs
    ]
    assert read["merge_method"] == "passthrough"
    assert read["dtype"] == "bfloat16"
    kept = [layer for begin, end in runs for layer in range(begin, end)]
    assert sorted([*kept, *cut.layers]) == list(range(6))


@pytest.mark.parametrize("name", ["a: b # c", 'quo"te', "line\nbreak: [1]", "- dash", "ünï"])
def test_no_name_breaks_the_yaml(name):
    read = yaml.safe_load(formats.mergekit(name, Block(1, 1), 3, "float32"))
    assert read["slices"][0]["sources"][0]["model"] == name
    assert set(read) == {"slices", "merge_method", "dtype"}


def test_mergekit_gets_a_loadable_name_of_the_starter_model():
    name, note = formats.mergekit_source(ModelSpec())
    text = formats.mergekit(name, Block(11, 5), 30, "float32", note)
    assert {
        source["model"] for part in yaml.safe_load(text)["slices"] for source in part["sources"]
    } == {name}
    assert name.count("/") == 1
    assert "unrounded weights" in text.splitlines()[1]
    assert formats.mergekit_source(ModelSpec("me/model")) == ("me/model", "")
    assert "mergekit reads no GGUF file" in formats.mergekit_source(ModelSpec("/models/a.gguf"))[1]
