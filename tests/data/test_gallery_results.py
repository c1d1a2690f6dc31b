"""Gallery: committed results are portable, and making one again replaces only that one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.core import store
from analysis.core.experiment import EXPERIMENTS
from analysis.data import gallery
from analysis.models.running import adapters
from analysis.models.source import adapter_config
from analysis.models.source.model_spec import ModelSpec
from analysis.results import library
from analysis.results.compared import agreement
from benchmarks import gallery as command
from tests.support import fakes

STARTER, OTHER = gallery.EXHIBITS[:2]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A repository's results of two models, a folder to work in, and where the process was begins
    and ends.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")
    own = fakes.distances()
    own = replace(
        own,
        spec=replace(
            own.spec, model=replace(fakes.MODEL, source=OTHER.source, identity=OTHER.identity)
        ),
    )
    command.publish(STARTER, [fakes.distances(), fakes.sweep()], tuple(EXPERIMENTS))
    command.publish(OTHER, [own], tuple(EXPERIMENTS))
    return tmp_path


def stored(places):
    found = sorted((places / "precomputed").glob("*/*/result.json"))
    return [
        (file.parent.parent.name, json.loads(file.read_bytes())["data"]["spec"]["model"]["source"])
        for file in found
    ]


def test_only_renewed_results_of_one_model_are_replaced(places):
    command.publish(STARTER, [fakes.distances(), fakes.sweep()], ("sweep",))
    assert len(stored(places)) == 3
    command.publish(STARTER, [], ("distances",))
    assert sorted(stored(places)) == [("distances", OTHER.source), ("sweep", "starter")]


def test_a_new_loss_increase_map_keeps_its_text_losses(places):
    losses = np.ones((346, 8), np.float32)
    command.publish(STARTER, [replace(fakes.damage(), text_losses=losses)], ("damage",))
    (folder,) = (places / "precomputed" / "damage").glob("*")
    kept = EXPERIMENTS["damage"].result.read(
        store.load_result("damage", folder.name, precomputed=True)
    )
    assert np.array_equal(kept.text_losses, losses)
    assert np.array_equal(agreement.stored_losses(fakes.damage()), losses)


def test_committed_results_are_complete_small_and_of_no_machine():
    files = sorted(store.precomputed_dir().glob("*/*/result.json"))
    of_each: dict[str, set[str]] = {}
    for file in files:
        result = EXPERIMENTS[file.parent.parent.name].result.read(
            store.read(file.parent, precomputed=True, arrays=True)
        )
        model = result.spec.model
        assert result.complete
        assert model.identity, "results of a model that is not here are found by what it is"
        assert model.identity.startswith(gallery.exhibit(model.source).identity)
        assert (
            result.kind == "damage"
            or not store.read(file.parent, precomputed=True, arrays=True).files
        )
        assert result.spec.fingerprint() == file.parent.name
        of_each.setdefault(model.source, set()).add(result.kind)
        for words in (b"/tmp/", b"/home/", b"/root/", b"layerscope-gallery"):
            assert words not in file.read_bytes()
    assert set(of_each) == {one.source for one in gallery.EXHIBITS}
    assert all({"inspect", "distances", "sweep"} <= kinds for kinds in of_each.values())
    assert sum(file.stat().st_size for file in files) <= 8_000_000


def test_shipped_adapter_is_found_by_name_and_fits_its_block(cache):
    heals = (found.result for found in library.find("heal", ModelSpec()))
    heal = next(heal for heal in heals if heal.adapter)
    folder = adapter_config.located(heal.adapter)
    adapters.check_adapter(str(folder), heal.spec.block)
    assert adapter_config.result_name(str(folder)) == heal.adapter
    assert library.heal_of(heal.spec.model, str(folder)).spec == heal.spec
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8_000_000
