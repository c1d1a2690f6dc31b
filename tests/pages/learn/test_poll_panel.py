"""The teacher's side of a poll: it starts from Teach, shows the way in, counts answers, and draws
them at the reveal.
"""

import pytest
from streamlit import config

from analysis.cli import main as command_line
from pages.components.learn import phone as poll_page
from pages.components.shared import access
from pages.web.visitors import HOST, OPERATOR, USER, VIEWER, Visitor
from tests.support import fakes
from tests.support.lesson import PAGE, turn_to
from tests.support.phone import Phone
from tests.support.seen import figures, metric, read, texts, trace


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """No poll is open before or after."""
    poll_page.end()
    monkeypatch.setattr(poll_page, "addresses", lambda: ["http://10.0.0.4:8501/poll"])
    yield
    poll_page.end()


def begin(app, step: int = 3):
    """The teacher's page with a poll that is open."""
    poll_page.begin()
    return turn_to(app(PAGE), step), poll_page.current()


def asks(at) -> list:
    return [button for button in at.button if (button.key or "").startswith("learn-poll")]


def test_it_starts_from_teach_after_a_note_on_access(app, known):
    at = app(PAGE)
    assert poll_page.current() is None
    assert not asks(at)
    at.session_state["learn-teach"] = True
    at.run()
    assert "opens one page to everyone in your network who has its code" in texts(at)
    at.button(key="learn-poll-start").click().run()
    poll = poll_page.current()
    assert poll is not None
    assert read(metric(at, "Address").value) == "10.0.0.4:8501/poll"
    assert metric(at, "Code").value == f"{poll.code[:4]} {poll.code[4:]}"
    at.button(key="learn-poll-end").click().run()
    assert poll_page.current() is None
    assert not [button for button in asks(at) if button.key != "learn-poll-start"]


def test_answers_are_counted_before_the_reveal_and_drawn_at_it(app, known):
    at, poll = begin(app)
    phones = [Phone(), Phone()]
    for phone in phones:
        phone.join(poll.code)
    assert "**2 students have joined.**" in texts(at.run())
    at.button(key="learn-poll-ask-1").click().run()
    best = fakes.distances().best[4].start
    phones[0].answer(str(best))
    phones[1].answer("0")
    at.run()
    assert "**Which 5 layers in a row change the stream least?** 2 of 2 have answered." in texts(at)
    assert not {"learn-votes", "learn-row"} & set(figures(at)), "nobody follows the others"
    at.button(key="learn-poll-reveal-1").click().run()
    assert "1 of 2 answered correctly" in texts(at)
    votes = trace(figures(at)["learn-votes"], "answers")
    assert sum(votes["y"]) == 2
    assert votes["marker"]["color"][best] != votes["marker"]["color"][0]
    assert "learn-row" in figures(at), "the step shows the measurement now"
    assert at.session_state["lesson"].skipped == {"block"}
    assert phones[0].answer("3").status_code == 400


@pytest.mark.parametrize(
    "there", [Visitor(VIEWER), Visitor(USER, "oidc:x#1", "Ada")], ids=["guest", "user"]
)
def test_in_presenter_mode_a_guest_has_no_code_or_buttons(app, known, monkeypatch, there):
    at, poll = begin(app)
    for action in ("ask-1", "end"):
        at = turn_to(app(PAGE, present="1"), 3)
        monkeypatch.setattr(access, "visitor", lambda: there)
        before = poll.standing()
        at.button(key=f"learn-poll-{action}").click().run()
        assert poll_page.current() is poll
        assert poll.standing() == before
        assert not asks(at)
        assert poll.code[:4] not in texts(at)
        monkeypatch.undo()
        monkeypatch.setattr(poll_page, "addresses", list)


def test_a_guest_reveals_nothing(app, known, monkeypatch):
    at, poll = begin(app)
    at.button(key="learn-poll-ask-1").click().run()
    monkeypatch.setattr(access, "visitor", lambda: Visitor(VIEWER))
    at.button(key="learn-poll-reveal-1").click().run()
    assert poll.standing().is_open


@pytest.mark.parametrize(
    "there", [Visitor(HOST), Visitor(OPERATOR, "oidc:x#1", "Root")], ids=["host", "operator"]
)
def test_the_host_and_operators_run_polls(app, known, monkeypatch, there):
    monkeypatch.setattr(access, "visitor", lambda: there)
    at, poll = begin(app)
    at.button(key="learn-poll-ask-1").click().run()
    assert poll.standing().is_open
    at.button(key="learn-poll-end").click().run()
    assert poll_page.current() is None


def test_every_step_with_results_has_a_question_with_right_options(app, known):
    at, poll = begin(app, 1)
    for step in range(1, 9):
        turn_to(at, step)
        keys = [
            button.key for button in at.button if (button.key or "").startswith("learn-poll-ask")
        ]
        assert len(keys) == (3 if step == 8 else 1)
        for key in keys:
            at.button(key=key).click().run()
            question = poll.standing().question
            assert question.right
            assert question.right <= set(range(len(question.options)))
            assert len(set(question.options)) == len(question.options)
            assert question.asked in read(texts(at))


def test_a_reload_finds_the_poll_and_opens_no_second(app, known):
    _, poll = begin(app)
    assert metric(app(PAGE), "Code").value.replace(" ", "") == poll.code
    poll_page.begin()
    assert poll_page.current() is poll


def test_on_this_computer_alone_there_is_no_qr_code_but_the_command_that_phones_need(
    app, known, monkeypatch
):
    assert begin(app)[0].image
    monkeypatch.setattr(poll_page, "addresses", list)
    at, poll = begin(app)
    assert not at.image
    assert poll.code[:4] not in texts(at)
    assert "127.0.0.1" not in texts(at)
    command = next(code.value for code in at.code if "dashboard" in code.value)
    words = command.split()
    assert words[:4] == ["python", "-m", "analysis", "dashboard"]
    options = command_line.parser().parse_args(words[3:])
    assert (options.address, options.port) == ("0.0.0.0", config.get_option("server.port"))
