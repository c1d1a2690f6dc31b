"""A visitor's first page comes soon, also while another visitor asks for pages without end."""

import asyncio
import contextlib
import json
import time

import httpx
import pytest
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.support import browser, server

pytestmark = [pytest.mark.slow, pytest.mark.starter, pytest.mark.timeout(240)]

FLOODER = "127.0.0.2"
VISITOR = "127.0.0.3"
SOON_S = 3.0
"""Seconds in which the first page of another visitor is drawn on a quiet machine."""
TIMES = 20
"""Longest time of a first page during a flood, on a busy machine, in times without the flood."""


def rerun() -> bytes:
    request = BackMsg()
    request.rerun_script.query_string = ""
    return request.SerializeToString()


def connected(port: int, address: str, cookie: str) -> websockets.connect:
    return websockets.connect(
        f"ws://127.0.0.1:{port}/_stcore/stream",
        subprotocols=["streamlit"],
        local_addr=(address, 0),
        additional_headers={"Cookie": cookie},
        max_queue=None,
    )


def is_drawn(message: ForwardMsg) -> bool:
    """Return whether a message ends the last run of a page: one that leads on to it ends early."""
    is_end = message.HasField("script_finished")
    return is_end and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY


async def first_page_s(port: int, cookie: str) -> float:
    """Return the seconds until the first page of a visitor is drawn."""
    start = time.monotonic()
    async with connected(port, VISITOR, cookie) as socket:
        await socket.send(rerun())
        message = ForwardMsg()
        while not is_drawn(message):
            message.ParseFromString(await socket.recv())
    return time.monotonic() - start


async def drains(socket: websockets.ClientConnection) -> None:
    async for _ in socket:
        pass


async def asks_often(socket: websockets.ClientConnection) -> None:
    while True:
        await socket.send(rerun())
        await asyncio.sleep(0.2)


async def asks_at_once(socket: websockets.ClientConnection) -> None:
    for _ in range(6_000):
        await socket.send(rerun())


def cookie_of(port: int, folder) -> str:
    """Return the cookie of a visitor who opened the link of Show."""
    token = json.loads((folder / "access.json").read_text())["token"]
    answer = httpx.get(f"http://127.0.0.1:{port}/?token={token}")
    return "; ".join(f"{name}={value}" for name, value in answer.cookies.items())


@pytest.mark.parametrize(("windows", "asks"), [(20, asks_often), (5, asks_at_once)])
def test_another_visitor_sees_the_first_page_during_a_flood(tmp_path, monkeypatch, windows, asks):
    monkeypatch.setenv("LAYERSCOPE_MODE", "show")
    monkeypatch.setenv("STREAMLIT_BROWSER_SERVER_ADDRESS", "localhost")

    async def flood(port: int) -> tuple[float, list[float]]:
        cookie = cookie_of(port, tmp_path)
        await first_page_s(port, cookie)
        quiet_s = max([await first_page_s(port, cookie) for _ in range(3)])
        async with contextlib.AsyncExitStack() as opened:
            sockets = [
                await opened.enter_async_context(connected(port, FLOODER, cookie))
                for _ in range(windows)
            ]
            tasks = [
                asyncio.create_task(act(socket)) for socket in sockets for act in (asks, drains)
            ]
            await asyncio.sleep(2)
            flooded_s = [await first_page_s(port, cookie) for _ in range(3)]
            for task in tasks:
                task.cancel()
        return quiet_s, flooded_s

    with server.running(server.APP, tmp_path) as (process, port):
        health = f"http://127.0.0.1:{port}/_stcore/health"
        browser.wait_until_healthy(health, process, tmp_path / "server.log")
        quiet_s, flooded_s = asyncio.run(flood(port))
    assert max(flooded_s) < max(SOON_S, TIMES * quiet_s), (quiet_s, flooded_s)
