"""The damage map: equal to really cut models, refined text by text, never measuring twice, resumed
after any stop.
"""

import dataclasses
import math

import numpy as np
import pytest

from analysis.core import stats, store
from analysis.core.blocks import blocks_up_to
from analysis.core.errors import BlockRangeError, UnsupportedModelError
from analysis.core.progress import Cancelled
from analysis.data import corpora
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps import damage, distance_map
from analysis.experiments.maps.damage_spec import DamageResult, DamageSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.scoring import likelihood
from analysis.models.loading import load
from analysis.models.running import hidden_states
from analysis.models.running.pruning import without_block
from analysis.models.source.model_spec import ModelSpec
from tests.support import planted
from tests.support.levels import few

pytestmark = pytest.mark.usefixtures("cache")
CORPUS = CorpusSpec("wiki", n_texts=5, seq_len=24, split="validation")
PHASE = "measuring the loss without each block"


def asking(folder, patch):
    """Three block sizes of a model of six layers, on five texts in batches of two, two and one."""
    patch.setattr(likelihood, "tokens_per_batch", lambda device: 96)
    model = ModelSpec(str(folder), dtype="float32")
    return DamageSpec(
        model=model,
        corpus=CORPUS,
        distances=DistanceSpec(model, CorpusSpec("c4", n_texts=3, seq_len=24)),
    )


@pytest.fixture
def spec(tiny_folder, monkeypatch):
    return asking(tiny_folder(), monkeypatch)


