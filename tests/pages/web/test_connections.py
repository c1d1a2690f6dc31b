"""Bounds of the server that hold before any login: half-sent requests, slow bodies, many
connections, repeated log lines.
"""

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import websockets
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from pages.web import connections
from tests.support import server

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
BODY = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"
FORM = (
    b"POST /poll/join HTTP/1.1\r\nHost: x\r\nContent-Type:"
    b" application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ncode="
)
WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HANDSHAKE = (
    b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade:"
    b" websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key:"
    b" dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: streamlit\r\n%s\r\n"
)
SHORT = {"HEAD_S": 0.3, "BODY_S": 0.3, "BODY_BYTES_PER_S": 1e9, "LOOK_INTERVAL_S": 0.02}


@pytest.fixture
def served(tmp_path):
    """A function that runs a visit of a server of its own process with these settings."""

    def run(visit, *, times=(), options=(), **settings):
        given = json.dumps({"settings": settings, "times": dict(times), "options": dict(options)})
        command = [sys.executable, "-m", "tests.support.bounded_server", given]
        with server.running(command, tmp_path) as (process, port):
            wait_until_open(process, port)
            asyncio.run(asyncio.wait_for(visit(port), 60))
        return (tmp_path / "server.log").read_text()

    return run


def wait_until_open(process, port):
    while True:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)


