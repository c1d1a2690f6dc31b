"""The dashboard as its own start serves it: foreign pages and nonsense on the real server."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time

from tests.pages.web.test_connections import (
    HANDSHAKE,
    HEAD,
    is_answered,
    opened,
    rest,
    wait_until_open,
)
from tests.support import server

HEALTH = b"GET /_stcore/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


async def websocket_status(port: int, origin: bytes) -> int:
    """Return the status with which a web socket that a page of this origin opens is answered."""
    head = b"Origin: %s\r\n" % origin if origin else b""
    reader, writer = await opened(
        port, HANDSHAKE % (b"/_stcore/stream", b"127.0.0.1:%d" % port, head)
    )
    line = await asyncio.wait_for(reader.readline(), 20)
    writer.close()
    return int(line.split()[1])


async def visit(port: int) -> None:
    while not await is_answered(port, HEALTH):
        await asyncio.sleep(0.1)
    began = time.monotonic()
    foreign = (
        b"https://evil.example",
        b"http://127.0.0.1:%d" % (port + 1),
        b"http://127.0.0.1",
        b"null",
        b"http://[",
    )
    for origin in foreign * 2:
        assert await websocket_status(port, origin) == 403, origin
    assert time.monotonic() - began < 5, "Streamlit asked for the machine's external address"
    for origin in (b"http://127.0.0.1:%d" % port, b""):
        assert await websocket_status(port, origin) == 101
    half = [await opened(port, HEAD) for _ in range(60)]
    for _ in range(500):
        with contextlib.suppress(OSError):
            reader, _ = await opened(port, b"\x00nonsense\r\n\r\n")
            await asyncio.wait_for(rest(reader), 20)
    assert await is_answered(port, HEALTH)
    assert sum(reader.at_eof() or reader.exception() is not None for reader, _ in half) >= 30


def test_foreign_pages_open_no_web_socket_and_nonsense_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("LAYERSCOPE_CONNECTIONS", "30")
    with server.running(server.APP, tmp_path) as (process, port):
        wait_until_open(process, port)
        asyncio.run(asyncio.wait_for(visit(port), 120))
    assert len((tmp_path / "server.log").read_text()) < 2000


def test_a_start_says_the_address_and_nothing_else(tmp_path):
    with server.running(server.APP, tmp_path) as (process, port):
        server.visit(port, lambda text: "Explore" in text)
    assert (tmp_path / "server.log").read_text() == f"Layerscope: http://127.0.0.1:{port}/\n"


def test_streamlit_run_refuses_a_network(tmp_path):
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", "0"]
    environment = {**os.environ, "LAYERSCOPE_CACHE": str(tmp_path), "LAYERSCOPE_MODE": "show"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 2
    assert "`streamlit run` serves only this machine" in ended.stderr
