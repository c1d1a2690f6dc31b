"""The handout of a lesson: plain HTML with the numbers of the shown results."""

from analysis.exports import handout
from analysis.models.source.model_spec import ModelSpec
from analysis.results.compared import cliff as cliffs
from pages.components.learn import lesson, steps, teach
from pages.components.learn.steps import cliff, healing
from tests.support import fakes


def test_handout_has_no_markdown_and_names_its_blocks(known):
    sheet = teach.of(steps.IN_ORDER, lesson.results_of(ModelSpec()))
    page = handout.html(sheet, solved=True)
    assert "\\" not in page, "an escape of Markdown"
    assert "bfloat16 from Q4_1 weights" in page
    assert any(
        said.startswith("The removed blocks are the most similar ones") for said in sheet.about
    )
    answer = next(task.answer for task in sheet.tasks if task.title == cliff.TITLE)
    low, high = fakes.sweep().points[1].interval
    assert f"n = 1: {fakes.sweep().points[1].acc:.0%} ({100 * low:.0f}-{100 * high:.0f})" in answer
    healed = next(task.answer for task in sheet.tasks if task.title == healing.TITLE)
    assert "Accuracy: not measured" in healed or "95 % CI" in healed


def test_a_curve_without_a_located_cliff_is_on_the_handout_as_on_the_page(ui_cache):
    fakes.distances().save()
    curve = fakes.sweep(last=4, answers=True)
    curve.save()
    located = cliffs.locate(curve)
    assert located is not None
    assert not located.is_located
    sheet = teach.of(steps.IN_ORDER, lesson.results_of(ModelSpec()))
    task = next(task for task in sheet.tasks if task.title == cliff.TITLE)
    assert task.answer.startswith(located.sentence())
    assert cliff.TITLE not in sheet.missing
    assert healing.TITLE in sheet.missing
