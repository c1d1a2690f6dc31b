"""Distance maps and evaluations from spec to stored result: on a tiny model, and on the starter."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.core import store
from analysis.core.blocks import Block
from analysis.core.errors import CorpusError, RecipeError
from analysis.core.progress import Cancelled, ignore
from analysis.data.spec import CorpusSpec
from analysis.experiments.accuracy import evaluation, scores
from analysis.experiments.accuracy.measurement import Measurement
from analysis.experiments.accuracy.sweep_spec import EvaluateResult, EvaluateSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.distance_spec import DistanceResult, DistanceSpec
from analysis.experiments.maps.metrics import METRICS
from analysis.models.architecture import decoder
from analysis.models.loading import load
from analysis.models.running import pruning
from analysis.models.source.model_spec import ModelSpec
from tests.support import planted
from tests.support.stored import walked
from tests.support.told import Told

pytestmark = pytest.mark.usefixtures("cache")
CORPUS = CorpusSpec("c4", n_texts=6, seq_len=32)


@pytest.fixture
def model(tiny_folder):
    return ModelSpec(str(tiny_folder()), dtype="float32")


def test_a_map_is_whole_stored_and_found_again(model):
    spec, told = DistanceSpec(model, CORPUS), Told()
    result = distance_map.run(spec, told)
    assert result.complete
    assert result.n_layers == 6
    assert [len(row) for row in result.mean] == [6, 5, 4, 3, 2, 1]
    assert [len(row) for row in result.stderr] == [6, 5, 4, 3, 2, 1]
    assert [entry.n for entry in result.best] == [1, 2, 3, 4, 5]
    assert result.states.shape == (6, 7, 32)
    assert (result.n_texts, result.n_tokens) == (6, sum(result.text_lengths))
    assert {"layerscope", "torch", "transformers", "python"} <= result.versions.keys()
    assert result.spec.model.identity.startswith("files:")
    assert told[-1].done == told[-1].total == 6
    again = distance_map.run(spec, lambda progress: pytest.fail("computed twice"))
    assert again.mean == result.mean
    assert [stored.data["n_texts"] for stored in walked("distances") if not stored.precomputed] == [
        6
    ]


def test_a_planted_identity_layer_wins(model, tmp_path):
    """Layers 3 and 4 write nothing into the stream.

    So [3, 5) is the best pair at distance 0, and 3 or 4 the best single layer.
    """
    best = distance_map.run(
        DistanceSpec(planted.identity_layers(model, (3, 4), tmp_path), CORPUS)
    ).best
    assert best[0].start in (
        3,
        4,
    )  # both are at distance 0 but for rounding, which differs between processors
    assert best[1].start == 3
    assert best[0].distance < 1e-6
    assert best[1].distance < 1e-6
    assert best[2].distance > 1e-3


def test_a_cancelled_map_is_usable_and_resumes(model, monkeypatch):
    monkeypatch.setattr("analysis.models.running.hidden_states.tokens_per_batch", lambda device: 64)
    spec = DistanceSpec(model, CORPUS)
    whole = distance_map.run(dataclasses.replace(spec, corpus=dataclasses.replace(CORPUS, seed=0)))
    store.discard_result("distances", whole.spec.fingerprint())
    with pytest.raises(Cancelled):
        distance_map.run(spec, Told("reading the residual stream", stop_after=4))
    part = DistanceResult.load(distance_map.resolve(spec))
    assert not part.complete
    assert part.n_texts == 4
    told = Told()
    finished = distance_map.run(spec, told)
    assert finished.complete
    assert finished.mean == whole.mean
    assert (
        min(progress.done for progress in told if progress.phase == "reading the residual stream")
        == 4
    )


def test_storing_takes_a_small_share_of_the_time(model, monkeypatch):
    """Every 20 seconds, as it was, storing the thousands of texts of a long map came to take most
    of the time.
    """
    monkeypatch.setattr("analysis.models.running.hidden_states.tokens_per_batch", lambda device: 32)
    now, stored = [0.0], []
    monkeypatch.setattr(distance_map, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    measure, save = distance_map._MeasuredTexts.add, DistanceResult.save

    def add(self, streams, lengths):
        now[0] += 25
        measure(self, streams, lengths)

    def slow_save(self):
        now[0] += 3
        stored.append(self.n_texts)
        return save(self)

    monkeypatch.setattr(distance_map._MeasuredTexts, "add", add)
    monkeypatch.setattr(DistanceResult, "save", slow_save)
    distance_map.run(DistanceSpec(model, CORPUS))
    assert stored == [1, 4, 6]  # at 25 s, when twenty times its 3 s have passed, and at the end


def test_every_text_is_kept_in_every_metric(model):
    result = distance_map.run(DistanceSpec(model, CORPUS))
    assert list(result.text_distances) == list(METRICS)
    assert {kept.shape for kept in result.text_distances.values()} == {(6, 7, 7)}
    maps = {result.spec.metric: result.mean, **result.others}
    assert list(maps) == ["angular", *(name for name in METRICS if name != "angular")]
    for name, rows in maps.items():
        assert [len(row) for row in rows] == [6, 5, 4, 3, 2, 1]
        kept = result.text_distances[name].mean(0)
        assert rows[1][3] == pytest.approx(kept[3, 5], rel=1e-12)
    assert [sum(row) for row in result.wins] == pytest.approx([1] * 6)
    assert [len(row) for row in result.wins] == [6, 5, 4, 3, 2, 1]
    reference = result.text_distances["angular"][:, 3, 5].std(ddof=1) / 6**0.5
    assert result.stderr[1][3] == pytest.approx(reference, rel=1e-9)


def test_with_one_text_the_best_blocks_win_every_resample(model):
    result = distance_map.run(DistanceSpec(model, dataclasses.replace(CORPUS, n_texts=1)))
    for entry in result.best:
        assert result.wins[entry.n - 1][entry.start] == 1
    assert set(sum(result.stderr, [])) == {0}


def no_model(spec, on_progress):
    pytest.fail("the model was loaded again")


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "angular"])
def test_another_metric_of_a_stored_map_needs_no_model(model, metric):
    first = distance_map.run(DistanceSpec(model, CORPUS))
    derived = distance_map.run(DistanceSpec(model, CORPUS, metric), load=no_model)
    assert derived.complete
    assert derived.spec.metric == metric
    assert derived.mean == first.others[metric]
    assert derived.others["angular"] == first.mean
    assert derived.best == distance_map.best_blocks(derived.mean)
    again = DistanceResult.load(derived.spec)
    store.discard_result("distances", first.spec.fingerprint())
    store.discard_result("distances", derived.spec.fingerprint())
    measured = distance_map.run(DistanceSpec(model, CORPUS, metric))
    assert (measured.mean, measured.stderr, measured.wins) == (again.mean, again.stderr, again.wins)


def stored_by_position(result: DistanceResult) -> None:
    """Store a map as it was when `text_distances` was one array of the four metrics there were."""
    order = ("angular", "angular-tokens", "cosine-tokens", "relative-l2")
    stacked = np.stack([result.text_distances[name] for name in order], axis=1)
    arrays = {"states": result.states, "text_distances": stacked}
    store.save_result("distances", result.spec.fingerprint(), result.to_json(), arrays)


def test_a_map_stored_by_position_opens_and_yields_other_metrics(model):
    first = distance_map.run(DistanceSpec(model, CORPUS))
    stored_by_position(first)
    opened = DistanceResult.load(first.spec)
    assert opened.to_json() == first.to_json()
    assert opened.text_distances.keys() == first.text_distances.keys()
    for name, kept in first.text_distances.items():
        np.testing.assert_array_equal(opened.text_distances[name], kept)
    derived = distance_map.run(DistanceSpec(model, CORPUS, "relative-l2"), load=no_model)
    assert derived.mean == first.others["relative-l2"]


def test_another_metric_measures_again_where_texts_were_dropped(model, monkeypatch):
    monkeypatch.setattr(distance_map, "_MOST_STATE_BYTES", 100)
    first = distance_map.run(DistanceSpec(model, CORPUS))
    assert first.states is None
    assert first.text_distances is None
    assert (
        distance_map.run(DistanceSpec(model, CORPUS, "relative-l2")).mean
        == first.others["relative-l2"]
    )


def test_a_cancelled_map_resumes_in_another_metric(model, monkeypatch):
    monkeypatch.setattr("analysis.models.running.hidden_states.tokens_per_batch", lambda device: 64)
    with pytest.raises(Cancelled):
        distance_map.run(
            DistanceSpec(model, CORPUS), Told("reading the residual stream", stop_after=4)
        )
    told = Told()
    finished = distance_map.run(DistanceSpec(model, CORPUS, "cosine-tokens"), told)
    assert (
        min(progress.done for progress in told if progress.phase == "reading the residual stream")
        == 4
    )
    assert distance_map.run(DistanceSpec(model, CORPUS)).others["cosine-tokens"] == finished.mean


def test_a_corrupt_map_is_computed_again_with_a_message(model):
    spec, told = DistanceSpec(model, CORPUS), Told()
    first = distance_map.run(spec)
    folder = store.result_dir("distances", first.spec.fingerprint())
    (folder / "result.json").write_text("{ half")
    again = distance_map.run(spec, told)
    assert again.mean == first.mean
    assert any("It was moved aside. Computing it again" in progress.message for progress in told)


def test_a_window_shorter_than_the_texts(model):
    with pytest.raises(CorpusError, match="exceeds the context window"):
        distance_map.run(DistanceSpec(model, CorpusSpec("c4", 2, 300)))


def test_an_evaluation_with_an_adapter_equals_the_adapted_cut_model(model, tmp_path):
    from peft import LoraConfig, get_peft_model

    block = Block(2, 2)
    loaded = load.load(model)
    pruning.cut(loaded.decoder, block)
    torch.manual_seed(0)
    adapted = get_peft_model(
        loaded.model, LoraConfig(r=4, target_modules=["up_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    corpus = CorpusSpec("wiki", n_texts=2, seq_len=24)
    with_adapter = evaluation.run(
        EvaluateSpec(model, block, str(tmp_path / "adapter"), None, corpus)
    ).point
    without = evaluation.run(EvaluateSpec(model, block, None, None, corpus)).point
    assert with_adapter.loss != pytest.approx(without.loss, abs=1e-3)
    stuff = scores.prepare(loaded, None, corpus)
    healed = dataclasses.replace(loaded, decoder=decoder.find_decoder(adapted))
    own = Measurement(healed, stuff, [None]).complete().point
    assert with_adapter.loss == pytest.approx(own.loss, abs=1e-5)
    assert (with_adapter.n, with_adapter.start) == (2, 2)
    with pytest.raises(RecipeError, match="does not fit"):
        evaluation.run(EvaluateSpec(model, None, str(tmp_path / "adapter"), None, corpus))


def test_an_evaluation_is_stored(model):
    spec = EvaluateSpec(model, Block(1, 2), None, None, CORPUS)
    first = evaluation.run(spec)
    assert (
        EvaluateResult.load(first.spec)
        == evaluation.run(spec, lambda progress: pytest.fail("computed twice"))
        == first
    )


@pytest.mark.long
@pytest.mark.starter
def test_the_starter_map_picks_the_blocks_known_for_it(starter):
    spec = DistanceSpec(ModelSpec(dtype="float32"), CorpusSpec("c4", n_texts=8, seq_len=256))
    result = distance_map.run(spec, ignore, load=load.ReadyModel(starter))
    distances = {entry.n: (entry.start, entry.distance) for entry in result.best}
    assert distances[1][0] == 25
    assert distances[1][1] == pytest.approx(0.062, abs=0.006)
    assert distances[3][0] in (12, 13, 14)
    assert distances[10][0] in (8, 9, 10)
    assert distances[15][1] == pytest.approx(0.231, abs=0.02)
