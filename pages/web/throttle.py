"""Rerun throttle: when a request of an open window is passed on to Streamlit.

The browser asks for a part of a page that refreshes itself every second or two, also while another
part is being drawn. A visitor may click on one part before another is drawn, too. Streamlit starts
such a run as soon as the one before it has ended. If the server or the line is slow, three things
go wrong:

- A tick on its way while another page is requested names the page that was left, and the browser
  throws the new page away.
- A run of a part that begins while parts of a page are unsent takes some of them back, but not
  their contents.
- A run of a part that comes as a run ends makes Streamlit forget the messages that this run has not
  yet handed over.

The browser then has no place for the next message: "Cannot set a node at a delta path", and an
empty window. So a tick that does not find its window at rest is not passed on, since the next one
comes by itself. A visitor's request of a part waits until all of the run before it was sent.
Streamlit lets that run end in any case.

Pages are drawn by threads of one process, so a visitor who asks for many pages at once would slow
down those of all others. Each owner, a signed-in user or the network of an address, has at most
`RUNS_PER_OWNER` runs at a time; further windows wait, the longest waiting one first. A window asks
for a whole page again only after the former one has begun, and of its waiting requests the last
stands for all, except those with a click.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from pages.web import visitors
from pages.web.addresses import network_of_client

MessageT = TypeVar("MessageT", bound=BackMsg | ForwardMsg)
TICKS_PER_S = 5
"""Ticks of one kind that are answered in a second, of all windows together: a window of ten is
answered every other second."""
RUNS_PER_OWNER = 3
"""Maximum number of windows of one owner whose pages are drawn at the same time."""
MAX_WAIT_S = 5.0
"""Maximum interval between two ticks of a window, in seconds."""
_TOLERANCE_S = 0.3
"""Tolerance for clock differences between browser and server, in seconds."""
_ACTIVE_S = 10.0
"""Seconds for which a window counts as active after its last tick."""
_LOST_S = 60.0
"""Timeout for the beginning and for the end of a run, in seconds: long, because a busy machine
answers late."""
_MAX_HELD = 100
"""Maximum number of waiting requests of a window. Further messages stay in the socket."""
_MAX_BYTES = 2**16
"""Maximum size of messages that are parsed; those that begin or end a run are smaller."""


class Window:
    """State of one window, by its requests and by the messages that it was sent."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        """Signed-in user, or network of the address."""
        self.waits_since = math.inf
        """Time since which it waits for its turn among the windows of its owner; infinite if
        nothing waits."""
        self.last_tick = float("-inf")
        """Time of the last tick that it asked for."""
        self._answered: dict[str, float] = {}
        """Time of the last tick that was passed on, by part of the page."""
        self._page: str | None = None
        """The page that it shows; None if nothing was drawn over this connection, as after a
        reconnect."""
        self._run = ""
        """The run whose messages are being sent; empty at rest."""
        self._parts: set[str] = set()
        """The parts of the page that it shows, by the messages that it was sent."""
        self._part_until = self._page_until = float("-inf")
        """End of the timeout of a requested run that has not begun."""
        self.changed = asyncio.Event()
        """Set when a run of a window of its owner begins or ends."""

    def is_idle(self, now: float) -> bool:
        """Return whether the answer to every request has been sent."""
        return not self._run and now >= max(self._part_until, self._page_until)

    def takes_page(self, now: float) -> bool:
        """Return whether the page that was last asked for has begun, so that another may be."""
        return now >= self._page_until

    def admits_tick(self, request: BackMsg, now: float, wait_s: float) -> bool:
        """Return whether a tick is passed on.

        Args:
            request: a request that comes by itself, not from a visitor.
            now: seconds on a monotonic clock.
            wait_s: seconds between the last answered tick of this part of the page and the next
                one.
        """
        rerun = request.rerun_script
        self.last_tick = now
        if not self.is_idle(now) or self._page not in (None, rerun.page_script_hash):
            return False
        if now - self._answered.get(rerun.fragment_id, float("-inf")) < wait_s - _TOLERANCE_S:
            return False
        self._answered[rerun.fragment_id] = now
        return True

    def note_request(self, request: BackMsg, now: float) -> None:
        """Note a request that is passed on."""
        if request.HasField("rerun_script"):
            part = request.rerun_script.fragment_id
            if not part:
                self._page_until = now + _LOST_S
            elif part in self._parts:  # Streamlit does not answer for a part that is gone
                self._part_until = now + _LOST_S

    def note_message(self, message: ForwardMsg) -> bool:
        """Note a message that the browser has been sent, and return whether a run began or ended
        with it.
        """
        run = message.metadata.run
        if message.HasField("new_session"):
            self._run = run.script_run_id
            self._page = message.new_session.page_script_hash
            self._part_until = float("-inf")
            if not run.fragment_ids:
                self._page_until = float("-inf")
                self._answered.clear()
                self._parts.clear()
        elif message.HasField("navigation"):
            # A visit begins with the entry file, which then names its page.
            self._page = message.navigation.page_script_hash
        elif message.HasField("script_finished") and run.script_run_id in (self._run, ""):
            # A run that gave way to another is no rest: the other begins.
            self._run = (
                self._run if message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN else ""
            )
        else:
            if message.delta.fragment_id:
                self._parts.add(message.delta.fragment_id)
            return False
        return True


class Requests:
    """The requests of one window, in the order in which Streamlit gets them."""

    def __init__(
        self,
        window: Window,
        receive: Receive,
        wait_s: Callable[[float], float],
        may_run: Callable[[Window, float], bool],
    ) -> None:
        self.window = window
        self._receive = receive
        self._wait_s = wait_s
        self._may_run = may_run
        self._incoming: asyncio.Future[Message] | None = None
        self._ready: deque[tuple[Message, BackMsg | None]] = deque()
        """Messages that do not wait."""
        self._held: deque[tuple[Message, BackMsg, float]] = deque()
        """A visitor's requests of parts and of whole pages, with their time of arrival."""

    async def next(self) -> Message:
        """Return the next message to pass on."""
        while True:
            now = time.monotonic()
            if not self._ready:
                self._release(now)
            if self._ready:
                message, request = self._ready.popleft()
                if request is not None:
                    self.window.note_request(request, now)
                return message
            await self._receive_next()

    def _release(self, now: float) -> None:
        """Make the held requests ready whose time has come."""
        n_ready = self._n_ready(now) if self._held else 0
        for _ in range(n_ready):
            message, request, _ = self._held.popleft()
            self._ready.append((message, request))
        if n_ready:  # the rest queues behind the other windows of the owner
            self.window.waits_since = now if self._held else math.inf

    def _n_ready(self, now: float) -> int:
        """Return the number of held requests, from the first on, whose time has come."""
        _, _, arrival = self._held[0]
        is_lost = now - arrival > _LOST_S
        if not is_lost and not self._may_run(self.window, now):
            return 0
        if self.window.takes_page(now):
            # A page does not wait for the parts that were asked for before it.
            for position, (_, request, _) in enumerate(self._held, start=1):
                if not request.rerun_script.fragment_id:
                    return position
        return 1 if is_lost or self.window.is_idle(now) else 0

    async def _receive_next(self) -> None:
        """Wait for the next message; while some are held, also for a run to begin or end."""
        if self._incoming is None and len(self._held) < _MAX_HELD:
            self._incoming = asyncio.ensure_future(self._receive())
        self.window.changed.clear()
        changed = asyncio.ensure_future(self.window.changed.wait()) if self._held else None
        try:
            await asyncio.wait(
                [future for future in (self._incoming, changed) if future is not None],
                timeout=_LOST_S if self._held else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            if changed is not None:
                changed.cancel()
        if self._incoming is not None and self._incoming.done():
            message = self._incoming.result()
            self._incoming = None
            self._take(message, time.monotonic())

    def _take(self, message: Message, now: float) -> None:
        """Queue a message, or drop a tick that comes at the wrong time."""
        request = _parsed(BackMsg, message)
        if request is not None and _removes_infinite_numbers(request):
            message = {**message, "bytes": request.SerializeToString()}
        if request is not None and request.HasField("rerun_script"):
            if not request.rerun_script.is_auto_rerun:
                self._hold(message, request, now)
                return
            is_passed = (
                not self._held
                and self._may_run(self.window, now)
                and self.window.admits_tick(request, now, self._wait_s(now))
            )
            if not is_passed:
                return
        self._ready.append((message, request))

    def _hold(self, message: Message, request: BackMsg, now: float) -> None:
        """Queue a visitor's request, in place of an earlier one of which it says all."""
        if self._held and _is_overtaken(self._held[-1][1], request):
            _, _, now = self._held.pop()
        if not self._held:
            self.window.waits_since = now
        self._held.append((message, request, now))

    def close(self) -> None:
        """Receive no more."""
        if self._incoming is not None:
            self._incoming.cancel()


def _removes_infinite_numbers(request: BackMsg) -> bool:
    """Remove the values of fields whose number is NaN or infinite, and return whether there were
    any.

    Streamlit takes their default then. It makes whole numbers of them otherwise, which fails at
    every run of the page until the window is loaded again.
    """
    states = request.rerun_script.widget_states.widgets
    broken = [
        state
        for state in states
        if not all(map(math.isfinite, (state.double_value, *state.double_array_value.data)))
    ]
    for state in broken:
        state.ClearField("value")
    return bool(broken)


def _is_overtaken(held: BackMsg, later: BackMsg) -> bool:
    """Return whether a later request says all of an earlier one of the same part or page: a click
    that happens once stands only in its own.
    """
    if held.rerun_script.fragment_id != later.rerun_script.fragment_id:
        return False
    happened = ("trigger_value", "string_trigger_value", "json_trigger_value", "chat_input_value")
    return not any(
        state.WhichOneof("value") in happened for state in held.rerun_script.widget_states.widgets
    )


class RerunThrottle:
    """Middleware that passes reruns of windows on at their time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.windows: set[Window] = set()

    def wait_s(self, now: float) -> float:
        """Return the seconds that a window now waits for the next tick of a part of its page."""
        n_active = sum(now - window.last_tick < _ACTIVE_S for window in self.windows)
        return min(n_active / TICKS_PER_S, MAX_WAIT_S)

    def may_run(self, window: Window, now: float) -> bool:
        """Return whether a window's next run may begin: few other windows of its owner run, or
        have waited for longer.
        """
        n_ahead = 0
        for other in self.windows:
            if other is window or other.owner != window.owner:
                continue
            if not other.is_idle(now) or other.waits_since < window.waits_since:
                n_ahead += 1
        return n_ahead < RUNS_PER_OWNER

    def _wake(self, owner: str) -> None:
        """Let the waiting windows of an owner look whether their time has come."""
        for window in self.windows:
            if window.owner == owner:
                window.changed.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on, and the requests of a window's connection at their time."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        window = Window(_owner(scope))
        self.windows.add(window)
        requests = Requests(window, receive, self.wait_s, self.may_run)

        async def send_and_note(message: Message) -> None:
            await send(message)
            sent = _parsed(ForwardMsg, message, _MAX_BYTES)
            if sent is not None and window.note_message(sent):
                self._wake(window.owner)

        try:
            await self.app(scope, requests.next, send_and_note)
        finally:
            requests.close()
            self.windows.discard(window)
            self._wake(window.owner)


def _owner(scope: Scope) -> str:
    """Return who asks over a connection: the signed-in user, or the network of the address."""
    visitor = visitors.read(HTTPConnection(scope).headers)
    if visitor is not None and visitor.subject:
        return visitor.subject
    return network_of_client(scope["client"])


def _parsed(
    kind: type[MessageT], message: Message, most_bytes: int | None = None
) -> MessageT | None:
    """Return the content of a message over a socket; None for one about the connection, or a larger
    one.
    """
    content = message.get("bytes")
    if not content or most_bytes is not None and len(content) > most_bytes:
        return None
    try:
        return kind.FromString(content)
    except DecodeError:  # Streamlit reports it to the sender
        return None
