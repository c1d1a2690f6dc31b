"""Layers of a kind that come by a period (Ernie 4.5 MoE): the configuration of every cut, against
brute force.
"""

from itertools import combinations, product

import pytest

from analysis.core.blocks import LayerSet
from analysis.exports import export, folders
from analysis.exports.spec import ExportSpec
from analysis.models.architecture.decoder import find_decoder
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.zoo import models
from tests.zoo.truth import Truth

N = models.N_LAYERS
CUTS = [LayerSet(layers) for n in range(1, N) for layers in combinations(range(N), n)]


def rule(n, interval, first, last):
    """Layers with experts, as transformers builds them."""
    return [index for index in range(n) if (index + 1) % interval == 0 and first <= index <= last]


@pytest.fixture
def periodic(monkeypatch):
    def make(**settings):
        monkeypatch.setitem(models._VARIANTS, "periodic", ("ernie4_5_moe", settings))
        return "periodic"

    return make


@pytest.mark.parametrize(
    "settings",
    [{"moe_layer_interval": 2}, {"moe_layer_interval": 3, "moe_layer_start_index": 0}, {}],
)
def test_the_configuration_describes_every_cut_that_it_can(periodic, settings):
    decoder = find_decoder(models.build(periodic(**settings)))
    names = decoder.family.spaced

    def numbers():
        return tuple(getattr(decoder.config, name) for name in names)

    before = numbers()
    experts = rule(N, *before)
    refused = []
    for removed in CUTS:
        kept = [layer for layer in range(N) if layer not in removed.layers]
        wanted = [new for new, old in enumerate(kept) if old in experts]
        with pruning.without_block(decoder, removed):
            found = rule(len(kept), *numbers())
        possible = any(
            rule(len(kept), *of) == wanted
            for of in product(range(1, N + 1), range(N + 1), range(N))
        )
        assert (found == wanted) == possible, removed
        refused += [] if possible else [removed]
        assert numbers() == before
    assert bool(refused) == ("moe_layer_interval" in settings)


def test_a_cut_that_changes_the_period_is_exported_exactly(periodic, tmp_path, cache):
    models.save(periodic(moe_layer_interval=2), tmp_path / "model")
    removed = LayerSet((2, 4))
    export.run(
        ExportSpec(
            removed, "cut", ModelSpec(str(tmp_path / "model"), dtype="float32", device="cpu")
        )
    )
    ids = list(range(10, 30))
    gap = Truth(folders.folder("cut")).logits(ids) - Truth(tmp_path / "model").logits(
        ids, removed.layers
    )
    assert gap.abs().max() < 1e-4
