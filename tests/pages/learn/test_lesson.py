"""The lesson outside of its page: locked guesses, and the healing runs that represent a model."""

from dataclasses import replace

from analysis.models.source.model_spec import ModelSpec
from pages.components.learn import lesson
from tests.support import fakes


def test_no_guess_changes_after_locking_or_begins_after_the_answer(monkeypatch):
    one, held, asked = lesson.Lesson(ModelSpec()), {}, []
    monkeypatch.setattr(lesson.st, "session_state", held)
    monkeypatch.setattr(lesson.state, "choose_option", lambda *option: asked.append(option))
    for block, option in ((3, 1), (4, 2)):
        held[one.key("check-0")] = option
        one.drafts["block"] = block
        one.lock("block")
        one.answer(0)
    one.skip("block")
    one.skip("cliff")
    one.drafts["cliff"] = "late"
    one.lock("cliff")
    one.go(99)
    assert (one.guesses, one.answers, one.skipped, one.step) == (
        {"block": 3},
        {0: 1},
        {"cliff"},
        len(lesson.STEPS) - 1,
    )
    assert asked == [("step", "check")]


def test_the_drawing_just_before_the_click_is_locked():
    one = lesson.Lesson(ModelSpec(), drafts={"block": 0})
    one.hear["block"] = lambda: one.drafts.update(block=7)
    one.lock("block")
    assert one.guesses == {"block": 7}


def test_a_cut_with_both_ways_of_healing_comes_first():
    trained = fakes.heal()
    other = replace(trained, spec=fakes.heal_spec(n=3))
    instant = replace(trained, spec=replace(trained.spec, steps=0, instant=True), steps=[])
    rungs, heal = lesson.heal_ladder([other, trained, instant])
    assert heal is trained
    assert [rung.name for rung in rungs] == ["unpruned", "pruned", "instant", "trained 2 min"]
    assert lesson.heal_ladder([fakes.heal(20)]) == ([], None)


def test_a_heal_by_minutes_is_trained_if_it_took_a_step_and_controls_are_not():
    trained = fakes.timed_heal()
    too_short = replace(trained, spec=replace(trained.spec, minutes=2.0, instant=True), steps=[])
    rungs, _ = lesson.heal_ladder([trained, too_short])
    assert [rung.name for rung in rungs] == ["unpruned", "pruned", "instant", "trained 2 min"]
    assert lesson.heal_ladder([fakes.timed_heal(control=True)]) == ([], None)
