"""Sublayer pruning on the pages: written, drawn, sized and exported, with a note where its size is
not known.
"""

from dataclasses import replace

from analysis import jobs
from analysis.core.blocks import parse_removal
from analysis.models.source.sizes import PartFacts
from tests.pages.explore.test_savings import table
from tests.support import fakes
from tests.support.seen import strip, texts

WRITTEN = "a12:2+m15+3:1"
CUT = parse_removal(WRITTEN)
ATTENTION, FEED_FORWARD = (
    PartFacts(900_000, 0, 900_000, 500_000),
    PartFacts(2_640_000, 0, 2_640_000, 1_400_000),
)
KNOWN = replace(
    fakes.FACTS,
    layers=[
        replace(layer, attention=ATTENTION, feed_forward=FEED_FORWARD) for layer in fakes.LAYERS
    ],
)


def test_sublayers_are_drawn_and_their_cost_is_listed_by_part(app):
    fakes.distances(model=KNOWN).save()
    fakes.sweep(answers=True).save()
    at = app(block=WRITTEN, tab="cost")
    assert not at.exception
    assert f"Accuracy and loss without {CUT.brief()} are not measured." in texts(at)
    told = strip(at)
    assert told["cut"] == [3]
    assert {int(layer): part for layer, part in told["parts"].items()} == {
        12: "attention",
        13: "attention",
        15: "feed-forward",
    }
    gone = 3_540_000 + 2 * 900_000 + 2_640_000
    assert table(at)["Parameters"][1] == f"{(KNOWN.n_parameters - gone) / 1e6:.1f} M"
    assert table(at)["KV cache"][2] == "−10.0%", "three of thirty layers keep no keys and values"
    at.button(key="measure-speed").click().run()
    (made,) = jobs.active()
    assert made.spec.blocks == (CUT,)


def test_it_is_written_in_the_menu(app):
    fakes.distances(model=KNOWN).save()
    at = app(n="5")
    at.text_input(key="own-block").set_value("a12+m12+a14").run()
    assert at.query_params["block"] in ("a14+12:1", ["a14+12:1"])
    at.text_input(key="own-block").set_value("a0:30").run()
    assert "none of the 30 layers would keep its attention" in at.error[0].value
