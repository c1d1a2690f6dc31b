"""The lesson: every step with and without results, guesses that are locked and revealed, the check, presenter mode."""

from dataclasses import replace

import pytest

from analysis import jobs as analysis_jobs
from analysis.experiments.heal.spec import JunctionReport
from analysis.models.spec import ModelSpec
from analysis.reading import verdicts
from pages.components.learn import lesson, stored
from pages.components.learn.steps import check
from tests.support import fakes
from tests.support.seen import figures, texts, trace

PAGE = "pages/learn.py"
BEST = fakes.distances().best[4]


@pytest.fixture
def known(ui_cache):
    """A model of which everything has been measured."""
    fakes.distances().save()
    fakes.sweep(writes=True, answers=True).save()
    fakes.damage().save()
    fakes.heal().save()
    healed = fakes.heal(0, steps=50)
    report = JunctionReport("model.layers.10.mlp.down_proj", 0.7, 5.3, 3.5, 24_576, 14.0)
    instant = replace(healed.spec, steps=0, instant=True, recipe="instant")
    better = replace(fakes.heal().healed, loss=3.4, acc=0.47)
    replace(healed, spec=instant, complete=True, healed=better, junction=report).save()


def turn_to(at, step: int):
    """Click a step in the outline."""
    outline = next(group for group in at.button_group if group.key.startswith("learn-outline"))
    if outline.value != step - 1:
        outline.set_value(step - 1).run()
    assert f"step {step} of 8" in texts(at)
    assert not at.exception
    return at


def said(at) -> str:
    """All that is written in the lesson itself, verdicts included."""
    return texts(at) + "\n".join(str(item.value) for item in [*at.success, *at.latex])


# The way


def test_the_lesson_is_walked_to_the_end_and_back(app, known):
    at = app(PAGE)
    titles = []
    assert at.button(key="learn-back").disabled
    for step in range(1, 9):
        assert not at.error
        assert not at.exception
        titles.append(at.header[0].value)
        assert at.button_group(key="learn-outline-0").value == step - 1
        if step < 8:
            at.button(key="learn-next").click().run()
    assert len(set(titles)) == 8
    assert at.button(key="learn-next").disabled
    at.button(key="learn-back").click().run()
    assert at.header[0].value == titles[6]
    assert not at.button(key="learn-next").disabled


def test_no_step_is_a_wall_of_text(app, known):
    at = app(PAGE)
    glossary = next(item.value for item in at.markdown if "Residual stream" in item.value)
    for step in range(1, 9):
        turn_to(at, step)
        for key in ("learn-lock-block", "learn-lock-cliff"):
            if [button for button in at.button if button.key == key]:
                at.button(key=key).click().run()
        words = sum(len(item.value.split()) for item in at.main.markdown if item.value != glossary)
        assert words <= 90, f"step {step} says {words} words"


# The steps, with results


def test_step_1_draws_the_models_own_layers_and_their_turns(app, known):
    at = app(PAGE)
    assert "here 576" in said(at)
    assert "all 30 layers" in said(at)
    assert "layer 29" in trace(figures(at)["learn-stream"], "layers")["text"]
    assert trace(figures(at)["learn-turns"], "turn")["y"] == fakes.distances().mean[0]


def test_step_2_measures_the_angle_live_and_length_does_not_matter(app, known):
    at = turn_to(app(PAGE), 2)
    assert "**60° / 180° = 0.33**" in said(at)
    at.slider(key="learn-angle-0").set_value(90).run()
    assert "= 0.50**: a right angle" in said(at)
    at.slider(key="learn-length-0").set_value(0.5).run()
    assert "= 0.50**: a right angle" in said(at)
    assert "The cosine is 1/√2 = 0.707, the angle 45°, the distance 0.25." in said(at)


def test_step_3_reveals_the_map_only_after_the_guess_is_locked(app, known):
    at = turn_to(app(PAGE), 3)
    assert set(figures(at)) == {"learn-strip"}
    assert BEST.block.describe() not in said(at)
    at.slider(key="learn-block-0").set_value(BEST.start + 3).run()
    assert set(figures(at)) == {"learn-strip"}
    at.button(key="learn-lock-block").click().run()
    assert set(figures(at)) == {"learn-row", "learn-map"}
    row = fakes.distances().mean[4]
    rank = 1 + sum(value < row[BEST.start + 3] for value in row)
    assert f"Most similar: {BEST.block.describe()}, distance {BEST.distance:.3f}." in said(at)
    assert f"has {row[BEST.start + 3]:.3f}: number {rank} of 26, 3 layers off." in said(at)
    assert not [slider for slider in at.slider if slider.key == "learn-block-0"], "locked is locked"


def test_step_3_a_right_guess_is_called_right(app, known):
    at = turn_to(app(PAGE), 3)
    at.slider(key="learn-block-0").set_value(BEST.start).run()
    at.button(key="learn-lock-block").click().run()
    assert "Your guess is right: the best of 26." in said(at)


