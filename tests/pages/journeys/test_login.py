"""Through a proxy nothing passes without a mode; in Show a link with a token opens the pages and leaves the address."""

import contextlib
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import browser, proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HANDSHAKE = (
    "GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: {cookie}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamlit\r\n\r\n"
)


@contextlib.contextmanager
def served(folder, **settings: str):
    """A dashboard with these settings: its own address, that of a proxy in front of it, and its cache."""
    cache = folder / "cache"
    cache.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(cache))
        for name, value in settings.items():
            patch.setenv(f"LAYERSCOPE_{name}", value)
        with browser.dashboard(cache) as address, proxy.before(address) as outside:
            yield address, outside, cache
            assert "Traceback" not in (cache / "server.log").read_text()


def shaken(address: str, cookie: str = "") -> int:
    """The status with which a web socket is answered."""
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=20) as line:
        line.sendall(HANDSHAKE.format(host=host.netloc, cookie=cookie).encode())
        return int(line.recv(64).split()[1])


def test_without_a_mode_this_machine_alone_is_answered(tmp_path):
    with served(tmp_path) as (here, outside, _):
        asset = next(part for part in httpx.get(f"{here}/").text.split('"') if "/static/" in part).lstrip("./")
        for path in ("", "heal", asset, "_stcore/host-config", "media/x.png", "no-such-page"):
            assert httpx.get(f"{outside}/{path}").status_code == 403
        assert httpx.put(f"{outside}/_stcore/upload_file/a/b").status_code == 403
        assert shaken(outside) == 403
        assert httpx.get(f"{outside}/_stcore/health").status_code == 200
        assert httpx.get(f"{here}/{asset}").status_code == 200
        assert shaken(here) == 101


def test_a_link_opens_show_and_its_token_leaves_the_address(tmp_path):
    with served(tmp_path, MODE="show", PROXIES="127.0.0.1") as (_, outside, cache):
        for path in ("", "heal", "_stcore/host-config"):
            assert httpx.get(f"{outside}/{path}").status_code == 401
        assert shaken(outside) == 403
        kept = json.loads((cache / "access.json").read_text())
        tokens = [value for value in kept.values() if isinstance(value, str)]
        with browser.chromium() as chromium:
            page = chromium.new_context(reduced_motion="reduce").new_page()
            page.goto(f"{outside}/learn?n=4&token={kept['token']}")
            browser.settled(page)
            assert kept["token"] not in page.url
            assert "n=4" in page.url
            page.reload()
            browser.settled(page)
            assert page.evaluate("document.cookie").count("layerscope") == 0
        log = (cache / "server.log").read_text()
        assert not any(token in log for token in tokens)
