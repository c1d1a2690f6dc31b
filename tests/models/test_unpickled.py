"""Pickled weights become safetensors with the same tensors, and a file with code in it is an error that ran nothing."""

import io
import json
import os
import pickle
import shutil
import stat
import zipfile
from collections import OrderedDict

import psutil
import pytest
import torch
from safetensors.torch import load_file

from analysis.cli import main as cli
from analysis.core.errors import StorageError, UnsupportedModelError
from analysis.models.loading import load, planning, unpickled
from analysis.models.source.model_spec import ModelSpec
from tests.support.levels import few


class Runs:
    """Runs code where a pickle of it is loaded."""

    def __reduce__(self):
        return print, ("code ran",)


def saved(value) -> bytes:
    """Return the bytes that PyTorch writes of a value."""
    content = io.BytesIO()
    torch.save(value, content)
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


@pytest.mark.long
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
        (pickle.dumps({"a": Runs()}), "is incomplete or holds more than tensors. None of it was run"),
        (b"", "is incomplete or holds more than tensors"),
        (b"PK\x03\x04cut", "is incomplete or holds more than tensors"),
        (saved({"step": 3}), "does not hold tensors by name"),
    ],
    ids=["code", "empty", "cut off", "no tensors"],
)
def test_pickles_with_more_than_tensors_run_and_leave_nothing(pickled, tmp_path, cache, capsys, content, sentence):
    (pickled / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=sentence):
        unpickled.convert(pickled, tmp_path / "new")
    assert "code ran" not in capsys.readouterr().out
    assert {file.name for file in tmp_path.iterdir()} - {"cache"} == {"old"}


def test_a_folder_that_is_there_is_not_replaced(pickled, tensors, tmp_path, cache):
    torch.save(tensors, pickled / "pytorch_model.bin")
    with pytest.raises(StorageError, match="old exists already"):
        unpickled.convert(pickled, pickled)


def test_an_adapter_given_as_a_model_names_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base", "peft_type": "LORA"}))
    with pytest.raises(
        UnsupportedModelError, match=f"is an adapter, not a model. Give org/base as the model, and --adapter {tmp_path}"
    ):
        planning.plan(ModelSpec(str(tmp_path)))


def converted(pickled, held, tmp_path, *, zipped=True):
    torch.save(held, pickled / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    unpickled.convert(pickled, tmp_path / "new")
    return load_file(tmp_path / "new" / "model.safetensors")


@pytest.mark.parametrize("zipped", few([True, False], True), ids=["today's", "of 2019"])
@pytest.mark.parametrize(
    "held",
    [{"a": torch.zeros(1).expand(1000, 1000, 1400)}, dict.fromkeys(map(str, range(3000)), torch.zeros(50, 100))],
    ids=["expanded", "many names"],
)
def test_tensors_larger_than_their_file_are_refused_before_allocation(pickled, held, tmp_path, cache, zipped):
    torch.save(held, pickled / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsupportedModelError, match="because they share numbers. Save the model again"):
        unpickled._check_tensors(pickled / "pytorch_model.bin", unpickled._tensors(pickled / "pytorch_model.bin"))
    with pytest.raises(UnsupportedModelError, match="because they share numbers. Save the model again"):
        unpickled.convert(pickled, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_every_type_and_shape_is_written_as_it_is(pickled, tmp_path, cache):
    turned = torch.arange(6.0).reshape(2, 3).T
    held = {f"{dtype}": torch.arange(4).to(dtype) for dtype in unpickled._DTYPES if not dtype.is_complex}
    held |= {"turned": turned, "number": torch.tensor(3.0), "nothing": torch.zeros(0, 4), "part": torch.arange(9.0)[2:5]}
    found = converted(pickled, held, tmp_path)
    assert found.keys() == held.keys()
    for name, tensor in held.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        one, other = (held.contiguous().reshape(-1).view(torch.uint8) for held in (found[name], tensor))
        assert torch.equal(one, other)


def test_process_with_unexplained_memory_use_is_ended(pickled, tmp_path, cache, monkeypatch):
    content = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, content)
    with zipfile.ZipFile(content) as whole, zipfile.ZipFile(pickled / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name) + (bytes(1 << 28) if name.endswith("data.pkl") else b""))
    monkeypatch.setattr(unpickled, "_EXTRA_BYTES", (850 << 20) - psutil.Process().memory_info().vms)
    with pytest.raises(UnsupportedModelError):
        unpickled.convert(pickled, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "notes.txt", "config.json"])
def test_nothing_outside_of_the_folder_is_converted_or_copied(pickled, tensors, tmp_path, cache, name):
    torch.save(tensors, pickled / "pytorch_model.bin")
    (tmp_path / "secret").write_bytes(b"a secret")
    (tmp_path / "secret").chmod(0o600)
    (pickled / name).unlink(missing_ok=True)
    (pickled / name).symlink_to(tmp_path / "secret")
    with pytest.raises(UnsupportedModelError, match=f"{name} in old is a link that leads out of this folder"):
        unpickled.convert(pickled, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_pipe_in_place_of_weights_is_refused_unread(pickled, tmp_path, cache):
    os.mkfifo(pickled / "pytorch_model.bin")
    with pytest.raises(
        UnsupportedModelError, match="pytorch_model.bin of old cannot be read: it is a pipe, not a regular file"
    ):
        unpickled.convert(pickled, tmp_path / "new")


@pytest.mark.long
def test_converted_files_have_the_mode_of_the_umask(pickled, tensors, tmp_path, cache):
    torch.save(tensors, pickled / "pytorch_model.bin")
    before = os.umask(0o027)
    try:
        unpickled.convert(pickled, tmp_path / "new")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()} == {0o640}


@pytest.mark.long
def test_a_snapshot_of_links_into_its_blobs_is_converted(pickled, tensors, tmp_path, cache):
    torch.save(tensors, pickled / "pytorch_model.bin")
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(pickled.iterdir())):
        file.rename(blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    unpickled.convert(snapshot, tmp_path / "new")
    assert load_file(tmp_path / "new" / "model.safetensors").keys() == tensors.keys()
    assert not any(file.is_symlink() for file in (tmp_path / "new").iterdir())
