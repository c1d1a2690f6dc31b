"""Limits of the server that hold before any login: half-sent requests, slow bodies, many connections, repeated log lines."""

import asyncio
import contextlib
import logging
import socket

import pytest
import uvicorn
import websockets

from analysis.core.serving import Serving
from pages.web import connections
from tests.support import server

HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def echo(scope, receive, send):
    """Answer a request with the size of its body; hold a web socket open, and send every message back."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(str(size)))]})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def served(monkeypatch):
    """A function that runs a visit of a bounded server; times are short."""
    startup = uvicorn.Server.startup  # a test before may have installed the limits of other settings
    monkeypatch.setattr(uvicorn.Server, "startup", getattr(startup, "__wrapped__", startup))
    monkeypatch.setattr(connections, "_running", None)
    for name, value in {"HEAD_S": 0.5, "BODY_S": 0.5, "LOOK_S": 0.05}.items():
        monkeypatch.setattr(connections, name, value)

    def run(visit, **settings):
        async def main():
            connections.install(Serving(**settings))
            running = uvicorn.Server(uvicorn.Config(echo, log_config=None, lifespan="off", ws="websockets-sansio"))
            with socket.socket() as listening:
                listening.bind(("127.0.0.1", 0))
                serving = asyncio.create_task(running.serve(sockets=[listening]))
                while not running.started:
                    await asyncio.sleep(0.01)
                try:
                    await asyncio.wait_for(visit(listening.getsockname()[1]), 30)
                finally:
                    running.should_exit = running.force_exit = True
                    await serving

        asyncio.run(main())

    return run


async def opened(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def rest(reader):
    """Return the bytes that the server sends until it ends the connection."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def is_answered(port):
    reader, _ = await opened(port, WHOLE)
    return b" 200 OK" in await asyncio.wait_for(rest(reader), 10)


@pytest.mark.parametrize("settings", [{"connections": 10}, {"connections_per_address": 10}], ids=["in all", "of one address"])
def test_half_sent_requests_keep_no_further_visitor_out(served, monkeypatch, settings):
    monkeypatch.setattr(connections, "HEAD_S", 60)  # so that nothing but the number ends them

    async def visit(port):
        half = [await opened(port, HALF) for _ in range(40)]
        assert await is_answered(port)
        assert len(connections._running.opened) <= 10
        for _, writer in half:
            writer.close()

    served(visit, **settings)


def test_every_part_of_an_answer_is_sent_at_once(served):
    async def visit(port):
        _, writer = await opened(port, HALF)
        await asyncio.sleep(0)
        while not connections._running.opened:
            await asyncio.sleep(0.01)
        (transport,) = connections._running.opened
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()

    served(visit)


def test_open_web_sockets_are_kept_and_further_connections_refused(served):
    async def visit(port):
        sockets = [await websockets.connect(f"ws://127.0.0.1:{port}") for _ in range(3)]
        assert not await is_answered(port)
        await asyncio.sleep(1.2)
        for one in sockets:
            await one.send("here")
            assert await one.recv() == "here", "it was quiet for longer than any deadline"
        await sockets.pop().close()
        await asyncio.sleep(0.2)
        assert await is_answered(port)

    served(visit, connections=3)


def test_a_proxys_address_stands_for_many(served):
    async def visit(port):
        sockets = [await websockets.connect(f"ws://127.0.0.1:{port}") for _ in range(3)]
        assert await is_answered(port)
        assert len(sockets) == 3

    served(visit, connections_per_address=2, proxies=("127.0.0.0/8",))


@pytest.mark.parametrize(
    "sent",
    [
        b"", HALF, b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: x\r\n",
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        WHOLE.replace(b"Connection: close\r\n", b"") + HALF,
    ],
    ids=["nothing", "half a head", "half an upgrade", "half a body", "half of the chunks", "half a second request"],
)  # fmt: skip
def test_a_request_that_does_not_come_whole_is_ended(served, sent):
    async def visit(port):
        reader, writer = await opened(port, sent)
        dripping = asyncio.create_task(drip(writer))
        await asyncio.wait_for(rest(reader), 10)
        dripping.cancel()

    async def drip(writer):
        """Send a little again and again, which is no reason to wait longer."""
        byte = b"1\r\nx\r\n" if b"chunked" in sent else b"x"
        with contextlib.suppress(ConnectionError):
            while sent:
                await asyncio.sleep(0.1)
                writer.write(byte)
                await writer.drain()

    served(visit)


