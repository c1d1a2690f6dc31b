"""The rules of a poll: only students answer, only with an option that is offered, and nothing of what was sent is kept."""

import random
import threading

import pytest

from pages.components.learn.poll import ballot
from pages.components.learn.poll.ballot import Ballot, Question, RefusedError

WHERE = Question("cliff", "From which n?", ("1", "2", "3", "never"), frozenset({1, 2}))
WHICH = Question("block", "Which block?", ("0-4", "1-5"), frozenset({1}))


class Clock:
    """A time that tests move."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def poll(clock):
    return Ballot(now=clock)


def wrong_code(poll: Ballot) -> str:
    return str((int(poll.code) + 1) % 10**6).zfill(6)


def test_the_code_is_six_digits_and_no_two_polls_share_one():
    codes = {Ballot().code for _ in range(50)}
    assert all(len(code) == 6 and code.isdecimal() for code in codes)
    assert len(codes) > 45


def test_answers_are_counted_by_option_and_a_later_one_replaces_the_first(poll):
    one, two = poll.join(poll.code, "a"), poll.join(f" {poll.code[:3]} {poll.code[3:]} ", "a")
    poll.ask(WHERE)
    poll.answer(one, "1", "0")
    poll.answer(two, "1", "3")
    assert (poll.standing().counts, poll.standing().students, poll.standing().answered) == ((1, 0, 0, 1), 2, 2)
    poll.answer(one, "1", "2")
    assert poll.standing().counts == (0, 0, 1, 1)
    assert (poll.choice(one), poll.choice("nobody")) == (2, None)


def test_a_new_question_begins_with_no_answers_and_late_ones_to_the_old_one_do_not_count(poll):
    one = poll.join(poll.code, "a")
    poll.ask(WHERE)
    poll.answer(one, "1", "1")
    poll.ask(WHICH)
    assert (poll.standing().counts, poll.standing().number) == ((0, 0), 2)
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "1")
    poll.answer(one, "2", "1")
    assert poll.standing().counts == (0, 1)


def test_after_the_reveal_nothing_counts_any_more_and_what_came_stays(poll):
    one = poll.join(poll.code, "a")
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "0", "0")
    poll.ask(WHERE)
    poll.answer(one, "1", "1")
    poll.close()
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "2")
    assert (poll.standing().counts, poll.standing().is_open) == ((0, 1, 0, 0), False)


HOSTILE = [
    "", " ", "4", "-1", "+1", "1.0", "1e0", "0x1", "01x", "٢", "²", "1\n", "\x00", "None", "null", "true", "[1]",
    "99999999999999999999", "<script>alert(1)</script>",
    "'; DROP TABLE students; --", "{{ 7 * 7 }}", "../../etc/passwd", "\u202e1", "1" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("sent", HOSTILE)
def test_an_answer_of_any_content_is_an_option_or_nothing(poll, sent):
    one = poll.join(poll.code, "a")
    poll.ask(WHERE)
    for question, choice in (("1", sent), (sent, "1")):
        with pytest.raises(RefusedError) as refused:
            poll.answer(one, question, choice)
        assert len(sent) < 3 or sent not in str(refused.value)
    assert poll.standing().counts == (0, 0, 0, 0)


@pytest.mark.parametrize("sent", HOSTILE)
def test_a_code_of_any_content_lets_nobody_in(poll, sent):
    with pytest.raises(RefusedError) as refused:
        poll.join(sent, "a")
    assert len(sent) < 3 or sent not in str(refused.value)
    assert poll.standing().students == 0


def test_random_bytes_never_count(poll):
    rng, one = random.Random(0), poll.join(poll.code, "a")
    poll.ask(WHICH)
    refused = 0
    for _ in range(25):
        text = rng.randbytes(rng.randrange(12)).decode("latin-1")
        try:
            poll.answer(one, "1", text)
        except RefusedError:
            refused += 1
    assert refused + (poll.choice(one) is not None) >= 25


def test_only_students_answer(poll):
    poll.ask(WHERE)
    for token in ("", "x", poll.code):
        with pytest.raises(RefusedError, match="code first"):
            poll.answer(token, "1", "1")


def test_guessing_codes_is_slowed_down_by_address_and_nobody_else_waits(poll, clock):
    for _ in range(20):
        with pytest.raises(RefusedError, match="not the code"):
            poll.join(wrong_code(poll), "bad")
    with pytest.raises(RefusedError, match="Too many"):
        poll.join(poll.code, "bad")
    assert poll.join(poll.code, "good")
    clock.now += 61
    assert poll.join(poll.code, "bad")


def test_a_student_cannot_answer_without_end(poll, clock):
    one = poll.join(poll.code, "a")
    poll.ask(WHERE)
    for _ in range(30):
        poll.answer(one, "1", "0")
    with pytest.raises(RefusedError, match="Wait a minute"):
        poll.answer(one, "1", "1")
    clock.now += 61
    poll.answer(one, "1", "1")
    assert poll.standing().counts == (0, 1, 0, 0)


def test_a_full_poll_and_one_whose_time_is_up_take_nobody(clock):
    poll = Ballot(now=clock, most_students=2, lasts_s=10)
    poll.ask(WHERE)
    one = poll.join(poll.code, "a")
    poll.join(poll.code, "a")
    with pytest.raises(RefusedError, match="full"):
        poll.join(poll.code, "a")
    clock.now += 10
    assert poll.is_over
    with pytest.raises(RefusedError, match="over"):
        poll.join(poll.code, "a")
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "1")


def test_addresses_that_guess_do_not_fill_the_memory(poll):
    for number in range(ballot._MOST_ADDRESSES + 50):
        with pytest.raises(RefusedError):
            poll.join(wrong_code(poll), f"address {number}")
    assert len(poll._wrong_codes) == ballot._MOST_ADDRESSES


def test_many_phones_at_once_lose_no_answer(poll):
    tokens = [poll.join(poll.code, "a") for _ in range(100)]
    poll.ask(WHERE)
    threads = [threading.Thread(target=poll.answer, args=(token, "1", str(i % 4))) for i, token in enumerate(tokens)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert poll.standing().counts == (25, 25, 25, 25)
