"""The page that phones see: accepted and refused answers, advancing by itself, and no text
repeated.
"""

import pytest

from pages.components.learn import phone
from pages.components.learn.ballot import Ballot, PollQuestion
from tests.support.phone import Phone

WHERE = PollQuestion("cliff", "From which n <on>?", ("1", "2 & more", "never"), frozenset({1}))
MANY = PollQuestion("block", "Which block?", tuple(str(n) for n in range(26)), frozenset({1}))
EVIL = '<script>alert("x")</script>'


@pytest.fixture(autouse=True)
def poll():
    """The poll that is open."""
    phone.end()
    phone.begin()
    yield phone.current()
    phone.end()


def test_two_phones_join_answer_and_are_counted(poll: Ballot):
    phones = [Phone(), Phone()]
    assert "Code on the screen" in phones[0].page()
    assert "first question appears" in phones[0].join(poll.code.lower()).text
    assert "first question appears" in phones[1].page(f"?c={poll.link}")
    poll.ask(WHERE)
    for choice, one in enumerate(phones):
        assert "From which n &lt;on&gt;?" in one.page()
        assert "2 &amp; more" in one.page()
        assert "Your answer counts" in one.answer(str(choice)).text
    assert poll.standing().counts == (1, 1, 0)
    poll.reveal()
    assert phones[0].answer("2").status_code == 400
    assert "Measured: 2 &amp; more." in phones[0].page()
    assert "You answered 1." in phones[0].page()


def test_a_page_hears_that_the_poll_advances(poll: Ballot):
    one = Phone()
    one.join(poll.code)
    said = [one.now()]
    for move in (lambda: poll.ask(WHERE), poll.reveal, lambda: poll.ask(MANY), phone.end):
        move()
        said.append(one.now())
        assert f'data-moment="{said[-1]}"' in one.page() or said[-1] == "over"
    assert len(set(said)) == 5


def test_the_page_of_somebody_without_the_code_tells_no_question(poll: Ballot):
    poll.ask(WHERE)
    stranger = Phone()
    assert "From which" not in stranger.page()
    assert stranger.now() == "over"
    stranger.client.cookies.set(phone._cookie(), "made-up", domain="127.0.0.1", path="/poll")
    assert "From which" not in stranger.page()
    assert stranger.answer("1").status_code == 400
    assert poll.standing().answered == 0


def test_after_the_end_an_old_cookie_is_nobodys(poll: Ballot):
    one = Phone()
    one.join(poll.code)
    phone.end()
    assert "No poll is open" in one.page()
    assert "No poll is open" in one.answer("1").text
    phone.begin()
    assert "Code on the screen" in one.page()


@pytest.mark.parametrize(
    "sent",
    [
        EVIL,
        "\u00ff",
        "%ff",
        "a=1&b=2&c=3&d=4",
        "x" * 600,
        "code",
        "",
        "code=1&code=2",
        '{"code": 1}',
    ],
)
def test_text_of_any_content_does_nothing_and_is_not_repeated(poll: Ballot, sent):
    one = Phone()
    for path in ("/poll/join", "/poll/answer"):
        answer = one.post(path, sent.encode())
        assert answer.status_code == 400
        assert EVIL not in answer.text
        assert not answer.cookies
    assert EVIL not in one.get("/poll", params={"c": EVIL}).text
    assert poll.standing().students == 0


def test_no_other_method_reaches_the_page_of_the_dashboard(poll: Ballot):
    """Streamlit answers every path that is not taken with its own page, which is not public."""
    for path in ("/poll/join", "/poll/answer"):
        assert Phone().get(path).status_code == 400
    assert "Code on the screen" in Phone().post("/poll", "code=1").text
    assert poll.standing().students == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"content_type": "text/plain"},
        {"content_type": ""},
    ],
)
def test_forms_of_other_pages_do_nothing(poll: Ballot, headers):
    one = Phone()
    one.join(poll.code)
    poll.ask(WHERE)
    assert one.post("/poll/answer", "question=1&choice=1", **headers).status_code == 400
    assert poll.standing().answered == 0


def test_the_policy_allows_the_pages_own_script_and_style_alone(poll: Ballot):
    answer = Phone().get("/poll")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert all(policy[kind].startswith("'sha256-") for kind in ("script-src", "style-src"))
    assert answer.headers["cache-control"] == "no-store"


def test_the_cookie_of_a_student_is_for_the_poll_alone(poll: Ballot):
    one = Phone()
    one.client.follow_redirects = False
    cookie = one.join(poll.code).headers["set-cookie"]
    assert {"HttpOnly", "Path=/poll", "SameSite=lax"} <= set(cookie.split("; "))


def test_only_the_polls_own_paths_are_public():
    assert all(phone.is_public(path) for path in ("poll", "poll/now", "poll/join", "poll/answer"))
    assert not any(
        phone.is_public(path)
        for path in ("", "poll/", "poll/x", "polls", "poll/../heal", "_stcore/stream", "learn")
    )


@pytest.mark.parametrize(
    ("options", "proxies", "expected"),
    [
        ({"server.address": "127.0.0.1"}, "", []),
        ({"server.address": "192.168.1.5"}, "", ["http://192.168.1.5:8501/poll"]),
        ({"server.address": "0.0.0.0"}, "", ["http://10.0.0.4:8501/poll"]),
        (
            {"browser.serverAddress": "layers.example.org"},
            "127.0.0.1",
            ["https://layers.example.org/poll"],
        ),
        ({"browser.serverAddress": "class.local"}, "", ["http://class.local:8501/poll"]),
        (
            {"server.address": "::", "server.baseUrlPath": "/lab/x/"},
            "",
            ["http://10.0.0.4:8501/lab/x/poll"],
        ),
    ],
)
def test_the_address_for_phones_is_one_that_they_can_reach(monkeypatch, options, proxies, expected):
    get, manual = phone.config.get_option, phone.config.is_manually_set
    monkeypatch.setattr(
        phone.config,
        "get_option",
        lambda name: {"server.port": 8501, **options}.get(name, get(name)),
    )
    monkeypatch.setattr(
        phone.config, "is_manually_set", lambda name: name in options or manual(name)
    )
    monkeypatch.setattr(phone, "_hosts", lambda: ["10.0.0.4"])
    monkeypatch.setenv("LAYERSCOPE_PROXIES", proxies)
    assert phone.addresses() == expected
