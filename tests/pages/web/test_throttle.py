"""A tick reaches Streamlit only where its window is at rest, and less often where many look; a
click waits for the rest.
"""

import asyncio
import contextlib

import pytest
from streamlit.elements.widgets.number_input import NumberInputSerde
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.NumberInput_pb2 import NumberInput
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.state.common import WidgetMetadata
from streamlit.runtime.state.session_state import WStates

from pages.web import throttle, visitors

STRIP = "strip"


def asks(page: str = "explore", *, fragment: str = "", tick: bool = False) -> BackMsg:
    message = BackMsg()
    message.rerun_script.page_script_hash = page
    message.rerun_script.fragment_id = fragment
    message.rerun_script.is_auto_rerun = tick
    return message


def tick(page: str = "explore", fragment: str = STRIP) -> BackMsg:
    return asks(page, fragment=fragment, tick=True)


def draws(*parts: str) -> list[ForwardMsg]:
    messages = [ForwardMsg() for _ in parts]
    for message, part_ in zip(messages, parts, strict=True):
        message.delta.fragment_id = part_
    return messages


def begins(run: str, page: str = "explore", *fragments: str) -> ForwardMsg:
    message = ForwardMsg()
    message.metadata.run.script_run_id = run
    message.metadata.run.fragment_ids.extend(fragments)
    message.new_session.page_script_hash = page
    return message


def ends(run: str, *fragments: str, how: int = ForwardMsg.FINISHED_SUCCESSFULLY) -> ForwardMsg:
    message = ForwardMsg()
    message.metadata.run.script_run_id = run
    message.metadata.run.fragment_ids.extend(fragments)
    message.script_finished = how
    return message


class Looked:
    """A window at rest on Explore, and a clock."""

    def __init__(self) -> None:
        self.window, self.now = throttle.Window(), 100.0
        self.sent(begins("first"), ends("first"))

    def sent(self, *messages: ForwardMsg) -> None:
        for message in messages:
            self.window.note_message(message)

    def passes(self, request: BackMsg, after: float = 1.0, wait_s: float = 0.2) -> bool:
        self.now += after
        is_passed = not request.rerun_script.is_auto_rerun or self.window.admits_tick(
            request, self.now, wait_s
        )
        if is_passed:
            self.window.note_request(request, self.now)
        return is_passed


@pytest.fixture
def looked() -> Looked:
    return Looked()


def test_no_tick_of_a_page_that_was_left_is_answered(looked):
    looked.passes(asks("heal"))
    looked.sent(begins("second", "heal"), ends("second"))
    assert not looked.passes(tick("explore")), (
        "the browser would take it for a change of pages, and throw away its content"
    )
    assert looked.passes(tick("heal"))


def test_a_page_opened_by_address_names_itself_after_its_beginning():
    window = throttle.Window()
    window.note_message(begins("first", page="app"))
    navigation = ForwardMsg()
    navigation.navigation.page_script_hash = "explore"
    window.note_message(navigation)
    window.note_message(ends("first"))
    assert window.admits_tick(tick("explore"), 100.0, 0.2)
    assert not window.admits_tick(tick("app"), 102.0, 0.2)


def test_a_tick_waits_for_other_parts_that_are_redrawn(looked):
    looked.sent(*draws("view"))
    assert looked.passes(asks(fragment="view"))
    assert not looked.passes(tick(), after=30.0), "it has not begun"
    looked.sent(begins("slider", "explore", "view"))
    assert not looked.passes(tick())
    looked.sent(ends("slider", "view", how=ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY))
    assert looked.passes(tick())


def test_a_run_that_gives_way_to_another_is_no_rest(looked):
    looked.sent(
        begins("tick", "explore", STRIP),
        ends("tick", STRIP, how=ForwardMsg.FINISHED_EARLY_FOR_RERUN),
    )
    assert not looked.passes(tick())
    looked.sent(begins("whole"), ends("whole"))
    assert looked.passes(tick())


