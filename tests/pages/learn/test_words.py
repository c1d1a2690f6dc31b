"""The lesson says in which direction a number changes, and whether the change is significant, in standard words."""

import html
import re
from dataclasses import replace

import pytest

from analysis.exports import handout
from analysis.models.source.model_spec import ModelSpec
from pages.components.learn import lesson, steps, teach
from pages.components.learn.marks import Drawn
from pages.components.learn.steps import cliff, healing
from tests.support import fakes
from tests.support.lesson import PAGE, turn_to
from tests.support.seen import wordings

GUESSES = {
    "turns": Drawn((0.2,) * 30),
    "block": 12,
    "cliff": Drawn((0.5,) * 15, mark=9),
    "big": 3,
    "damage": 12,
    "angle": 40,
}
"""A block next to the best one is a tie where the texts are few."""


def everything(at) -> str:
    page = at.main
    shown = [*page.markdown, *page.caption, *page.info, *page.success, *page.warning, *page.header]
    return "\n\n".join(str(item.value) for item in shown)


@pytest.mark.parametrize("guessed", [False, True])
def test_lesson_has_no_private_words(app, known, guessed):
    heal = fakes.heal()
    replace(heal, healed=replace(heal.healed, loss=2.5)).save()
    at = app(PAGE, block="14:5")
    for step in range(1, 9):
        turn_to(at, step)
        if guessed:
            drafts = at.session_state["lesson"].drafts
            drafts.update({name: value for name, value in GUESSES.items() if name in drafts})
            at.run()
        said = everything(at)
        start = "learn-lock-" if guessed else "learn-skip-"
        for button in [button for button in at.button if button.key.startswith(start) and not button.disabled]:
            button.click().run()
        assert not at.exception
        assert not wordings(said + "\n\n" + everything(at)), f"step {step}"


def test_handout_has_no_markdown_and_names_its_blocks(known):
    sheet = teach.of(steps.IN_ORDER, lesson.results_of(ModelSpec()))
    page = handout.html(sheet, solved=True)
    assert "\\" not in page, "an escape of Markdown"
    assert "bfloat16 from Q4_1 weights" in page
    assert any(said.startswith("The removed blocks are the most similar ones") for said in sheet.about)
    answer = next(task.answer for task in sheet.tasks if task.title == cliff.TITLE)
    low, high = fakes.sweep().points[1].interval
    assert f"n = 1: {fakes.sweep().points[1].acc:.0%} ({100 * low:.0f}-{100 * high:.0f})" in answer
    healed = next(task.answer for task in sheet.tasks if task.title == healing.TITLE)
    assert "Accuracy: not measured" in healed or "95 % CI" in healed


def test_handout_and_polls_have_no_private_words(known):
    shown = lesson.results_of(ModelSpec())
    sheet = teach.of(steps.IN_ORDER, shown)
    pages = (html.unescape(handout.html(sheet, solved=solved)) for solved in (False, True))
    assert not wordings("\n\n".join(re.sub(r"<style>.*?</style>|<[^>]*>", "\n\n", page, flags=re.DOTALL) for page in pages))
    asked = [question for step in steps.IN_ORDER for question in step.poll(shown)]
    notes = [part for step in steps.IN_ORDER for part in (step.opening, step.misunderstanding)]
    assert not wordings("\n\n".join([*(text for question in asked for text in (question.asked, *question.options)), *notes]))
