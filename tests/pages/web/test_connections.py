"""Limits of the server that hold before any login: half-sent requests, slow bodies, many connections, repeated log lines."""

import asyncio
import contextlib
import logging
import socket
import time

import pytest
import uvicorn
import websockets

from analysis.core.serving import Serving
from pages.web import connections
from tests.support import server

HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"
DEADLINE_S = 0.2
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
    for name, value in {"HEAD_S": DEADLINE_S, "BODY_S": DEADLINE_S, "LOOK_S": 0.02}.items():
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
        quiet_until = time.monotonic() + 2 * DEADLINE_S
        while time.monotonic() < quiet_until:
            await asyncio.sleep(connections.LOOK_S)
        for one in sockets:
            await one.send("here")
            assert await one.recv() == "here", "it was quiet for longer than any deadline"
        await sockets.pop().close()
        while len(connections._running.opened) == 3:
            await asyncio.sleep(connections.LOOK_S)
        assert await is_answered(port)

    served(visit, connections=3)


def test_a_proxys_address_stands_for_many(served):
    async def visit(port):
        sockets = [await websockets.connect(f"ws://127.0.0.1:{port}") for _ in range(3)]
        assert await is_answered(port)
        assert len(sockets) == 3

    served(visit, connections_per_address=2, proxies=("127.0.0.0/8",))


def test_requests_that_do_not_come_whole_are_ended(served):
    sent = {
        "nothing": b"",
        "half a head": HALF,
        "half an upgrade": b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: x\r\n",
        "half a body": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        "half of the chunks": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        "half a second request": WHOLE.replace(b"Connection: close\r\n", b"") + HALF,
    }
    ended = set()

    async def ends(port, name):
        reader, writer = await opened(port, sent[name])
        dripping = asyncio.create_task(drip(writer, b"1\r\nx\r\n" if b"chunked" in sent[name] else b"x"))
        await asyncio.wait_for(rest(reader), 10)
        dripping.cancel()
        ended.add(name)

    async def drip(writer, a_little):
        """Send a little again and again, which is no reason to wait longer."""
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(DEADLINE_S / 5)
                writer.write(a_little)
                await writer.drain()

    async def visit(port):
        await asyncio.gather(*(ends(port, name) for name in sent if name != "nothing"))
        reader, _ = await opened(port, b"")
        await asyncio.wait_for(rest(reader), 10)

    served(visit)
    assert ended == set(sent) - {"nothing"}


class Wire:
    """A transport of an address, the protocol and the request on it, and the control of its flow."""

    def __init__(self, address="10.0.0.1"):
        self.address, self.aborted, self.cycle, self.flow = address, False, None, self
        self.more_body = self.response_complete = self.read_paused = False
        self.unsent = 0

    def get_extra_info(self, name):
        return (self.address, 1)

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return self.unsent


class Watched:
    """One connection of a server, and a clock."""

    def __init__(self):
        self.now, self.wire = 0.0, Wire()
        self.connections = connections.Connections(most=4, most_of_one=3, clock=lambda: self.now)
        self.connections.admit(self.wire, self.wire)

    def lasts(self, seconds, bytes_per_s=0):
        """Return whether the connection lives for so long."""
        for _ in range(seconds):
            self.now += 1
            if self.wire in self.connections.opened:
                self.connections.opened[self.wire].n_bytes += bytes_per_s
            self.connections.end_slow()
        return not self.wire.aborted


def test_a_body_slower_than_its_limit_is_ended():
    fast, slow, paused = Watched(), Watched(), Watched()
    for watched in (fast, slow, paused):
        watched.wire.cycle, watched.wire.more_body = watched.wire, True
    paused.wire.read_paused = True
    assert fast.lasts(3600, bytes_per_s=connections.BODY_BYTES_PER_S)
    assert slow.lasts(30, bytes_per_s=100)
    assert not slow.lasts(5, bytes_per_s=100)
    assert paused.lasts(600), "it is the program that is slow"


def test_an_answer_may_take_long_but_must_be_taken():
    watched = Watched()
    watched.wire.cycle = watched.wire
    assert watched.lasts(3600), "the program has not answered yet"
    watched.wire.unsent = 10**6
    assert watched.lasts(60)
    watched.wire.unsent -= 1
    assert watched.lasts(60)
    assert not watched.lasts(2)


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