def test_the_end_of_a_replaced_run_ends_no_other(looked):
    looked.sent(begins("second"), ends("first"))
    assert not looked.passes(tick())


def test_with_many_visitors_each_part_waits_its_time(looked):
    answered = []
    for second in range(9):
        for part in (STRIP, "live"):
            if looked.passes(tick(fragment=part), after=0.49, wait_s=4.0):
                answered.append((second, part))
                looked.sent(begins("tick", "explore", part), ends("tick", part))
    assert answered == [(0, STRIP), (0, "live"), (4, STRIP), (4, "live"), (8, STRIP), (8, "live")]


@pytest.mark.parametrize(
    ("looking", "wait_s"), [(1, 0.2), (5, 1.0), (10, 2.0), (20, 4.0), (200, 5.0)]
)
def test_the_wait_grows_with_the_windows_that_look(looking, wait_s):
    stands = throttle.RerunThrottle(None)
    for _ in range(looking):
        window = throttle.Window()
        window.admits_tick(tick(), 100.0, 0.0)
        stands.windows.add(window)
    stands.windows.add(throttle.Window())  # one where nothing ticks
    assert stands.wait_s(101.0) == pytest.approx(wait_s)
    assert stands.wait_s(200.0) == 0.0, "who stopped looking no longer counts"


class Line:
    """A browser at one end, Streamlit at the other, the throttle between."""

    def __init__(self, client: str = "192.0.2.1", layer: throttle.RerunThrottle | None = None):
        self._client = client
        self._layer = layer or throttle.RerunThrottle(None)
        self._asked: asyncio.Queue[dict] = asyncio.Queue()
        self.got: list[dict] = []
        """Messages that Streamlit received."""

    async def asks(self, *messages: dict) -> list[dict]:
        """Return the messages that Streamlit has received after a browser sent something."""
        for message in messages:
            self._asked.put_nowait(message)
        await asyncio.sleep(0.01)
        return self.got

    async def sends(self, *messages: ForwardMsg) -> list[dict]:
        """Return the messages that Streamlit has received after it sent something itself."""
        for message in messages:
            await self._send(packed(message, "send"))
        await asyncio.sleep(0.01)
        return self.got

    async def _streamlit(self, scope, receive, send) -> None:
        self._send = send
        while (message := await receive())["type"] != "websocket.disconnect":
            self.got.append(message)

    async def _is_sent(self, message: dict) -> None:
        pass

    def plays(self, journey) -> None:
        """Open the connection, play a visitor's actions, and close it."""

        async def whole() -> None:
            async with self.is_open():
                await journey(self)

        asyncio.run(whole())

    @contextlib.asynccontextmanager
    async def is_open(self):
        scope = {"type": "websocket", "headers": [], "client": (self._client, 50000)}
        self._layer.app = self._streamlit
        open_ = asyncio.create_task(self._layer(scope, self._asked.get, self._is_sent))
        await asyncio.sleep(0)
        yield self
        await self.asks({"type": "websocket.disconnect"})
        await asyncio.wait_for(open_, 5)


def packed(message: BackMsg | ForwardMsg, way: str = "receive") -> dict:
    return {"type": f"websocket.{way}", "bytes": message.SerializeToString()}


def part(name: str, **values: object) -> dict:
    """Return a click on a part of the page, with the browser's values of its widgets."""
    message = asks(fragment=name)
    for identity, value in values.items():
        kind = "trigger_value" if isinstance(value, bool) else "int_value"
        setattr(message.rerun_script.widget_states.widgets.add(id=identity), kind, value)
    return packed(message)


