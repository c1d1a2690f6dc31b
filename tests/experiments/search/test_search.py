"""Searches from spec to stored path: known answers, reuse of measurements, stops, seeds, and
refusals.
"""

import itertools
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest

from analysis.cli import main
from analysis.core.blocks import removal
from analysis.core.errors import BlockRangeError, CorpusError, SpecError
from analysis.core.progress import Cancelled
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepSpec
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.search import search
from analysis.experiments.search.objective import Objective
from analysis.experiments.search.search_spec import SearchResult, SearchSpec, takes
from analysis.experiments.strategies import SEARCHING, STRATEGIES, StrategyInputs, greedy, swaps
from analysis.models.loading import load
from analysis.models.source.model_spec import ModelSpec
from tests.support import planted
from tests.support.levels import few

pytestmark = pytest.mark.usefixtures("cache")
TEXTS = {
    "corpus": CorpusSpec("wiki", n_texts=4, seq_len=24, split="train"),
    "validation": CorpusSpec("wiki", n_texts=2, seq_len=24, split="validation"),
    "report": CorpusSpec("c4", n_texts=3, seq_len=24),
}


@pytest.fixture
def spec(tiny_folder):
    """A search of up to three of six layers."""
    return SearchSpec(ModelSpec(str(tiny_folder()), dtype="float32"), max_n=3, first=2, **TEXTS)


@pytest.fixture
def measured(monkeypatch):
    """(removed layers, number of texts) of everything that was measured."""
    found = []
    original = Objective.measured

    def noting(self, sets, *where):
        for index, texts, values in original(self, sets, *where):
            found.append((id(self), sets[index], tuple(texts)))
            yield index, texts, values

    monkeypatch.setattr(Objective, "measured", noting)
    return found


def comparable(result):
    return {name: value for name, value in result.to_json().items() if name != "wall_s"}


@pytest.mark.parametrize("strategy", list(SEARCHING))
def test_every_search_stores_a_path_that_its_strategy_reads(spec, strategy):
    result = search.run(replace(spec, strategy=strategy))
    assert result.complete
    assert [(one.n, len(one.layers)) for one in result.found] == [(1, 1), (2, 2), (3, 3)]
    assert all(one.loss_stderr > 0 for one in result.found)
    assert all(
        (one.validation or 0) > 0 if one.n_rivals > 1 else one.validation is None
        for one in result.found
    )
    assert {one.n_rivals for one in result.found} <= set(
        range(1, STRATEGIES[strategy].search.most_ends + 1)
    )
    is_decided = any(one.n_rivals > 1 for one in result.found)
    assert np.isfinite(result.values["validation"]).any() == is_decided
    assert result.table().rows[1]["removed"] == result.found[1].removed.describe()
    assert "4 texts of Wikipedia (train part)" in result.measured_on()
    assert ("2 texts of Wikipedia (validation part)" in result.measured_on()) == is_decided
    assert "3 texts of C4" in result.measured_on()
    assert f"count 1 of {result.spec.stride} predictions" in result.measured_on()
    given = StrategyInputs(6, searched=result.path)
    assert [STRATEGIES[strategy].choose(n, given) for n in (1, 2, 3)] == [
        one.removed for one in result.found
    ]
    with pytest.raises(BlockRangeError, match="The search reached 3 removed layers, not 4"):
        STRATEGIES[strategy].choose(4, given)
    again = search.run(
        replace(spec, strategy=strategy), lambda progress: pytest.fail("searched twice")
    )
    assert comparable(again) == comparable(result)
    assert takes(result.spec, result.model).sets >= result.n_sets