async def opened(port, sent, address="127.0.0.1"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def rest(reader):
    """Return the bytes that the server sends until it ends the connection."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def is_answered(port, sent=WHOLE):
    reader, _ = await opened(port, sent)
    return b" 200 OK" in await asyncio.wait_for(rest(reader), 10)


def test_half_sent_requests_keep_no_further_visitor_out(served):
    async def visit(port):
        for half in (HEAD, BODY, FORM):
            lines = [await opened(port, half) for _ in range(60)]
            assert await is_answered(port)
            assert (
                sum(reader.at_eof() or reader.exception() is not None for reader, _ in lines) >= 50
            )
            for _, writer in lines:
                writer.close()

    served(visit, connections=10)


def test_half_sent_forms_of_a_poll_end_soon_and_leave_no_traceback(served):
    async def visit(port):
        lines = [await opened(port, FORM) for _ in range(100)]
        gone = [await opened(port, FORM) for _ in range(20)]
        for _, writer in gone:
            writer.close()
        answers = await asyncio.wait_for(asyncio.gather(*(rest(reader) for reader, _ in lines)), 10)
        assert all(b" 400 " in answer and b"did not arrive" in answer for answer in answers)

    log = served(visit, times={"_BODY_TIMEOUT_S": 0.5})
    assert log == ""


def test_one_address_has_a_fifth_of_the_connections(served):
    async def visit(port):
        sockets = [await websockets.connect(f"ws://127.0.0.1:{port}") for _ in range(3)]
        assert not await is_answered(port)
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://127.0.0.1:{port}")
        other, _ = await opened(port, WHOLE, "127.0.0.2")
        assert b" 200 OK" in await asyncio.wait_for(rest(other), 10)
        await sockets.pop().close()
        for _ in range(100):
            if await is_answered(port):
                return
            await asyncio.sleep(0.05)
        pytest.fail("A closed web socket still counts.")

    served(visit, connections=15)


def test_visitors_of_a_listed_proxy_count_by_their_own_addresses(served, monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own setting has no effect

    async def visit(port):
        async def client(peer, *named):
            headers = b"".join(
                b"X-Forwarded-For: %s\r\nX-Forwarded-Proto: https\r\n" % name for name in named
            )
            reader, _ = await opened(
                port, WHOLE.replace(b"Host: x\r\n", b"Host: x\r\n" + headers), peer
            )
            answer = json.loads(
                (await asyncio.wait_for(rest(reader), 10)).partition(b"\r\n\r\n")[2]
            )
            return answer["client"], answer["scheme"]

        assert await client("127.0.0.9", b"192.0.2.7") == ("192.0.2.7", "https")
        assert await client("127.0.0.9", b"198.51.100.1, 192.0.2.7") == (
            "192.0.2.7",
            "https",
        ), "the visitor invented the first"
        assert await client("127.0.0.1", b"192.0.2.7") == ("127.0.0.1", "http")
        for number in range(4):
            await websockets.connect(
                f"ws://127.0.0.1:{port}",
                local_addr=("127.0.0.9", 0),
                additional_headers={"X-Forwarded-For": f"192.0.2.{number}"},
            )

    served(visit, connections=10, proxies=("127.0.0.9",))


def test_addresses_of_one_ipv6_network_count_as_one(served):
    async def visit(port):
        async def connect(address):
            return await websockets.connect(
                f"ws://127.0.0.1:{port}",
                local_addr=("127.0.0.9", 0),
                additional_headers={"X-Forwarded-For": address},
            )

        sockets = [await connect(f"2001:db8::{number}") for number in (1, 2)]
        with pytest.raises(websockets.InvalidStatus):
            await connect("2001:db8:0:0:ffff::3")
        sockets.append(await connect("2001:db8:0:1::1"))
        sockets += [await connect(address) for address in ("192.0.2.1", "::ffff:192.0.2.1")]
        with pytest.raises(websockets.InvalidStatus):
            await connect("192.0.2.1")

    served(visit, connections=10, proxies=("127.0.0.9",))


def test_the_greediest_ipv6_network_makes_room_for_a_new_connection():
    bounds = connections.Bounds(3)
    open_connections = set()

    def connect(address):
        watched = Watched()
        watched.protocol.client = (address, 1)
        watched.protocol.connections = open_connections
        open_connections.add(watched.protocol)
        bounds.admit(watched.protocol)
        return watched

    other = connect("192.0.2.1")
    first, second = connect("2001:db8::1"), connect("2001:db8::2")
    newest = connect("198.51.100.1")
    is_aborted = [each.is_aborted for each in (other, first, second, newest)]
    assert is_aborted == [False, True, False, False]


def test_web_socket_that_answers_no_ping_is_closed(served):
    async def visit(port):
        reader, _ = await opened(port, HANDSHAKE % (b"/", b"x", b""))
        async with websockets.connect(f"ws://127.0.0.1:{port}") as quiet:
            assert b"101" in await asyncio.wait_for(rest(reader), 10)
            await asyncio.sleep(1.5)
            await quiet.send("here")
            assert await quiet.recv() == "here", "it answered every ping"

    served(visit, options={"ws_ping_interval": 0.3, "ws_ping_timeout": 0.3})


INCOMPLETE = {
    "nothing": b"",
    "head": HEAD,
    "upgrade": b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: x\r\n",
    "body": BODY,
    "chunks": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    "second request": WHOLE.replace(b"Connection: close\r\n", b"") + HEAD,
}


def test_request_that_does_not_come_whole_is_ended(served):
    async def is_ended(port, sent):
        reader, writer = await opened(port, sent)

        async def drip():
            with contextlib.suppress(ConnectionError):
                while sent:
                    await asyncio.sleep(0.05)
                    writer.write(b"1\r\nx\r\n" if b"chunked" in sent else b"x")
                    await writer.drain()

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(rest(reader), 10)
            return True
        dripping.cancel()
        return False

    async def visit(port):
        ended = await asyncio.gather(*(is_ended(port, sent) for sent in INCOMPLETE.values()))
        assert dict(zip(INCOMPLETE, ended, strict=True)) == dict.fromkeys(INCOMPLETE, True)
        assert await is_answered(port)

    served(visit, times=SHORT)


class Watched:
    """One connection of a server, the request on it, and a clock."""

    def __init__(self, content_length=0):
        self.now, self.unsent, self.is_aborted, self.is_closing = 0.0, 0, False, False
        self.cycle = SimpleNamespace(more_body=False, response_complete=False)
        self.protocol = object.__new__(H11Protocol)
        self.protocol.cycle, self.protocol.flow = None, SimpleNamespace(read_paused=False)
        self.protocol.headers = [(b"content-length", b"%d" % content_length)]
        self.protocol.transport = SimpleNamespace(
            get_write_buffer_size=lambda: self.unsent,
            is_closing=lambda: self.is_closing,
            abort=lambda: setattr(self, "is_aborted", True),
        )
        self.bounds = connections.Bounds(10, clock=lambda: self.now)

    def lasts(self, seconds):
        """Return whether the connection lives for so long."""
        for _ in range(seconds):
            self.now += 1
            self.bounds.end_slow({self.protocol})
        return not self.is_aborted


def test_a_body_slower_than_its_limit_is_ended():
    watched = Watched(content_length=connections.BODY_BYTES_PER_S * 100)
    watched.protocol.cycle, watched.cycle.more_body = watched.cycle, True
    assert watched.lasts(int(connections.BODY_S) + 100)
    assert not watched.lasts(3)


def test_a_body_that_the_program_reads_slowly_is_kept():
    watched = Watched()
    watched.protocol.cycle, watched.cycle.more_body, watched.protocol.flow.read_paused = (
        watched.cycle,
        True,
        True,
    )
    assert watched.lasts(3600)


def test_an_answer_may_take_long_but_must_be_taken():
    watched = Watched()
    watched.protocol.cycle = watched.cycle
    assert watched.lasts(3600), "the program has not answered yet"
    watched.unsent = 10**6
    assert watched.lasts(60)
    watched.unsent -= 1
    assert watched.lasts(60)
    assert not watched.lasts(3)


def test_a_closed_web_socket_that_takes_nothing_more_is_ended():
    watched = Watched()
    web_socket = object.__new__(WebSocketsSansIOProtocol)
    web_socket.transport, watched.protocol, watched.unsent = (
        watched.protocol.transport,
        web_socket,
        10**6,
    )
    assert watched.lasts(3600), "its pings decide"
    watched.is_closing = True
    assert not watched.lasts(int(connections.SEND_S) + 3)


def test_a_repeated_message_makes_a_bounded_log(caplog):
    now = [0.0]
    logger = logging.getLogger("layerscope.test.limits")
    repeats = connections.RepeatFilter(clock=lambda: now[0])
    logger.addFilter(repeats)
    try:
        for number in range(1000):
            logger.error("Accept failed: %d", number)
        assert caplog.messages[19:] == [
            "Accept failed: 19\n(Further messages of this kind are left out for a minute.)"
        ]
        now[0] = 61
        logger.error("Accept failed: %d", 1000)
        assert caplog.messages[-1] == "Accept failed: 1000"
        for number in range(1000):
            logger.error(f"Kind {number}")
        assert len(caplog.records) == 21 + 299
    finally:
        logger.removeFilter(repeats)


def test_a_port_in_use_ends_the_start_with_the_fix():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        given = json.dumps({"settings": {}, "times": {}, "options": {}})
        command = [
            sys.executable,
            "-m",
            "tests.support.bounded_server",
            given,
            str(other.getsockname()[1]),
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3
    assert "choose another one with --port" in ended.stderr
