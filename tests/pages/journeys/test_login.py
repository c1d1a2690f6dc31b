"""Behind a proxy everything asks for a login, which a link with a token gives; at the machine itself nothing does."""

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.support import browser, proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HANDSHAKE = (
    "GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: {cookie}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamlit\r\n\r\n"
)


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """A dashboard with nothing set: its own address, that of a proxy before it, and its cache."""
    cache = tmp_path_factory.mktemp("login") / "cache"
    cache.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(cache))
        with browser.dashboard(cache) as address, proxy.before(address) as outside:
            yield address, outside, cache
            log = (cache / "server.log").read_text()
            assert "Traceback" not in log
            assert not any(token in log for token in json.loads((cache / "access.json").read_text()).values())


def shaken(address: str, cookie: str = "") -> int:
    """The status with which a web socket is answered."""
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=20) as line:
        line.sendall(HANDSHAKE.format(host=host.netloc, cookie=cookie).encode())
        return int(line.recv(64).split()[1])


def test_a_login_is_asked_for_everything_behind_a_proxy_and_for_nothing_here(addresses):
    here, outside, cache = addresses
    asset = next(part for part in httpx.get(f"{here}/").text.split('"') if "/static/" in part).lstrip("./")
    for path in ("", "heal", asset, "_stcore/host-config", "media/x.png", "no-such-page"):
        assert httpx.get(f"{outside}/{path}").status_code == 401
    assert httpx.put(f"{outside}/_stcore/upload_file/a/b").status_code == 401
    assert shaken(outside) == 403
    assert httpx.get(f"{outside}/_stcore/health").status_code == 200
    assert httpx.get(f"{here}/{asset}").status_code == 200
    assert shaken(here) == 101

    token = json.loads((cache / "access.json").read_text())["token"]
    answer = httpx.get(f"{outside}/heal?token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/heal")
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert httpx.get(f"{outside}/{asset}", headers={"Cookie": cookie}).status_code == 200
    assert httpx.put(f"{outside}/_stcore/upload_file/a/b", headers={"Cookie": cookie}).status_code != 401
    assert shaken(outside, cookie) == 101


def test_a_visitor_logs_in_by_the_form_and_sees_the_page(addresses):
    _, outside, cache = addresses
    token = json.loads((cache / "access.json").read_text())["token"]
    with browser.chromium() as chromium:
        page = chromium.new_context(reduced_motion="reduce").new_page()
        page.goto(f"{outside}/learn?n=4")
        page.get_by_label("Token").fill("wrong-token")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("does not open it")
        page.get_by_label("Token").fill(token)
        page.get_by_label("Your name").fill("Ada")
        page.get_by_role("button", name="Log in").click()
        browser.settled(page)
        assert token not in page.url
        assert "n=4" in page.url
        page.reload()
        browser.settled(page)
        assert page.evaluate("document.cookie").count("layerscope") == 0