@pytest.mark.parametrize("objective", ["kl", "loss"])
def test_swaps_find_the_best_set_and_greedy_the_stepwise_best(spec, objective):
    spec = replace(spec, objective=objective, first=4, corpus=replace(spec.corpus, seq_len=16))
    loaded = load.load(spec.model)
    texts, _ = search.documents(spec.corpus, loaded)
    every = [layers for n in range(4) for layers in itertools.combinations(range(6), n)]
    values = np.zeros((len(every), len(texts)))
    kind = Objective(loaded.decoder, texts, kind=objective, stride=2, ends=(4,), keep_bytes=1 << 28)
    for index, those, figures in kind.measured(every):
        values[index, those] = figures
    costs = dict(zip(every, values.mean(1), strict=True))  # texts of one length

    def best(sets):
        return min(sets, key=lambda layers: (costs[layers], layers))

    stepwise = search.run(replace(spec, strategy="greedy"))
    taken = ()
    for one in stepwise.found:
        taken = best(
            layers for layers in every if len(layers) == len(taken) + 1 and set(taken) < set(layers)
        )
        assert tuple(one.layers) == taken
        assert one.cost == pytest.approx(costs[taken] - costs[()] * (objective == "loss"), abs=1e-6)
    exhaustive = [best(layers for layers in every if len(layers) == n) for n in (1, 2, 3)]
    ends = list(
        swaps._walk(search._SearchRun.of(search.resolve(spec), loaded, lambda progress: None))
    )
    assert [one[0] for one in ends] == exhaustive


@pytest.mark.long
def test_planted_layers_that_do_nothing_go_first(spec, tmp_path):
    model = planted.identity_layers(spec.model, (1, 4), tmp_path)
    for strategy in ("greedy", "swaps"):
        result = search.run(replace(spec, strategy=strategy, max_n=2, model=model))
        assert result.found[1].layers == [1, 4]
        assert result.found[1].cost == pytest.approx(0, abs=1e-6)
        assert result.found[1].loss == pytest.approx(0, abs=1e-6)


def test_no_set_is_measured_twice_and_searches_share_measurements(spec, measured):
    first = search.run(replace(spec, strategy="greedy"))
    assert (first.n_measured, first.n_sets) == (14, 14)
    assert len(measured) == len(set(measured))
    before = len(measured)
    shorter = search.run(replace(spec, strategy="greedy", max_n=2, budget=300))
    assert len(measured) == before
    assert (shorter.n_measured, shorter.n_sets) == (0, 6 + 4)
    search.run(spec)
    both = [(layers, texts) for _, layers, texts in measured]
    assert len(both) > before
    searched = [
        pair for pair in both if len(pair[1]) == 2 and pair[1][0] in (0, 2)
    ]  # halves of the text that is searched on
    assert len([pair for pair in searched if len(pair[0]) == 1]) <= 2 * 6 + 6


@pytest.mark.parametrize("k", few([1, 9, 40], 9))
def test_a_stopped_search_resumes_and_ends_as_an_uninterrupted_one(spec, monkeypatch, k, measured):
    spec = replace(spec, strategy="swaps", budget=120)
    left = [k]

    def stopping(progress):
        if progress.phase == search.PHASE:
            left[0] -= 1
            if left[0] < 0:
                raise Cancelled

    with pytest.raises(Cancelled):
        search.run(spec, stopping)
    part = SearchResult.load(search.resolve(spec))
    assert not part.complete
    finished = search.run(spec)
    monkeypatch.setattr(SearchResult, "load", classmethod(lambda cls, *_: None))
    monkeypatch.setattr(SearchResult, "all_of", classmethod(lambda cls, *_: []))
    undisturbed = search.run(spec)
    assert comparable(finished) == comparable(undisturbed)
    assert np.array_equal(finished.sets, undisturbed.sets)
    for name in ("search", "validation", "report"):
        assert np.array_equal(finished.values[name], undisturbed.values[name], equal_nan=True)


@dataclass
class Additive:
    """A model of eight layers: a set costs the sum of its layers, and a little more where
    neighbours are both removed.
    """

    seed: int
    budget: int = 10_000
    n_layers: int = 8
    free: tuple[int, ...] = tuple(range(8))
    max_n: int = 4
    asked: list[tuple[int, ...]] = field(default_factory=list)

    def first(self, sets):
        self.asked += sets
        return [
            sum((layer * 5) % 8 + 0.5 * (layer + 1 in layers) for layer in layers)
            for layers in sets
        ]

    half = whole = first


