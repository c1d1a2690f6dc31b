"""Explore opens with the decision: the verdict on the removed layers, and the best known block of
their size with a button.
"""

from analysis import jobs
from tests.support import fakes
from tests.support.seen import ringed

BEST = next(best.block for best in fakes.damage().best if best.n == 5)
CHOSEN = fakes.distances().best[4].block


def fill(*, damage=None) -> None:
    fakes.distances().save()
    fakes.sweep(answers=True).save()
    (damage or fakes.damage()).save()


def buttons(at) -> list[str]:
    return [button.key for button in at.button]


def test_verdict_comes_first_and_names_its_measurement(app):
    fill()
    at = app(n="8")
    said = next(item for item in at.markdown if item.value.startswith("Without "))
    sentence, _, _ = said.value.partition(". ")
    assert "Without layers 11-18, accuracy" in sentence
    assert len(sentence.split()) <= 25
    assert "Removing layers 11-18 makes the model 21 % smaller" in said.help
    assert "100 ARC-Easy questions" in said.help
    assert "- Accuracy" in said.help
    assert "faster" not in said.help, "nothing was timed"
    fakes.speed().save()
    said = next(item for item in app(n="8").markdown if item.value.startswith("Without "))
    assert "about 19 % faster" in said.help


def test_best_known_block_is_taken_and_undone_by_one_click(app):
    assert BEST != CHOSEN
    fill()
    at = app(n="5")
    button = at.button(key="take-best")
    assert button.label == f"Select {BEST.brief()}"
    assert "Lowest measured loss of this size: " in button.help
    assert "The same texts chose it" in button.help
    button.click().run()
    assert ringed(at) == [(BEST.start, 5)]
    assert at.query_params["block"] in (f"{BEST.start}:5", [f"{BEST.start}:5"])
    assert "take-best" not in buttons(at)
    at.button(key="back").click().run()
    assert ringed(at) == [(CHOSEN.start, 5)]
    assert not jobs.list_jobs()


def test_a_cut_that_takes_a_protected_layer_is_not_offered(app):
    fill()
    at = app(n="5", keep=f"{BEST.start}:1")
    assert at.button(key="take-best").label != f"Select {BEST.brief()}"
