"""The page that phones see, on a real server of this computer: what it takes, what it refuses, and that it repeats nothing."""

import re
import socket

import pytest

from pages.components.learn.poll import server
from pages.components.learn.poll.ballot import Ballot, Question
from pages.components.learn.poll.server import HERE_ONLY, Classroom, PollError
from tests.support.phone import Phone

WHERE = Question("cliff", "From which n <on>?", ("1", "2 & more", "never"), frozenset({1}))
MANY = Question("block", "Which block?", tuple(str(n) for n in range(26)), frozenset({1}))
EVIL = '<script>alert("x")</script>'


@pytest.fixture
def room():
    opened = Classroom(HERE_ONLY, Ballot(), lasts_s=600, port=0)
    yield opened
    opened.stop()


def test_two_phones_join_answer_and_are_counted(room):
    phones = [Phone(room), Phone(room)]
    for phone in phones:
        assert "Code on the screen" in phone.page()
        status, _, headers = phone.join(room.ballot.code)
        assert (status, headers["Location"]) == (303, "/")
        assert "No question is open" in phone.page()
    room.ballot.ask(WHERE)
    for choice, phone in enumerate(phones):
        assert "From which n &lt;on&gt;?" in phone.page()
        assert "2 &amp; more" in phone.page()
        assert phone.answer(str(choice))[0] == 303
    assert room.ballot.standing().counts == (1, 1, 0)
    assert "Your answer counts: 2 &amp; more." in phones[1].page()
    room.ballot.close()
    assert phones[0].answer("2")[0] == 400
    assert "No question is open" in phones[0].page()


def test_the_page_of_one_without_the_code_tells_no_question(room):
    room.ballot.ask(WHERE)
    assert "From which" not in Phone(room).page()
    stranger = Phone(room)
    stranger.cookie = "student=made-up"
    assert "From which" not in stranger.page()
    assert stranger.answer("1")[0] == 400
    assert room.ballot.standing().answered == 0


def test_the_right_answers_are_never_in_the_page(room):
    phone = Phone(room)
    phone.join(room.ballot.code)
    pages = []
    for right in (frozenset({0}), frozenset({2})):
        room.ballot.ask(Question("cliff", "From which?", ("1", "2", "3"), right))
        pages.append(re.sub(r'value="\d+"', "", phone.page()))
    assert pages[0] == pages[1]


def test_every_page_forbids_scripts_frames_and_keeping(room):
    phone = Phone(room)
    phone.join(room.ballot.code)
    room.ballot.ask(MANY)
    for method, path in (("GET", "/"), ("GET", "/nowhere"), ("POST", "/answer"), ("PUT", "/")):
        _, text, headers = phone.ask(method, path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "<script" not in text
        assert not re.search(r"(src|href)=.?https?:", text)


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(room):
    phone = Phone(room)
    _, _, headers = phone.join(room.ballot.code)
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]
    assert room.ballot.code not in headers["Set-Cookie"]


@pytest.mark.parametrize(
    "body",
    [
        "", "x", "=", "&&&", "choice", "choice=1", "question=1", f"question=1&choice={EVIL}", "question=1&choice=%00",
        "question=1&choice=1&choice=2", "question=1&question=1&choice=1", "question=1&choice=1&a=b&c=d&e=f",
        "question=1&choice=-1", "question=1&choice=%D9%A2", "question=1&choice=3", "question=2&choice=1",
        '{"question": 1, "choice": 1}', "question=1&choice=1" + "0" * 600, "question=1&choice=1&" + "x" * 9000,
        b"\xff\xfe\x00question=1", "question=1&choice=%ff%fe",
    ],
)  # fmt: skip
def test_an_answer_of_any_content_is_inert(room, body):
    phone = Phone(room)
    phone.join(room.ballot.code)
    room.ballot.ask(WHERE)
    status, text, _ = phone.ask("POST", "/answer", body)
    assert status == 400
    assert "That did not count" in text
    for sent in ("script>", "alert(", "%00", "000000", "xxxx"):
        assert sent not in text
    assert room.ballot.standing().answered == 0
    assert phone.answer("1")[0] == 303, "and the next good one counts"
    assert room.ballot.standing().answered == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": None}, {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Content_Type": "application/json"}, {"Content_Type": "multipart/form-data; boundary=x"}, {"Content_Type": None},
        {"Content_Length": "-1"}, {"Content_Length": "1e3"}, {"Content_Length": None}, {"Content_Length": "99999999999"},
        {"Cookie": "student=" + "a" * 5000}, {"Cookie": "=;;;\x01"}, {"Cookie": None},
    ],
)  # fmt: skip
def test_requests_that_are_no_form_of_the_page_do_nothing(room, headers):
    phone = Phone(room)
    phone.join(room.ballot.code)
    room.ballot.ask(WHERE)
    status, text, _ = phone.ask("POST", "/answer", "question=1&choice=1", **headers)
    assert status == 400
    assert "evil" not in text
    assert room.ballot.standing().answered == 0


