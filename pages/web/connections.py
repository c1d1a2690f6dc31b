"""Limits of the server, which hold before any login: connections, slow requests, large messages, and repeated lines of the log.

Streamlit starts uvicorn itself and hands on none of its options, and uvicorn has no deadline for a request. `install` therefore
replaces uvicorn's protocol classes by subclasses when a server starts. They count connections and note received bytes. Every
second `Connections.end_slow` ends those that are too slow. An open web socket is counted and never ended: its pings do that.
"""

import asyncio
import contextlib
import functools
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

import uvicorn

from analysis.core.serving import Serving

HEAD_S = 15.0
"""Seconds for the head of a request, from the connection or from the answer before it."""
BODY_S = 30.0
"""Seconds in which the body of a request may come at any speed."""
BODY_BYTES_PER_S = 4096
"""Slowest mean speed of a body after that."""
SEND_S = 60.0
"""Seconds in which a client must take something of an answer that waits for it."""
LOOK_S = 1.0
"""Seconds between two looks at all connections."""
MESSAGE_BYTES = 4 << 20
"""Largest message over a web socket: the states of all fields of a page."""
BACKLOG = 128
"""Connections that the system keeps for the server, and that it accepts at once."""
SPARE_FILES = 200
"""Open files that are left for everything but connections."""
_WANTED_FILES = 8192
_MINUTE_S = 60.0
_KIND = 60
"""Characters by which two messages of the log are of one kind."""


Phase = Literal["head", "body", "answer", "socket"]
"""The part of a request that a connection waits for; an open web socket is in one phase until it closes."""


@dataclass(eq=False)
class Connection:
    """A connection and how long it has been in its phase."""

    transport: Any
    protocol: Any
    """uvicorn's, whose `cycle` is the present or last request."""
    address: str
    since: float
    """When the present phase of the present request began."""
    is_socket: bool = False
    n_bytes: int = 0
    """Bytes received in all."""
    _last: tuple[Phase, Any] = ("head", None)
    """Phase and request at the last look."""
    _n_before: int = 0
    """Bytes received before this phase."""
    _unsent: int = 0
    """Bytes of an answer that the client had not taken at the last look."""
    _unsent_since: float = 0.0

    @property
    def phase(self) -> Phase:
        """The present phase."""
        cycle = self.protocol.cycle
        if self.is_socket:
            return "socket"
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            return "head"
        return "body" if cycle.more_body else "answer"

    def is_too_slow(self, now: float) -> bool:
        """Look at the connection and return whether it is to be ended."""
        phase, cycle = self.phase, None if self.is_socket else self.protocol.cycle
        if (phase, cycle) != self._last:
            self._last, self.since, self._n_before = (phase, cycle), now, self.n_bytes
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent or not self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        if unsent and now - self._unsent_since > SEND_S and (phase != "socket" or self.transport.is_closing()):
            return True
        passed = now - self.since
        if phase == "head":
            return passed > HEAD_S
        if phase != "body":
            return False
        is_read = not self.protocol.flow.read_paused  # else it is the program that is slow
        return is_read and self.n_bytes - self._n_before < (passed - BODY_S) * BODY_BYTES_PER_S


@dataclass
class Connections:
    """The open connections of a server."""

    most: int
    """Of all addresses together."""
    most_of_one: int
    """Of one address, unless it is a proxy's."""
    proxies: Sequence[str] = ()
    """Addresses or networks of proxies, which stand for many visitors."""
    clock: Callable[[], float] = time.monotonic
    opened: dict[Any, Connection] = field(default_factory=dict)
    """By transport."""
    task: asyncio.Task[None] | None = None
    """Ends slow connections. An event loop keeps no task alive by itself."""

    def admit(self, protocol: Any, transport: Any) -> None:
        """Count a new connection. Where there are too many, one that waits for a request ends, or else the new one."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        neighbours = [each for each in self.opened.values() if each.address == address]
        is_full_here = len(neighbours) >= self.most_of_one and not self._is_proxy(address)
        if (is_full_here and not self._end_one(neighbours)) or (
            len(self.opened) >= self.most and not self._end_one(self.opened.values())
        ):
            transport.abort()
            return
        self.opened[transport] = Connection(transport, protocol, address, self.clock())

    def end_slow(self) -> None:
        """End connections that are too slow."""
        now = self.clock()
        for each in list(self.opened.values()):
            if each.is_too_slow(now):
                self._end(each)

    async def keep_ending_slow(self) -> None:
        """End connections that are too slow, every second."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.end_slow()

    def _end_one(self, candidates: Iterable[Connection]) -> bool:
        """End the oldest without a request, of the address that has most of them; False where there is none."""
        waiting = [each for each in candidates if each.phase == "head"]
        if not waiting:
            return False
        ((address, _),) = Counter(each.address for each in waiting).most_common(1)
        self._end(min((each for each in waiting if each.address == address), key=lambda each: each.since))
        return True

    def _end(self, connection: Connection) -> None:
        connection.transport.abort()
        self.opened.pop(connection.transport, None)

    def _is_proxy(self, address: str) -> bool:
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip in ip_network(proxy) for proxy in self.proxies)