def test_on_a_connection_only_mistimed_ticks_are_dropped():
    connect, broken = (
        {"type": "websocket.connect"},
        {
            "type": "websocket.receive",
            "bytes": b"\xff\xff",
        },
    )
    page, late, own = packed(asks("heal")), packed(tick("explore")), packed(tick("heal"))

    async def journey(line: Line) -> None:
        await line.sends(begins("first"), ends("first"))
        assert await line.asks(connect, own, late, broken, page, late) == [
            connect,
            late,
            broken,
            page,
        ]

    Line().plays(journey)


def test_a_click_on_a_part_waits_for_earlier_parts():
    page, click, stop = packed(asks("explore")), part("view"), packed(BackMsg(stop_script=True))

    async def journey(line: Line) -> None:
        assert await line.asks(page, click) == [page], "the page has not begun"
        assert await line.sends(begins("first"), *draws("view", "curves", "map")) == [page], (
            "its messages are on their way"
        )
        assert await line.sends(ends("first")) == [page, click]
        other = part("curves")
        assert await line.asks(other) == [page, click], "the run of the first click has not begun"
        await line.sends(begins("second", "explore", "view"))
        assert await line.sends(ends("second", "view")) == [page, click, other]
        last = part("map")
        assert await line.asks(last, stop) == [page, click, other, stop], (
            "to stop waits for nothing"
        )

    Line().plays(journey)


def test_a_page_request_does_not_wait_for_a_held_click():
    click, page = part("view"), packed(asks("heal"))

    async def journey(line: Line) -> None:
        await line.sends(begins("first"))
        assert await line.asks(click) == []
        assert await line.asks(page) == [click, page]

    Line().plays(journey)


def test_of_waiting_slider_moves_the_last_passes_with_every_click():
    moved = [part("view", slider=at) for at in range(5)]
    pressed, after = part("view", slider=4, button=True), part("view", slider=7)

    async def journey(line: Line) -> None:
        await line.sends(begins("first"), *draws("view"))
        await line.asks(*moved, pressed, after)
        assert await line.sends(ends("first")) == [pressed]
        await line.sends(begins("second", "explore", "view"))
        assert await line.sends(ends("second", "view")) == [pressed, after]

    Line().plays(journey)


def test_a_click_on_a_removed_part_delays_nothing():
    first, second = part("gone"), part("view")

    async def journey(line: Line) -> None:
        await line.sends(begins("first"), *draws("gone"), ends("first"))
        await line.sends(begins("second"), *draws("view"), ends("second"))
        assert await line.asks(first, second) == [first, second]

    Line().plays(journey)


def test_a_click_without_an_end_of_run_passes_after_all(monkeypatch):
    monkeypatch.setattr(throttle, "_LOST_S", 0.1)

    async def journey(line: Line) -> None:
        await line.sends(begins("first"))
        click = part("view")
        assert await line.asks(click) == []
        await asyncio.sleep(0.25)
        assert line.got == [click]

    Line().plays(journey)


def test_streamlit_still_needs_the_throttle():
    """A part that is redrawn takes back its unsent messages, but not those of its contents, which
    then have no place.
    """

    def place(path: list[int], part: str) -> ForwardMsg:
        message = ForwardMsg()
        message.metadata.delta_path[:] = path
        message.delta.add_block.allow_empty = True
        message.delta.fragment_id = part
        return message

    queue = ForwardMsgQueue()
    for message in (
        place([0, 2], "view"),
        place([0, 2, 0], "view"),
        place([0, 2, 0, 1], "inside the view"),
    ):
        queue.enqueue(message)
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["view"])
    assert [list(message.metadata.delta_path) for message in queue.flush()] == [[0, 2, 0, 1]]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("filler", [0, 2**17])