def test_step_4_reveals_the_curve_and_how_far_off_the_guess_was(app, known):
    sweep = fakes.sweep()
    cliff = verdicts.knee(sweep.points, sweep.lines)
    at = turn_to(app(PAGE), 4)
    assert trace(figures(at)["learn-accuracy"], "pruned")["x"] == [0]
    assert f"n = {cliff}" not in said(at)
    at.select_slider(key="learn-cliff-0").set_value(cliff - 2).run()
    at.button(key="learn-lock-cliff").click().run()
    assert len(trace(figures(at)["learn-accuracy"], "pruned")["x"]) == 16
    assert {"chance", "majority", "unpruned"} <= {item["name"] for item in figures(at)["learn-accuracy"]["data"]}
    assert f"The cliff is at n = {cliff}. You said {cliff - 2}: 2 layers off." in said(at)
    assert f"At n = {cliff - 1} loss went from 2.4 to" in said(at)


def test_step_4_takes_no_cliff_for_an_answer(app, known):
    at = turn_to(app(PAGE), 4)
    at.select_slider(key="learn-cliff-0").set_value("no cliff").run()
    at.button(key="learn-lock-cliff").click().run()
    assert "You said that there is none." in said(at)


def test_step_4_of_a_curve_without_a_cliff(app, known):
    fakes.distances().save()
    short = fakes.sweep(limit=400)
    replace(short, points=short.points[:4]).save()
    at = app(PAGE)
    turn_to(at, 4)
    at.select_slider(key="learn-cliff-0").set_value("no cliff").run()
    at.button(key="learn-lock-cliff").click().run()
    assert "Up to n = 3 there is no cliff. You are right." in said(at)


def test_step_5_sets_the_own_path_and_cliff_among_published_ones(app, known):
    at = turn_to(app(PAGE), 5)
    names = [item["name"] for item in figures(at)["learn-paths"]["data"]]
    assert {"Llama-2 7B", "Llama-2 13B", "Llama-2 70B", "Mistral 7B", fakes.FACTS.name} <= set(names)
    own = trace(figures(at)["learn-cliffs"], fakes.FACTS.name)
    sweep = fakes.sweep()
    assert own["x"][0] == pytest.approx(verdicts.knee(sweep.points, sweep.lines) / 30)
    assert "arXiv:2403.17887" in said(at)
    assert "code that looks like the authors'" in said(at)


def test_step_6_shows_instant_and_trained_side_by_side(app, known):
    at = turn_to(app(PAGE), 6)
    assert [item["name"] for item in figures(at)["learn-heal-loss"]["data"]] == ["unpruned", "pruned", "instant", "50 steps"]
    assert "Here loss went up from 2.41 to 4.45, and healing brought it to 3.10." in said(at)
    assert "style of its text" not in said(at)


def test_step_6_says_why_a_healed_loss_can_be_below_the_unpruned_one(app, known):
    heal = fakes.heal()
    replace(heal, healed=replace(heal.healed, loss=2.1)).save()
    assert "style of its text" in said(turn_to(app(PAGE), 6))


def test_step_7_tells_the_limits_with_the_own_numbers(app, known):
    at = turn_to(app(PAGE), 7)
    shown = said(at)
    assert "Repeated phrases in your model's text: 12% whole, 37% without 5 layers." in shown
    assert "Small sums right: 50% whole, 0% without 5 layers." in shown
    assert "Rank correlation of distance and damage in yours: 0.83, among blocks of 5 0.62." in shown
    assert "Nearest in yours: option 2 for 75%" in shown
    assert {"learn-writing", "learn-damage"} <= set(figures(at))


def test_step_8_explains_every_answer_and_sums_the_guesses_up(app, known):
    at = turn_to(app(PAGE), 3)
    at.slider(key="learn-block-0").set_value(BEST.start + 1).run()
    at.button(key="learn-lock-block").click().run()
    turn_to(at, 8)
    assert at.button(key="learn-answer-0").disabled
    for number, question in enumerate(check.QUESTIONS):
        picked = question.right if number else (question.right + 1) % 3
        at.radio(key=f"learn-check-{number}-0").set_value(picked).run()
        at.button(key=f"learn-answer-{number}").click().run()
    assert [question.because in said(at) + at.warning[0].value for question in check.QUESTIONS] == [True] * 3
    assert "No: they stand at a right angle." in at.warning[0].value
    table = at.table[0].value
    assert list(table["yours"]) == [
        f"layers {BEST.start + 1}-{BEST.start + 5} (5 layers), block [{BEST.start + 1}, {BEST.start + 6}), "
        f"{fakes.distances().mean[4][BEST.start + 1]:.3f}",
        "no guess yet",
        "3 of 3 answered",
    ]
    assert table["measured"][1] == "hidden until you guess"
    assert table["how far off"][0].endswith(", +0.001, 1 layer")
    assert table["how far off"][2] == "2 right"


# Without results


