"""A metric registered by one file outside the package appears everywhere, and changes no stored
result.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from analysis.cli import main
from analysis.core.errors import SpecError
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import distance_map, distances
from analysis.experiments.maps.depths import Depths
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.maps.metrics import METRICS, Metric
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import remarks
from tests.support import own
from tests.support.seen import figures, texts, trace

CORPUS = CorpusSpec("c4", n_texts=4, seq_len=24)
OURS = ["angular", "angular-tokens", "cosine-tokens", "relative-l2"]
CHORD = '''
"""The straight line between the directions of two depths, over all tokens of a text."""

from analysis.experiments.maps.metrics import TOKENS, metric


@metric("chord", title="chord distance", unit="chord, 0 to 2", of=TOKENS, source="a test")
def chord(depths):
    return (2 - 2 * depths.cosines).sqrt()
'''


@pytest.fixture
def chord(tmp_path):
    """The metric, registered as long as the test lasts."""
    own.file(tmp_path, "own_chord", CHORD)
    yield METRICS["chord"]
    METRICS.remove("chord")


@pytest.fixture
def model(cache, tiny_folder):
    return ModelSpec(str(tiny_folder()), dtype="float32")


def helped(capsys, command):
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_the_command_line_offers_it_while_it_is_there(capsys, tmp_path):
    assert "{angular,angular-tokens,cosine-tokens,relative-l2}" in helped(capsys, "distances")
    own.file(tmp_path, "own_chord", CHORD)
    try:
        for command in ("distances", "sweep", "damage"):
            assert "{angular,angular-tokens,cosine-tokens,relative-l2,chord}" in helped(
                capsys, command
            )
        spec = main.request(["distances", "starter", "--metric", "chord"])
        assert spec == DistanceSpec(metric="chord")
        assert main.command_line(spec) == "python -m analysis distances starter --metric chord"
    finally:
        METRICS.remove("chord")
    assert "chord" not in helped(capsys, "distances")
    with pytest.raises(
        SpecError, match="metric must be one of angular, .*, relative-l2, not 'chord'"
    ):
        DistanceSpec(metric="chord")


@pytest.mark.usefixtures("chord")
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 24])
def test_it_is_averaged_over_the_tokens_of_a_text(monkeypatch, chunk_bytes):
    monkeypatch.setattr(distances, "_CHUNK_BYTES", chunk_bytes)
    states = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(1))
    found = distances.text_distances(list(states.unbind(1)), [2, 3])
    assert list(found) == [*OURS, "chord"]
    angles = math.pi * Depths(states).angles
    expected = [(2 * (angles[part] / 2).sin()).mean(0) for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(found["chord"], torch.stack(expected))


def test_it_is_measured_stored_and_read_back_and_orphans_nothing(model, tmp_path):
    def no_model(spec, on_progress):
        pytest.fail("the model was loaded again")

    before = distance_map.run(DistanceSpec(model, CORPUS))
    own.file(tmp_path, "own_chord", CHORD)
    try:
        assert (
            distance_map.run(DistanceSpec(model, CORPUS), load=no_model).to_json()
            == before.to_json()
        )
        assert (
            distance_map.run(DistanceSpec(model, CORPUS, "relative-l2"), load=no_model).mean
            == before.others["relative-l2"]
        )
        assert remarks.of_map(DistanceResult.load(before.spec), "angular", before.text_distances)
        measured = distance_map.run(DistanceSpec(model, CORPUS, "chord"))
        assert measured.others == {"angular": before.mean, **before.others}
        read = DistanceResult.load(measured.spec)
        assert read.to_json() == measured.to_json()
        assert read.text_distances.keys() == {*OURS, "chord"}
        np.testing.assert_allclose(read.text_distances["chord"].mean(0)[1, 4], read.mean[2][1])
        assert 0 < read.best[0].distance < 2
        fresh = DistanceSpec(model, CorpusSpec("c4", n_texts=2, seq_len=24))
        assert "chord" in distance_map.run(fresh).others
    finally:
        METRICS.remove("chord")


@pytest.mark.usefixtures("chord")
def test_explore_offers_and_draws_it(model, monkeypatch):
    measured = distance_map.run(DistanceSpec(model, CORPUS))
    at = own.page(monkeypatch, "pages/explore.py", model=model.source, dtype="float32", n="2")
    picker = at.selectbox(key="metric")
    assert "chord distance" in picker.options
    picker.set_value("chord").run()
    assert not at.exception
    heat = trace(figures(at)["map"], "distance")
    assert heat["colorbar"]["title"]["text"] == "chord, 0 to 2"
    assert heat["z"][0][0] == pytest.approx(measured.others["chord"][0][0])
    assert "Dotted: the most similar block by chord distance." in texts(at)
    METRICS.remove("chord")  # its stored distances can still be shown
    at = own.page(
        monkeypatch, "pages/explore.py", model=model.source, dtype="float32", n="2", metric="chord"
    )
    assert "Dotted: the most similar block by chord." in texts(at)


@pytest.mark.parametrize("name", ["", "Chord", "a b", "a.b", "a/b", "-a"])
def test_a_name_that_cannot_be_written_everywhere_is_refused(name):
    with pytest.raises(SpecError, match="lowercase letters and digits"):
        Metric(name, "title", "unit", lambda depths: depths.cosines)


def test_other_tokens_than_there_are_are_refused():
    with pytest.raises(SpecError, match="of last or tokens, not 'first'"):
        Metric("name", "title", "unit", lambda depths: depths.cosines, of="first")


def test_a_metric_of_another_shape_is_named(tmp_path):
    own.file(tmp_path, "own_chord", CHORD.replace(".sqrt()", ".sum(0)"))
    try:
        with pytest.raises(AssertionError, match="chord gives"):
            distances.text_distances([torch.ones(2, 4)] * 3, [2])
    finally:
        METRICS.remove("chord")


def test_names_titles_and_units_are_read_without_a_heavy_library():
    code = (
        "import sys; from analysis.experiments.maps.metrics import METRICS\n"
        "from analysis.experiments.strategies import STRATEGIES\n"
        "assert dict(METRICS) and dict(STRATEGIES); print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "pandas", "peft", "plotly", "streamlit"} & set(loaded)
