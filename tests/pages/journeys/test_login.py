"""In Show a link with a token opens the pages through a proxy and leaves the address, and nothing else passes."""

import contextlib
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import browser, proxy

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

HANDSHAKE = (
    "GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamlit\r\n\r\n"
)


@contextlib.contextmanager
def served(folder):
    """A dashboard in Show behind a proxy: the address of the proxy, and the cache of the dashboard."""
    cache = folder / "cache"
    cache.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSCOPE_CACHE", str(cache))
        patch.setenv("LAYERSCOPE_MODE", "show")
        patch.setenv("LAYERSCOPE_PROXIES", "127.0.0.1")
        with browser.dashboard(cache) as address, proxy.before(address) as outside:
            yield outside, cache
            assert "Traceback" not in (cache / "server.log").read_text()


def websocket_status(address: str) -> int:
    """Return the status with which a web socket is answered."""
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=20) as line:
        line.sendall(HANDSHAKE.format(host=host.netloc).encode())
        return int(line.recv(64).split()[1])


def test_a_link_opens_show_and_its_token_leaves_the_address(tmp_path):
    with served(tmp_path) as (outside, cache):
        for path in ("", "heal", "_stcore/host-config"):
            assert httpx.get(f"{outside}/{path}").status_code == 401
        assert websocket_status(outside) == 403
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
