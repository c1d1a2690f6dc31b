"""The strip that selects the removed layers: the server's reaction to its messages, and the strip
itself in a real browser.
"""

import re
from types import SimpleNamespace
from unittest import mock

import pytest
from playwright.sync_api import Page, expect

from analysis.core.blocks import Block, LayerSet
from analysis.core.errors import BlockRangeError
from pages.components.explore import layer_choice
from pages.components.shared import cuts
from tests.support import browser, fakes
from tests.support.on_strip import drag, place
from tests.support.seen import strip, texts

CHOICE = Block(11, 5)
"""Choice of `similarity` in `heard`, for any size."""


def heard(said: dict, kept: frozenset[int] = frozenset()) -> list:
    """Return the calls that a message of the strip of a 30-layer model causes."""
    done = []
    fake = SimpleNamespace(
        cut=lambda _: SimpleNamespace(removed=CHOICE), distances=SimpleNamespace(n_layers=30)
    )
    with (
        mock.patch.object(layer_choice, "st", mock.MagicMock(session_state={})),
        mock.patch.object(cuts.state, "choose_cut", done.append),
        mock.patch.object(cuts.state, "choose_n", side_effect=lambda n: done.append(n)),
        mock.patch.object(
            cuts.state, "protect", side_effect=lambda layers: done.append(sorted(layers))
        ),
        mock.patch.object(cuts.state, "protected", return_value=kept),
    ):
        layer_choice._hear(said, fake)
    return done


def test_messages_of_the_strip_change_the_selection():
    assert heard({"cut": "7:5", "number": 1}) == [Block(7, 5)]
    assert heard({"cut": "3:1+7:2"}) == [LayerSet((3, 7, 8))]
    assert heard({"cut": "11:5"}) == [5], "the strategy's own choice is no choice by hand"
    assert heard({"cut": ""}) == [0]
    assert heard({"protected": "0:1+29:1"}) == [[0, 29]]
    assert heard({"protected": ""}) == [[]]
    assert heard({"protected": "29:4"}) == [[29]], "only layers that there are"
    assert heard({"cut": 5, "protected": None, "more": "<b>"}) == []


@pytest.mark.parametrize(
    "text", ["evil", "-1:5", "7:0", "29:4", "0:30", "7:99999999999999999999", "1:2+2:1"]
)
def test_messages_that_no_strip_sends_are_refused(text):
    with pytest.raises(BlockRangeError):
        heard({"cut": text})


def test_a_cut_of_a_protected_layer_is_refused():
    with pytest.raises(BlockRangeError, match="Layer 9 is protected"):
        heard({"cut": "7:5"}, frozenset({9}))


def fill() -> None:
    fakes.rich_distances().save()
    fakes.sweep().save()
    fakes.damage().save()


def test_strip_receives_block_protection_and_every_block_value(app):
    fill()
    told = strip(app(block="3:1+7:2", keep="0:1+29:1"))
    assert (told["cut"], told["kept"]) == ([3, 7, 8], [0, 29])
    assert len(told["distance"]["values"]) == 30
    assert len(told["damage"]["values"]) == 15


def test_strategy_choice_of_a_protected_layer_is_named(app):
    fill()
    best = fakes.distances().best[4].block
    hit = best.start + 1
    at = app(n="5", keep=f"{hit}:1")
    assert f"The choice of similarity removes the protected layer {hit}." in texts(at)


@pytest.mark.parametrize("page", ["heal", "export"])
def test_heal_and_export_name_a_removed_protected_layer(app, page):
    fill()
    assert "This selection removes the protected layers 8, 9." in texts(
        app(f"pages/{page}.py", block="7:5", keep="8:2")
    )
    assert "protected" not in texts(app(f"pages/{page}.py", block="7:5", keep="2:1"))


# Layers on the strip, and the ring on the map.
SHOWN = """
() => {
  const root = document.querySelector('.st-key-layer-strip [data-testid=stBidiComponentIsolated]')?.shadowRoot;
  const cells = [...root?.querySelectorAll('.cell') ?? []];
  const map = [...document.querySelectorAll('[aria-label^="Heat map by"] .cut-mark')][0];
  return {removed: cells.filter(cell => cell.ariaPressed === 'true').map(cell => Number(cell.dataset.layer)),
    kept: cells.filter(cell => cell.ariaLabel?.endsWith('protected')).map(cell => Number(cell.dataset.layer)),
    ring: map?.dataset.at, said: root?.querySelector('.said')?.textContent};
}
"""


@pytest.fixture(scope="module")
def visitor(served):
    """One visitor for all of these tests, whose browser has the page's scripts already."""
    first = served.visitor()
    yield first.context
    first.context.close()


@pytest.fixture
def page(served, visitor):
    page = visitor.new_page()
    page.set_default_timeout(60_000)
    browser.visit(page, served.address, "explore", "?n=5")
    expect_strip(page, removed=range(11, 16), ring="11:5")
    yield page
    leave(page)


def leave(page: Page) -> None:
    """Close the window once no message is on its way: a server that still writes to it logs an
    error.
    """
    page.wait_for_timeout(600)
    browser.drawn(page)
    page.close()


