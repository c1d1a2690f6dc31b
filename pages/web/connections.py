"""Limits of the server, which hold before any login: connections, slow requests, large messages, and repeated lines of the log.

Streamlit starts uvicorn itself and hands on none of its options, and uvicorn has no deadline for a request. `install` therefore
replaces uvicorn's protocol classes by subclasses when a server starts. They count connections and note received bytes. Every
second `Connections.look` ends those that are too slow. An open web socket is counted and never ended: its pings do that.
"""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any

import uvicorn

from analysis.core.serving import Serving

HEAD_S = 15.0
"""Seconds for the head of a request, from the connection or from the answer before it."""
BODY_S = 30.0
"""Seconds in which the body of a request may come at any speed."""
BODY_BYTES_PER_S = 4096
"""Slowest mean speed of a body after that."""
LATE_S = 10.0
"""Seconds for the rest of a body whose request is answered already."""
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


class Phase(Enum):
    """The event that a connection waits for."""

    HEAD = "the head of a request"
    BODY = "the body of a request"
    ANSWER = "an answer"
    SOCKET = "messages of a web socket"


@dataclass(eq=False)
class Connection:
    """A connection and how long it has been as it is."""

    transport: Any
    protocol: Any
    address: str
    since: float
    """When the present phase of the present request began."""
    cycle: Any = None
    """uvicorn's present or last request."""
    phase: Phase = Phase.HEAD
    n_bytes: int = 0
    """Bytes received in all."""
    n_before: int = 0
    """Bytes received before this phase."""
    unsent: int = 0
    """Bytes of an answer that the client had not taken at the last look."""
    unsent_since: float = 0.0

    def look(self, now: float) -> None:
        """Note the present phase."""
        cycle = self.cycle if self.phase is Phase.SOCKET else self.protocol.cycle
        phase = self.phase if self.phase is Phase.SOCKET else _phase(cycle)
        if (phase, cycle) != (self.phase, self.cycle):
            self.phase, self.cycle, self.since, self.n_before = phase, cycle, now, self.n_bytes
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self.unsent or not self.unsent:
            self.unsent_since = now
        self.unsent = unsent

    def is_too_slow(self, now: float) -> bool:
        """Return whether the connection is to be ended, by the observations of `look`."""
        passed = now - self.since
        if self.unsent and now - self.unsent_since > SEND_S and (self.phase is not Phase.SOCKET or self.transport.is_closing()):
            return True
        if self.phase is Phase.HEAD:
            return passed > HEAD_S
        if self.phase is not Phase.BODY:
            return False
        if self.cycle.response_complete:
            return passed > LATE_S
        is_read = not self.protocol.flow.read_paused  # else it is the program that is slow
        return is_read and self.n_bytes - self.n_before < (passed - BODY_S) * BODY_BYTES_PER_S