@pytest.mark.parametrize(
    "path", ["/nowhere", "/../../etc/passwd", "/%2e%2e/", "//evil.example/", f"/{EVIL}".replace(" ", ""), "/?code=1", "*"]
)
def test_there_is_one_page_and_no_file(room, path):
    status, text, _ = Phone(room).ask("GET", path)
    assert status == 404
    assert "only one page" in text
    assert "script" not in text
    assert Phone(room).ask("POST", path, "a=b")[0] == 404


@pytest.mark.parametrize(
    "raw",
    [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"EVIL<b> / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000],
)
def test_what_is_no_request_gets_a_plain_answer_or_none(room, raw):
    host, port = room.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    assert b"EVIL" not in answer
    assert b"Traceback" not in answer
    assert Phone(room).page(), "and it is still there"


def test_wrong_codes_are_refused_and_slowed_down(room):
    phone = Phone(room)
    wrong = str((int(room.ballot.code) + 1) % 10**6).zfill(6)
    answers = [phone.join(wrong) for _ in range(22)]
    assert {status for status, _, _ in answers} == {400}
    assert wrong not in answers[0][1]
    assert "Too many wrong codes" in answers[-1][1]
    assert not phone.cookie


def test_connections_that_say_nothing_leave_room_for_the_class(room):
    host, port = room.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=10) for _ in range(40)]
    assert Phone(room).join(room.ballot.code)[0] == 303
    for connection in silent:
        connection.close()


def test_nothing_is_written_down(room, capfd):
    phone = Phone(room)
    phone.join("secret")
    phone.ask("GET", "/private")
    assert capfd.readouterr() == ("", "")


def test_a_stopped_poll_and_one_whose_time_is_up_cannot_be_reached(room):
    short = Classroom(HERE_ONLY, Ballot(), lasts_s=0.2, port=0)
    assert Phone(short).page()
    short._thread.join(10)
    assert not short.is_open
    room.stop()
    for gone in (room, short):
        with pytest.raises(ConnectionRefusedError):
            Phone(gone).page()


def test_it_listens_on_the_chosen_address_alone(room):
    assert room._server.server_address[0] == HERE_ONLY
    other = next((address for address in server.addresses() if address != HERE_ONLY), None)
    if other is not None:
        port = room._server.server_port
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, port), timeout=5)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "8.8.8.8", "::", "example.com"])
def test_a_poll_is_never_opened_to_everybody(host):
    with pytest.raises(PollError, match="A poll can be opened on"):
        Classroom(host, Ballot(), lasts_s=1, port=0)


def test_a_port_that_is_taken_is_passed_over(room):
    port = room._server.server_port
    if port + 1 > 65_535:
        pytest.skip("the last port")
    second = Classroom(HERE_ONLY, Ballot(), lasts_s=60, port=port)
    try:
        assert second.url != room.url
    finally:
        second.stop()


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("192.168.1.20", True), ("10.0.0.4", True), ("172.16.3.1", True), ("127.0.0.1", False), ("169.254.1.1", False),
     ("0.0.0.0", False), ("8.8.8.8", False), ("172.32.0.1", False)],
)  # fmt: skip
def test_only_addresses_of_local_networks_are_offered(address, is_local):
    assert server._is_local(address) == is_local
