"""The curves: strategies and healing runs on one chart, intervals, and removals of scattered
layers.
"""

from dataclasses import replace

import pytest

from analysis import jobs
from analysis.core.blocks import Block, LayerSet
from analysis.experiments.strategies import STRATEGIES
from analysis.results.compared import cliff
from tests.support import fakes
from tests.support.levels import few
from tests.support.seen import charts, names, opened, ringed, strip, texts, trace

LOSS_AXIS = "loss, nats per token"
CUTS = (Block(3, 2), Block(11, 5), LayerSet((4, 9, 15, 20, 21)))


def fill(*strategies: str) -> None:
    fakes.rich_distances().save()
    for strategy in strategies:
        for draw in range(3 if strategy == "random" else 1):
            cuts = CUTS if strategy == "manual" else ()
            fakes.sweep(strategy=strategy, draw=draw, cuts=cuts, answers=True).save()


def compare(at, *strategies: str):
    """The page with these strategies' curves drawn too."""
    choice = next(
        group for group in at.button_group if group.key and group.key.startswith("compare-")
    )
    return choice.set_value(list(strategies)).run()


def test_other_strategies_on_the_same_questions_are_drawn_on_request(app):
    fill("deepest", "random", "similarity")
    at = app()
    assert "deepest" not in names(at, "accuracy"), "one curve at first"
    assert names(at, "accuracy")[-1] == "pruned"
    compare(at, "deepest", "random")
    drawn = names(at, "accuracy")
    assert {"similarity", "deepest", "random × 3", "interval", "random draws"} <= set(drawn)
    assert "deepest" in names(at, "loss, nats (log scale)")
    compare(at, "random")
    assert not at.exception
    assert "deepest" not in names(at, "accuracy")
    assert "random × 3" in names(at, "accuracy")
    at.slider(key="n").set_value(9).run()
    assert "deepest" not in names(at, "accuracy"), "a hidden curve stays hidden"


@pytest.mark.parametrize("strategy", few(STRATEGIES, "similarity", "random", "manual"))
def test_every_strategy_drives_slider_strip_and_map(app, strategy):
    fill("similarity", strategy)
    at = app(strategy=strategy, n="5")
    measured = fakes.sweep(
        strategy=strategy,
        cuts=CUTS if strategy == "manual" else (),
        draw=2 if strategy == "random" else 0,
    )
    cut = next(point.block for point in measured.points if point.n == 5)
    assert f"**{cut.brief()}** removed" in texts(at)
    assert strip(at)["cut"] == list(cut.layers)
    assert ringed(at) == [
        (run.start, run.size) for run in (cut.blocks if isinstance(cut, LayerSet) else [cut])
    ]
    assert at.query_params.get("strategy", ["similarity"])[0] in (strategy, strategy[0])
    assert not at.exception


@pytest.mark.parametrize("strategy", ["random", "manual"])
def test_unmeasured_block_names_the_next_step(app, strategy):
    fakes.distances().save()
    at = app(strategy=strategy, n="5")
    assert f"The layers that {strategy} removes are not measured" in texts(at)
    assert "Run a sweep" in texts(at)
    assert ringed(at) == []
    at.slider(key="n").set_value(0).run()
    assert "Nothing removed" in texts(at)


def test_the_cliff_is_marked_and_the_bands_are_explained(app):
    fill("similarity")
    at = app()
    (note,) = charts(at)["accuracy"]["layout"]["annotations"]
    assert note["text"] == cliff.locate(fakes.sweep(answers=True)).label()
    assert "Shaded: the 95 % interval of an accuracy (Wilson) or of a loss (Student's t)." in texts(
        opened(at, "data")
    )


def test_one_click_heals_the_block_instantly_on_the_curves_questions(app):
    fakes.distances().save()
    measured = fakes.sweep()
    measured.save()
    at = app(n="5")
    at.button(key="instant").click().run()
    assert not at.exception
    (made,) = jobs.active()
    assert made.kind == "heal"
    assert made.spec.block == fakes.distances().best[4].block
    assert (made.spec.recipe, made.spec.steps, made.spec.instant) == ("instant", 0, True)
    assert made.spec.model.quantization == "none"
    assert made.spec.benchmark == replace(measured.spec.benchmark, identity="")
    assert made.spec.validation == replace(measured.spec.loss_corpus, identity="")


def test_the_curve_shows_heals_of_its_own_blocks_alone(app, curve):
    heal = fakes.alike_heal()
    heal.save()
    at = app(n="5")
    assert not heal.is_of(curve.points[5].block)
    assert "healed" not in names(at, "accuracy")
    own = replace(heal, spec=replace(heal.spec, block=curve.points[5].block))
    points = {
        name: replace(point, start=own.spec.block.start)
        for name, point in own.models.items()
        if point.n
    }
    replace(own, **points).save()
    diamonds = trace(charts(app(n="5"))["accuracy"], "healed")
    assert len(diamonds["x"]) == 1
    assert curve.points[5].block.brief() in diamonds["text"][0]
