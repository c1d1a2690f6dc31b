"""A strategy that one file outside the package registers is everywhere by itself."""

import math
from dataclasses import replace

import pytest

from analysis.charts import curves, look
from analysis.cli import main
from analysis.core.blocks import Block
from analysis.core.errors import SpecError
from analysis.data.spec import BenchmarkSpec, CorpusSpec
from analysis.experiments.accuracy import sweep
from analysis.experiments.accuracy.sweep_spec import SweepResult, SweepSpec
from analysis.experiments.maps import distance_map
from analysis.experiments.maps.damage_spec import DamageResult
from analysis.experiments.maps.distance_spec import DistanceSpec
from analysis.experiments.strategies import DAMAGE, STRATEGIES, Strategy
from analysis.models.source.model_spec import ModelSpec
from analysis.results.stored import summaries
from tests.support import fakes, own
from tests.support.seen import contrast, figures, texts, trace
from tests.support.toy import SWEEP

SEARCHING = ["greedy", "swaps"]
OURS = [
    "similarity",
    "deepest",
    "reverse",
    "block-influence",
    "loss-greedy",
    "random",
    "manual",
    *SEARCHING,
]
MIDDLE = '''
"""Layers from the middle of the model."""

from analysis.core.blocks import Block
from analysis.experiments.strategies import StrategyInputs, Strategy, register


def middle(n, given):
    return Block((given.n_layers - n) // 2, n)


register(Strategy("middle", title="Middle", help="layers in the middle of the model.", choose=middle))
'''
DRAWN = '''
"""A block from the second half, drawn."""

import random

from analysis.core.blocks import Block
from analysis.experiments.strategies import DRAW, Strategy, register


def late(n, given):
    return Block(random.Random(given.draw).randint((given.n_layers - n) // 2, given.n_layers - n), n)


register(Strategy("late", title="Late", help="a block from the second half, drawn.", choose=late, needs=(DRAW,)))
'''


@pytest.fixture
def register(tmp_path):
    """A function that registers strategies as long as the test lasts."""
    names = []

    def add(name, text):
        own.file(tmp_path, f"own_{name}", text)
        names.append(name)
        return STRATEGIES[name]

    yield add
    for name in names:
        STRATEGIES.remove(name)


@pytest.fixture
def middle(register):
    return register("middle", MIDDLE)


@pytest.fixture
def spec(cache, tiny_folder):
    """A short sweep of a model of six layers."""
    model = ModelSpec(str(tiny_folder()), dtype="float32")
    text = CorpusSpec("wiki", n_texts=2, seq_len=24, split="validation")
    distances = DistanceSpec(model, CorpusSpec("c4", n_texts=3, seq_len=24))
    return SweepSpec(model, BenchmarkSpec(limit=4), text, distances, max_n=3)


