"""Behind nginx and behind Caddy, set up with the texts of docs/serving.md: login, pages, socket and uploads through TLS."""

import time

import pytest
from playwright.sync_api import expect

from tests.support import browser, tls

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
TOKENS = {"LAYERSCOPE_TOKEN": "guests-may-come-in", "LAYERSCOPE_OPERATOR_TOKEN": "the-operator-comes-in"}
SENT = "async ([path, size]) => (await fetch(path, {method: 'PUT', body: new Uint8Array(size)})).status"
MEGABYTE = 1 << 20
STATUS = {"nginx": [403, 413], "caddy": [403, 403]}
"""Of a body of 1 and of 23 MB without the page's own token: refused by the dashboard, or by the proxy before it."""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    """A dashboard started as the page says, and its cache."""
    cache = tmp_path_factory.mktemp("tls") / "cache"
    cache.mkdir()
    entry = (*browser.ENTRY, "--server.address", "127.0.0.1", "--browser.serverAddress", tls.HOST)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**TOKENS, "LAYERSCOPE_CACHE": str(cache)}.items():
            patch.setenv(name, value)
        with browser.dashboard(cache, entry=entry) as address:
            yield address, cache
            assert "Traceback" not in (cache / "server.log").read_text()


def until(found, seconds: float = 60):
    """What is found as soon as something is."""
    began = time.monotonic()
    while not (said := found()):
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return said


@pytest.mark.parametrize("name", ["nginx", "caddy"])
def test_a_visitor_comes_in_looks_and_brings_a_file_through_tls(dashboard, tmp_path, name):
    here, cache = dashboard
    with (
        tls.before(name, here, tmp_path) as address,
        browser.chromium(f"--host-resolver-rules={tls.MINE}") as chromium,
    ):
        context = chromium.new_context(
            ignore_https_errors=True, viewport={"width": 1280, "height": 800}, reduced_motion="reduce"
        )
        page, sockets = context.new_page(), []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{address}/explore?n=5&token={TOKENS['LAYERSCOPE_TOKEN']}")
        browser.settled(page)
        assert page.url.startswith(f"{address}/explore")
        assert "token" not in page.url
        assert sockets[0].startswith(address.replace("https", "wss"))
        cookies = {cookie["name"]: cookie for cookie in context.cookies()}
        (ours,) = [cookie for name, cookie in cookies.items() if name.startswith("layerscope-")]
        assert ours["secure"]
        assert ours["httpOnly"]

        page.get_by_role("button", name="New map").click()
        page.get_by_role("combobox", name="Texts").click()
        page.get_by_role("option", name="A file of mine").click()
        file = {"name": "mine.txt", "mimeType": "text/plain", "buffer": b"A document of words.\n" * (19 * MEGABYTE // 21)}
        page.locator("input[type=file]").set_input_files(file)
        expect(page.get_by_text("mine.txt")).to_be_visible()
        page.get_by_role("progressbar").wait_for(state="detached")
        (kept,) = until(lambda: list((cache / "uploads").glob("*.txt")))
        assert kept.stat().st_size == len(file["buffer"])
        kept.unlink()
        sent = [page.evaluate(SENT, [f"{address}/_stcore/upload_file/a/b", size * MEGABYTE]) for size in (1, 23)]
        assert sent == STATUS[name]

        other = chromium.new_context(ignore_https_errors=True, reduced_motion="reduce").new_page()
        assert other.goto(f"{address}/learn").status == 401
        other.get_by_label("Token").fill(TOKENS["LAYERSCOPE_TOKEN"])
        other.get_by_role("button", name="Log in").click()
        browser.settled(other)
        assert other.url.startswith(f"{address}/learn")
    assert not [log for log in tmp_path.glob("*.log") if TOKENS["LAYERSCOPE_TOKEN"] in log.read_text()]
