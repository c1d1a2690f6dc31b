"""Stored results as rows: key figures with known values, filters, names, and models told apart by their weights."""

from dataclasses import replace

import pytest

from analysis.core import stats
from analysis.data.spec import CorpusSpec
from analysis.reading import runs as run_table
from analysis.reading.runs import Run
from tests.support import fakes


def run(result, *, precomputed=False, saved_at=1.0, on="C4"):
    return Run(result.spec.fingerprint(), result, precomputed, saved_at, on)


def other_texts(result):
    return replace(result, spec=replace(result.spec, corpus=CorpusSpec("wiki", identity="w")))


def of_model(result, **changes):
    return replace(result, spec=replace(result.spec, model=replace(result.spec.model, **changes)))


@pytest.mark.parametrize(
    ("fraction", "n_layers", "n"), [(0.2, 30, 6), (0.2, 24, 5), (0.0, 30, 1), (1.0, 30, 29), (0.5, 5, 3), (0.5, 2, 1)]
)
def test_a_share_of_the_layers_is_the_nearest_whole_number_that_leaves_one(fraction, n_layers, n):
    assert run_table.nearest_n(fraction, n_layers) == n


def test_key_figures_are_read_at_the_share():
    distances, sweep, damage = fakes.distances(), fakes.sweep(), fakes.damage()
    found = run_table.key_figure(distances, 0.2)
    assert (found.name, found.value) == ("least distance, n = 6", distances.best[5].distance)
    assert (found.low, found.high) == stats.mean_interval(found.value, 0.004, distances.n_texts)
    found = run_table.key_figure(sweep, 0.2)
    assert (found.name, found.value) == ("accuracy, n = 6", sweep.points[6].acc)
    assert run_table.key_figure(damage, 0.2).value == damage.best[5].increase
    assert run_table.key_figure(damage, 0.8).value is None
    assert run_table.key_figure(sweep, 0.8).value is None


def test_a_heal_has_a_share_of_its_own():
    found = run_table.key_figure(fakes.heal(), 0.9)
    assert (found.name, found.value) == ("healed loss, n = 5", 3.1)
    assert (found.low, found.high) == stats.mean_interval(3.1, 0.08, fakes.heal().healed.n_texts)
    assert run_table.key_figure(fakes.heal(20), 0.9).value is None
    assert run_table.key_figure(fakes.timed_heal(control=True), 0.9).name == "control's loss, n = 0"


def test_a_row_says_all_that_tells_results_apart():
    row = run_table.row(run(fakes.sweep(strategy="random", draw=2, complete=False)), 0.2)
    assert row["how"] == "random, draw 2"
    assert (row["model"], row["layers"], row["kind"], row["n"], row["precision"]) == (
        "SmolLM2-135M-Instruct", 30, "curve", 100, "bfloat16",
    )  # fmt: skip
    assert row["saved"].endswith(", unfinished")
    assert run_table.row(run(fakes.distances(), precomputed=True), 0.2)["saved"] == "precomputed"


def test_filters_are_all_to_be_passed():
    runs = [run(fakes.distances()), run(fakes.sweep()), run(fakes.heal())]
    assert run_table.matching(runs, kinds=["heal"]) == [runs[2]]
    assert run_table.matching(runs, text="SIMILARITY bfloat16") == [runs[1]]
    assert run_table.matching(runs, models=["another"]) == []
    assert run_table.matching(runs) == runs


def test_names_hold_only_what_differs():
    texts = [run(fakes.distances()), run(other_texts(fakes.distances()), on="Wikipedia")]
    assert run_table.labels(texts) == ["C4", "Wikipedia"]
    bits = [run(fakes.distances()), run(of_model(fakes.distances(), quantization="4bit"))]
    assert run_table.labels(bits) == ["bfloat16", "4bit, bfloat16"]
    assert run_table.labels(texts[:1]) == ["SmolLM2-135M-Instruct · angular"]
    assert run_table.labels([]) == []


def test_names_lose_what_those_left_share():
    assert run_table.shortened(["a · C4 · float32", "a · C4 · 4bit"]) == ["float32", "4bit"]
    assert run_table.shortened(["a · C4"]) == ["a · C4"]


def test_names_are_never_the_same():
    twice = [run(fakes.distances()), replace(run(fakes.distances()), key="0123456789")]
    assert len(set(run_table.labels(twice))) == 2


def test_first_are_one_map_per_model_or_two_of_one():
    c4, wiki = run(fakes.distances()), run(other_texts(fakes.distances()), on="Wikipedia")
    curves = [run(fakes.sweep(strategy="deepest")), run(fakes.sweep())]
    assert run_table.first_picks([c4, wiki, *curves]) == [c4.id, wiki.id, curves[1].id, curves[0].id]
    small = of_model(fakes.distances(), source="/small", identity="files:s")
    second = run(replace(small, model=replace(fakes.FACTS, name="small")))
    assert run_table.first_picks([c4, wiki, second]) == [c4.id, second.id]
    assert run_table.first_picks([]) == []


def test_first_is_the_strongest_of_a_model_and_not_its_newest():
    newer, older = run(fakes.sweep(limit=5)), run(fakes.sweep(limit=200))
    assert run_table.first_picks([newer, older]) == [older.id]


def test_models_are_told_apart_by_weights_not_by_path():
    here, moved = fakes.distances(), of_model(fakes.sweep(), source="/moved")
    exchanged = of_model(fakes.distances(), source="/moved", identity="files:new")
    seen = run_table.models_seen([run(here, saved_at=1), run(moved, saved_at=2), run(exchanged, saved_at=3)])
    assert [(one.counts, one.sources) for one in seen] == [
        ({"distances": 1}, ["/moved"]),
        ({"distances": 1, "sweep": 1}, ["/moved", "starter"]),
    ]
    assert seen[1].saved_at == 2


def test_a_model_whose_newest_result_does_not_say_its_size_is_seen(letters):
    counted = letters.counted(letters.LettersSpec(fakes.MODEL))
    (one,) = run_table.models_seen([run(counted, saved_at=2), run(fakes.distances(), saved_at=1)])
    assert (one.facts, one.counts, one.saved_at) == (fakes.FACTS, {"distances": 1}, 2)
    assert run_table.models_seen([run(counted)]) == []


def test_a_model_that_was_only_inspected_is_seen_without_results():
    (one,) = run_table.models_seen([run(fakes.inspect(), precomputed=True)])
    assert (one.counts, one.saved_at) == ({}, 0)
