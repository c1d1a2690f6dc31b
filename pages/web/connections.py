"""Bounds of the server, which hold before any login: connections, slow requests, and repeated
messages of the log.

uvicorn has no deadline for a request, and half-sent requests that take all its connections keep
everybody out. So its option `http` gets a subclass of its protocol for HTTP, which makes room for a
new connection, and a task ends slow connections.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose
from uvicorn.protocols.http.h11_impl import H11Protocol

from pages.web.addresses import network_of_client

HEAD_S = 15.0
"""Deadline for the head of a request, in seconds from the connection or from the answer before
it."""
BODY_S = 30.0
"""Seconds that a body can take at any speed."""
BODY_BYTES_PER_S = 4096
"""Minimum mean speed of a body of a stated length after that."""
SEND_S = 60.0
"""Seconds in which a client must take something of an answer that waits for it."""
LOOK_INTERVAL_S = 1.0
_LOG_KIND = 60
"""Number of first characters that make two messages of the log of one kind."""

is_bounded = False
"""Whether `pages.web.start` runs the server of this process."""


def is_waiting(connection: H11Protocol) -> bool:
    """Return whether the server waits for the client, for a head or a body. An open web socket
    never counts as waiting.
    """
    cycle = connection.cycle
    return (
        cycle is None
        or cycle.response_complete
        or (cycle.more_body and not connection.flow.read_paused)
    )


def state_of(connection: Any) -> tuple[object, float]:
    """Return the state of a connection, and the seconds that it can stay in it."""
    unsent = connection.transport.get_write_buffer_size()
    if connection.transport.is_closing():
        return ("closing", unsent), SEND_S
    if not isinstance(connection, H11Protocol):
        return "web socket", math.inf  # its pings decide
    cycle = connection.cycle
    if not is_waiting(connection):
        return (cycle, unsent), SEND_S if unsent else math.inf
    if cycle is None or not cycle.more_body:
        return (cycle, "head"), HEAD_S
    return (cycle, "body"), BODY_S + int(
        dict(connection.headers).get(b"content-length", 0)
    ) / BODY_BYTES_PER_S


class Bounds:
    """The bounds of the connections of a server."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self.clock = clock
        self._states: dict[Any, tuple[object, float]] = {}
        """State of each connection at the last look, and since when."""

    def protocol(self) -> type[H11Protocol]:
        """Return uvicorn's protocol for HTTP with a bound on the number of connections."""
        bounds = self

        class BoundedHTTP(H11Protocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                bounds.admit(self)

        return BoundedHTTP

    def admit(self, newest: H11Protocol) -> None:
        """Note a new connection. Above the maximum, end the oldest waiting one of the greediest
        network, or the new one.
        """
        self._states[newest] = (state_of(newest)[0], self.clock())
        if len(newest.connections) <= self.most:
            return
        waiting = [
            each
            for each in newest.connections
            if isinstance(each, H11Protocol) and is_waiting(each)
        ]
        waiting.remove(newest)
        ended = newest
        if waiting:
            networks = {each: network_of_client(each.client) for each in waiting}
            greediest, _ = Counter(networks.values()).most_common(1)[0]
            ended = min(
                [each for each in waiting if networks[each] == greediest],
                key=lambda each: self._states[each][1] if each in self._states else math.inf,
            )
        ended.transport.abort()
        newest.connections.discard(ended)

    def end_slow(self, connections: set[Any]) -> None:
        """End the connections that have been in one state for too long."""
        now = self.clock()
        states = {}
        for each in list(connections):
            state, allowed_s = state_of(each)
            last, since = self._states.get(each, (state, now))
            states[each] = (state, since if last == state else now)
            if now - states[each][1] > allowed_s:
                each.transport.abort()
        self._states = states

    async def watch(self, connections: set[Any]) -> None:
        """End slow connections, every second."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            self.end_slow(connections)


class AddressLimit:
    """Limits the web sockets and answers in progress of one address, or of one IPv6 network.

    uvicorn names a proxy's visitors by their own addresses.

    Bodies on their way do not count: they give way to new connections.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "websocket" and scope.get("method") not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        network = network_of_client(scope["client"])
        if self._counts[network] >= self.most:
            message = (
                "Too many connections from your address are open. Close some windows, and try"
                " again."
            )
            refusal = (
                WebSocketClose(1013)
                if scope["type"] == "websocket"
                else PlainTextResponse(message, 503)
            )
            await refusal(scope, receive, send)
            return
        self._counts[network] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]


class RepeatFilter(logging.Filter):
    """Limits messages of the log in a minute: those of one kind, and all together."""

    def __init__(
        self, most: int = 20, most_in_all: int = 300, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self.most = most
        self.most_in_all = most_in_all
        self.clock = clock
        self._minute = -1.0
        self._counts: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is written."""
        if (minute := self.clock() // 60) != self._minute:
            self._minute = minute
            self._counts.clear()
        kind = (record.name, str(record.msg)[:_LOG_KIND])
        self._counts[kind] += 1
        if self._counts[kind] == self.most:
            record.msg = (
                f"{record.getMessage()}\n(Further messages of this kind are left out for a minute.)"
            )
            record.args = ()
        return self._counts[kind] <= self.most and self._counts.total() <= self.most_in_all


def limit_log() -> None:
    """Limit repeated messages of the server and its libraries."""
    repeats = RepeatFilter()
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("uvicorn", "asyncio", "streamlit", "starlette"):
            logging.getLogger(name).addFilter(repeats)
