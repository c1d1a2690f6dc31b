"""The lesson: every step with and without results, guesses that are locked and revealed, the check,
presenter mode.
"""

import json
from dataclasses import replace

import pytest

from analysis.exports import handout
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import cliff as cliffs
from pages.components.learn import lesson, steps, teach
from pages.components.learn.marks import Drawn
from pages.components.learn.steps import check
from tests.support import fakes, toy
from tests.support.lesson import PAGE, skip, turn_to
from tests.support.seen import figures, read, texts, trace

BEST = fakes.distances().best[4]


def draft(at, question: str, value) -> None:
    """Set a draft as if a hand had dragged or drawn it; the real one is in the journey."""
    at.session_state["lesson"].drafts[question] = value
    at.run()


def lock(at, question: str):
    at.button(key=f"learn-lock-{question}").click().run()
    assert not at.exception
    return at


def guess(at, question: str, value):
    draft(at, question, value)
    return lock(at, question)


def told(at, component: str) -> dict:
    """Return the data that the component of this name was given to draw."""
    return json.loads(
        next(
            item.proto
            for item in at.get("bidi_component")
            if item.proto.component_name == component
        ).json
    )


def said(at) -> str:
    """All that is written in the lesson itself, verdicts included."""
    return texts(at) + "\n".join(
        [*(read(str(item.value)) for item in at.success), *(str(item.value) for item in at.latex)]
    )


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


# The steps, with results


def test_step_1_cuts_the_stream_of_the_starter_without_a_model(app, known):
    at = app(PAGE)
    assert told(at, "layerscope_block") == {
        "layers": 30,
        "size": 5,
        "start": 0,
        "label": "Removed block",
    }
    before = figures(at)["learn-stream"]
    draft(at, "stream", 12)
    after = figures(at)["learn-stream"]
    assert before["data"][0] == after["data"][0], "the unpruned model"
    assert before["data"][1] != after["data"][1]
    assert len(after["data"][1]["x"]) == len(after["data"][0]["x"]) - 5


def test_step_1_starts_at_the_selected_block(app, known):
    assert told(app(PAGE, block="9:4"), "layerscope_block")["start"] == 9
    assert told(app(PAGE, block="28:2"), "layerscope_block")["start"] == 25


def test_step_3_reveals_the_map_after_the_block_is_locked(app, known):
    at = turn_to(app(PAGE), 3)
    assert not figures(at)
    assert BEST.block.brief() not in said(at)
    assert told(at, "layerscope_block") == {
        "layers": 30,
        "size": 5,
        "start": 0,
        "label": "Block that changes the stream least",
    }
    draft(at, "block", BEST.start + 3)
    assert not figures(at)
    lock(at, "block")
    assert set(figures(at)) == {"learn-row", "learn-map"}
    row = fakes.distances().mean[4]
    rank = 1 + sum(value < row[BEST.start + 3] for value in row)
    assert f"Most similar: {BEST.block.brief()}, distance {BEST.distance:.3f}." in said(at)
    assert f"has {row[BEST.start + 3]:.3f}: number {rank} of 26, 3 layers off." in said(at)
    assert not [
        item for item in at.get("bidi_component") if item.proto.component_name == "layerscope_block"
    ], "locked"


def test_step_4_compares_curve_and_drawing_and_judges_the_mark(app, known):
    sweep = fakes.sweep()
    cliff = cliffs.locate(fakes.sweep(writes=True, answers=True))
    at = turn_to(app(PAGE), 4)
    assert not figures(at)
    given = told(at, "layerscope_curve")
    assert given["values"] == [
        sweep.points[0].acc,
        *[None] * 15,
    ], "only the shown value is in the page"
    assert str(sweep.points[9].acc) not in json.dumps(given)
    accuracies = [point.acc for point in sweep.points]
    guess(at, "cliff", Drawn((*accuracies[1:4], *[0.9] * 12), mark=cliff.latest))
    shown = figures(at)["learn-accuracy"]
    assert trace(shown, "measured")["y"] == accuracies
    assert trace(shown, "your drawing")["y"] == [accuracies[0], *accuracies[1:4], *[0.9] * 12]
    assert {"chance", "majority", "halfway", "95 % interval"} <= {
        item["name"] for item in shown["data"]
    }
    assert cliff.sentence() in said(at)
    assert f"(95 %: {cliff.earliest} to {cliff.latest})" in said(at)
    assert f"Your guess is n = {cliff.latest}: the measurement allows that." in said(at)
    off = sum(0.9 - value for value in accuracies[4:]) / 15
    assert (
        f"Your drawing is {100 * off:.0f} points off on average. 3 of 15 points lie inside the 95 %"
        " interval (n = 1-3)." in said(at)
    )


