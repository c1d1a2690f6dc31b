"""Estimated cost of a search before it begins: bounded by its budget, in time where one ran here."""

from dataclasses import replace

from analysis.core import host
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.results import searches
from tests.support import fakes

SPEC = SearchSpec(fakes.MODEL, "greedy")


def ran(wall_s, processor=None, complete=True, n_measured=345):
    return SearchResult(
        spec=SPEC, versions={"processor": f"{processor or host.processor()}, 2 threads"}, wall_s=wall_s, n_tokens=1,
        complete=complete, model=fakes.FACTS, n_layers=30, max_n=15, found=[], n_sets=345, n_texts=8, n_validation=8,
        n_report=16, unpruned_loss=3.8, quoted=0.0, n_measured=n_measured,
    )  # fmt: skip


def test_sets_are_counted_and_the_budget_bounds_them():
    assert takes(SPEC, fakes.FACTS).sets == sum(30 - n for n in range(15)) == 345
    assert takes(replace(SPEC, protect=(0, 29)), fakes.FACTS).sets == sum(28 - n for n in range(15))
    assert takes(replace(SPEC, budget=100), fakes.FACTS).sets == 100
    assert takes(replace(SPEC, strategy="evopress"), fakes.FACTS).sets <= 4_000
    assert takes(replace(SPEC, strategy="lorp"), fakes.FACTS).sets == 0
    flop = [takes(replace(SPEC, strategy=name), fakes.FACTS).flop for name in ("lorp", "greedy", "swaps")]
    assert flop == sorted(flop)
    assert "up to 345 sets of layers, about 20 TFLOP" in searches.cost(SPEC, fakes.FACTS, []), "19 were measured"
    assert "up to 2,760 sets of layers, usually 1,380, about" in searches.cost(replace(SPEC, strategy="swaps"), fakes.FACTS, [])


def test_time_is_estimated_from_searches_of_this_machine():
    ends = " at the speed of earlier searches here."
    assert searches.cost(SPEC, fakes.FACTS, [ran(300.0)]).endswith(f": 5 minutes{ends}")
    assert searches.cost(SPEC, fakes.FACTS, [ran(60.0)]).endswith(f": a minute{ends}")
    for other in (ran(300.0, "another"), ran(300.0, complete=False), ran(4.0, n_measured=20)):
        assert ends not in searches.cost(SPEC, fakes.FACTS, [other])
    assert ends not in searches.cost(replace(SPEC, model=replace(fakes.MODEL, dtype="float32")), fakes.FACTS, [ran(300.0)])
