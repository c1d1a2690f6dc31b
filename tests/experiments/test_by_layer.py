"""Maps and curves of the starter model, and damage of a tiny one, with the layers on the disk: the figures of the whole."""

import dataclasses

import pytest

from analysis.cli import main
from analysis.core import host, shards, store
from analysis.core.errors import NotEnoughMemoryError
from analysis.data.spec import BenchmarkSpec, CorpusSpec, GenerationSpec
from analysis.experiments.accuracy import evaluation, sweep
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec, SweepSpec
from analysis.experiments.maps import damage, distance_map
from analysis.experiments.maps.damage_spec import DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading import gguf_conversion, inspection, load, planning
from analysis.models.source.model_spec import InspectSpec, ModelSpec

MODEL = ModelSpec(dtype="float32", device="cpu")
TEXTS = CorpusSpec(n_texts=3, seq_len=48)
ASKED = [
    (distance_map.run, DistanceSpec(MODEL, TEXTS)),
    (
        sweep.run,
        SweepSpec(MODEL, benchmark=BenchmarkSpec(limit=4), loss_corpus=TEXTS, distances=DistanceSpec(MODEL, TEXTS), max_n=2),
    ),
]


@pytest.fixture
def little_memory(monkeypatch):
    """Less than the starter model in float32 takes, and enough for a few layers."""
    monkeypatch.setenv(host.MEMORY, "1.3GB")


def told(result) -> dict:
    return {name: value for name, value in result.to_json().items() if name not in ("wall_s", "versions")}


@pytest.mark.parametrize(("run", "spec"), ASKED, ids=[spec.kind for _, spec in ASKED])
def test_the_figures_are_those_of_the_whole_model(starter, cache, with_starter, tmp_path, monkeypatch, run, spec):
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
    stored = sum(file.stat().st_size for file in gguf_conversion.model_folder().glob("*.safetensors"))
    assert loaded.decoder.on_disk.bytes_read <= stored, "the trials on loading included"


def shrunk(monkeypatch, folder) -> load.LoadedModel:
    """A tiny model with its layers on the disk."""
    for name, value in {"fits": False, "streams": True, "room_bytes": 1 << 30}.items():
        monkeypatch.setattr(planning.Plan, name, value)
    return load.load(ModelSpec(source=str(folder), device="cpu", dtype="float32"), by_layer=True)


def test_a_damage_map_and_its_distance_map_share_one_reading(tiny_folder, cache, with_starter, tmp_path, monkeypatch):
    spec = ModelSpec(source=str(tiny_folder("llama")), device="cpu", dtype="float32")
    asked = DamageSpec(spec, dataclasses.replace(TEXTS, n_texts=2), DistanceSpec(spec, TEXTS), max_size=3)
    whole = damage.run(asked), distance_map.stored_map(asked.distances)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(with_starter(tmp_path / "other")))
    loaded = shrunk(monkeypatch, tiny_folder("llama"))
    assert distance_map.stored_map(asked.distances) is None
    found = damage.run(asked, load=load.ReadyModel(loaded)), distance_map.stored_map(asked.distances)
    assert [told(one) for one in found] == [told(one) for one in whole]
    kept = loaded.decoder.on_disk
    assert kept.bytes_read <= sum(file.stat().st_size for file in tiny_folder("llama").glob("*.safetensors"))
    again = dataclasses.replace(asked, distances=DistanceSpec(spec, dataclasses.replace(TEXTS, n_texts=4)))
    damage.run(again, load=load.ReadyModel(loaded))
    assert distance_map.stored_map(again.distances) is not None, "a distance map for damage that was all measured before"
    assert not list((store.cache_dir() / "results" / shards.FOLDER).glob("*")), "the map holds the figures of its shards"


def test_a_curve_says_when_the_files_are_read_twice(tiny_folder, cache, monkeypatch):
    loaded = shrunk(monkeypatch, tiny_folder("llama"))
    spec = ModelSpec(source=str(tiny_folder("llama")), device="cpu", dtype="float32")
    asked = SweepSpec(spec, benchmark=BenchmarkSpec(limit=2), loss_corpus=TEXTS, distances=DistanceSpec(spec, TEXTS), max_n=1)
    said: list[str] = []

    def told_of(request: SweepSpec) -> bool:
        said.clear()
        sweep.run(request, lambda progress: said.append(progress.message or ""), load=load.ReadyModel(loaded))
        return any("read twice" in sentence and "the distance map" in sentence for sentence in said)

    assert told_of(asked)
    assert not told_of(dataclasses.replace(asked, max_n=2)), "the map is stored by now"


def test_a_run_that_needs_the_whole_model_says_so(cache, little_memory):
    spec = EvaluateSpec(MODEL, generation=GenerationSpec())
    with pytest.raises(NotEnoughMemoryError, match="only 1.3 GB are allowed by --memory"):
        evaluation.run(spec)


def test_a_check_of_the_model_says_how_it_measures(cache, little_memory):
    result = inspection.run(InspectSpec(MODEL))
    assert not result.fits
    assert result.by_layer
    assert any("read from the disk one by one" in note and "healing" in note for note in result.notes)


def test_the_command_line_bounds_the_memory(cache, monkeypatch, capsys):
    monkeypatch.setenv(host.MEMORY, "")
    assert main.main(["models", "starter", "--dtype", "float32", "--memory", "1.3GB"]) == 0
    assert "does not fit, measured layer by layer" in capsys.readouterr().out


def test_too_little_even_for_a_few_layers_is_refused(cache, monkeypatch):
    monkeypatch.setenv(host.MEMORY, "100MB")
    with pytest.raises(NotEnoughMemoryError, match=r"layer by layer from the disk it needs \d+ MB"):
        distance_map.run(ASKED[0][1])
