"""A table of methods is its curves and heals: paired with the unpruned model, and the best one
named only where it can be.
"""

from dataclasses import replace

import pytest

from analysis.core import stats
from analysis.core.errors import BlockRangeError, SpecError
from analysis.core.stats import compare_losses
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.pairs import compare
from analysis.experiments.accuracy.sweep_spec import SweepSpec, sparing
from analysis.experiments.batch import methods
from analysis.experiments.batch.methods_spec import MethodCell, MethodsResult, MethodsSpec
from analysis.experiments.heal import healing
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.models.loading.planning import plan
from analysis.models.source.model_spec import ModelSpec

pytestmark = pytest.mark.usefixtures("cache", "little_text")


@pytest.fixture
def little_text(short_texts, monkeypatch):
    """Use few texts for judging, choosing and fitting: the head of 49,152 tokens takes all of the
    time of a tiny model.
    """
    monkeypatch.setattr("analysis.experiments.heal.texts.CHOICE_TEXTS", 4)
    monkeypatch.setattr("analysis.experiments.heal.healing_run.CALIBRATION_TEXTS", 24)


@pytest.fixture
def spec(tiny_folder):
    return MethodsSpec(
        model=ModelSpec(str(tiny_folder("llama")), dtype="float32"),
        strategies=("deepest", "reverse"),
        recipes=("instant",),
        ns=(1, 2),
        benchmark=BenchmarkSpec(limit=12),
        loss_corpus=CorpusSpec("c4", n_texts=4, seq_len=24),
    )


def test_every_cell_is_its_own_run_and_nothing_is_remeasured(spec, monkeypatch):
    spec = replace(spec, strategies=("deepest",))
    found = methods.run(spec)
    assert [(cell.method, cell.n) for cell in found.cells] == [
        (method, n) for method in ("deepest", "deepest + instant") for n in (1, 2)
    ]
    assert (found.complete, found.failures) == (True, [])
    curve = sweep.run(
        SweepSpec(
            spec.model,
            spec.benchmark,
            spec.loss_corpus,
            DistanceSpec(spec.model),
            strategy="deepest",
            max_n=2,
        )
    )
    assert found.losses[0] == curve.text_losses[0]
    assert found.losses[2] == curve.text_losses[2]
    assert found.nats(1) == compare_losses(
        curve.text_losses[0], curve.text_losses[2], curve.text_tokens
    )
    pair = compare(curve.questions[0], curve.questions[2])
    assert found.gained(1) == (pair.difference, pair.low, pair.high)
    healed = healing.run(methods._heal(methods.resolve(spec), "instant", curve.points[2].block))
    assert found.losses[4] == healed.text_losses["healed"]
    assert healed.text_losses["unpruned"] == pytest.approx(found.losses[0], abs=1e-5), (
        "judged by the same texts"
    )
    assert found.cells[3].removed == curve.points[2].block.describe()
    row = found.table("cells").records()[3]
    assert (row["start"], row["size"]) == (curve.points[2].block.start, 2)
    monkeypatch.setattr(sweep, "run", lambda *_, **__: pytest.fail("it is stored"))
    assert methods.run(spec).to_json() == found.to_json()


def test_impossible_cells_of_a_strategy_have_reasons(spec, monkeypatch):
    def refused(*_, **__):
        raise SpecError("It cannot be healed.")

    monkeypatch.setattr(healing, "run", refused)
    found = methods.run(replace(spec, strategies=("deepest",), recipes=("instant", "distill")))
    assert [cell.error for cell in found.cells] == ["", "", *["It cannot be healed."] * 4]
    assert found.nats(2) is found.gained(2) is None
    row = found.tables()["nats"].rows[1]
    assert "n1" not in row


def table(spec, *losses: list[float]) -> MethodsResult:
    """Of a strategy and of the same with a heal, at n = 1."""
    cells = [MethodCell("deepest", recipe, 1, "layer 1", 0.0) for recipe in ("", "instant")]
    asked = replace(spec, strategies=("deepest",), ns=(1,))
    return MethodsResult(
        spec=asked,
        versions={},
        wall_s=0.0,
        n_tokens=0,
        complete=True,
        model=None,
        cells=cells,
        text_tokens=[10] * 8,
        losses=[[3.0] * 8, *losses],
        right=[[True, False]] * 3,
    )


def test_tables_compare_each_pair_of_losses_once(spec, monkeypatch):
    compared = []

    def counted(first, second, tokens):
        compared.append((tuple(first), tuple(second)))
        return compare_losses(first, second, tokens)

    monkeypatch.setattr(stats, "compare_losses", counted)
    table(spec, [4.0, 4.1] * 4, [3.5, 3.6] * 4).tables()
    assert len(compared) == len(set(compared)) > 1


def test_best_is_named_only_where_it_differs_from_all_others(spec):
    clear = table(spec, [4.0, 4.1] * 4, [3.5, 3.6] * 4)
    assert clear.best(1) == [1]
    assert [row["best"] for row in clear.tables()["nats"].rows] == [None, "1"]
    assert clear.nats(1)[0] == pytest.approx(0.55)
    assert table(spec, [4.0, 4.1] * 4, [3.0, 5.0] * 4).best(1) == [], "it scatters too much"
    assert table(spec, [4.0] * 8, []).best(1) == [], "there is nothing to be better than"
    assert table(spec, [4.0] * 8, [4.0] * 8).best(1) == [], "they are the same"


def test_bad_requests_are_one_sentence(spec):
    with pytest.raises(SpecError, match="contain one value twice"):
        replace(spec, ns=(2, 2))
    with pytest.raises(SpecError, match="strategies must be one of"):
        replace(spec, strategies=("manual",))
    with pytest.raises(SpecError, match="recipes must be one of"):
        replace(spec, recipes=("nothing",))
    with pytest.raises(SpecError, match="The recipe instant trains on Wikipedia"):
        methods.run(replace(spec, loss_corpus=CorpusSpec("wiki", n_texts=4, seq_len=24)))
    with pytest.raises(BlockRangeError, match="layers and must keep at least 1"):
        methods.run(replace(spec, ns=(1, 99)))


def test_a_protected_layer_is_in_no_cut_that_is_measured(spec):
    plain = replace(spec, strategies=("deepest", "greedy"), recipes=())
    n_layers = plan(spec.model).facts.n_layers
    kept = n_layers - 2  # which the deepest cut begins with
    asked = replace(plain, protect=(kept,))
    found = methods.run(asked)
    for cell in found.cells:
        if cell.strategy == "deepest":
            assert (
                cell.error
                == f"deepest removes layer {kept}, which is protected. Unprotect it, or choose a"
                " strategy that searches."
            )
        else:
            assert not cell.error
            assert (
                kept
                not in sweep.run(
                    sparing(
                        SweepSpec(
                            spec.model,
                            spec.benchmark,
                            spec.loss_corpus,
                            DistanceSpec(spec.model),
                            strategy="greedy",
                            max_n=2,
                        ),
                        (kept,),
                    )
                )
                .points[cell.n]
                .block.touched
            )
    assert f"Protected: layer {kept}." in found.measured_on()
    with pytest.raises(BlockRangeError, match="Layer 99 cannot be protected"):
        methods.run(replace(spec, protect=(99,)))
    with pytest.raises(BlockRangeError, match="protected, and must keep at least one"):
        methods.run(replace(asked, strategies=("greedy",), protect=tuple(range(1, n_layers))))
    assert replace(spec, protect=()).fingerprint() == spec.fingerprint() != asked.fingerprint()
