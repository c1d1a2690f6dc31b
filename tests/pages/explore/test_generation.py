"""The Generation tab: text and rates of exactly the selected block, or a grey panel with the button that measures it."""

from dataclasses import replace

from analysis import jobs
from analysis.core.blocks import Block, written
from tests.support import fakes
from tests.support.seen import generated, texts

OWN = fakes.sweep().points[5].block
OTHER = Block(14, 5)


def fill():
    fakes.distances().save()
    sweep = fakes.generating_sweep()
    sweep.save()
    return sweep


def table(at):
    return next(item.value for item in at.dataframe if "block" in item.value.columns)


def test_the_strategys_own_block_shows_its_text(app):
    fill()
    at = app(n="5", tab="generation")
    told = generated(at)
    assert told["cut"] == written(OWN) == told["path"]["5"]
    assert told["texts"][told["cut"]]["runs"] == [["five", False], ["5", True]]
    assert "**Not measured**" not in texts(at)


def test_another_block_of_that_size_is_not_measured(app):
    fill()
    at = app(block="14:5", tab="generation")
    told = generated(at)
    assert told["cut"] == "14:5"
    assert "14:5" not in told["texts"]
    assert told["path"]["5"] == written(OWN)
    assert f"**Not measured**: {OTHER.brief()}" in texts(at)


def test_the_button_measures_exactly_the_selected_block(app):
    sweep = fill()
    at = app(block="14:5", tab="generation")
    at.button(key="measure-generation").click().run()
    (made,) = jobs.active()
    assert (made.kind, made.spec.block, made.spec.generation) == ("evaluate", OTHER, sweep.spec.generation)
    assert made.spec.model == replace(sweep.spec.model, identity="")
    assert (made.spec.benchmark, made.spec.loss_corpus) == (None, None), "generation alone is quick"


def test_a_measured_block_shows_its_own_text_and_rates(app):
    fill()
    fakes.generating(OTHER, "its own text").save()
    at = app(block="14:5", tab="generation")
    assert "**Not measured**" not in texts(at)
    told = generated(at)["texts"]["14:5"]
    assert "".join(words for words, _ in told["runs"]) == "its own text"
    assert told["facts"].endswith("24 problems solved 0.0% (0.0 to 13.8)")


def test_rows_name_their_block_and_zero_has_an_interval(app):
    fill()
    fakes.generating(OTHER, "its own text").save()
    at = app(block="14:5", tab="generation")
    rows = table(at)
    assert rows["block"].iloc[0] == "unpruned model"
    (own,) = [row for row in rows.to_dict("records") if row["block"] == "layers 14-18 (selected)"]
    assert own["problems solved"] == "0.0% (0.0 to 13.8)"
    assert OWN.brief() in set(rows["block"])


def test_without_any_generation_the_button_is_offered(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="5", tab="generation")
    assert f"**Not measured**: {OWN.brief()}" in texts(at)
    assert at.button(key="measure-generation")
    at.slider(key="n").set_value(0).run()
    assert "Not measured" not in texts(at)
    assert not at.exception
