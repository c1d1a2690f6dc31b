"""A kind of experiment is one file: it has a version of its own, and its requests are answered,
stored and reported.
"""

from pathlib import Path

import pytest

from analysis.charts import kinds
from analysis.core import store
from analysis.core.errors import SpecError
from analysis.core.experiment import EXPERIMENTS
from analysis.data.spec import CorpusSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from tests.support import fakes
from tests.support.usual import usual

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "precomputed_dir", lambda: tmp_path / "precomputed")


@pytest.fixture
def found(letters):
    return letters.run(letters.LettersSpec(fakes.MODEL), None, load=None)


def test_a_raised_version_orphans_the_results_of_its_kind_alone(monkeypatch):
    results = [
        fakes.distances(),
        fakes.sweep(),
        fakes.damage(),
        fakes.heal(),
        fakes.speed(),
        fakes.inspect(),
    ]
    for result in results:
        result.save()
    assert all(type(result).load(result.spec) for result in results)
    monkeypatch.setattr(DistanceSpec, "version", DistanceSpec.version + 1)
    assert [result.kind for result in results if type(result).load(result.spec) is None] == [
        "distances"
    ]
    assert not type(results[0]).all_of(fakes.MODEL)
    assert type(results[1]).all_of(fakes.MODEL)


def test_keys_of_stored_results_stay():
    weighed = dict.fromkeys(("sweep", "evaluate", "damage", "heal", "grid"), 4)  # losses by token
    assert {kind: entry.spec.version for kind, entry in EXPERIMENTS.items()} == dict.fromkeys(
        EXPERIMENTS, 3
    ) | weighed
    assert DistanceSpec().fingerprint() == "770eb5434f1c108d2e2a"
    assert (
        DistanceSpec(corpus=CorpusSpec(min_tokens=64)).fingerprint() != DistanceSpec().fingerprint()
    )


def test_an_added_kind_reads_back_with_its_table_and_chart(letters, found):
    kind = EXPERIMENTS["letters"]
    read = EXPERIMENTS["letters"].result.load(found.spec)
    assert read == found
    table = read.table()
    assert table.heads == ["letter", "share", "share_stderr"]
    assert table.cells[0] == ["a", "0.5", "0.2041"]
    assert table.caption == "bfloat16 from Q4_1 weights on cpu."
    assert list(table.frame()["share"]) == [row.share for row in found.rows]
    assert list(kinds.figure(read, dark=True).data[0].x) == ["a", "b", "n"]
    assert usual(kind, fakes.MODEL) == letters.LettersSpec(fakes.MODEL)
    with pytest.raises(SpecError, match="has no table 'best'. It has rows"):
        read.table("best")
