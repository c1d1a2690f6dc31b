"""Generated text under the slider: that of exactly the selected block, or a button that measures
it; all of it under Data.
"""

from dataclasses import replace

from analysis import jobs
from analysis.core.blocks import Block, written
from tests.support import fakes
from tests.support.seen import readout

OWN = fakes.sweep().points[5].block
OTHER = Block(14, 5)


def fill():
    fakes.distances().save()
    sweep = fakes.generating_sweep()
    sweep.save()
    return sweep


def table(at):
    at.selectbox(key="table").set_value("Generation").run()
    return next(item.value for item in at.dataframe if "block" in item.value.columns)


def test_the_strategys_own_block_shows_its_text(app):
    fill()
    at = app(n="5")
    told = readout(at)
    assert told["cut"] == written(OWN)
    assert told["texts"][told["cut"]] == [["five", False], ["5", True]]


def test_the_button_measures_exactly_the_selected_block(app):
    sweep = fill()
    fakes.evaluate(OTHER, curve=sweep).save()
    at = app(block="14:5")
    at.button(key="measure-generation").click().run()
    (made,) = jobs.active()
    assert (made.kind, made.spec.block, made.spec.generation) == (
        "evaluate",
        OTHER,
        sweep.spec.generation,
    )
    assert made.spec.model == replace(sweep.spec.model, identity="")
    assert (made.spec.benchmark, made.spec.loss_corpus) == (None, None), "generation alone is quick"


def test_a_measured_block_shows_its_own_text_and_rates(app):
    fill()
    fakes.generating(OTHER, "its own text").save()
    at = app(block="14:5")
    assert not [button for button in at.button if button.key == "measure-generation"]
    assert "".join(words for words, _ in readout(at)["texts"]["14:5"]) == "its own text"


def test_rows_name_their_block_and_zero_has_an_interval(app):
    fill()
    fakes.generating(OTHER, "its own text").save()
    at = app(block="14:5", tab="data")
    rows = table(at)
    assert rows["block"].iloc[0] == "unpruned model"
    (own,) = [row for row in rows.to_dict("records") if row["block"] == "layers 14-18 (selected)"]
    assert own["problems solved"] == "0.0% (0.0 to 13.8)"
    assert OWN.brief() in set(rows["block"])
    at.selectbox(key="table").set_value("Generated text").run()
    (shown,) = at.dataframe
    assert "its own text" in set(shown.value["without layers 14-18"])


def test_without_any_generation_the_button_is_offered(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="5")
    assert at.button(key="measure-generation")
    at.slider(key="n").set_value(0).run()
    assert not [button for button in at.button if button.key == "measure-generation"]
    assert not at.exception