def test_a_body_that_comes_fast_enough_is_received_whole(served):
    async def visit(port):
        reader, writer = await opened(port, b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n")
        for _ in range(10):
            writer.write(b"x" * 4000)
            await writer.drain()
            await asyncio.sleep(0.1)
        assert (await rest(reader)).endswith(b"\r\n\r\n40000")

    served(visit)


class Wire:
    """A transport of an address, and the protocol and the request on it, which is being answered or is over."""

    def __init__(self, address):
        self.address, self.aborted, self.cycle = address, False, None
        self.more_body = self.response_complete = False

    def get_extra_info(self, name):
        return (self.address, 1)

    def abort(self):
        self.aborted = True

    def get_write_buffer_size(self):
        return 0


def test_only_a_connection_without_a_request_gives_way():
    open_ones = connections.Connections(most=4, most_of_one=3, clock=lambda: 0.0)
    wires = [Wire(f"10.0.0.{number % 2}") for number in range(4)]
    for wire in wires:
        open_ones.admit(wire, wire)
        wire.cycle = wire  # all of them are being answered now, which nobody has looked at
    refused = Wire("10.0.0.9")
    open_ones.admit(refused, refused)
    assert refused.aborted
    assert not any(wire.aborted for wire in wires)
    wires[2].response_complete = True
    open_ones.end_slow()
    admitted = Wire("10.0.0.9")
    open_ones.admit(admitted, admitted)
    assert not admitted.aborted
    assert [wire.aborted for wire in wires] == [False, False, True, False]


def test_a_repeated_message_makes_a_bounded_log(caplog):
    now = [0.0]
    logger = logging.getLogger("layerscope.test.limits")
    repeats = connections.RepeatFilter(clock=lambda: now[0])
    logger.addFilter(repeats)
    try:
        for number in range(1000):
            logger.error("Accept failed: %d", number)
        logger.error("Something else")
        assert len(caplog.records) == 21
        now[0] = 61
        logger.error("Accept failed: %d", 1000)
        assert caplog.messages[-1] == "Accept failed: 1000\n(980 repeated messages were left out of the log.)"
        for number in range(1000):
            logger.error(f"Kind {number}")
        assert len(caplog.records) == 22 + 299
    finally:
        logger.removeFilter(repeats)


def test_the_limits_bind_the_dashboard_as_streamlit_starts_it(tmp_path, monkeypatch):
    """Fails where a newer Streamlit or uvicorn starts its server otherwise: then `connections.install` needs another place."""
    monkeypatch.setenv("LAYERSCOPE_CONNECTIONS", "30")

    async def health(port):
        reader, _ = await opened(port, WHOLE.replace(b" / ", b" /_stcore/health ").replace(b"Host: x", b"Host: 127.0.0.1"))
        return await asyncio.wait_for(rest(reader), 20)

    async def visit(port):
        while True:
            with contextlib.suppress(OSError):
                if b" 200 OK" in await health(port):
                    break
            await asyncio.sleep(0.2)
        half = [await opened(port, HALF) for _ in range(60)]
        for _ in range(1000):
            with contextlib.suppress(OSError):
                reader, writer = await opened(port, b"\x00nonsense\r\n\r\n")
                await rest(reader)
                writer.close()
        assert b" 200 OK" in await health(port)
        ended = sum(reader.at_eof() or reader.exception() is not None for reader, _ in half)
        assert ended >= 30

    with server.running(server.APP, tmp_path) as (_, port):
        asyncio.run(asyncio.wait_for(visit(port), 100))
    log = (tmp_path / "server.log").read_text()
    assert "do not hold" not in log
    assert log.count("Invalid HTTP request") == 20
    assert len(log) < 20_000