@pytest.fixture(scope="module")
def whole(tiny_folder, with_starter, tmp_path_factory):
    """Return the uninterrupted result of `spec`, measured once in a cache folder that no test
    sees.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "LAYERSCOPE_CACHE", str(with_starter(tmp_path_factory.mktemp("whole") / "cache"))
        )
        return damage.run(asking(tiny_folder(), patch))


@pytest.fixture
def computed(monkeypatch):
    """Every (cut, text) whose loss was computed, in order."""
    pairs = []
    original = damage._MeasuredLosses._losses

    def noting(self, texts, cuts):
        for cut, losses in original(self, texts, cuts):
            pairs.extend((cut, tuple(self.texts[text])) for text in texts)
            yield cut, losses

    monkeypatch.setattr(damage._MeasuredLosses, "_losses", noting)
    return pairs


def stop_after(k):
    """A callback that cancels at its k-th report from the measuring itself."""
    left = [k]

    def on_progress(progress):
        if progress.phase == PHASE:
            left[0] -= 1
            if left[0] < 0:
                raise Cancelled

    return on_progress


def comparable(result):
    return {name: value for name, value in result.to_json().items() if name != "wall_s"}


def test_every_block_costs_the_loss_of_the_really_cut_model(spec):
    result = damage.run(spec)
    assert result.complete
    assert [len(row) for row in result.increase] == [6, 5, 4]
    loaded = load.load(spec.model)
    texts = corpora.tokenize(CORPUS, loaded.tokenizer).token_ids
    unpruned = likelihood.text_losses(loaded.decoder, texts, [None])[0]
    sizes = np.array([len(ids) - 1 for ids in texts])
    assert result.text_tokens == sizes.tolist()
    assert result.unpruned_loss == pytest.approx(np.average(unpruned, weights=sizes), abs=1e-5)
    for row, block in enumerate(blocks_up_to(3, 6), start=1):
        with without_block(loaded.decoder, block):
            cut = likelihood.text_losses(loaded.decoder, texts, [None])[0]
        assert result.text_losses[row] == pytest.approx(cut, abs=1e-5)
        raised = np.subtract(cut, unpruned)
        mean = np.average(raised, weights=sizes)
        error = math.sqrt(5 / 4 * ((sizes * (raised - mean)) ** 2).sum()) / sizes.sum()
        assert result.increase[block.size - 1][block.start] == pytest.approx(mean, abs=1e-5)
        assert result.stderr[block.size - 1][block.start] == pytest.approx(error, abs=1e-5)
        assert result.n_measured[block.size - 1][block.start] == 5


def test_best_blocks_and_rank_correlations_follow_from_the_maps(spec):
    result = damage.run(spec)
    for entry in result.best:
        assert entry.increase == min(result.increase[entry.n - 1])
        assert result.increase[entry.n - 1][entry.start] == entry.increase
    assert [entry.n for entry in result.best] == [1, 2, 3]
    mean = distance_map.run(
        result.spec.distances, lambda progress: pytest.fail("the map was not stored")
    ).mean
    for n in (1, 2, 3):
        assert result.rank_correlation_by_size[n - 1] == stats.spearman(
            mean[n - 1], result.increase[n - 1]
        )
    assert result.rank_correlation == stats.spearman(sum(mean[:3], []), sum(result.increase, []))


def test_it_is_stored_and_found_again(spec, computed):
    first = damage.run(spec)
    assert len(computed) == len(set(computed)) == 16 * 5
    again = damage.run(spec, lambda progress: pytest.fail("computed twice"))
    assert comparable(again) == comparable(first)
    assert np.array_equal(again.text_losses, first.text_losses)


@pytest.mark.parametrize("k", few([0, 1, 2, 7, 16, 17, 30, 47, 48], 7, 17))
def test_a_stopped_run_resumes_and_measures_nothing_twice(spec, whole, computed, k):
    with pytest.raises(Cancelled):
        damage.run(spec, stop_after(k))
    part = DamageResult.load(whole.spec)
    assert (part is None) == (k == 0)
    if part is not None:
        assert not part.complete
        assert np.count_nonzero(~np.isnan(part.text_losses)) == len(computed)
    finished = damage.run(spec)
    assert len(computed) == len(set(computed)) == 16 * 5
    assert comparable(finished) == comparable(whole)
    assert np.array_equal(finished.text_losses, whole.text_losses)


def test_a_run_killed_between_saves_loses_only_unsaved_losses(spec, computed, monkeypatch):
    monkeypatch.setattr(damage, "_SAVE_EVERY_S", 0.0)
    saved = []
    original = DamageResult.save
    monkeypatch.setattr(DamageResult, "save", lambda self: (saved.append(self), original(self)))
    whole = damage.run(spec)
    assert len(saved) == 3 * 16 + 1
    for earlier, later in zip(saved, saved[1:], strict=False):
        assert np.count_nonzero(~np.isnan(earlier.text_losses)) <= np.count_nonzero(
            ~np.isnan(later.text_losses)
        )
    computed.clear()
    original(saved[20])  # as if the process had died right after it
    finished = damage.run(spec)
    assert len(computed) == 16 * 5 - np.count_nonzero(~np.isnan(saved[20].text_losses))
    assert comparable(finished) == comparable(whole)


def test_the_outline_comes_first_and_every_batch_refines_it(spec, monkeypatch):
    monkeypatch.setattr(damage, "_SAVE_EVERY_S", 0.0)
    saved, keys = [], set()
    original = DamageResult.save
    monkeypatch.setattr(DamageResult, "save", lambda self: (saved.append(self), original(self)))

    def on_progress(progress):
        if progress.phase == PHASE:
            keys.add(progress.values["result_key"])

    result = damage.run(spec, on_progress)
    assert keys == {result.spec.fingerprint()}
    first = saved[0]
    assert first.increase == [[None] * 6, [None] * 5, [None] * 4]
    assert first.unpruned_loss > 0
    assert (first.best, first.rank_correlation) == ([], None)
    assert [entry.n for entry in saved[6].best] == [1]
    assert saved[6].stderr[0][0] is not None  # two texts
    assert [entry.n for entry in saved[11].best] == [1, 2]
    assert [entry.n for entry in saved[15].best] == [1, 2, 3]
    assert saved[15].n_measured == [[2] * 6, [2] * 5, [2] * 4]
    assert not saved[15].complete
    assert saved[31].n_measured == [[4] * 6, [4] * 5, [4] * 4]
    for point in saved:
        store.json.dumps(point.to_json(), allow_nan=False)


def test_more_texts_and_larger_blocks_refine_the_stored_map(spec, computed):
    few = dataclasses.replace(spec, corpus=dataclasses.replace(CORPUS, n_texts=2), max_size=2)
    small = damage.run(few)
    assert len(computed) == 12 * 2
    whole = damage.run(spec)
    assert len(computed) == len(set(computed)) == 16 * 5
    assert np.array_equal(whole.text_losses[:12, :2], small.text_losses)
    other_map = dataclasses.replace(
        spec, distances=dataclasses.replace(spec.distances, metric="relative-l2")
    )
    again = damage.run(other_map)
    assert len(computed) == 16 * 5
    assert again.increase == whole.increase
    assert again.rank_correlation_by_size != whole.rank_correlation_by_size


@pytest.mark.parametrize("budget", [1, 2 * 24 * 32 * 4 * 2])
def test_a_small_memory_budget_changes_nothing(spec, whole, monkeypatch, budget):
    kept = []
    original = hidden_states.run_trunk
    monkeypatch.setattr(damage, "_TRUNK_BYTES", budget)
    monkeypatch.setattr(
        damage, "run_trunk", lambda *a, keep: kept.append(keep) or original(*a, keep=keep)
    )
    tight = damage.run(spec)
    most = max(len(keep) for keep in kept)
    assert most == 1 if budget == 1 else 1 < most < 7
    assert np.array_equal(tight.text_losses, whole.text_losses)


def test_one_trunk_per_batch_where_memory_allows(spec, monkeypatch):
    calls = []
    original = hidden_states.run_trunk
    monkeypatch.setattr(damage, "run_trunk", lambda *a, **k: calls.append(1) or original(*a, **k))
    damage.run(spec)
    assert len(calls) == 3


@pytest.mark.parametrize("max_size", [6, 99])
def test_blocks_larger_than_the_model(spec, max_size):
    with pytest.raises(BlockRangeError, match=r"Choose max-size 1\.\.5"):
        damage.run(dataclasses.replace(spec, max_size=max_size))


def test_all_sizes_up_to_one_layer_left(spec):
    result = damage.run(dataclasses.replace(spec, max_size=5))
    assert [len(row) for row in result.increase] == [6, 5, 4, 3, 2]
    assert result.rank_correlation_by_size[4] is None  # two blocks


def test_a_planted_identity_layer_costs_nothing(spec, tmp_path):
    result = damage.run(
        dataclasses.replace(spec, model=planted.identity_layers(spec.model, (3, 4), tmp_path))
    )
    assert (
        result.increase[0][3]
        == result.increase[0][4]
        == result.increase[1][3]
        == pytest.approx(0, abs=1e-6)
    )
    assert min(map(abs, result.increase[2])) > 1e-3


def test_a_loss_that_is_no_number(spec, monkeypatch):
    original = likelihood.batch_losses
    calls = []

    def overflowing(*arguments):
        calls.append(1)
        losses = original(*arguments)
        return [math.nan] * len(losses) if len(calls) == broken else losses

    monkeypatch.setattr(likelihood, "batch_losses", overflowing)
    broken = 3  # the unpruned model, layer 0, layer 1
    result = damage.run(spec)
    assert result.complete
    assert result.increase[0][1] is None
    assert result.n_measured[0][1] == 5
    assert [entry.n for entry in result.best] == [1, 2, 3]
    assert comparable(DamageResult.load(result.spec)) == comparable(result)
    calls.clear()
    broken = 1
    with pytest.raises(UnsupportedModelError, match="not finite in float32"):
        damage.run(dataclasses.replace(spec, corpus=dataclasses.replace(CORPUS, seed=1)))
