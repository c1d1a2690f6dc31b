"""The blind test: played, scored, and nothing on the page names the writers before the pick."""

import html
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from analysis import jobs
from analysis.core.blocks import Block
from analysis.experiments.prompt.comparison_spec import CompareResult, CompareSpec, Variant, Writing
from pages.components.compare import blind
from tests.support import fakes
from tests.support.seen import read, texts

BLOCK = Block(13, 5)
"""The block that the made-up map chooses at n = 5."""
VARIANTS = (Variant(), Variant("pruned", BLOCK), Variant("healed", BLOCK, "adapters/b"))
WROTE = {"unpruned": " went home & slept", "pruned": " green green green", "healed": " walked away"}


def comparison(prompt="Once", variants=VARIANTS, **wrote) -> CompareResult:
    said = WROTE | wrote
    written = [
        Writing([place], [said[variant.label]], [0.3 + place], [0.4 + place], 25 + place, 0.1, 0.5 + place, False, True)
        for place, variant in enumerate(variants)
    ]
    spec = CompareSpec(fakes.MODEL, prompt, variants, 6)
    return CompareResult(spec, fakes.VERSIONS, 3.0, 40, True, "SmolLM2-135M-Instruct", fakes.L, 12, written)


@pytest.fixture
def known(ui_cache):
    """A model with a map."""
    fakes.distances().save()


def opened(compare, seed: str = "") -> AppTest:
    at = compare("Blind test", n="5")
    if seed:
        for test in at.session_state["blind-tests"].values():
            test.seed = seed
        at.run()
    return at


def shown(at: AppTest) -> list[str]:
    """Return the writers of the texts on screen, left one first."""
    bodies = [element.proto.body for element in at.get("html")]
    found = [next((name for name, text in WROTE.items() if html.escape(text) in body), "") for body in bodies]
    return [name for name in found if name]


def sent(at: AppTest) -> str:
    """Everything that the page sends to the browser, with the texts taken out."""
    found = "\n".join(str(node.proto) for node in at._tree if getattr(node, "proto", None) is not None)
    for text in WROTE.values():
        assert html.escape(text) in found
        found = found.replace(html.escape(text), "A TEXT")
    return found


def pick(at: AppTest, label: str) -> None:
    at.button(key=f"blind-{blind.LETTERS[shown(at).index(label)]}").click().run()
    assert not at.exception


def test_page_is_the_same_in_every_order_except_the_texts(compare, known):
    comparison().save()
    orders, pages = set(), set()
    for seed in range(40):
        at = opened(compare, f"{seed}")
        orders.add(tuple(shown(at)))
        pages.add(sent(at))
        if len(orders) == 6:
            break
    assert len(orders) == 6
    assert len(pages) == 1, "anything that differs between two orders reveals the writer of a text"
    (page,) = pages
    assert "25 layers" not in page
    assert "mean surprise" not in page
    assert not at.get("download_button")


def test_picks_are_scored_with_an_interval_and_shown(compare, known):
    for number in range(3):
        comparison(f"Once {number}").save()
    at = opened(compare)
    assert "No pick yet" in texts(at)
    assert "3 of 3 still to play" in texts(at)
    pick(at, "pruned")
    assert "is the pruned one.**" in texts(at)
    assert "**Right" in texts(at)
    assert "1 of 1 right (95 % CI 21 to 100 %, guessing gives 33 %)" in texts(at)
    assert "Not significantly different from guessing" in texts(at)
    assert f"without {BLOCK.brief()}" in texts(at)
    at.button(key="blind-next").click().run()
    pick(at, "healed")
    assert "**Wrong" in texts(at)
    assert "1 of 2 right" in texts(at)
    assert "your pick: healed" in read(texts(at))
    at.button(key="blind-next").click().run()
    pick(at, "pruned")
    assert "2 of 3 right" in texts(at)
    assert not [button for button in at.button if button.key == "blind-next"]
    assert "Generate new ones above" in texts(at)


def test_pick_counts_once_and_each_cut_has_its_own_score(compare, known):
    comparison().save()
    at = opened(compare)
    pick(at, "pruned")
    assert not [button for button in at.button if button.key == "blind-A"], "there is nothing to pick again"
    at.slider(key="blind-n").set_value(4).run()
    assert "No pick yet" in texts(at)
    at.slider(key="blind-n").set_value(5).run()
    assert "1 of 1 right" in texts(at)
    at.button(key="blind-over").click().run()
    assert "No pick yet" in texts(at)
    assert len(shown(at)) == 3


def test_new_texts_do_not_change_the_round_on_screen(compare, known):
    comparison("Once").save()
    at = opened(compare)
    before = [element.proto.body for element in at.get("html")]
    comparison("Newer").save()
    at.run()
    assert [element.proto.body for element in at.get("html")] == before
    assert "2 of 2 still to play" in texts(at)


def test_indistinguishable_texts_are_left_out_with_a_note(compare, known):
    comparison().save()
    comparison("Same", pruned=WROTE["unpruned"]).save()
    replace(comparison("Half"), complete=False).save()
    at = opened(compare)
    assert "1 of 1 still to play" in texts(at)
    assert "2 stored comparisons are left out" in texts(at)


def test_new_texts_are_requested_with_a_click_and_never_twice(compare, known):
    at = opened(compare)
    assert "No texts for these removed layers yet" in texts(at)
    at.button(key="blind-new").click().run()
    made = [job.spec for job in jobs.active()]
    assert [spec.prompt for spec in made] == list(blind.BEGINNINGS[: blind.N_NEW])
    assert {spec.temperature for spec in made} == {blind.TEMPERATURE}
    assert {spec.variants for spec in made} == {VARIANTS[:2]}, "no healing run of this block exists"
    assert "5 texts are queued or running" in texts(at)
    at.button(key="blind-new").click().run()
    at.button(key="blind-new").click().run()
    asked = [(job.spec.prompt, job.spec.seed) for job in jobs.active()]
    assert len(set(asked)) == 15
    assert {seed for _, seed in asked} == {0, 1}


def test_with_two_columns_guessing_gives_half(compare, known):
    comparison(variants=VARIANTS[:2]).save()
    at = opened(compare)
    assert len(shown(at)) == 2
    pick(at, "unpruned")
    assert "0 of 1 right (95 % CI 0 to 79 %, guessing gives 50 %)" in texts(at)


def test_a_round_names_its_block_its_length_and_its_precision(compare, known):
    comparison().save()
    at = opened(compare)
    said = read(texts(at))
    assert f"This round: 3 texts. Removed: {BLOCK.describe()}. Up to 6 tokens, greedy, bfloat16" in said
    assert "so there are two columns" not in said, "this round has three"
    assert "new texts come from two models" in said


def test_rounds_of_another_precision_are_left_out(compare, known):
    comparison().save()
    at = compare("Blind test", n="5", dtype="float16")
    assert "No texts for these removed layers yet" in texts(at)


def test_with_nothing_removed_there_is_nothing_to_find(compare, known):
    at = opened(compare)
    at.slider(key="blind-n").set_value(0).run()
    assert "no pruned model to find" in texts(at)
    assert at.button(key="blind-new").disabled


def test_generated_text_is_shown_as_text(compare, known):
    comparison(pruned="<script>alert(1)</script> **bold**").save()
    bodies = "".join(element.proto.body for element in opened(compare).get("html"))
    assert "&lt;script&gt;" in bodies
    assert "<script" not in bodies
