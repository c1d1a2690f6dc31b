"""A cache folder that cannot be written: refused in one sentence before weights are loaded; its
stored results are answered.
"""

import pytest

from analysis.cli.main import main
from analysis.core import store
from analysis.core.errors import StorageError
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from tests.support import documents

CUT = ("--block", "2:2")
COMMANDS = {
    "models": (),
    "distances": (),
    "damage": (),
    "sweep": (),
    "evaluate": CUT,
    "heal": CUT,
    "speed": (),
    "compare": ("--prompt", "The river"),
    "microscope": ("--prompt", "The river"),
    "export": (*CUT, "--name", "x"),
}


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """A cache folder that even root cannot write in: a file is in the place of a folder above
    it.
    """
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_it_before_weights_are_loaded(
    unwritable, tiny_folder, capsys, monkeypatch, name
):
    monkeypatch.setattr(load, "load", lambda *given, **how: pytest.fail("weights are loaded"))
    model, options = str(tiny_folder("llama")), ("--dtype", "float32", "--device", "cpu")
    capsys.readouterr()
    assert main([name, model, *options, *COMMANDS[name]]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cannot be written" in said
    assert said.strip().endswith(".")


def test_a_background_job_is_refused_too(unwritable, tiny_folder, capsys):
    assert main(["distances", str(tiny_folder("llama")), "--detach"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_its_stored_results_are_answered_all_the_same(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    text = CorpusSpec(documents.two_kinds(tmp_path)[0], n_texts=2, seq_len=32)
    spec = DistanceSpec(ModelSpec(str(tiny_folder("llama")), dtype="float32", device="cpu"), text)
    first = distance_map.run(spec)

    def refuse() -> None:
        raise StorageError("The cache cannot be written.")

    monkeypatch.setattr(store, "check_writable", refuse)
    assert distance_map.run(spec).mean == first.mean
    with pytest.raises(StorageError):
        distance_map.run(DistanceSpec(spec.model, CorpusSpec(text.source, n_texts=3, seq_len=32)))
