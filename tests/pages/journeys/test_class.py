"""A class in real browsers: the teacher starts a poll from Teach, two phones answer, and the reveal
draws the answers.
"""

import contextlib
import json
import re

import pytest
from playwright.sync_api import expect

from tests.support import axe, browser

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.fixture
def show(tmp_path, monkeypatch):
    """A dashboard in Show: its address, and the tokens."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("LAYERSCOPE_MODE", "show")
    monkeypatch.setenv("STREAMLIT_BROWSER_SERVER_ADDRESS", "localhost")
    with browser.dashboard(tmp_path) as address:
        yield address, json.loads((tmp_path / "access.json").read_text())
        assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_two_phones_answer_and_the_reveal_draws_the_distribution(show):
    address, tokens = show
    with browser.chromium() as chromium:
        page = chromium.new_context(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        ).new_page()
        page.goto(f"{address}/learn?step=map&token={tokens['host']}")
        browser.settled(page)
        page.get_by_role("button", name="Teach").click()
        browser.drawn(page)
        page.get_by_role("button", name="Start a poll").click()
        panel = page.locator(".st-key-learn-poll")
        expect(panel).to_contain_text("0 students have joined")
        expect(panel.get_by_role("img").first).to_be_visible()
        expect(panel).to_contain_text(re.compile(r"[2-9B-Z]{4} [2-9B-Z]{4}"))
        code = re.search(r"[2-9B-Z]{4} [2-9B-Z]{4}", panel.inner_text())[0]

        phones = []
        for theme in ("light", "dark"):
            context = chromium.new_context(
                viewport={"width": 390, "height": 800}, color_scheme=theme, reduced_motion="reduce"
            )
            phone = context.new_page()
            assert phone.goto(f"{address}/learn").status == 401, (
                "a student needs no token, and gets no further than the poll"
            )
            phone.goto(f"{address}/poll")
            assert not axe.found(phone, also_minor=True)
            phone.get_by_label("Code on the screen").fill(code.lower())
            phone.get_by_role("button", name="Join").click()
            expect(
                phone.get_by_text("The first question appears here automatically")
            ).to_be_visible()
            assert not axe.found(phone, also_minor=True)
            phones.append(phone)
        expect(panel).to_contain_text("2 students have joined")

        panel.get_by_role("button", name="Ask this step").click()
        expect(panel).to_contain_text("0 of 2 have answered")
        for phone, block in zip(phones, ("11-15", "0-4"), strict=True):
            phone.get_by_label("Which 5 layers in a row change the stream least?").select_option(
                block
            )
            assert not axe.found(phone, also_minor=True)
            phone.get_by_role("button", name="Answer").click()
            expect(phone.get_by_text(f"Your answer counts: {block}.")).to_be_visible()
            browser.screenshot(phone, f"class-phone-{block}")
            assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        expect(panel).to_contain_text("2 of 2 have answered")
        expect(panel.get_by_test_id("stPlotlyChart")).to_have_count(0)
        browser.screenshot(page, "class-before")

        panel.get_by_role("button", name="Reveal").click()
        expect(panel).to_contain_text("1 of 2 answered correctly: 11-15")
        expect(panel.get_by_test_id("stPlotlyChart")).to_be_visible()
        browser.screenshot(page, "class-revealed")
        for phone, block in zip(phones, ("11-15", "0-4"), strict=True):
            expect(
                phone.get_by_text(re.compile(rf"Measured: 11-15.*You answered {block}"))
            ).to_be_visible()
            assert not axe.found(phone, also_minor=True)

        # The answers are drawn again every second, and on a busy machine Streamlit may take that
        # for the click.
        for _ in range(3):
            browser.drawn(page)
            panel.get_by_role("button", name="End the poll").click()
            with contextlib.suppress(AssertionError):
                expect(panel).to_have_count(0, timeout=3000)
                break
        expect(panel).to_have_count(0)
        for phone in phones:
            expect(phone.get_by_text("No poll is open")).to_be_visible()
