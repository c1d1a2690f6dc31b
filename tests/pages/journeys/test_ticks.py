"""Refreshes that run by themselves while a visitor goes from page to page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import WebSocketRoute, expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from analysis import jobs
from analysis.jobs.queue import table
from analysis.jobs.queue.processes import Process
from tests.support import browser, fakes

pytestmark = [pytest.mark.browser, pytest.mark.starter, pytest.mark.timeout(300)]


@pytest.fixture
def heal(served: browser.Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[jobs.Job]:
    """A heal that runs for as long as the test does, as far as anybody can see."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(served.cache))
    job = table.claim(Process.current()) if jobs.submit(fakes.heal_spec()) else None
    assert job is not None
    yield job
    table.finish(job, jobs.CANCELLED)


@pytest.mark.long
def test_tick_of_former_page_does_not_empty_the_next(served, heal):
    """Streamlit took it for a change of pages: the window went empty, and white at the next tick of the heal on it."""
    page = served.visitor()
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    ticks: list[bytes] = []

    def on_a_slow_line(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def asked(sent: bytes) -> None:
            server.send(sent)
            said = BackMsg.FromString(sent).rerun_script
            if said.is_auto_rerun:
                ticks.append(sent)
            elif ticks and said.page_script_hash != BackMsg.FromString(ticks[0]).rerun_script.page_script_hash:
                server.send(ticks[0])

        socket.on_message(asked)
        server.on_message(socket.send)

    page.route_web_socket("**/_stcore/stream", on_a_slow_line)
    browser.visit(page, served.address, "explore")
    while not ticks:
        page.wait_for_timeout(200)
    page.get_by_test_id("stSidebar").get_by_role("link", name="Heal", exact=True).click()
    heading = page.get_by_role("heading", name="Heal", level=1)
    heading.wait_for()
    page.wait_for_timeout(5000)
    assert failed == []
    expect(heading).to_be_visible()
    page.context.close()
