"""The presenter's side of a poll: off until it is opened, the answers as they come, the reveal."""

import pytest

from pages.components.learn.poll import panel
from tests.support import fakes
from tests.support.lesson import PAGE, turn_to
from tests.support.phone import Phone
from tests.support.seen import figures, metric, read, texts, trace


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    """No poll is open before or after, and one is opened on this computer alone, on any free port."""
    monkeypatch.setattr(panel.server, "addresses", lambda: [panel.server.HERE_ONLY])
    monkeypatch.setattr(panel.server, "PORT", 0)
    panel.close()
    yield
    panel.close()


def begin(app, step: int = 3):
    """The presenter's page with a poll that is open."""
    at = turn_to(app(PAGE, present="1"), step)
    panel.open_on(panel.server.HERE_ONLY, port=0)
    return at.run(), panel.classroom()


def test_without_presenter_mode_there_is_no_poll(app, known):
    at = app(PAGE)
    assert "Ask the class" not in texts(at)
    assert not [button for button in at.button if (button.key or "").startswith("learn-poll")]


def test_it_is_off_until_it_is_opened_and_says_before_what_it_exposes(app, known):
    at = turn_to(app(PAGE, present="1"), 3)
    assert panel.classroom() is None
    assert "Everyone in that network can open it" in texts(at)
    assert "no results and no files" in texts(at)
    assert at.radio(key="learn-poll-host").options == ["127.0.0.1 (only this computer, to try it out)"]
    at.button(key="learn-poll-open").click().run()
    room = panel.classroom()
    assert room is not None
    assert read(metric(at, "Address to type on the phone").value) == room.url.removeprefix("http://")
    assert metric(at, "Code").value == f"{room.ballot.code[:3]} {room.ballot.code[3:]}"
    at.button(key="learn-poll-close").click().run()
    assert panel.classroom() is None


def test_answers_come_in_before_the_reveal_and_what_holds_is_told_after_it(app, known):
    at, room = begin(app)
    phones = [Phone(room), Phone(room)]
    for phone in phones:
        phone.join(room.ballot.code)
    assert "**2 students have joined.**" in texts(at.run())
    at.button(key="learn-poll-ask-1").click().run()
    best = fakes.distances().best[4].start
    phones[0].answer(str(best))
    phones[1].answer("0")
    at.run()
    assert "**Which 5 layers in a row change the stream least?** 2 of 2 have answered." in texts(at)
    votes = figures(at)["learn-votes"]
    assert sum(trace(votes, "answers")["y"]) == 2
    assert len(set(trace(votes, "answers")["marker"]["color"])) == 1, "no colour tells which one holds"
    assert "learn-row" not in figures(at)
    at.button(key="learn-poll-reveal-1").click().run()
    assert "1 of 2 gave an answer that holds" in texts(at)
    shades = trace(figures(at)["learn-votes"], "answers")["marker"]["color"]
    assert shades[best] != shades[0]
    assert "learn-row" in figures(at), "the step shows the measurement now"
    assert at.session_state["lesson"].skipped == {"block"}
    assert phones[0].answer("3")[0] == 400


def test_every_step_with_results_has_a_question_whose_right_answer_is_among_its_options(app, known):
    at, room = begin(app, 1)
    for step in range(1, 9):
        turn_to(at, step)
        asks = [button.key for button in at.button if (button.key or "").startswith("learn-poll-ask")]
        assert len(asks) == (3 if step == 8 else 1)
        for key in asks:
            at.button(key=key).click().run()
            question = room.ballot.standing().question
            assert question.right
            assert question.right <= set(range(len(question.options)))
            assert len(set(question.options)) == len(question.options)
            assert question.asked in read(texts(at))


def test_the_poll_of_another_step_is_not_shown_as_this_ones(app, known):
    at, room = begin(app)
    at.button(key="learn-poll-ask-1").click().run()
    turn_to(at, 4)
    assert "learn-votes" not in figures(at)
    assert [button.label for button in at.button if (button.key or "").startswith("learn-poll-ask")] == ["Ask this step"]


def test_a_step_without_a_result_asks_nothing(app, ui_cache):
    at, _ = begin(app)
    assert "This step has no question for a class yet: its result is missing." in texts(at)


def test_a_reload_finds_the_poll_again_and_never_opens_a_second_one(app, known):
    _, room = begin(app)
    at = app(PAGE, present="1")
    assert read(metric(at, "Address to type on the phone").value) == room.url.removeprefix("http://")
    assert panel.open_on(panel.server.HERE_ONLY, port=0) is room


def test_a_poll_that_cannot_be_opened_says_so_in_a_sentence(app, known, monkeypatch):
    at = turn_to(app(PAGE, present="1"), 3)

    def fail(host, **_):
        raise panel.server.PollError("No poll can be opened on 127.0.0.1: none of the ports 8600 to 8619 is free.")

    monkeypatch.setattr(panel, "open_on", fail)
    at.button(key="learn-poll-open").click().run()
    assert "none of the ports" in at.error[0].value
