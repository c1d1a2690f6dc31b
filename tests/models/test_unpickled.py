"""Pickled weights become safetensors with the same tensors, and a file with code in it is an error that ran nothing."""

import io
import json
import pickle
import shutil
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file

from analysis.cli import main as cli
from analysis.core.errors import StorageError, UnsupportedModelError
from analysis.models import load, unpickled
from analysis.models.spec import ModelSpec


class Runs:
    """What runs code where a pickle of it is loaded."""

    def __reduce__(self):
        return print, ("code ran",)


def saved(what) -> bytes:
    """What PyTorch writes of it."""
    content = io.BytesIO()
    torch.save(what, content)
    return content.getvalue()


@pytest.fixture
def tensors(tiny_folder):
    return load_file(tiny_folder() / "model.safetensors")


@pytest.fixture
def pickled(tiny_folder, tmp_path):
    """A tiny model's folder without its weights, for pickled ones."""
    folder = tmp_path / "old"
    shutil.copytree(tiny_folder(), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


@pytest.mark.parametrize("zipped", [True, False], ids=["today's", "of 2019"])
def test_the_same_tensors_load_as_the_same_model(pickled, tensors, tiny_folder, tmp_path, cache, capsys, zipped):
    torch.save(OrderedDict(tensors), pickled / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    torch.save({"lr": 1e-3}, pickled / "training_args.bin")
    with pytest.raises(UnsupportedModelError, match="python -m analysis convert"):
        load.load(ModelSpec(str(pickled)))
    new = tmp_path / "new"
    assert cli.main(["convert", str(pickled), "--out", str(new)]) == 0
    assert "pytorch_model.bin of" in capsys.readouterr().out
    made = load_file(new / "model.safetensors")
    assert made.keys() == tensors.keys()
    assert all(torch.equal(made[name], tensor) and made[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert {file.name for file in new.iterdir()} == {file.name for file in tiny_folder().iterdir()}
    one, other = (load.load(ModelSpec(str(folder), dtype="float32", device="cpu")).model for folder in (new, tiny_folder()))
    ids = torch.arange(1, 20)[None]
    assert torch.equal(one(ids).logits, other(ids).logits)


def test_several_files_and_tensors_that_share_memory_are_all_there(pickled, tensors, tmp_path, cache):
    names = sorted(tensors)
    shared = {name: tensors[name] for name in names[:5]} | {"copy.weight": tensors[names[0]]}
    torch.save(shared, pickled / "pytorch_model-00001-of-00002.bin")
    torch.save({name: tensors[name] for name in names[5:]}, pickled / "pytorch_model-00002-of-00002.bin")
    (pickled / "pytorch_model.bin.index.json").write_text("{}")
    assert len(unpickled.convert(pickled, tmp_path / "new")) == 2
    places = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())["weight_map"]
    assert places.keys() == {*tensors, "copy.weight"}
    assert torch.equal(load_file(tmp_path / "new" / places["copy.weight"])["copy.weight"], tensors[names[0]])
    assert not list((tmp_path / "new").glob("*.bin*"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps({"a": Runs()}), "holds more than tensors or is not whole, and nothing of it was run"),
        (b"", "holds more than tensors or is not whole"),
        (b"PK\x03\x04cut", "holds more than tensors or is not whole"),
        (saved({"step": 3}), "does not hold tensors by name"),
    ],
    ids=["code", "empty", "cut off", "no tensors"],
)
def test_what_holds_more_than_tensors_runs_nothing_and_leaves_nothing(pickled, tmp_path, cache, capsys, content, sentence):
    (pickled / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=sentence):
        unpickled.convert(pickled, tmp_path / "new")
    assert "code ran" not in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} - {"cache"} == {"old"}


def test_a_folder_that_is_there_is_not_replaced(pickled, tensors, tmp_path, cache):
    torch.save(tensors, pickled / "pytorch_model.bin")
    with pytest.raises(StorageError, match="old is there already"):
        unpickled.convert(pickled, pickled)


def test_an_adapter_given_as_a_model_names_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"}))
    with pytest.raises(
        UnsupportedModelError, match=f"is an adapter and no model: give org/base as the model, and --adapter {tmp_path}"
    ):
        load.plan(ModelSpec(str(tmp_path)))
