"""The rules of a poll: only students answer, only with an option on offer, and no sent text is
kept.
"""

import threading

import pytest

from pages.components.learn import ballot
from pages.components.learn.ballot import Ballot, PollQuestion, RefusedError

WHERE = PollQuestion("cliff", "From which n?", ("1", "2", "3", "never"), frozenset({1, 2}))
WHICH = PollQuestion("block", "Which block?", ("0-4", "1-5"), frozenset({1}))


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


WRONG = "2222 2222"


def test_a_code_is_long_readable_and_of_one_poll_alone():
    codes = {Ballot().code for _ in range(50)}
    assert len(codes) == 50
    assert all(len(code) == 8 and not set(code) & set("AEIOUL01") for code in codes)
    assert len(ballot._LETTERS) ** 8 / ballot.MAX_WRONG_CODES > 1e7
    assert len({Ballot().link for _ in range(50)}) == 50


def test_a_later_answer_replaces_the_first_in_the_counts(poll):
    one, two = (
        poll.join(poll.code, "a"),
        poll.join(f" {poll.code[:4].lower()} {poll.code[4:]} ", "a"),
    )
    poll.ask(WHERE)
    poll.answer(one, "1", "0")
    poll.answer(two, "1", "3")
    assert (poll.standing().counts, poll.standing().students, poll.standing().answered) == (
        (1, 0, 0, 1),
        2,
        2,
    )
    poll.answer(one, "1", "2")
    assert poll.standing().counts == (0, 0, 1, 1)
    assert (poll.choice(one), poll.choice("nobody")) == (2, None)


def test_a_new_question_takes_no_late_answers_to_the_old(poll):
    one = poll.join(poll.code, "a")
    poll.ask(WHERE)
    poll.answer(one, "1", "1")
    poll.ask(WHICH)
    assert (poll.standing().counts, poll.standing().number) == ((0, 0), 2)
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "1")
    poll.answer(one, "2", "1")
    assert poll.standing().counts == (0, 1)


def test_after_the_reveal_counts_stay_as_they_are(poll):
    one = poll.join(poll.code, "a")
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "0", "0")
    poll.ask(WHERE)
    poll.answer(one, "1", "1")
    poll.reveal()
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "2")
    assert (poll.standing().counts, poll.standing().is_open) == ((0, 1, 0, 0), False)


HOSTILE = [
    "",
    " ",
    "4",
    "-1",
    "+1",
    "1.0",
    "1e0",
    "0x1",
    "01x",
    "٢",
    "²",
    "1\n",
    "\x00",
    "None",
    "null",
    "true",
    "[1]",
    "99999999999999999999",
    "<script>alert(1)</script>",
    "'; DROP TABLE students; --",
    "{{ 7 * 7 }}",
    "../../etc/passwd",
    "\u202e1",
    "1" * 100_000,
]


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


def test_a_browser_joins_once(poll):
    one = poll.join(poll.code, "a")
    assert poll.join(poll.link, "b", one) == poll.join("", "a", one) == one
    assert poll.standing().students == 1
    assert poll.join(poll.code, "a", "made-up") not in (one, "made-up")


def test_joins_of_an_address_are_limited_and_others_join(poll):
    for _ in range(ballot.MAX_PER_ADDRESS):
        poll.join(poll.code, "2001:db8::1")
    for address in ("2001:db8::1", "2001:db8::2"):
        with pytest.raises(RefusedError, match="network"):
            poll.join(poll.code, address)
    for address in ("2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"):
        assert poll.join(poll.code, address)


def test_ipv4_mapped_address_counts_as_its_ipv4_address(poll):
    for _ in range(ballot.MAX_PER_ADDRESS):
        poll.join(poll.code, "192.0.2.1")
    with pytest.raises(RefusedError, match="network"):
        poll.join(poll.code, "::ffff:192.0.2.1")


def test_a_student_with_wrong_codes_locks_out_no_neighbour(poll):
    for _ in range(500):
        with pytest.raises(RefusedError, match="code is wrong"):
            poll.join(WRONG, "router")
    assert poll.join(poll.code, "router")


def test_wrong_codes_have_a_budget_and_the_link_has_none(poll):
    for number in range(ballot.MAX_WRONG_CODES):
        with pytest.raises(RefusedError, match="code is wrong"):
            poll.join(WRONG, f"address {number}")
    assert poll.is_code_closed
    with pytest.raises(RefusedError, match="Scan the QR code"):
        poll.join(poll.code, "a")
    assert poll.join(poll.link, "a")


def test_a_full_or_ended_poll_takes_nobody(clock):
    poll = Ballot(now=clock, lasts_s=10)
    poll.ask(WHERE)
    one = [poll.join(poll.code, f"address {number}") for number in range(ballot.MAX_STUDENTS)][0]
    with pytest.raises(RefusedError, match="full"):
        poll.join(poll.code, "a")
    clock.now += 10
    assert poll.is_over
    with pytest.raises(RefusedError, match="over"):
        poll.join(poll.code, "a")
    with pytest.raises(RefusedError, match="over"):
        poll.answer(one, "1", "1")


def test_many_phones_at_once_lose_no_answer(poll):
    tokens = [poll.join(poll.code, "a") for _ in range(100)]
    poll.ask(WHERE)
    threads = [
        threading.Thread(target=poll.answer, args=(token, "1", str(i % 4)))
        for i, token in enumerate(tokens)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert poll.standing().counts == (25, 25, 25, 25)
