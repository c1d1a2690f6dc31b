"""What weights are, told without loading them: the same as `load` says, and cheap to ask whether they changed."""

import shutil

from analysis.models import identity as identities
from analysis.models import load
from analysis.models.spec import ModelSpec


def test_it_is_what_models_resolve_to(tiny_folder, cache):
    folder = tiny_folder("llama")
    assert identities.here(str(folder)) == load.resolve(ModelSpec(str(folder))).identity


def test_exchanged_weights_change_stamps_and_identity(tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder("llama"), folder)
    stamps, identity = identities.stamps(str(folder)), identities.here(str(folder))
    assert identity == identities.here(str(tiny_folder("llama")))
    shutil.copy(tiny_folder("qwen3") / "model.safetensors", folder / "model.safetensors")
    assert identities.stamps(str(folder)) != stamps
    assert identities.here(str(folder)) not in ("", identity)


def test_nothing_there_is_no_identity(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    for source in (str(tmp_path), str(tmp_path / "notes.txt"), str(tmp_path / "gone"), "someone/model", "starter"):
        assert identities.here(source) == ""
        assert identities.stamps(source) == ()