def test_step_4_asks_nothing_without_a_cliff(app):
    fakes.distances().save()
    flat = fakes.sweep(8)
    flat = replace(flat, points=[replace(point, acc=0.5) for point in flat.points])
    flat.save()
    assert not cliffs.locate(flat).is_located
    at = turn_to(app(PAGE), 4)
    assert "learn-accuracy" in figures(at)
    assert not [button for button in at.button if button.key == "learn-lock-cliff"]
    assert "Accuracy does not collapse up to n = 8" in said(at)


def test_step_5_asks_about_the_big_model_and_compares_paths(app, known):
    at = turn_to(app(PAGE), 5)
    assert not figures(at)
    assert told(at, "layerscope_block")["layers"] == 80
    guess(at, "big", 30)
    assert "Llama-2 70B: layers 53-72. Your guess begins at layer 30: 23 layers off." in said(at)
    paths = figures(at)["learn-paths"]
    names = [item["name"] for item in paths["data"]]
    assert {"Llama-2 7B", "Llama-2 13B", "Llama-2 70B", "Mistral 7B", fakes.FACTS.name} <= set(
        names
    )
    assert (trace(paths, "your guess")["x"], trace(paths, "your guess")["y"]) == (
        [30 / 80],
        [20 / 80],
    )
    own, cliff = (
        trace(figures(at)["learn-cliffs"], fakes.FACTS.name),
        cliffs.locate(fakes.sweep(writes=True, answers=True)),
    )
    assert own["x"] == [pytest.approx(cliff.earliest / 30), pytest.approx(cliff.latest / 30)]
    assert "arXiv:2403.17887" in said(at)
    assert "code that looks like the authors'" in said(at)


def test_step_6_shows_instant_and_trained_next_to_the_guess(app, known):
    fakes.with_losses(fakes.heal()).save()
    at = turn_to(app(PAGE), 6)
    assert not figures(at)
    given = told(at, "layerscope_curve")
    assert (given["places"], given["fixed"]) == (
        ["unpruned", "pruned", "instant", "trained 2 min"],
        2,
    )
    assert given["values"] == [2.41, 4.45, None, None]
    guess(at, "heal", Drawn((3.5, None)))
    drawn = figures(at)["learn-heal-loss"]
    assert [item["name"] for item in drawn["data"]] == [
        "unpruned",
        "pruned",
        "instant",
        "trained 2 min",
        "your drawing",
    ]
    held = "8 texts of C4, NF4, bfloat16 from Q4_1 weights"
    assert (
        f"The loss rises from 2.41 to 4.45 nats/token, and healing lowers it to 3.10 ({held})."
        in said(at)
    )
    assert "That is 0.69 above the unpruned model (95 % CI +0." in said(at)
    assert "You drew 3.50 for instant: 0.10 off." in said(at)
    assert "style of its text" not in said(at)


def test_step_6_claims_no_difference_that_is_not_significant(app, known):
    heal = fakes.heal()
    near = replace(heal.healed, loss=2.5)
    own = {"unpruned": replace(heal.unpruned, loss=2.3), "healed": replace(heal.healed, loss=1.9)}
    fakes.with_losses(
        replace(heal, healed=near, same_kind=own, same_kind_text=heal.spec.corpus)
    ).save()
    at = skip(turn_to(app(PAGE), 6))
    assert "Not significantly different from the unpruned model (95 % CI " in said(at)
    assert "n = 8 texts)." in said(at)
    assert "On text like its training text: 1.90, unpruned 2.30." in said(at)