@dataclass
class Paired(Additive):
    """A model of 24 layers in pairs: where one of a pair is gone, the other costs up to 39 %
    less.
    """

    n_layers: int = 24
    free: tuple[int, ...] = tuple(range(24))
    max_n: int = 8

    def __post_init__(self):
        random = Random(self.seed)
        self.alone = [
            random.uniform(1, 1.6) if 8 <= layer < 20 else random.uniform(5, 9)
            for layer in self.free
        ]
        drawn = random.sample(self.free, 24)
        self.pairs = {frozenset(pair) for pair in zip(drawn[::2], drawn[1::2], strict=True)}

    def cost(self, layers):
        less = sum(
            0.39 * min(self.alone[layer] for layer in pair)
            for pair in self.pairs
            if pair <= {*layers}
        )
        return sum(self.alone[layer] for layer in layers) - less

    def first(self, sets):
        self.asked += sets
        return [self.cost(layers) for layers in sets]

    half = whole = first


@pytest.mark.parametrize("seed", range(6))
def test_costly_layers_are_not_looked_at_again(seed):
    model, path = Paired(seed), [()]
    for _ in range(model.max_n):
        path.append(min(greedy.with_one_more(model, path[-1]), key=model.cost))
    assert [ends[0] for ends in greedy._walk(model)] == path[1:]
    assert len({*model.asked}) < 0.8 * greedy.n_grown(24, model.max_n)


@dataclass
class Halved(Additive):
    """A model whose cost of a set is a look further from the truth the fewer texts it takes."""

    def _look(self, sets, share):
        self.asked.append((share, list(sets)))
        return [1 + layers[0] / 100 + (1 - share) * (layers[0] % 3) / 5 for layers in sets]

    def first(self, sets):
        return self._look(sets, 0.25)

    def half(self, sets):
        return self._look(sets, 0.5)

    def whole(self, sets):
        return self._look(sets, 1)


def test_costlier_sets_on_half_of_the_texts_are_dropped():
    model = Halved(0)
    assert greedy.best(model, [(layer,) for layer in (6, 5, 4, 3, 1, 0)]) == [
        (0,),
        (3,),
        (6,),
        (1,),
    ]
    # Layers 5 and 4 cost most by the quick look, and layer 1 too much by half of the texts.
    assert model.asked[1:] == [(0.5, [(0,), (3,), (6,), (1,)]), (1, [(0,), (3,), (6,)])]


def test_a_cost_of_nothing_is_measured_on_all_texts():
    model = Additive(0)
    model.half = lambda sets: [-1e-9 for _ in sets]
    assert greedy.best(model, [(0,), (1,)]) == [(0,), (1,)]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_with_a_costly_part_are_not_looked_at(seed):
    model, costs = Paired(seed), {}
    for n in range(1, 9):
        blocks = [tuple(range(start, start + n)) for start in range(25 - n)]
        best = sorted(blocks, key=model.cost)[: greedy.KEPT]
        assert {*best} <= {*swaps._blocks(model, n, costs)}
    assert len({*model.asked}) < 0.8 * sum(25 - n for n in range(1, 9))


def test_the_budget_ends_a_search_where_it_says(spec):
    result = search.run(replace(spec, strategy="greedy", budget=10))
    assert (result.complete, len(result.found), result.n_sets) == (True, 2, 10)
    assert "budget of 10 sets ended the search at n = 2" in result.measured_on()
    with pytest.raises(
        SpecError, match="The budget of 5 sets is too small: the first layer alone takes 6"
    ):
        search.run(replace(spec, strategy="greedy", budget=5))
    with pytest.raises(SpecError, match="budget must be"):
        replace(spec, budget=0)


