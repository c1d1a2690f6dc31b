"""The tab that answers wishes: for a size, a speed or a loss, the best that was measured, and a button that takes it."""

from analysis.core.blocks import Block
from analysis.reading import front
from analysis.reading.reading import ACCURACY
from tests.support import fakes
from tests.support.seen import marked, names


def test_without_a_measured_cut_it_says_what_to_do(app, precomputed):
    precomputed(fakes.distances())
    at = app(tab="trade-off")
    assert "Nothing can be weighed yet" in at.info[0].value


def test_a_wish_is_answered_and_taken(app, precomputed):
    curve = fakes.sweep()
    for result in (fakes.distances(), curve):
        precomputed(result)
    at = app(tab="trade-off", n="3")
    (found,) = front.fronts(ACCURACY, [curve])
    megabytes = round(0.7 * max(offer.bytes for offer in found.offers) / 1e6)
    at.number_input("front-mb").set_value(float(megabytes)).run()
    offer = found.within(megabytes * 1e6)
    named = f"**Without layers {offer.cut.start}-{offer.cut.stop - 1} "
    assert any(said.value.startswith(named) for said in at.markdown)
    button = next(one for one in at.button if one.key and one.key.startswith("front-take"))
    button.click().run()
    assert at.session_state["chosen_n"] == offer.cut.size
    assert not at.exception


def test_the_selected_block_is_marked_at_its_own_scores(app, precomputed):
    curve = fakes.sweep()
    own = Block(14, 5)
    for result in (fakes.distances(), curve, fakes.evaluate(own, curve=curve)):
        precomputed(result)
    at = app(tab="trade-off", block="14:5")
    ((_, accuracy),) = marked(at, "front")
    assert "on screen" not in names(at, "accuracy"), "one marker, and not at the unpruned model"
    assert accuracy == 0.37
    assert accuracy != curve.points[5].acc
    assert marked(app(tab="trade-off", block="15:5"), "front") == []