def expect_strip(page: Page, **wanted) -> None:
    wanted = {
        name: list(value) if isinstance(value, range) else value for name, value in wanted.items()
    }
    page.wait_for_function(
        f"""wanted => {{ const shown = ({SHOWN})();
        return Object.keys(wanted).every(key => JSON.stringify(shown[key]) === JSON.stringify(wanted[key])); }}""",
        arg=wanted,
    )


def expect_words(page: Page, cut, address: str | None) -> None:
    """Wait until the server has taken the removed layers: its words on the page, the slider and the
    address.
    """
    expect(page.get_by_text(cut.brief()).first).to_be_visible()
    expect(page.get_by_role("slider", name="Layers removed, n")).to_have_value(str(cut.size))
    if address is None:
        expect(page).not_to_have_url(re.compile("block="))
    else:
        expect(page).to_have_url(
            re.compile(
                "block=" + address.replace(":", "(:|%3A)").replace("+", r"(\+|%2B)") + "(&|$)"
            )
        )


@pytest.mark.browser
@pytest.mark.starter
@pytest.mark.timeout(300)
@pytest.mark.long
class TestInABrowser:
    def test_map_follows_a_dragged_block_before_the_server_hears(self, page):
        drag(page, place(page, 13), place(page, 18))
        expect_strip(page, removed=range(16, 21), ring="16:5")
        expect(
            page.get_by_text(Block(11, 5).brief()).first
        ).to_be_visible()  # the page still has the former block
        page.mouse.up()
        expect_words(page, Block(16, 5), "16:5")
        expect_strip(page, removed=range(16, 21), ring="16:5")
        assert "Removed: layers 16-20 (5). angle 0." in page.evaluate(SHOWN)["said"]
        assert re.search(
            r"loss \+\d\.\d\d nats \(95 %: .* texts of Wikipedia", page.evaluate(SHOWN)["said"]
        )
        page.keyboard.press("Escape")
        expect_words(page, Block(11, 5), None)

    def test_keys_move_and_stretch_and_server_hears_the_last(self, page):
        block = page.get_by_role("slider", name="Removed block")
        block.focus()
        expect(block).to_have_attribute("aria-valuetext", "layers 11 to 15, 5 layers")
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Shift+ArrowRight", "Shift+ArrowUp"):
            page.keyboard.press(key)
        expect_words(page, Block(11, 7), "11:7")
        expect(block).to_be_focused()
        expect(block).to_have_attribute("aria-valuetext", "layers 11 to 17, 7 layers")
        page.keyboard.press("Home")
        expect_words(page, Block(0, 7), "0:7")
        page.keyboard.press("End")
        expect_words(page, Block(23, 7), "23:7")
        page.keyboard.press("Shift+Home")
        expect_strip(page, removed=range(1, 30))  # one layer stays
        page.keyboard.press("Escape")
        expect_words(page, Block(23, 7), "23:7")

    def test_single_layers_are_toggled_by_pointer_and_by_keys(self, page):
        page.get_by_role("radio", name="Layers").check(force=True)
        page.mouse.click(*place(page, 13))
        page.mouse.click(*place(page, 20))
        expect_words(page, LayerSet((11, 12, 14, 15, 20)), "11:2+14:2+20:1")
        expect_strip(page, ring="11:2+14:2+20:1")
        page.keyboard.press("Tab")
        page.locator(".cell[data-layer='20']").focus()
        for key in ("Space", "ArrowRight", "ArrowRight", "Enter"):
            page.keyboard.press(key)
        expect_words(page, LayerSet((11, 12, 14, 15, 22)), "11:2+14:2+22:1")
        expect(page.locator(".cell[data-layer='22']")).to_be_focused()

    def test_a_protected_layer_is_never_cut_and_stays_protected_elsewhere(self, page, served):
        page.get_by_role("radio", name="Layers").check(force=True)
        page.get_by_role("radio", name="Protect").check(force=True)
        page.mouse.click(*place(page, 18))
        expect(page).to_have_url(re.compile("keep=18(:|%3A)1"))
        page.get_by_role("radio", name="Block").check(force=True)
        drag(page, place(page, 15, 0.98), place(page, 22))
        expect_strip(page, removed=range(11, 18), kept=[18])
        page.mouse.up()
        expect_words(page, Block(11, 7), "11:7")
        drag(page, place(page, 13), place(page, 16))
        expect_strip(page, removed=range(11, 18))
        page.mouse.move(*place(page, 24), steps=4)
        expect_strip(page, removed=range(22, 29))
        page.mouse.up()
        expect_words(page, Block(22, 7), "22:7")
        page.keyboard.down("Alt")
        page.mouse.click(*place(page, 0))
        page.keyboard.up("Alt")
        expect(page).to_have_url(re.compile(r"keep=0(:|%3A)1(\+|%2B)18(:|%3A)1"))
        other = served.visitor()
        other.goto(page.url)
        browser.settled(other)
        expect_strip(other, removed=range(22, 29), kept=[0, 18])
        other.locator(".cell[data-layer='0']").focus()
        other.keyboard.press("p")
        expect_strip(other, kept=[18])
        leave(other)
        other.context.close()