def _phase(cycle: Any) -> Phase:
    """The phase that uvicorn's present or last request is in."""
    if cycle is None:
        return Phase.HEAD
    if cycle.more_body:
        return Phase.BODY
    return Phase.HEAD if cycle.response_complete else Phase.ANSWER


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
    waiting: dict[str, dict[Connection, None]] = field(default_factory=dict)
    """By address, those that wait for the head of a request, the oldest first."""
    of_address: Counter[str] = field(default_factory=Counter)

    def admit(self, protocol: Any, transport: Any) -> None:
        """Count a new connection. Where there are too many, the oldest without a request ends, or else the new one."""
        address = str((transport.get_extra_info("peername") or ("",))[0])
        is_full_here = self.of_address[address] >= self.most_of_one and not self._is_proxy(address)
        if is_full_here and not self._end_waiting(address):
            transport.abort()
            return
        if len(self.opened) >= self.most and not self._end_waiting_anywhere():
            transport.abort()
            return
        made = Connection(transport, protocol, address, self.clock())
        self.opened[transport] = made
        self.of_address[address] += 1
        self.waiting.setdefault(address, {})[made] = None

    def heard(self, transport: Any, n_bytes: int) -> None:
        """Count bytes that arrived."""
        if transport in self.opened:
            self.opened[transport].n_bytes += n_bytes

    def upgraded(self, transport: Any) -> None:
        """Note that a connection is a web socket now."""
        if (found := self.opened.get(transport)) is not None:
            found.phase = Phase.SOCKET
            self._wait_no_more(found)

    def closed(self, transport: Any) -> None:
        """Forget a connection."""
        if (found := self.opened.pop(transport, None)) is None:
            return
        self._wait_no_more(found)
        self.of_address[found.address] -= 1
        if not self.of_address[found.address]:
            del self.of_address[found.address]

    def look(self) -> None:
        """End connections that are too slow."""
        now = self.clock()
        for found in list(self.opened.values()):
            found.look(now)
            if found.is_too_slow(now):
                self._end(found)
            elif found.phase is Phase.HEAD:
                self.waiting.setdefault(found.address, {}).setdefault(found)
            else:
                self._wait_no_more(found)

    async def look_on(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def _end_waiting_anywhere(self) -> bool:
        """End the oldest connection without a request, of the address that has most of them; False where there is none."""
        while self.waiting:
            if self._end_waiting(max(self.waiting, key=lambda address: len(self.waiting[address]))):
                return True
        return False

    def _end_waiting(self, address: str) -> bool:
        """End the oldest connection of an address that still waits for a head; False where there is none, and none is noted."""
        for found in list(self.waiting.get(address, ())):
            found.look(self.clock())
            if found.phase is Phase.HEAD:
                self._end(found)
                return True
            self._wait_no_more(found)
        return False

    def _end(self, found: Connection) -> None:
        found.transport.abort()
        self.closed(found.transport)

    def _wait_no_more(self, found: Connection) -> None:
        if (of_address := self.waiting.get(found.address)) is not None:
            of_address.pop(found, None)
            if not of_address:
                del self.waiting[found.address]

    def _is_proxy(self, address: str) -> bool:
        try:
            known = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        known = getattr(known, "ipv4_mapped", None) or known
        return any(known in ip_network(proxy) for proxy in self.proxies)


def send_at_once(transport: Any) -> None:
    """Let a connection send every part of an answer at once.

    By default the body of an answer waits until the other end acknowledges its head: up to 0.04 s for each of the hundred files
    of a page. asyncio sets this for sockets that it makes itself. Streamlit makes its own.
    """
    if (connected := transport.get_extra_info("socket")) is not None:
        with contextlib.suppress(OSError):  # not a TCP socket
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def bounded(kind: Any, connections: Connections) -> Any:
    """uvicorn's protocol class for HTTP, whose connections are counted and timed."""

    class Bounded(kind):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            send_at_once(transport)
            connections.admit(self, transport)

        def data_received(self, data: bytes) -> None:
            connections.heard(self.transport, len(data))
            super().data_received(data)

        def connection_lost(self, error: Exception | None) -> None:
            connections.closed(self.transport)
            super().connection_lost(error)

    return Bounded


def bounded_socket(kind: Any, connections: Connections) -> Any:
    """uvicorn's protocol class for web sockets, whose connections are counted."""

    class BoundedSocket(kind):
        def connection_made(self, transport: Any) -> None:
            connections.upgraded(transport)
            super().connection_made(transport)

        def connection_lost(self, error: Exception | None) -> None:
            connections.closed(self.transport)
            super().connection_lost(error)

    return BoundedSocket


class Repeats(logging.Filter):
    """Lets a message into the log a few times a minute, and then says how often it was left out."""

    def __init__(self, most: int = 20, most_in_all: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            most: messages of one kind in a minute: of one logger and one text before its values.
            most_in_all: messages of all kinds in a minute.
            clock: seconds that only go forward.
        """
        super().__init__()
        self.most, self.most_in_all, self.clock = most, most_in_all, clock
        self._began = clock()
        self._seen: Counter[tuple[str, str]] = Counter()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is written."""
        now = self.clock()
        if now - self._began >= _MINUTE_S:
            if self._left_out:
                record.msg = f"{record.getMessage()}\n({self._left_out:,} repeated messages were left out of the log.)"
                record.args = ()
            self._began, self._left_out = now, 0
            self._seen.clear()
        kind = (record.name, str(record.msg)[:_KIND])
        if self._seen[kind] >= self.most or self._seen.total() >= self.most_in_all:
            self._left_out += 1
            return False
        self._seen[kind] += 1
        return True


_MINUTE_S = 60.0
_KIND = 60
"""Characters by which two messages are of one kind."""


def limit_log(loggers: Iterable[logging.Logger] | None = None) -> None:
    """Bound the log of the server and its libraries: of a repeated message, only the first ones are written.

    Args:
        loggers: the loggers to bound; None for all of uvicorn, asyncio and Streamlit that exist now.
    """
    known = logging.root.manager.loggerDict
    names = [name for name in known if name.partition(".")[0] in ("uvicorn", "asyncio", "streamlit", "starlette")]
    repeats = Repeats()
    for logger in [logging.getLogger(name) for name in names] if loggers is None else loggers:
        if not any(isinstance(one, Repeats) for one in logger.filters):
            logger.addFilter(repeats)


_running: Connections | None = None


def install(settings: Serving) -> None:
    """Bound the server that uvicorn starts in this process.

    Args:
        settings: with the numbers of connections and the proxies.
    """
    startup = uvicorn.Server.startup
    if getattr(startup, "is_bounded", False):
        return

    async def bounded_startup(self: uvicorn.Server, sockets: Any = None) -> None:
        global _running
        most = min(settings.connections, max(1, _files() - SPARE_FILES))
        _running = Connections(most, min(most, settings.connections_per_address), settings.proxies)
        config = self.config
        config.http_protocol_class = bounded(config.http_protocol_class, _running)
        if config.ws_protocol_class is not None:
            config.ws_protocol_class = bounded_socket(config.ws_protocol_class, _running)
        config.ws_max_size, config.backlog = min(config.ws_max_size, MESSAGE_BYTES), min(config.backlog, BACKLOG)
        limit_log()
        looking = asyncio.get_running_loop().create_task(_running.look_on())
        _tasks.add(looking)
        await startup(self, sockets=sockets)

    bounded_startup.is_bounded = True  # type: ignore[attr-defined]
    bounded_startup.__wrapped__ = startup  # type: ignore[attr-defined]
    uvicorn.Server.startup = bounded_startup  # type: ignore[method-assign]


_tasks: set[asyncio.Task[None]] = set()
"""An event loop keeps no task alive by itself."""


def check() -> None:
    """Say so where the limits do not hold, as under another server than uvicorn."""
    if _running is None:
        sys.stderr.write(
            "The connection limits are off: this server is not the uvicorn that `streamlit run` starts. Start it with "
            "`streamlit run app.py`, or put a proxy with its own limits in front (docs/guides/serving.md).\n"
        )


def _files() -> int:
    """Files that this process may have open, raised as far as that needs nobody's leave."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _WANTED_FILES:
            wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        return soft if soft != resource.RLIM_INFINITY else _WANTED_FILES
    return _WANTED_FILES


_WANTED_FILES = 8192
