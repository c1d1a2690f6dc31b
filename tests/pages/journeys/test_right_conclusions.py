"""A careful reader concludes the right things from the pages: six ways to be misled, each on results made by hand."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Locator, Page, expect

from analysis import jobs
from analysis.core import store
from analysis.core.blocks import Block
from analysis.experiments.accuracy.points import QuestionScore
from analysis.experiments.accuracy.sweep_spec import SweepResult
from analysis.experiments.heal.heal_spec import HealSpec
from analysis.experiments.maps.damage_spec import DamageResult
from tests.support import browser, fakes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CUT = fakes.distances().best[4].block
"""The choice of similarity at n = 5."""
BEST = next(best.block for best in fakes.damage().best if best.n == 5)
IN_THE_WINDOW = """
() => {
  const walker = document.createTreeWalker(document.querySelector('[data-testid=stMain]'), NodeFilter.SHOW_TEXT);
  const range = document.createRange(), read = [];
  while (walker.nextNode()) {
    range.selectNodeContents(walker.currentNode);
    const box = range.getBoundingClientRect(), parent = walker.currentNode.parentElement;
    if (box.width && box.top >= 0 && box.bottom <= innerHeight && parent.checkVisibility({visibilityProperty: true}))
      read.push(walker.currentNode.data);
  }
  return read.join(' ').replaceAll(/\\s+/g, ' ');
}
"""
"""All text that is read without scrolling."""
COLOUR = "item => getComputedStyle(item).color.match(/[0-9]+/g).slice(0, 3).map(Number)"


def of(name: str, result, *, dtype: str = "bfloat16", quantization: str = "none"):
    """Return the result for a model of its own, so that every fault has its own results."""
    model = replace(fakes.MODEL, source=f"by-hand/{name}", identity=name, dtype=dtype, quantization=quantization)
    spec = replace(result.spec, model=model)
    if hasattr(spec, "distances"):
        spec = replace(spec, distances=of(name, fakes.distances(), dtype=dtype).spec)
    return replace(result, spec=spec)


def told_of(questions: int, loss: float):
    """A heal measured on so many questions, its adapter on disk, and its healed loss."""
    made = fakes.heal()
    spec = replace(made.spec, benchmark=replace(made.spec.benchmark, limit=questions), seed=questions)
    points = {name: replace(point, n_samples=questions) for name, point in made.models.items()}
    points["healed"] = replace(points["healed"], loss=loss)
    folder = store.cache_dir() / "adapters" / f"of-{questions}"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    return replace(made, spec=spec, adapter=f"adapters/{folder.name}", **points)


def hardly_worse() -> SweepResult:
    """A curve of 200 questions whose cut of 5 layers loses 22 and gains 16 of them: 3 points, p = 0.42 by McNemar."""
    made = fakes.sweep(limit=200)
    right = [set(range(100)) for _ in made.points]
    right[5] = set(range(22, 116))
    questions = [
        [QuestionScore(f"q{number}", [0.0, 0.0], int(number not in known), 0) for number in range(200)] for known in right
    ]
    points = [replace(point, acc=len(known) / 200) for point, known in zip(made.points, right, strict=True)]
    return replace(made, points=points, questions=questions)


def costly() -> DamageResult:
    """The measured damage of every block; that which similarity chooses at n = 5 costs 2.52 nats, the best one 0.19."""
    made = fakes.damage()
    increase = [list(row) for row in made.increase]
    increase[4][CUT.start] = 2.52
    return replace(made, increase=increase)


def fill() -> None:
    """Store them; of each pair of rivals the weaker comes last."""
    for name in ("own-kind", "newest", "noise", "buried", "form"):
        of(name, fakes.distances()).save()
    of("mixed", fakes.distances(), dtype="float32").save()

    usual = HealSpec(block=Block(11, 5))
    judged = replace(fakes.heal(), spec=replace(fakes.heal_spec(), corpus=usual.corpus, validation=usual.validation))
    of("own-kind", judged).save()
    same = replace(fakes.heal_spec(), block=Block(9, 10), validation=replace(usual.validation, source=usual.corpus.source))
    below = {"pruned": replace(judged.pruned, n=10, start=9), "healed": replace(judged.healed, n=10, start=9, loss=2.05)}
    of("own-kind", replace(judged, spec=same, **below)).save()

    for questions, loss in ((200, 3.11), (5, 7.77)):
        of("newest", fakes.sweep(limit=questions, answers=True)).save()
        of("newest", told_of(questions, loss)).save()

    of("mixed", fakes.sweep(limit=200, answers=True), dtype="float32").save()
    of("mixed", fakes.heal(), quantization="4bit").save()

    of("noise", hardly_worse()).save()

    of("buried", fakes.sweep(limit=200, answers=True)).save()
    of("buried", costly()).save()

    of("form", fakes.sweep(limit=200, answers=True)).save()
    of("form", fakes.heal()).save()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Served]:
    """A dashboard on results made by hand."""
    folder = tmp_path_factory.mktemp("right-conclusions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(folder))
        fill()
        with browser.dashboard(folder) as address, browser.chromium() as chromium:
            yield browser.Served(address, chromium, folder)
            assert "Traceback" not in (folder / "server.log").read_text()
            assert not jobs.list_jobs(), "who only reads starts nothing"


@pytest.fixture
def page(served: browser.Served) -> Iterator[Page]:
    opened = served.visitor()
    yield opened
    opened.context.close()


def read(page: Page, served: browser.Served, name: str, model: str, query: str = "", dtype: str = "bfloat16") -> str:
    """Open a page on a model; all that is written on it, folded parts aside."""
    browser.visit(page, served.address, name, f"?model=by-hand/{model}&dtype={dtype}&{query}")
    return written(page)


def written(page: Page) -> str:
    return " ".join(page.get_by_test_id("stMain").inner_text().split())


def is_grey(item: Locator) -> bool:
    parts = item.evaluate(COLOUR)
    return max(parts) - min(parts) <= 30


@pytest.mark.long
def test_heal_is_judged_on_text_that_differs_from_training(page, served):
    text = read(page, served, "heal", "own-kind", "block=11:5")
    assert "a kind it was not trained on, healing recovers" in text
    table = page.get_by_role("table", name="Quality, size and speed of the models")
    expect(table).to_contain_text("loss, C4")
    expect(table).to_contain_text("loss, Wikipedia (trained on)")
    text = read(page, served, "heal", "own-kind", "block=9:10")
    assert "2.05" in text, "below the unpruned model's 2.41"
    assert "This run was judged by Wikipedia, the kind of text that it trained on" in text
    assert "Below the unpruned model on 8 texts of Wikipedia, because the healed model trained on this kind of text" in text


@pytest.mark.long
def test_a_newer_try_on_five_questions_replaces_nothing(page, served):
    seen = {}
    read(page, served, "explore", "newest", "n=5")
    page.get_by_role("button", name="Curves").click()
    menu = page.get_by_test_id("stPopoverBody").filter(has_text="Refine")
    expect(menu).to_be_visible()
    text = menu.inner_text()
    seen["explore"] = re.findall(r"Refine: (\d+) →", text)
    for name in ("heal", "export"):
        text = read(page, served, name, "newest", "n=5&block=11:5")
        seen[name] = [loss for loss in ("3.11", "7.77") if loss in text]
    text = read(page, served, "learn", "newest", "step=cliff")
    seen["learn"] = re.findall(r"(\d+) questions", text)
    assert seen == {"explore": ["200"], "heal": ["3.11"], "export": ["3.11"], "learn": ["200"]}


@pytest.mark.long
def test_nf4_heal_is_not_drawn_on_float32_curve(page, served):
    text = read(page, served, "explore", "mixed", "n=5&block=11:5", dtype="float32")
    charts = page.locator("[data-testid=stPlotlyChart]")
    drawn = " ".join(charts.locator("svg text").all_text_contents())
    assert "healed" not in drawn
    assert re.search(r"Not on the curve \(measured differently\): layers 11-15, .* NF4", text)
    assert "8 texts of C4" in text, "of which text the loss is"


@pytest.mark.long
def test_noise_is_grey_and_called_not_significant(page, served):
    text = read(page, served, "explore", "noise", "n=5&tab=cost")
    moved = page.get_by_test_id("stMetricDelta").filter(has_text="-3.0 points")
    expect(moved).to_be_visible()
    assert is_grey(moved)
    said = r"Accuracy is not significantly different \(95 % CI -\d+ to \+\d+, 200 ARC-Easy questions, would need about [\d,]+\)"
    assert re.search(said, text)
    text = read(page, served, "export", "noise", "n=5")
    assert re.search(r"not significantly different \(n = 200 questions, would need about [\d,]+\)", text)
    assert is_grey(moved)


@pytest.mark.long
def test_the_decision_is_in_the_first_window(page, served):
    read(page, served, "explore", "buried", "n=5")
    assert page.viewport_size == {"width": 1280, "height": 800}
    text, best = page.evaluate(IN_THE_WINDOW), f"[{BEST.start}, {BEST.stop})"
    assert best in text, "the best known cut is read without scrolling"
    assert "Removing layers 13-17 makes the model 13 % smaller" in text
    assert re.search(
        rf"Best known of 26 choices: {re.escape(best)} ?, \+0.19 nats .*, against \+2.52 nats .*for this selection", text
    )
    button = page.get_by_role("button", name=f"Take {best}").bounding_box()
    assert button["y"] + button["height"] <= 800


def test_the_shown_heal_is_always_of_the_selected_block(page, served):
    read(page, served, "heal", "form", "block=11:5")
    expect(page.get_by_test_id("stTable")).to_have_count(1)
    text = read(page, served, "heal", "form", "block=3:8")
    assert "3.10" not in text, "a number of another cut"
    assert "No healing run of layers 3-10 yet" in text
    page.get_by_role("combobox", name="Healing runs of other blocks").click()
    page.get_by_role("option", name=re.compile(r"^block \[11, 16\)")).click()
    expect(page.get_by_text("layers 11-15 (5 layers), block [11, 16)").first).to_be_visible()
    expect(page.get_by_test_id("stTable")).to_have_count(1)
