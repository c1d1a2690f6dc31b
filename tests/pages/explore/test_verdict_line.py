"""Explore opens with the decision: the verdict on the removed layers, and the best known block of their size with a button."""

from dataclasses import replace

from analysis import jobs
from analysis.data.spec import default_loss_corpus
from analysis.experiments.accuracy.sweep_spec import EvaluateSpec
from tests.support import fakes
from tests.support.seen import opened, ringed, texts

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
    said = next(item for item in at.markdown if item.value.startswith("Removing "))
    assert "Removing layers 11-18 makes the model 21 % smaller" in said.value
    assert "100 ARC-Easy questions" in said.value
    assert "- Accuracy" in said.help
    assert "faster" not in said.value, "nothing was timed"
    assert "measure-speed" in buttons(at)
    fakes.speed().save()
    at = app(n="8")
    assert "about 19 % faster" in texts(at)
    assert "measure-speed" not in buttons(at)


def test_nothing_removed_asks_for_a_cut(app):
    fill()
    assert "Nothing is removed." in texts(app(n="0"))


def test_best_known_block_is_taken_and_undone_by_one_click(app):
    assert BEST != CHOSEN
    fill()
    at = app(n="5")
    said = texts(at)
    assert f"Best known of 26 choices: **[{BEST.start}, {BEST.stop})**" in said
    assert "Chosen and measured on the same texts: looks better than it is." in said
    at.button(key="take-best").click().run()
    assert ringed(at) == [(BEST.start, 5)]
    assert at.query_params["block"] in (f"{BEST.start}:5", [f"{BEST.start}:5"])
    assert "Best of 26 measured choices of 5 layers" in texts(at)
    assert "take-best" not in buttons(at)
    at.button(key="undo").click().run()
    assert ringed(at) == [(CHOSEN.start, 5)]
    assert not jobs.list_jobs()


def test_a_cut_that_takes_a_protected_layer_is_not_offered(app):
    fill()
    at = app(n="5", keep=f"{BEST.start}:1")
    assert f"**[{BEST.start}, {BEST.stop})**" not in texts(at)
    assert "take-best" in buttons(at)


def test_best_block_can_be_scored_on_other_texts(app):
    corpus = replace(default_loss_corpus(), source="other.txt", identity="o")
    measured = fakes.damage()
    fill(damage=replace(measured, spec=replace(measured.spec, corpus=corpus)))
    at = app(n="5")
    button = at.button(key="report-best")
    assert "were not used to choose it" in button.help
    button.click().run()
    made = [job.spec for job in jobs.active()]
    assert {spec.block for spec in made} == {None, BEST}
    assert all(isinstance(spec, EvaluateSpec) and spec.loss_corpus == default_loss_corpus() for spec in made)


def test_link_to_damage_is_shown_where_nothing_compares(app):
    fakes.distances().save()
    fakes.sweep().save()
    at = app(n="5")
    at.button(key="to-damage").click().run()
    assert at.query_params["tab"] in ("damage", ["damage"])
    assert "Click **Measure loss increase**" in texts(opened(at, "damage"))