def test_step_8_explains_every_answer_and_sums_the_guesses_up(app, known):
    at = turn_to(app(PAGE), 3)
    guess(at, "block", BEST.start + 1)
    turn_to(at, 8)
    assert at.button(key="learn-answer-0").disabled
    for number, question in enumerate(check.QUESTIONS):
        picked = question.right if number else (question.right + 1) % 3
        at.radio(key=f"learn-check-{number}-0").set_value(picked).run()
        at.button(key=f"learn-answer-{number}").click().run()
    assert [
        question.because in read(said(at) + at.warning[0].value) for question in check.QUESTIONS
    ] == [True] * 3
    assert "No: they are at a right angle." in read(at.warning[0].value)
    table = at.table[0].value.map(read)
    assert list(table["yours"]) == [
        "no guess yet",
        (
            f"layers {BEST.start + 1}-{BEST.start + 5},"
            f" {fakes.distances().mean[4][BEST.start + 1]:.3f}"
        ),
        "no guess yet",
        "3 of 3 answered",
    ]
    best = BEST.block
    assert table["measured"][1] == f"{best.brief()}, {BEST.distance:.3f}"
    assert (table["measured"][0], table["measured"][2]) == ("hidden until you guess",) * 2
    assert table["how far off"][1].endswith(", +0.001, 1 layer")
    assert table["how far off"][3] == "2 right"


# Without results


def test_a_step_without_results_says_where_to_go(app):
    at = app(PAGE)
    for step, sentence in (
        (1, "The distance map shows how far each layer turns the stream."),
        (3, "has no distance map yet"),
        (4, "The accuracy of your pruned model has not been measured"),
        (5, "Your own line needs a distance map."),
        (6, "Your model has no healing run yet."),
        (7, "Run a sweep with generation"),
    ):
        turn_to(at, step)
        skip(at)
        assert not at.error
        assert sentence in said(at)
        assert at.get("page_link")
    turn_to(at, 8)
    assert list(at.table[0].value["question"]) == ["The three questions"]


def test_the_lesson_works_with_a_model_of_four_layers(app, ui_cache):
    facts = {"model": toy.FACTS}
    spec = replace(toy.MAP.spec, model=fakes.MODEL)
    replace(toy.MAP, spec=spec, **facts).save()
    replace(toy.SWEEP, spec=replace(toy.SWEEP.spec, model=fakes.MODEL), **facts).save()
    replace(toy.DAMAGE, spec=replace(toy.DAMAGE.spec, model=fakes.MODEL), **facts).save()
    at = app(PAGE, present="1")
    for step in range(1, 9):
        turn_to(at, step)
        for button in [
            button
            for button in at.button
            if button.key.startswith("learn-lock-") and not button.disabled
        ]:
            button.click().run()
        skip(at)
        assert not at.error
        assert not at.exception
    sheet = teach.of(steps.IN_ORDER, lesson.results_of(ModelSpec()))
    assert "4 layers to mark a block on" in handout.html(sheet, solved=False)


# Kept guesses and drafts


def test_start_over_forgets_guesses_and_begins_again(app, known):
    at = turn_to(app(PAGE), 3)
    guess(at, "block", 9)
    at.button(key="learn-start-over").click().run()
    assert "step 1 of 8" in said(at)
    turn_to(at, 3)
    assert told(at, "layerscope_block")["start"] == 0
    assert list(turn_to(at, 8).table[0].value["yours"][:3]) == ["no guess yet"] * 3


# The address


def test_the_address_holds_the_step(app, known):
    at = turn_to(app(PAGE), 4)
    assert at.query_params["step"] == "cliff"
    assert "step 5 of 8" in said(app(PAGE, step="big-models"))


# Exercises and sheets


def test_the_handout_asks_every_step_and_tells_no_answer(known):
    sheet = teach.of(steps.IN_ORDER, lesson.results_of(ModelSpec()))
    assert len(sheet.tasks) == 10
    assert not sheet.missing
    page = handout.html(sheet, solved=False)
    best = BEST.block
    assert best.brief() not in page.replace(f"Without {fakes.heal().spec.block.brief()}", "")
    for task in sheet.tasks:
        assert task.answer not in page
    solved = handout.html(sheet, solved=True)
    assert f"Most similar: {best.brief()}" in solved
    assert all(
        step.misunderstanding.split(".")[0].split(chr(39))[0] in solved for step in steps.IN_ORDER
    )


# For a class


def test_presenter_mode_is_switched_on_and_off(app, known):
    at = app(PAGE)
    assert "present" not in at.query_params
    at.toggle(key="presenter").set_value(True).run()
    assert at.query_params["present"] == "1"
    at.button(key="leave-presenter").click().run()
    assert "present" not in at.query_params
    assert not at.toggle(key="presenter").value
    assert at.sidebar.markdown
