"""The dashboard as its own start serves it: proxies, foreign pages and nonsense on the real server."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from pages.web.visitors import load_tokens
from tests.pages.web.test_connections import HANDSHAKE, HEAD, opened, rest
from tests.support import server

GET = b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n"


@pytest.fixture
def started(tmp_path, monkeypatch):
    """A function that runs a visit of a dashboard with these settings, and returns the log."""
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))

    def run(visit, **settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"LAYERSCOPE_{name}", value)
        with server.running(server.APP, tmp_path) as (process, port):
            until = time.monotonic() + 60
            while True:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                assert time.monotonic() < until
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
                    break
                time.sleep(0.1)
            asyncio.run(asyncio.wait_for(visit(port), 90))
        return (tmp_path / "server.log").read_text()

    return run


async def answer(port, sent, peer="127.0.0.1"):
    reader, _ = await opened(port, sent, peer)
    return await asyncio.wait_for(rest(reader), 20)


def test_only_a_listed_proxy_says_that_a_visitor_came_through_tls(started, monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")

    async def visit(port):
        headers = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
        link = GET % (b"/?token=%s" % load_tokens().token.encode(), b"layers.example", headers)
        from_proxy, from_another = await answer(port, link, "127.0.0.9"), await answer(port, link)
        assert b" 303 " in from_proxy
        assert b" 303 " in from_another
        assert b"; Secure" in from_proxy
        assert b"; Secure" not in from_another

    started(visit, MODE="show", PROXIES="127.0.0.9")


def test_foreign_pages_open_no_web_socket_and_cost_no_time(started):
    async def status(port, origin):
        head = b"Origin: %s\r\n" % origin if origin else b""
        reader, writer = await opened(port, HANDSHAKE % (b"/_stcore/stream", b"127.0.0.1:%d" % port, head))
        line = await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        return int(line.split()[1])

    async def visit(port):
        began = time.monotonic()
        foreign = (b"https://evil.example", b"http://127.0.0.1:%d" % (port + 1), b"http://127.0.0.1", b"null", b"http://[")
        for origin in foreign * 2:
            assert await status(port, origin) == 403, origin
        assert time.monotonic() - began < 5, "Streamlit asked for the machine's external address"
        assert await status(port, b"http://127.0.0.1:%d" % port) == 101
        assert await status(port, b"") == 101

    started(visit)


def test_nonsense_makes_a_bounded_log_and_keeps_nobody_out(started):
    async def visit(port):
        half = [await opened(port, HEAD) for _ in range(60)]
        for _ in range(500):
            with contextlib.suppress(OSError):
                await answer(port, b"\x00nonsense\r\n\r\n")
        assert b" 200 OK" in await answer(port, GET % (b"/_stcore/health", b"127.0.0.1", b""))
        assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in half) >= 30

    log = started(visit, CONNECTIONS="30")
    assert len(log) < 2000


def test_streamlit_run_refuses_a_network(tmp_path):
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", "0"]
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(tmp_path), "LAYERSCOPE_MODE": "show"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 2
    assert "`streamlit run` serves only this machine" in ended.stderr
