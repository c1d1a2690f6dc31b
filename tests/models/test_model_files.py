"""Files of models and adapters are read in their own folder alone, under any link or document that
names another.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from analysis.core.errors import ModelNotFoundError, RecipeError, UnsupportedModelError
from analysis.models.loading import gguf_conversion, load, planning, pretrained
from analysis.models.loading import tokenizer as tokenizers
from analysis.models.loading.config import read_config
from analysis.models.loading.weight_files import WeightFiles
from analysis.models.running import adapters as adapter
from analysis.models.source import identity, location, model_files, resolving
from analysis.models.source.model_spec import ModelSpec
from tests.corpus import models
from tests.support import gguf_files
from tests.support.on_disk import load_from_disk


@pytest.fixture
def outside(tmp_path):
    """A whole tiny model, in a folder that no other model may lead to."""
    models.whole(tmp_path / "outside")
    return tmp_path / "outside"


@pytest.fixture
def folder(tmp_path):
    """Another one, to be spoilt."""
    models.whole(tmp_path / "m")
    return tmp_path / "m"


def names(folder):
    return WeightFiles(folder).places


def sharded(folder, *shards):
    """Replace the weights of a folder by an index that names these files."""
    places = dict(zip(names(folder), shards * 100, strict=False))
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": places})
    )


def spec(folder):
    return ModelSpec(str(folder), dtype="float32", device="cpu")


def refused(folder, match):
    """Hold that every way to this model is refused before anything outside is opened."""
    for ask in (
        lambda: planning.plan(spec(folder)),
        lambda: load.load(spec(folder)),
        lambda: resolving.resolve_model(spec(folder)),
        lambda: load_from_disk(spec(folder)),
        lambda: WeightFiles(folder),
        lambda: pretrained.config(folder),
        lambda: pretrained.tokenizer(folder),
        lambda: pretrained.model(folder, {}),
        lambda: identity.of_folder(folder),
    ):
        with pytest.raises(UnsupportedModelError, match=match):
            ask()
    assert identity.of_local(str(folder)) == ""


@pytest.mark.parametrize("by_layer", [False, True], ids=["whole", "layer by layer"])
def test_weights_that_are_exchanged_while_they_are_read_are_refused(folder, monkeypatch, by_layer):
    def read(*args, **options):
        (folder / "model.safetensors").write_bytes(
            models.weights(**{"model.norm.weight": models.numbers([16], 0.5)})
        )
        return own(*args, **options)

    own = tokenizers.load
    monkeypatch.setattr(tokenizers, "load", read)
    with pytest.raises(UnsupportedModelError, match="The files of m changed while they were read"):
        load_from_disk(spec(folder)) if by_layer else load.load(spec(folder))


def test_file_exchanged_and_restored_during_reading_is_refused(folder, outside, monkeypatch):
    def read(*args, **options):
        weights = folder / "model.safetensors"
        weights.rename(folder.parent / "kept")
        weights.symlink_to(outside / "model.safetensors")
        found = own(*args, **options)
        (folder.parent / "kept").rename(weights)
        return found

    own = pretrained.AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(pretrained.AutoModelForCausalLM, "from_pretrained", read)
    with pytest.raises(UnsupportedModelError, match="The files of m changed while they were read"):
        load.load(spec(folder))


def test_layer_is_not_read_from_an_exchanged_file(folder, outside):
    held = WeightFiles(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(outside / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match="model.safetensors changed while it was read"):
        held.read(["model.norm.weight"])


NAMES = {
    "absolute": "{outside}/model.safetensors",
    "upwards": "../outside/model.safetensors",
    "nothing": "",
    "itself": ".",
    "upwards within": "x/../model-1.safetensors",
    "a folder below": "shards/model-1.safetensors",
    "a number": 5,
    "backslashes": "..\\outside\\model.safetensors",
    "a drive": "C:model.safetensors",
    "NUL": "model-1.safetensors\0",
    "a pickle": "pytorch_model.bin",
    "a list": ["x"],
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_index_that_names_a_file_elsewhere_is_refused(folder, outside, name):
    name = name.replace("{outside}", str(outside)) if isinstance(name, str) else name
    sharded(folder, "model-1.safetensors", name)
    refused(
        folder,
        "model.safetensors.index.json of m names .* under weight_map. Only files of this folder are"
        " read",
    )


def test_an_index_of_files_in_its_folder_loads(folder):
    expected = load.load(spec(folder)).model
    sharded(folder, "model-1.safetensors")
    found = load.load(spec(folder)).model
    assert all(
        found.state_dict()[name].equal(weight) for name, weight in expected.state_dict().items()
    )


def test_the_identity_changes_with_every_file_that_is_opened(folder):
    sharded(folder, "model-1.safetensors", "model-2.safetensors")
    shutil.copy(folder / "model-1.safetensors", folder / "model-2.safetensors")
    before = identity.of_folder(folder)
    assert [file.name for file in model_files.weights(folder)] == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]
    for file in model_files.weights(folder):
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b"\x01")
        assert identity.of_folder(folder) != before
        file.write_bytes(content)
    assert identity.of_folder(folder) == before


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "generation_config.json",
        "chat_template.jinja",
    ],
)
def test_a_link_out_of_the_folder_is_refused(folder, outside, name):
    (outside / "generation_config.json").write_text("{}")
    (outside / "chat_template.jinja").write_text("{{ messages }}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / name)
    refused(
        folder,
        f"{name} in m is a link that leads out of this folder. Layerscope reads only files of the"
        " folder",
    )


def test_links_out_of_the_folder_hide_whether_files_exist(folder, outside):
    (folder / "model.safetensors").unlink()
    said = set()
    for target in (
        outside / "model.safetensors",
        outside / "nosuch",
        Path("/dev/zero"),
        Path("/root/.ssh"),
    ):
        (folder / "model.safetensors").symlink_to(target)
        with pytest.raises(UnsupportedModelError) as caught:
            planning.plan(spec(folder))
        said.add(str(caught.value))
        (folder / "model.safetensors").unlink()
    assert len(said) == 1


def test_link_through_an_outward_link_is_refused(folder, outside):
    (folder / "way").symlink_to(outside)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("way/model.safetensors")
    refused(folder, "model.safetensors in m is a link that leads out of this folder")


def test_inner_links_and_a_link_to_the_folder_load(folder, tmp_path):
    (folder / "own").mkdir()
    (folder / "model.safetensors").rename(folder / "own" / "weights")
    (folder / "model.safetensors").symlink_to("own/weights")
    (tmp_path / "way").symlink_to(folder)
    assert load.load(spec(tmp_path / "way")).facts.n_layers == 3


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_pipe_or_folder_in_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(
        ModelNotFoundError, match=f"The model m cannot be read: {name}: it is not a regular file"
    ):
        planning.plan(spec(folder))
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(
        ModelNotFoundError,
        match=f"The model m cannot be read: {name}: it is a folder, not a regular file",
    ):
        planning.plan(spec(folder))


def changed(folder, document, **entries):
    place = folder / document
    place.write_text(
        json.dumps((json.loads(place.read_text()) if place.exists() else {}) | entries)
    )


@pytest.mark.parametrize(
    ("document", "key", "value"),
    [
        ("config.json", "transformers_weights", "../outside/model.safetensors"),
        ("config.json", "text_config", {"transformers_weights": "model.safetensors"}),
        ("config.json", "configuration_files", ["../outside/config.4.0.0.json"]),
        ("tokenizer_config.json", "fast_tokenizer_files", ["../outside/tokenizer.4.0.0.json"]),
        ("tokenizer_config.json", "fast_tokenizer_files", {"../outside/tokenizer.4.0.0.json": 1}),
        ("tokenizer_config.json", "vocab_file", "/etc/hostname"),
        ("tokenizer_config.json", "merges_file", "../outside/merges.txt"),
        ("tokenizer_config.json", "tokenizer_file", "/etc/hostname"),
        ("tokenizer_config.json", "chat_template_file", "..\\x.jinja"),
        ("tokenizer_config.json", "vocab", "/etc/hostname"),
        ("tokenizer_config.json", "merges", "tokenizer.json"),
        ("tokenizer_config.json", "init_inputs", ["/etc/hostname"]),
        ("special_tokens_map.json", "tokenizer_file", "/etc/hostname"),
        ("special_tokens_map.json", "merges", "../outside/merges.txt"),
    ],
)
def test_a_document_that_names_a_file_elsewhere_is_refused(folder, outside, document, key, value):
    changed(folder, document, **{key: value})
    refused(folder, f"{document} of m names .*Put the file into the folder, or remove the entry")


def test_files_named_by_old_tokenizer_fields_are_not_opened(folder):
    leftovers = {
        "special_tokens_map_file": "/nosuch/map.json",
        "name_or_path": "/nosuch",
        "vocab_file": None,
        "init_inputs": [],
    }
    changed(folder, "tokenizer_config.json", **leftovers)
    assert load.load(spec(folder)).tokenizer("a b").input_ids


def test_a_model_with_an_adapter_beside_it_is_refused(folder):
    changed(folder, "adapter_config.json", peft_type="LORA", base_model_name_or_path="/nosuch")
    refused(
        folder,
        "holds a model and an adapter, and transformers would apply the adapter without being"
        " asked",
    )


def hub_model(loopback, folder, **files):
    loopback.add_folder("org/tiny", folder)
    repo = loopback.models["org/tiny"]
    repo.commit({**repo.commits[repo.refs["main"]], **files})
    return ModelSpec("org/tiny", dtype="float32", device="cpu")


def test_snapshot_links_load_only_into_its_own_blobs(loopback, folder, outside):
    asked = hub_model(loopback, folder)
    found = location.locate(asked)
    weights = found.folder / "model.safetensors"
    assert weights.is_symlink()
    assert load.load(asked).facts.n_layers == 3
    shutil.copy(weights, outside / "model.safetensors")
    weights.unlink()
    weights.symlink_to(outside / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match="is a link that leads out of this folder"):
        pretrained.model(found.folder, {})


def test_snapshot_link_to_another_blob_is_fetched_again(loopback, folder):
    asked = hub_model(loopback, folder)
    weights = location.locate(asked).folder / "model.safetensors"
    other = weights.resolve().with_name("other")
    other.write_bytes(models.weights(**{"model.norm.weight": models.numbers([16], 0.5)}))
    expected = weights.read_bytes()
    weights.unlink()
    weights.symlink_to(os.path.relpath(other, weights.parent))
    assert other.stat().st_size == len(expected)
    location.locate(asked)
    assert weights.read_bytes() == expected


def test_a_folder_called_like_a_snapshot_leads_nowhere_else(tmp_path, outside):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c"
    models.whole(snapshot)
    (tmp_path / "models--a--b" / "blobs").symlink_to(outside)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/model.safetensors")
    refused(snapshot, "is a link that leads out of this folder")


def test_files_beside_a_gguf_file_are_not_read(tmp_path, outside):
    alone, beside = tmp_path / "alone" / "x.gguf", tmp_path / "beside" / "x.gguf"
    alone.parent.mkdir()
    beside.parent.mkdir()
    gguf_files.write(alone, "llama")
    shutil.copy(alone, beside)
    for name, content in models.tokenizer_files().items():
        (beside.parent / name).write_text(content)
    changed(
        beside.parent, "adapter_config.json", peft_type="LORA", base_model_name_or_path=str(outside)
    )
    expected, found = (pretrained.tokenizer(file.parent, file.name) for file in (alone, beside))
    assert found("The capital").input_ids == expected("The capital").input_ids
    assert found.name_or_path == str(beside.parent)
    config = read_config(location.Source(beside.parent, beside.name, "x", ""))
    plain = gguf_conversion.unpacked(location.Source(beside.parent, beside.name, "x", ""), config)
    assert pretrained.model(beside.parent, plain)[0].config.num_hidden_layers == gguf_files.N_LAYERS


def put(here, **entries):
    models.adapter(adapter_config__json=json.dumps(models.ADAPTER | entries))(here)
    return here / "a"


@pytest.mark.parametrize(
    "entry",
    [
        {"corda_config": {"covariance_file": "/etc/hostname"}},
        {"tokenizer_name_or_path": "../outside"},
        {"eva_config": {"cache_path": "x"}},
    ],
    ids=str,
)
def test_an_adapter_that_names_files_is_refused(tmp_path, entry):
    with pytest.raises(
        RecipeError, match="adapter_config.json of a names .*Only files of this folder are read"
    ):
        adapter.check_adapter(str(put(tmp_path, **entry)), None)


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "adapter_config.json", "layerscope.json"]
)
def test_adapter_with_an_outward_link_is_refused(tmp_path, name):
    folder = put(tmp_path, base_model_name_or_path="/any/where")
    adapter.check_adapter(str(folder), None)
    (folder / name).unlink(missing_ok=True)
    (tmp_path / name).write_text("{}")
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(RecipeError, match=f"{name} in a is a link that leads out of this folder"):
        adapter.check_adapter(str(folder), None)
    with pytest.raises(UnsupportedModelError, match="is a link that leads out"):
        pretrained.with_adapter(None, folder)