@pytest.mark.parametrize("strategy", list(SEARCHING))
def test_protected_layers_stay(spec, strategy):
    result = search.run(replace(spec, strategy=strategy, protect=(0, 2, 3), max_n=2))
    assert all({0, 2, 3}.isdisjoint(one.layers) for one in result.found)
    assert len(result.found) == 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"protect": (0, 1, 2, 3), "max_n": 3},
            r"6 layers, 4 protected, .* Choose max-n 1\.\.2, or protect fewer",
        ),
        (
            {"protect": tuple(range(6)), "max_n": None},
            "6 layers, 6 protected, .* Protect fewer layers",
        ),
        ({"protect": (9,)}, r"Layer 9 cannot be protected: this model has layers 0\.\.5"),
        ({"max_n": 6}, r"Choose max-n 1\.\.5"),
    ],
)
def test_too_few_layers_to_remove_are_refused(spec, changed, told):
    with pytest.raises(BlockRangeError, match=told):
        search.run(replace(spec, **changed))
    assert SearchResult.load(search.resolve(replace(spec, **changed))) is None


def test_texts_that_say_the_same_are_refused(spec, tmp_path):
    with pytest.raises(SpecError, match="both guides the search and reports the loss"):
        replace(spec, corpus=CorpusSpec("c4", 4, 24))
    with pytest.raises(SpecError, match="both guides the search and decides"):
        replace(spec, corpus=replace(spec.corpus, split="all"))
    said = search.documents(spec.report, load.load(spec.model))[1]
    copy = tmp_path / "copy.txt"
    copy.write_text("\n\n".join(" ".join(text.split()) for text in said))
    with pytest.raises(
        CorpusError,
        match=r"report text \(C4\) repeats the .*: it shares 100 % of .* Choose another text",
    ) as refused:
        search.run(replace(spec, corpus=CorpusSpec(str(copy), 3, 24)))
    assert "what what" not in str(refused.value)
    short = tmp_path / "short.txt"
    short.write_text("Too short.\n\nThis too.")
    with pytest.raises(CorpusError, match="shorter than 16 tokens"):
        search.run(replace(spec, corpus=CorpusSpec(str(short), 3, 24)))


def test_a_curve_takes_the_path_that_was_searched(spec):
    asked = SweepSpec(
        spec.model,
        BenchmarkSpec(limit=2),
        CorpusSpec("c4", 2, 24),
        DistanceSpec(spec.model),
        "greedy",
        2,
        search=spec,
    )
    curve = sweep.run(asked)
    found = SearchResult.load(curve.spec.search)
    assert curve.spec.search.strategy == "greedy"
    assert [point.block for point in curve.points] == [
        None,
        removal(found.found[0].layers),
        removal(found.found[1].layers),
    ]
    assert "--strategy greedy" in main.command_line(curve.spec)
    with pytest.raises(SpecError, match="use the same text"):
        replace(asked, loss_corpus=CorpusSpec("wiki", 2, 24))
    usual = sweep.resolve(replace(asked, search=None, loss_corpus=CorpusSpec("wiki", 2, 24))).search
    assert (usual.corpus.source, usual.validation.split, usual.report.source) == (
        "c4",
        "validation",
        "wiki",
    )
    assert main.request(main.command_line(replace(asked, search=None)).split()[3:]).search is None


def test_questions_quoted_in_the_search_text_are_flagged(spec, tmp_path):
    first = search.documents(replace(spec.corpus, seq_len=48), load.load(spec.model))[1][1]
    asked = tmp_path / "seen.csv"
    words = " ".join("".join(letter if letter.isalnum() else " " for letter in first).split()[:12])
    asked.write_text(
        f"question,A,B,answer\n{words},yes,no,A\nIs there more in this world of ours?,yes,no,B\n"
    )
    told = []
    curve = SweepSpec(
        spec.model,
        BenchmarkSpec(str(asked)),
        None,
        DistanceSpec(spec.model),
        "greedy",
        1,
        search=spec,
    )
    sweep.run(curve, lambda progress: told.append(progress.message))
    [flag] = [message for message in told if "share 8 words in a row" in message]
    assert flag.startswith("1 of 2 questions")
