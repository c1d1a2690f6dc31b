"""Which ticks of an open window are answered: only those that find it at rest, and fewer of each where many windows look.

A part of a page that refreshes itself has its browser ask for it every second or two, whatever else goes on. Streamlit runs
such a tick behind what the page itself asked for, and where the server or the line is slow, three things go wrong. A tick that
was on its way when another page was asked for names the page that was left, and the browser throws the new one away. A tick
that begins while parts of a page are still to be sent takes some of them back, but not what stands inside them. And one that
comes as a run ends makes Streamlit forget what that run has not yet handed over. The browser then has no place for what the
next tick sends: "Cannot set a node at a delta path", and an empty window. So a tick that does not find its window at rest is
not passed on; the next one comes by itself.
"""

import time
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

Read = TypeVar("Read", BackMsg, ForwardMsg)
PER_SECOND = 5
"""Ticks of one kind that are answered in a second, of all windows together: a window of ten is answered every other second."""
MOST_S = 5.0
"""The longest that a window waits for its next tick, however many there are."""
_EARLY_S = 0.3
"""A browser's second is not ours: a tick may come by this much before its time."""
_LOOKS_S = 10.0
"""A window counts for this long after it asked for a tick."""
_MOST_BYTES = 2**16
"""Messages that begin or end a run, and requests for one, are smaller."""


class Window:
    """What goes on in one window, by what it asks for and what it has been sent."""

    def __init__(self) -> None:
        self.looked_at = float("-inf")
        """When it last asked for a tick."""
        self._answered: dict[str, float] = {}
        """When a tick was last passed on, by the part of the page."""
        self._page: str | None = None
        """The page that it shows; None where nothing was drawn over this connection, as when a lost one was made again."""
        self._run = ""
        """The run whose messages are being sent; empty at rest."""
        self._is_awaited = False
        """Whether the window asked for a run of its page that has not begun."""

    def passes(self, request: BackMsg, now: float, wait_s: float) -> bool:
        """Whether a request is passed on: everything but ticks that come at the wrong time.

        Args:
            request: what the browser asks for.
            now: seconds on a clock that only goes forward.
            wait_s: how long after the last answered tick of this part of the page the next one is.
        """
        if not request.HasField("rerun_script"):
            return True
        asked = request.rerun_script
        if not asked.is_auto_rerun:
            self._is_awaited |= not asked.fragment_id
            return True
        self.looked_at = now
        if self._is_awaited or self._run or self._page not in (None, asked.page_script_hash):
            return False
        if now - self._answered.get(asked.fragment_id, float("-inf")) < wait_s - _EARLY_S:
            return False
        self._answered[asked.fragment_id] = now
        return True

    def is_told(self, message: ForwardMsg) -> None:
        """Note what the browser has been sent."""
        run = message.metadata.run
        if message.HasField("new_session"):
            self._run, self._page = run.script_run_id, message.new_session.page_script_hash
            if not run.fragment_ids:
                self._is_awaited = False
                self._answered.clear()
        elif message.HasField("navigation"):
            # A bare address, or one that names a page, begins as the program itself and says its page only then.
            self._page = message.navigation.page_script_hash
        elif message.HasField("script_finished") and run.script_run_id in (self._run, ""):
            # A run that gave way to another is no rest: the other begins.
            self._run = self._run if message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN else ""


class Ticks:
    """Stands between the browsers and Streamlit."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.windows: set[Window] = set()

    def wait_s(self, now: float) -> float:
        """How long a window now waits for the next tick of a part of its page."""
        looking = sum(now - window.looked_at < _LOOKS_S for window in self.windows)
        return min(looking / PER_SECOND, MOST_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on; of what comes over the one of a window, ticks at the wrong time are left out."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        window = Window()
        self.windows.add(window)

        async def asked() -> Message:
            while True:
                message = await receive()
                now = time.monotonic()
                request = _read(BackMsg, message)
                if request is None or window.passes(request, now, self.wait_s(now)):
                    return message

        async def told(message: Message) -> None:
            await send(message)
            if (sent := _read(ForwardMsg, message)) is not None:
                window.is_told(sent)

        try:
            await self.app(scope, asked, told)
        finally:
            self.windows.discard(window)


def _read(kind: type[Read], message: Message) -> Read | None:
    """What a message over a socket says; None for one that is about the connection, or that begins and ends no run."""
    content = message.get("bytes")
    if not content or len(content) > _MOST_BYTES:
        return None
    try:
        return kind.FromString(content)
    except DecodeError:  # Streamlit says so to whoever sent it
        return None


def middleware() -> Sequence[Middleware]:
    """What the server of the dashboard puts around Streamlit."""
    return [Middleware(Ticks)]