def counted_http(kind: Any, connections: Connections) -> Any:
    """Return uvicorn's protocol class for HTTP with connections that are counted and timed."""

    class CountedHTTP(kind):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            _send_at_once(transport)
            connections.admit(self, transport)

        def data_received(self, data: bytes) -> None:
            if (connection := connections.opened.get(self.transport)) is not None:
                connection.n_bytes += len(data)
            super().data_received(data)

        def connection_lost(self, error: Exception | None) -> None:
            connections.opened.pop(self.transport, None)
            super().connection_lost(error)

    return CountedHTTP


def counted_socket(kind: Any, connections: Connections) -> Any:
    """Return uvicorn's protocol class for web sockets with connections that are counted."""

    class CountedSocket(kind):
        def connection_made(self, transport: Any) -> None:
            if (connection := connections.opened.get(transport)) is not None:
                connection.is_socket = True
            super().connection_made(transport)

        def connection_lost(self, error: Exception | None) -> None:
            connections.opened.pop(self.transport, None)
            super().connection_lost(error)

    return CountedSocket


def _send_at_once(transport: Any) -> None:
    """Let a connection send every part of an answer at once.

    By default the body of an answer waits until the other end acknowledges its head. That takes up to 0.04 s for each of the
    hundred files of a page. asyncio sets this for sockets that it makes itself. Streamlit makes its own.
    """
    if (connected := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # not a TCP socket
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class RepeatFilter(logging.Filter):
    """Lets a message into the log a few times a minute, and then says how often it was left out."""

    def __init__(self, most: int = 20, most_in_all: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            most: messages of one kind in a minute: of one logger and the same first `_KIND` characters.
            most_in_all: messages of all kinds in a minute.
            clock: seconds that only go forward.
        """
        super().__init__()
        self.most, self.most_in_all, self.clock = most, most_in_all, clock
        self._began = clock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is written."""
        now = self.clock()
        if now - self._began >= _MINUTE_S:
            if self._left_out:
                record.msg = f"{record.getMessage()}\n({self._left_out:,} repeated messages were left out of the log.)"
                record.args = ()
            self._began, self._left_out = now, 0
            self._counts.clear()
        kind = (record.name, str(record.msg)[:_KIND])
        if self._counts[kind] >= self.most or self._counts.total() >= self.most_in_all:
            self._left_out += 1
            return False
        self._counts[kind] += 1
        return True


def limit_log() -> None:
    """Bound the log of the server and its libraries: of a repeated message, only the first ones are written."""
    repeats = RepeatFilter()
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        is_server = name.partition(".")[0] in ("uvicorn", "asyncio", "streamlit", "starlette")
        if is_server and not any(isinstance(each, RepeatFilter) for each in logger.filters):
            logger.addFilter(repeats)


_running: Connections | None = None
"""Those of the server of this process."""


def install(settings: Serving) -> None:
    """Bound the server that uvicorn starts in this process.

    Args:
        settings: with the numbers of connections and the proxies.
    """
    startup = uvicorn.Server.startup
    if hasattr(startup, "__wrapped__"):
        return

    @functools.wraps(startup)
    async def bounded_startup(self: uvicorn.Server, sockets: Any = None) -> None:
        global _running
        most = min(settings.connections, max(1, _file_limit() - SPARE_FILES))
        _running = Connections(most, min(most, settings.connections_per_address), settings.proxies)
        config = self.config
        config.http_protocol_class = counted_http(config.http_protocol_class, _running)
        if config.ws_protocol_class is not None:
            config.ws_protocol_class = counted_socket(config.ws_protocol_class, _running)
        config.ws_max_size, config.backlog = min(config.ws_max_size, MESSAGE_BYTES), min(config.backlog, BACKLOG)
        limit_log()
        _running.task = asyncio.get_running_loop().create_task(_running.keep_ending_slow())
        await startup(self, sockets=sockets)

    uvicorn.Server.startup = bounded_startup  # type: ignore[method-assign]


def check() -> None:
    """Say so where the limits do not hold, as under another server than uvicorn."""
    if _running is None:
        sys.stderr.write(
            "The connection limits are off: this server is not the uvicorn that `streamlit run` starts. Start it with "
            "`streamlit run app.py`, or put a proxy with its own limits in front (docs/guides/serving.md).\n"
        )


def _file_limit() -> int:
    """Return the number of files that this process may have open, raised as far as it may raise it itself."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
            wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        return soft if soft != resource.RLIM_INFINITY else _WANTED_FILES
    return _WANTED_FILES
