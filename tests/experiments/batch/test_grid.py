"""A grid is its curves: each stored as any other, none measured twice, none lost to another's
failure.
"""

from dataclasses import replace

import pytest

from analysis.core.errors import BenchmarkError, SpecError
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.pairs import compare
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.batch import grid
from analysis.experiments.batch.grid_spec import MOST_CELLS, GridResult, GridSpec
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from tests.support.told import Told

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def spec(tiny_folder):
    return GridSpec(
        models=tuple(
            ModelSpec(str(tiny_folder(family)), dtype="float32") for family in ("llama", "gpt2")
        ),
        benchmarks=(BenchmarkSpec(limit=20), BenchmarkSpec("boolq", limit=20)),
        loss_corpora=(CorpusSpec("wiki", n_texts=3, seq_len=24),),
        map_corpora=(CorpusSpec("c4", n_texts=4, seq_len=32),),
        strategies=("similarity", "deepest"),
        max_n=2,
    )


class Loads(load.Loader):
    """The loader that keeps nothing, and records the models that it loaded and released."""

    def __init__(self):
        self.told = []

    def __call__(self, spec, on_progress, /, *, by_layer=False):
        self.told.append(spec.source.rpartition("/")[2])
        return super().__call__(spec, on_progress, by_layer=by_layer)

    def clear(self):
        self.told.append("let go")


def test_every_cell_is_the_curve_that_it_names(spec):
    result = grid.run(replace(spec, models=spec.models[:1], benchmarks=spec.benchmarks[:1]))
    assert (result.complete, result.n_cells, len(result.cells), result.failures) == (True, 2, 2, [])
    for cell, asked in zip(result.cells, result.spec.cells(), strict=True):
        alone = SweepResult.load(sweep.resolve(asked))
        assert cell.key == alone.spec.fingerprint()
        assert [(cut.acc, cut.loss) for cut in cell.cuts] == [
            (point.acc, point.loss) for point in alone.points
        ]
        change, pair = cell.cuts[2].acc_change, compare(alone.questions[0], alone.questions[2])
        assert (change.difference, change.low, change.high) == (
            pair.difference,
            pair.low,
            pair.high,
        )
        assert cell.cuts[0].acc_change is cell.cuts[0].loss_change is None
    assert GridResult.load(result.spec) == result
    assert "accuracy is not significantly above chance" in result.measured_on()
    assert None in {cell.no_loss_n for cell in result.cells}


def test_each_model_is_loaded_once_and_released_before_the_next(spec, tiny_folder):
    loads = Loads()
    grid.run(spec, load=loads)
    assert loads.told == [tiny_folder("llama").name, "let go", tiny_folder("gpt2").name]
    again = Loads()
    grid.run(replace(spec, strategies=("deepest", "similarity")), load=again)
    assert again.told == []


def test_missing_model_fails_only_its_own_cells(spec):
    lost = replace(
        spec, models=(ModelSpec("/no/such/model"), spec.models[0]), benchmarks=spec.benchmarks[:1]
    )
    result = grid.run(lost)
    assert result.complete
    assert [bool(cell.error) for cell in result.cells] == [True, True, False, False]
    assert "There is no model at '/no/such/model'" in result.cells[0].error
    assert result.table("cells").rows[0]["error"] == result.cells[0].error
    assert len(result.table().rows) == 2 * 3
    assert all(
        (row["start"] is None) == (row["size"] is None) == (row["n"] == 0)
        for row in result.table().records()
    )
    loads = Loads()
    assert grid.run(lost, load=loads).cells == result.cells
    assert loads.told == []


def test_unusable_questions_are_refused_before_anything_is_measured(spec):
    loads = Loads()
    with pytest.raises(BenchmarkError, match="shots must be 0"):
        grid.run(replace(spec, benchmarks=(BenchmarkSpec(shots=3),)), load=loads)
    assert loads.told == []


def test_equal_requests_are_measured_once(spec):
    twice = replace(
        spec, models=(replace(spec.models[0], device="cpu"), replace(spec.models[0], device="auto"))
    )
    assert len(twice.cells()) == 8
    assert len(grid.resolve(twice).cells()) == 4


def test_stored_curves_come_first_and_time_is_estimated_from_others(spec):
    one = replace(spec, models=spec.models[:1], benchmarks=spec.benchmarks[:1])
    grid.run(replace(one, strategies=("deepest",)))
    told = Told()
    result = grid.run(one, told)
    of_grid = [progress for progress in told if progress.phase == grid.PHASE]
    assert (of_grid[0].done, of_grid[0].total) == (1, 2)
    assert of_grid[0].message.startswith("Curve 1 of 2: ")
    assert [cell.strategy for cell in result.cells] == ["similarity", "deepest"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ()}, "needs at least one of its models"),
        ({"models": (ModelSpec(), ModelSpec())}, 'The models of this grid contain "starter" twice'),
        ({"strategies": ("deepest", "deepest")}, 'contain "deepest" twice'),
        ({"strategies": ("manual",)}, "strategies must be one of similarity, deepest"),
        ({"max_n": -1}, "max_n must be"),
        (
            {"models": tuple(ModelSpec(f"m{n}") for n in range(MOST_CELLS))},
            "has 800 cells, at most 400",
        ),
    ],
)
def test_invalid_grid_is_refused_in_a_sentence(changes, said):
    with pytest.raises(SpecError, match=said):
        GridSpec(**{"models": (ModelSpec(),), **changes})


def test_random_strategies_are_drawn_repeatedly_and_maps_count_where_read():
    several = GridSpec(
        (ModelSpec(),),
        strategies=("random", "deepest", "similarity"),
        map_corpora=(CorpusSpec("c4"), CorpusSpec("wiki")),
        draws=2,
    )
    told = [(cell.strategy, cell.draw, cell.distances.corpus.source) for cell in several.cells()]
    assert told == [
        ("random", 0, "c4"),
        ("random", 1, "c4"),
        ("deepest", 0, "c4"),
        ("similarity", 0, "c4"),
        ("similarity", 0, "wiki"),
    ]
