"""Stored results as rows: key figures with known values, filters, names, and models identified by
their weights.
"""

import os
from dataclasses import replace

import pytest

from analysis.core import index, index_table, stats, store
from analysis.core.experiment import EXPERIMENTS
from analysis.core.index import IndexEntry, ResultFilter
from analysis.data.spec import CorpusSpec
from analysis.results.compared import runs as run_table
from analysis.results.stored import summaries
from analysis.results.stored.result import codec, of_entry
from tests.support import fakes


def run(result, *, precomputed=False, saved_at=1.0, on="C4"):
    summary = codec().dump_json(replace(summaries.summary(result), on=on)).decode()
    place = index_table.committed() if precomputed else index_table.OWN
    return of_entry(
        IndexEntry(place, result.kind, result.spec.fingerprint(), int(1e9 * saved_at), summary)
    )


def seen(*results):
    """The models of results that were stored at these times; at None for committed ones."""
    for result, at in results:
        result.save()
        folder = store.result_dir(result.kind, result.spec.fingerprint())
        if at is None:
            target = store.precomputed_dir() / result.kind
            target.mkdir(parents=True)
            folder.rename(target / folder.name)
        else:
            os.utime(folder / "result.json", (at, at))
    return run_table.models_seen(index.groups(ResultFilter(tuple(EXPERIMENTS))))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


def other_texts(result):
    return replace(result, spec=replace(result.spec, corpus=CorpusSpec("wiki", identity="w")))


def of_model(result, **changes):
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


@pytest.mark.parametrize(("n_layers", "n"), [(30, 6), (24, 5), (5, 1), (2, 1)])
def test_key_figures_are_read_at_a_fifth_of_the_layers(n_layers, n):
    assert summaries.nearest_n(n_layers) == n


def test_key_figures_are_read_at_the_share():
    distances, sweep, damage = fakes.distances(), fakes.sweep(), fakes.damage()
    found = summaries.key_figure(distances)
    assert (found.name, found.value) == ("least distance, n = 6", distances.best[5].distance)
    assert (found.low, found.high) == stats.mean_interval(found.value, 0.004, distances.n_texts)
    found = summaries.key_figure(sweep)
    assert (found.name, found.value) == ("accuracy, n = 6", sweep.points[6].acc)
    assert summaries.key_figure(damage).value == damage.best[5].increase
    assert summaries.key_figure(fakes.sweep(2)).value is None


def test_a_heal_has_a_share_of_its_own():
    found = summaries.key_figure(fakes.heal())
    assert (found.name, found.value) == ("healed loss, n = 5", 3.1)
    assert (found.low, found.high) == stats.mean_interval(3.1, 0.08, fakes.heal().healed.n_texts)
    assert summaries.key_figure(fakes.heal(20)).value is None
    assert summaries.key_figure(fakes.timed_heal(control=True)).name == "control's loss, n = 0"


def test_row_holds_all_that_distinguishes_results():
    row = run_table.row(run(fakes.sweep(strategy="random", draw=2, complete=False)))
    assert row["how"] == "random, draw 2"
    assert (row["model"], row["layers"], row["kind"], row["n"], row["precision"]) == (
        "SmolLM2-135M-Instruct",
        30,
        "curve",
        100,
        "bfloat16 from Q4_1 weights",
    )
    assert row["saved"].endswith(", unfinished")
    assert run_table.row(run(fakes.distances(), precomputed=True))["saved"] == "precomputed"


def test_names_hold_only_differences():
    texts = [run(fakes.distances()), run(other_texts(fakes.distances()), on="Wikipedia")]
    assert run_table.labels(texts) == ["C4", "Wikipedia"]
    bits = [run(fakes.distances()), run(of_model(fakes.distances(), quantization="4bit"))]
    assert run_table.labels(bits) == [
        "bfloat16 from Q4_1 weights",
        "NF4, bfloat16 from Q4_1 weights",
    ]
    assert run_table.labels(texts[:1]) == ["SmolLM2-135M-Instruct · angular"]
    assert run_table.labels([]) == []


def test_names_are_never_the_same():
    twice = [run(fakes.distances()), replace(run(fakes.distances()), key="0123456789")]
    assert len(set(run_table.labels(twice))) == 2


def test_first_are_one_map_and_one_curve_per_model():
    c4, wiki = run(fakes.distances()), run(other_texts(fakes.distances()), on="Wikipedia")
    curves = [run(fakes.sweep(strategy="deepest")), run(fakes.sweep())]
    assert run_table.first_picks([c4, wiki, *curves]) == [c4.id, curves[1].id]
    small = of_model(fakes.distances(), source="/small", identity="files:s")
    second = run(replace(small, model=replace(fakes.FACTS, name="small")))
    assert run_table.first_picks([c4, wiki, second]) == [c4.id, second.id]
    assert run_table.first_picks([]) == []


def test_first_is_a_models_strongest_result_not_its_newest():
    newer, older = run(fakes.sweep(limit=5)), run(fakes.sweep(limit=200))
    assert run_table.first_picks([newer, older]) == [older.id]


def test_models_are_identified_by_weights_not_by_path(cache):
    here, moved = fakes.distances(), of_model(fakes.sweep(), source="/moved")
    exchanged = of_model(fakes.distances(), source="/moved", identity="files:new")
    models = seen((here, 1), (moved, 2), (exchanged, 3))
    assert [(one.counts, one.sources) for one in models] == [
        ({"distances": 1}, ["/moved"]),
        ({"distances": 1, "sweep": 1}, ["/moved", "starter"]),
    ]
    assert models[1].saved_at == 2


def test_model_is_seen_when_its_newest_result_lacks_the_size(letters, cache):
    counted = letters.counted(letters.LettersSpec(fakes.MODEL))
    assert seen((counted, 2)) == []
    (one,) = seen((fakes.distances(), 1))
    assert (one.facts, one.counts, one.saved_at) == (fakes.FACTS, {"distances": 1}, 2)


def test_a_model_that_was_only_inspected_is_seen_without_results(cache):
    (one,) = seen((fakes.inspect(), None))
    assert (one.counts, one.saved_at) == ({}, 0)