def helped(capsys):
    with pytest.raises(SystemExit):
        main.main(["sweep", "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_ours_are_there_in_their_order():
    assert list(STRATEGIES) == OURS
    assert [strategy.needs for strategy in STRATEGIES.values()] == [
        ("map",),
        (),
        (),
        ("influence",),
        ("damage",),
        ("draw",),
        ("blocks",),
        *[("searched",)] * len(SEARCHING),
    ]


def test_the_command_line_offers_it_while_it_is_there(capsys, register):
    assert f"--strategy {{{','.join(OURS)}}}" in helped(capsys)
    register("middle", MIDDLE)
    assert f"--strategy {{{','.join(OURS)},middle}}" in helped(capsys)
    asked = main.request(["sweep", "starter", "--strategy", "middle"])
    assert asked == SweepSpec(strategy="middle")
    assert main.command_line(asked) == "python -m analysis sweep starter --strategy middle"
    STRATEGIES.remove("middle")
    assert "middle" not in helped(capsys)
    with pytest.raises(
        SpecError, match="strategy must be one of similarity, .*, swaps, not 'middle'"
    ):
        SweepSpec(strategy="middle")


@pytest.mark.usefixtures("middle")
def test_its_curve_is_measured_without_a_map_and_read_back(spec, monkeypatch):
    monkeypatch.setattr(
        distance_map, "run", lambda *args, **kwargs: pytest.fail("a map was measured")
    )
    measured = sweep.run(replace(spec, strategy="middle"))
    assert [point.block for point in measured.points] == [
        None,
        Block(2, 1),
        Block(2, 2),
        Block(1, 3),
    ]
    assert all(point.acc is not None and math.isfinite(point.loss) for point in measured.points)
    assert measured.spec == sweep.resolve(replace(spec, strategy="middle", draw=3))
    assert SweepResult.load(measured.spec).to_json() == measured.to_json()


def test_one_that_needs_the_damage_is_given_it(spec, register):
    def worst(n, given):
        return max(
            (entry for entry in given.least if entry.n <= n), key=lambda entry: entry.increase
        ).block

    STRATEGIES.add(Strategy("worst", "Worst", "of the best the worst.", worst, (DAMAGE,)))
    try:
        measured = sweep.run(replace(spec, strategy="worst", max_n=1))
        assert measured.points[1].block == DamageResult.load(measured.spec.damage).best[0].block
        assert main.request(main.command_line(measured.spec).split()[3:]).damage is None
    finally:
        STRATEGIES.remove("worst")


@pytest.mark.usefixtures("middle")
def test_explore_offers_it_and_shows_its_removed_block(spec, monkeypatch):
    distance_map.run(spec.distances)
    at = own.page(monkeypatch, "pages/explore.py", model=spec.model.source, dtype="float32", n="2")
    picker = at.selectbox(key="strategy")
    assert picker.options == [*OURS, "middle"]
    assert "- **middle**: layers in the middle of the model." in picker.help
    picker.set_value("middle").run()
    assert not at.exception
    assert Block(2, 2).brief() in texts(at)
    path = trace(figures(at)["map"], "path")
    assert list(zip(path["x"], path["y"], strict=True))[:3] == [(2, 1), (2, 2), (1, 3)]


def of(name, draw=0):
    return replace(SWEEP, spec=SweepSpec(max_n=2, strategy=name, draw=draw))


def test_charts_give_it_its_own_look_and_legend(register):
    register("middle", MIDDLE)
    register("late", DRAWN)
    figure = curves.accuracy_curve(
        SWEEP, others=[of("deepest"), of("middle"), of("late"), of("late", 1)]
    )
    drawn = {item.name: item for item in figure.data}
    assert {"middle", "late × 2", "late draws"} <= drawn.keys()
    assert "<b>middle</b>" in drawn["middle"].text[0]
    looks = [look.style_of(name) for name in STRATEGIES]
    for side in ("dash", "symbol", "light", "dark"):
        assert len({getattr(one, side) for one in looks}) == len(looks)
    assert looks[: len(OURS)] == [look.STRATEGY_STYLES[name] for name in OURS], (
        "a new one does not change how ours look"
    )
    assert summaries.how(of("late", 1)) == "late, draw 1"


@pytest.mark.parametrize(("dark", "background"), [(False, "#ffffff"), (True, "#13181d")])
def test_looks_have_contrast_and_repeat_when_used_up(dark, background):
    names = [f"further-{number}" for number in range(9)]
    for name in names:
        STRATEGIES.add(Strategy(name, name, "a test.", lambda n, given: Block(0, n)))
    try:
        styles = [look.style_of(name) for name in names]
    finally:
        for name in names:
            STRATEGIES.remove(name)
    assert styles[:4] == styles[4:8]
    for style in styles[:4]:
        assert contrast(style.shade(dark=dark), background) >= 3


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "In the Middle"}, "lowercase letters and digits"),
        ({"needs": ("maps",)}, "may need map, influence, damage, draw, searched, blocks, not maps"),
        ({"choose": None}, "must either choose layers itself or need blocks"),
        ({"needs": ("blocks",)}, "must either choose layers itself or need blocks"),
        ({"needs": ("searched",)}, "must define a search exactly if it needs searched"),
    ],
)
def test_invalid_strategies_are_refused(settings, told):
    usual = {
        "name": "middle",
        "title": "Middle",
        "help": "a test.",
        "choose": lambda n, given: Block(0, n),
    }
    with pytest.raises(SpecError, match=told):
        Strategy(**{**usual, **settings})


def test_fingerprints_are_independent_of_registered_strategies(register):
    before = [SweepSpec().fingerprint(), fakes.sweep().spec.fingerprint()]
    register("middle", MIDDLE)
    assert [SweepSpec().fingerprint(), fakes.sweep().spec.fingerprint()] == before