def test_a_number_that_is_not_finite_becomes_the_default(number, filler):
    message = asks()
    states = message.rerun_script.widget_states.widgets
    states.add(id="seed").double_value = number
    states.add(id="range").double_array_value.data.extend([1.0, number])
    states.add(id="n").double_value = 7.0
    states.add(id="text").string_value = "x" * filler

    async def journey(line: Line) -> None:
        await line.sends(begins("first"), ends("first"))
        (got,) = await line.asks(packed(message))
        kept = {
            state.id: state.WhichOneof("value")
            for state in BackMsg.FromString(got["bytes"]).rerun_script.widget_states.widgets
        }
        assert kept == {"seed": None, "range": None, "n": "double_value", "text": "string_value"}

    Line().plays(journey)


def test_streamlit_takes_the_default_of_a_field_without_a_value():
    states = WStates()
    field = NumberInputSerde(value=3, data_type=NumberInput.INT, min_value=0, max_value=9)
    with pytest.raises(ValueError, match="NaN"):
        field.deserialize(float("nan"))
    states.set_widget_metadata(
        WidgetMetadata("n", field.deserialize, field.serialize, value_type="double_value")
    )
    states.set_widget_from_proto(WidgetState(id="n"))
    assert states["n"] == 3


def page(**values: object) -> dict:
    """Return a request of the whole page, with the browser's values of its widgets."""
    return part("", **values)


def test_of_waiting_requests_of_a_page_the_last_passes_with_every_click():
    first, *moved = [page(slider=at) for at in range(5)]
    pressed, after = page(slider=4, button=True), page(slider=7)

    async def journey(line: Line) -> None:
        assert await line.asks(first) == [first]
        assert await line.asks(*moved, pressed, after) == [first], "the page has not begun"
        assert await line.sends(begins("first")) == [first, pressed], "it interrupts the first run"
        assert await line.sends(begins("second")) == [first, pressed, after]

    Line().plays(journey)


def test_a_flood_of_clicks_stays_in_the_socket():
    clicks = [page(slider=at, button=True) for at in range(3 * throttle._MAX_HELD)]

    async def journey(line: Line) -> None:
        await line.asks(*clicks)
        await asyncio.sleep(0.2)
        assert line._asked.qsize() > throttle._MAX_HELD
        for run in range(len(clicks)):
            await line.sends(begins(f"run {run}"))
        assert line.got == clicks

    Line().plays(journey)


def test_few_pages_of_one_owner_are_drawn_at_a_time():
    most = throttle.RUNS_PER_OWNER
    layer = throttle.RerunThrottle(None)
    lines = [Line("2001:db8::1", layer) for _ in range(most)]
    late = [Line(f"2001:db8::{at}", layer) for at in range(2, 4)]
    other = Line("192.0.2.9", layer)
    request = page()

    async def flood() -> None:
        async with contextlib.AsyncExitStack() as opened:
            for line in (*lines, *late, other):
                await opened.enter_async_context(line.is_open())
            for line in lines:
                assert await line.asks(request) == [request]
            for line in late:
                assert await line.asks(request) == [], "its network has all of its runs"
            assert await other.asks(request) == [request]
            assert await lines[0].sends(begins("first")) == [request]
            assert late[0].got == [], "that run goes on"
            await lines[0].asks(request)
            await lines[0].sends(ends("first"))
            assert (late[0].got, late[1].got) == ([request], []), "the longest waiting is next"
            assert lines[0].got == [request]
            for run, line in enumerate((lines[1], late[0])):
                await line.sends(begins(f"run {run}"), ends(f"run {run}"))
            assert late[1].got == [request]
            assert lines[0].got == [request, request]

    asyncio.run(flood())


def test_a_signed_in_user_is_one_owner_at_every_address():
    def scope(client: str, subject: str) -> dict:
        header = visitors.written(visitors.Visitor(visitors.USER, subject)).encode()
        return {
            "headers": [(visitors.HEADER.encode(), header)],
            "client": (client, 1),
            "type": "websocket",
        }

    first = throttle._owner(scope("192.0.2.1", "ada"))
    assert throttle._owner(scope("192.0.2.2", "ada")) == first
    assert throttle._owner(scope("192.0.2.1", "bob")) != first
