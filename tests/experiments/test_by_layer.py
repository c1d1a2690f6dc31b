"""Maps and curves of the starter model, and damage of a tiny one, with the layers on the disk: the
figures of the whole.
"""

import pytest

from analysis.cli import main
from analysis.core import host
from analysis.core.errors import NotEnoughMemoryError
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy import evaluation, sweep
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import inspection, load
from analysis.models.source.location import locate
from analysis.models.source.model_spec import InspectSpec, ModelSpec

MODEL = ModelSpec(dtype="float32", device="cpu")
TEXTS = CorpusSpec(n_texts=3, seq_len=48)
ASKED = [
    (distance_map.run, DistanceSpec(MODEL, TEXTS)),
    (
        sweep.run,
        SweepSpec(
            MODEL,
            benchmark=BenchmarkSpec(limit=4),
            loss_corpus=TEXTS,
            distances=DistanceSpec(MODEL, TEXTS),
            max_n=2,
        ),
    ),
]


@pytest.fixture
def little_memory(monkeypatch):
    """Less than the starter model in float32 takes, and enough for a few layers."""
    monkeypatch.setenv(host.MEMORY, "1.3GB")


def told(result) -> dict:
    return {
        name: value
        for name, value in result.to_json().items()
        if name not in ("wall_s", "versions")
    }


@pytest.mark.parametrize(("run", "spec"), ASKED, ids=[spec.kind for _, spec in ASKED])
def test_the_figures_are_those_of_the_whole_model(
    starter, cache, with_starter, tmp_path, monkeypatch, run, spec
):
    whole = run(spec, load=load.ReadyModel(starter))
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "other")))
    monkeypatch.setenv(host.MEMORY, "1.3GB")
    sentences: list[str] = []
    loaded: list[load.LoadedModel] = []

    def fresh(model, on_progress, /, *, by_layer=False):
        loaded.append(load.load(model, on_progress, by_layer=by_layer))
        return loaded[-1]

    by_layer = run(spec, lambda progress: sentences.append(progress.message or ""), load=fresh)
    assert told(by_layer) == told(whole)
    assert all(one.decoder.on_disk is not None for one in loaded)
    assert any("its layers are read from the disk one by one" in sentence for sentence in sentences)


def test_each_weight_of_a_map_is_read_once(cache, little_memory):
    loaded = load.load(MODEL, by_layer=True)
    distance_map.run(ASKED[0][1], load=load.ReadyModel(loaded))
    stored = sum(file.stat().st_size for file in locate(MODEL).folder.glob("*.safetensors"))
    assert loaded.decoder.on_disk.bytes_read <= stored, "the trials on loading included"


def test_a_run_that_needs_the_whole_model_says_so(cache, little_memory):
    spec = EvaluateSpec(MODEL, generation=GenerationSpec())
    with pytest.raises(NotEnoughMemoryError, match="only 1.3 GB are allowed by --memory"):
        evaluation.run(spec)


def test_a_check_of_the_model_says_how_it_measures(cache, little_memory):
    result = inspection.run(InspectSpec(MODEL))
    assert not result.fits
    assert result.by_layer
    assert any(
        "read from the disk one by one" in note and "healing" in note for note in result.notes
    )


def test_the_command_line_bounds_the_memory(cache, monkeypatch, capsys):
    monkeypatch.setenv(host.MEMORY, "")
    assert main.main(["models", "starter", "--dtype", "float32", "--memory", "1.3GB"]) == 0
    assert "does not fit, measured layer by layer" in capsys.readouterr().out


def test_too_little_even_for_a_few_layers_is_refused(cache, monkeypatch):
    monkeypatch.setenv(host.MEMORY, "100MB")
    with pytest.raises(NotEnoughMemoryError, match=r"layer by layer from the disk it needs \d+ MB"):
        distance_map.run(ASKED[0][1])
