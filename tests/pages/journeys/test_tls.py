"""Behind nginx and behind Caddy, set up with the files of docs/deploy: login, pages and socket
through TLS.
"""

import json

import pytest
from playwright.sync_api import expect

from tests.support import browser, tls

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
SETTINGS = {"LAYERSCOPE_MODE": "show", "LAYERSCOPE_PROXIES": "127.0.0.1"}
SENT = (
    "async ([path, size]) => (await fetch(path, {method: 'PUT', body: new"
    " Uint8Array(size)})).status"
)
MEGABYTE = 1 << 20
STATUS = {"nginx": [405, 413], "caddy": [405, 405]}
"""Of a body of 1 and of 23 MB: refused by the dashboard, or by the proxy before it."""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    """A dashboard started as the page says, and its cache."""
    cache = tmp_path_factory.mktemp("tls") / "cache"
    cache.mkdir()
    entry = (*browser.ENTRY, "--server.address", "127.0.0.1", "--browser.serverAddress", tls.HOST)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "LAYERSCOPE_CACHE": str(cache)}.items():
            patch.setenv(name, value)
        with browser.dashboard(cache, entry=entry) as address:
            yield address, cache
            assert "Traceback" not in (cache / "server.log").read_text()


@pytest.mark.parametrize("name", ["nginx", pytest.param("caddy", marks=pytest.mark.long)])
def test_a_visitor_comes_in_and_looks_through_tls(dashboard, tmp_path, name):
    here, cache = dashboard
    kept = json.loads((cache / "access.json").read_text())
    with (
        tls.before(name, here, tmp_path) as address,
        browser.chromium(f"--host-resolver-rules={tls.MINE}") as chromium,
    ):
        context = chromium.new_context(
            ignore_https_errors=True,
            viewport={"width": 1280, "height": 800},
            reduced_motion="reduce",
        )
        page, sockets = context.new_page(), []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{address}/learn?n=4&token={kept['token']}")
        browser.settled(page)
        assert page.url.startswith(f"{address}/learn")
        assert "n=4" in page.url
        assert "token" not in page.url
        assert sockets[0].startswith(address.replace("https", "wss"))
        cookies = {cookie["name"]: cookie for cookie in context.cookies()}
        (ours,) = [cookie for name, cookie in cookies.items() if name.startswith("layerscope-")]
        assert ours["secure"]
        assert ours["httpOnly"]

        sent = [
            page.evaluate(SENT, [f"{address}/_stcore/upload_file/a/b", size * MEGABYTE])
            for size in (1, 23)
        ]
        assert sent == STATUS[name]

        other = chromium.new_context(ignore_https_errors=True, reduced_motion="reduce").new_page()
        for link in ("/learn", f"/learn?token={kept['host']}"):
            assert other.goto(address + link).status == 401
            expect(other.get_by_role("alert")).to_contain_text("link")
    assert not [
        log
        for log in tmp_path.glob("*.log")
        if any(token in log.read_text() for token in kept.values())
    ]
