"""Every kind of batch: failures stay in the result, a stopped one resumes, and its cells share one
loaded model.
"""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest

from analysis.core.errors import LayerscopeError, SpecError, StorageError
from analysis.core.progress import Cancelled
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.batch import grid, methods
from analysis.experiments.batch.grid_spec import GridSpec
from analysis.experiments.batch.methods_spec import MethodsSpec
from analysis.models.loading.load import Loader
from analysis.models.source.model_spec import ModelSpec
from tests.support.told import Told

pytestmark = pytest.mark.usefixtures("cache", "short_texts")


@dataclass(frozen=True)
class Kind:
    """A kind of batch, with a request for three cells that differ in their strategy."""

    module: ModuleType
    spec: Any
    refusal: str

    @property
    def phase(self) -> str:
        return self.module.PHASE


@pytest.fixture(params=["grid", "methods"])
def kind(request, tiny_folder):
    model, questions = ModelSpec(str(tiny_folder("llama")), dtype="float32"), BenchmarkSpec(limit=4)
    texts, strategies = CorpusSpec("wiki", n_texts=3, seq_len=24), ("deepest", "reverse", "random")
    if request.param == "grid":
        spec = GridSpec((model,), (questions,), (texts,), strategies=strategies, max_n=1, draws=1)
        return Kind(grid, spec, "None of the 3 curves of this grid could be measured. ")
    return Kind(
        methods,
        MethodsSpec(model, strategies, (), (1,), questions, texts),
        "None of the 3 cells of this table could be measured. deepest, n = 1: ",
    )


@pytest.fixture
def failing(monkeypatch):
    """Make some of the curves fail, by their places among all that begin."""

    def fail(error: Exception, *places: int) -> list[Any]:
        begun: list[Any] = []

        def run(asked, *given, **named):
            begun.append(asked)
            if not places or len(begun) - 1 in places:
                raise error
            return original(asked, *given, **named)

        monkeypatch.setattr(sweep, "run", run)
        return begun

    original = sweep.run
    return fail


class Loads(Loader):
    """The loader that keeps nothing, and counts."""

    n = 0

    def __call__(self, spec, on_progress, /, *, by_layer=False):
        self.n += 1
        return super().__call__(spec, on_progress, by_layer=by_layer)


def figures(result):
    """Everything but times."""
    return replace(result, wall_s=0.0, cells=[replace(cell, wall_s=0.0) for cell in result.cells])


def test_cells_share_one_loaded_model_and_are_measured_once(kind, failing):
    loads, told = Loads(), Told()
    result = kind.module.run(kind.spec, told, load=loads)
    assert (result.complete, result.failures, len(result.cells), loads.n) == (True, [], 3, 1)
    own = [progress for progress in told if progress.phase == kind.phase]
    assert {(progress.total, progress.values["result_key"]) for progress in own} == {
        (3, result.spec.fingerprint())
    }
    assert [progress.done for progress in own] == sorted(progress.done for progress in own)
    assert own[-1].done == 3
    begun = failing(SpecError("It is stored."))
    assert kind.module.run(kind.spec).to_json() == result.to_json()
    assert begun == []


def test_an_unforeseen_failure_stays_in_its_cell_and_is_retried(kind, failing):
    told = Told()
    failing(ZeroDivisionError("unforeseen"), 1)
    result = kind.module.run(kind.spec, told)
    assert [bool(cell.error) for cell in result.cells] == [False, True, False]
    assert "has a bug" in result.cells[1].error
    (said,) = [progress.message for progress in told if "could not be measured" in progress.message]
    assert said == f"{result.cells[1].name} could not be measured: {result.cells[1].error}"
    begun = failing(SpecError("Never raised."), 9)
    again = kind.module.run(kind.spec)
    assert again.failures == []
    assert begun


def test_a_stopped_batch_resumes_to_equal_figures(kind, monkeypatch, tmp_path, failing):
    whole = kind.module.run(kind.spec)
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "other"))
    failing(Cancelled(), 2)
    with pytest.raises(Cancelled):
        kind.module.run(kind.spec)
    partial = type(whole).load(whole.spec)
    assert (partial.complete, partial.failures, len(partial.cells)) == (False, [], 2)
    loads = Loads()
    failing(SpecError("Never raised."), 9)
    assert figures(kind.module.run(kind.spec, load=loads)) == figures(whole)
    assert loads.n == 1


def test_a_batch_without_a_measured_cell_is_refused(kind, failing):
    failing(SpecError("It cannot be."))
    with pytest.raises(LayerscopeError) as refused:
        kind.module.run(kind.spec)
    assert str(refused.value).startswith(kind.refusal)
    assert str(refused.value).endswith("It cannot be.")


def test_a_full_disk_ends_the_batch(kind, failing):
    begun = failing(StorageError("The disk is full."), 1)
    with pytest.raises(StorageError):
        kind.module.run(kind.spec)
    assert len(begun) == 2


def test_a_model_that_cannot_be_loaded_is_tried_once(kind):
    class Refused(Loads):
        def __call__(self, spec, on_progress, /, *, by_layer=False):
            self.n += 1
            raise MemoryError

    loads = Refused()
    with pytest.raises(LayerscopeError, match="memory"):
        kind.module.run(kind.spec, load=loads)
    assert loads.n == 1