def test_a_step_without_results_says_one_sentence_and_where_to_go(app):
    at = app(PAGE)
    for step, sentence in (
        (1, "How far each layer turns the stream is on its map."),
        (3, "has no distance map yet"),
        (4, "No accuracy has been measured"),
        (5, "Your own line needs a distance map."),
        (6, "No cut of your model has been healed yet."),
        (7, "run a sweep that lets them write"),
    ):
        turn_to(at, step)
        assert not at.error
        assert sentence in said(at)
        assert at.get("page_link")
    turn_to(at, 8)
    assert list(at.table[0].value["question"]) == ["The three questions"]


def test_a_model_that_only_guesses_is_not_asked_about_a_cliff(app, known):
    sweep = fakes.sweep()
    flat = replace(sweep, points=[replace(point, acc=0.25) for point in sweep.points])
    replace(flat, spec=fakes.sweep(writes=True, answers=True).spec).save()
    at = turn_to(app(PAGE), 4)
    assert "cannot be told from guessing" in said(at)
    assert "cliff begins" not in said(turn_to(at, 8))


def test_unfinished_results_are_not_taught_with(app):
    fakes.distances(complete=False).save()
    assert "no distance map yet" in said(turn_to(app(PAGE), 3))


def test_a_model_named_like_markup_is_shown_as_it_is(app):
    evil = replace(fakes.FACTS, name="<b>[a](http://b)</b>")
    replace(fakes.distances(), model=evil).save()
    at = turn_to(app(PAGE), 5)
    assert trace(figures(at)["learn-paths"], "&lt;b&gt;[a](http://b)&lt;/b&gt;")
    assert "<b>[a](http://b)</b>" not in said(at)


# What is kept


def test_start_over_forgets_guesses_and_begins_again(app, known):
    at = turn_to(app(PAGE), 3)
    at.slider(key="learn-block-0").set_value(9).run()
    at.button(key="learn-lock-block").click().run()
    at.button(key="learn-start-over").click().run()
    assert "step 1 of 8" in said(at)
    turn_to(at, 3)
    assert at.slider(key="learn-block-1").value == 0
    assert list(turn_to(at, 8).table[0].value["yours"][:2]) == ["no guess yet"] * 2


def test_another_model_begins_another_lesson(app, known):
    at = turn_to(app(PAGE), 3)
    at.button(key="learn-lock-block").click().run()
    at.session_state["model"] = ModelSpec(source="someone/other")
    at.run()
    assert "step 1 of 8" in said(at)
    assert "all layers" in said(at)


def test_a_locked_guess_cannot_be_changed(monkeypatch):
    one, held = lesson.Lesson(ModelSpec()), {}
    monkeypatch.setattr(lesson.st, "session_state", held)
    for block, option in ((3, 1), (4, 2)):
        held.update({one.key("block"): block, one.key("check-0"): option})
        one.lock("block")
        one.answer(0)
    one.go(99)
    assert (one.guesses, one.answers, one.step) == ({"block": 3}, {0: 1}, len(lesson.STEPS) - 1)


def test_the_cut_with_both_ways_of_healing_is_told():
    trained = fakes.heal()
    other = replace(trained, spec=fakes.heal_spec(n=3))
    instant = replace(trained, spec=replace(trained.spec, steps=0, instant=True))
    rungs, heal = stored.ladder([other, trained, instant])
    assert heal is trained
    assert [rung.name for rung in rungs] == ["unpruned", "pruned", "instant", "50 steps"]
    assert stored.ladder([fakes.heal(20)]) == ([], None)


def test_a_heal_by_minutes_is_a_trained_one_and_a_control_is_none():
    trained = fakes.timed_heal()
    instant = replace(trained, spec=replace(trained.spec, minutes=None, instant=True))
    rungs, _ = stored.ladder([trained, instant])
    assert [rung.name for rung in rungs] == ["unpruned", "pruned", "instant", "10 minutes"]
    assert stored.ladder([fakes.timed_heal(control=True)]) == ([], None)


# For a class


def test_presenter_mode_is_in_the_address_and_goes_with_every_page(app, known):
    at = app(PAGE, present="1")
    assert at.query_params["present"] == "1"
    assert at.toggle(key="presenter").value
    assert not at.sidebar.markdown, "no sidebar"
    plain, large = figures(app("pages/explore.py")), figures(app("pages/explore.py", present="1"))
    assert large["accuracy"]["layout"]["height"] > plain["accuracy"]["layout"]["height"]
    assert trace(large["accuracy"], "pruned")["y"] == trace(plain["accuracy"], "pruned")["y"]


def test_presenter_mode_is_switched_on_and_off(app, known):
    at = app(PAGE)
    assert "present" not in at.query_params
    at.toggle(key="presenter").set_value(True).run()
    assert at.query_params["present"] == "1"
    at.button(key="leave-presenter").click().run()
    assert "present" not in at.query_params
    assert not at.toggle(key="presenter").value
    assert at.sidebar.markdown


def test_jobs_are_still_there_while_presenting(app, known, job):
    from analysis.experiments.maps.spec import DistanceSpec

    job(DistanceSpec(), analysis_jobs.RUNNING, "A map on its way", done=1, total=4)
    at = app(PAGE, present="1")
    assert "A map on its way" in texts(at)
