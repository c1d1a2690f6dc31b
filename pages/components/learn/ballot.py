"""The rules of a poll: who may answer, valid answers, and their counts. Knows neither network nor
page.

Everything that comes from a phone is text of anybody's making. It is compared with the expected
text and then forgotten: a choice becomes the number of an option, or is refused.
"""

import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from pages.web.addresses import network_of

MAX_STUDENTS = 300
MAX_PER_ADDRESS = 120
"""Maximum number of students of one address: a class behind one router fits, and one address cannot
fill the poll."""
MAX_WRONG_CODES = 20_000
"""Wrong codes of everybody together, after which only the link of the QR code lets students join.
There are 3e11 codes."""
DURATION_S = 90 * 60
"""Seconds after which an open poll ends."""
_LETTERS = "23456789BCDFGHJKMNPQRSTVWXYZ"
"""Letters and digits that look different, without vowels, so that no code is a word."""
_CODE_LENGTH = 8


class RefusedError(Exception):
    """Something sent does not count; the message is the sentence to show, and repeats nothing of
    it.
    """


@dataclass(frozen=True)
class PollQuestion:
    """A question to a class."""

    name: str
    """The prediction of the lesson that it stands for."""
    asked: str
    options: tuple[str, ...]
    right: frozenset[int]
    """Options that the measurement allows; shown only after the reveal."""


@dataclass(frozen=True)
class PollState:
    """The present state of a poll."""

    students: int
    question: PollQuestion | None
    number: int
    """Number of questions so far, which is the number of the present one."""
    counts: tuple[int, ...]
    """Answers by option."""
    is_open: bool
    """Whether answers to the question still count; after that it is revealed."""

    @property
    def answered(self) -> int:
        """Students who have answered the question."""
        return sum(self.counts)


class Ballot:
    """A poll. Several phones are heard at once, so that everything happens under one lock."""

    def __init__(self, *, lasts_s: float = DURATION_S, now: Callable[[], float] = time.monotonic):
        """Begin a poll with a code and a link of its own.

        Args:
            lasts_s: seconds until it ends by itself.
            now: the clock.
        """
        self.code = "".join(secrets.choice(_LETTERS) for _ in range(_CODE_LENGTH))
        self.link = secrets.token_urlsafe(16)
        """The secret in the address of the QR code, which works even after many wrong codes."""
        self._now = now
        self._ends_at = now() + lasts_s
        self._lock = threading.Lock()
        self._choices: dict[str, int | None] = {}
        """The choice of each student, by the token of their browser."""
        self._addresses: Counter[str] = Counter()
        self._wrong_codes = 0
        self._question: PollQuestion | None = None
        self._number = 0
        self._is_open = False

    @property
    def is_over(self) -> bool:
        """Return whether its time is up."""
        return self._now() >= self._ends_at

    @property
    def is_code_closed(self) -> bool:
        """Return whether too many wrong codes were tried."""
        return self._wrong_codes >= MAX_WRONG_CODES

    def join(self, code: str, address: str, token: str = "") -> str:
        """Let a student in.

        Args:
            code: the code as it was typed, or the secret of the link.
            address: of the phone, to bound how many join from it.
            token: of a browser that may have joined before.

        Returns:
            A token that stands for the browser in this poll, and for nothing else.

        Raises:
            RefusedError: when the code is wrong, or no more are let in.
        """
        with self._lock:
            self._check_time()
            if token in self._choices:
                return token
            if not _same(code, self.link):
                self._check_code(code)
            if len(self._choices) >= MAX_STUDENTS:
                raise RefusedError(
                    f"The poll is full: at most {MAX_STUDENTS} students can join. Follow the lesson"
                    " on the screen in front."
                )
            if self._addresses[network_of(address)] >= MAX_PER_ADDRESS:
                raise RefusedError(
                    f"The poll takes at most {MAX_PER_ADDRESS} students of one network. "
                    "Join from another one, such as mobile data."
                )
            self._addresses[network_of(address)] += 1
            made = secrets.token_urlsafe(18)
            self._choices[made] = None
            return made

    def _check_code(self, code: str) -> None:
        if self.is_code_closed:
            raise RefusedError(
                "The code no longer works, because there were too many wrong ones. Scan the QR code"
                " on the screen in front."
            )
        if not _same("".join(code.split()).upper(), self.code):
            self._wrong_codes += 1
            raise RefusedError(
                f"This code is wrong. Enter the {_CODE_LENGTH} letters and digits on the screen in"
                " front."
            )

    def has(self, token: str) -> bool:
        """Return whether a token stands for a student."""
        with self._lock:
            return token in self._choices

    def ask(self, question: PollQuestion) -> None:
        """Put a question; answers to the one before no longer count."""
        with self._lock:
            self._question = question
            self._is_open = True
            self._number += 1
            self._choices = dict.fromkeys(self._choices)

    def reveal(self) -> None:
        """Take no more answers to the question; those that came stay."""
        with self._lock:
            self._is_open = False

    def answer(self, token: str, number: str, choice: str) -> None:
        """Take an answer; a later one of the same student replaces it.

        Args:
            token: of the student.
            number: of the question, as the phone sent it.
            choice: number of the option from 0, as the phone sent it.

        Raises:
            RefusedError: when it does not count.
        """
        with self._lock:
            self._check_time()
            if token not in self._choices:
                raise RefusedError("Enter the code first.")
            if not self._is_open or self._question is None or _whole(number) != self._number:
                raise RefusedError("This question is over. Wait for the next one.")
            chosen = _whole(choice)
            if chosen is None or chosen >= len(self._question.options):
                raise RefusedError(
                    "This answer is not an option. Choose one of the options on the page."
                )
            self._choices[token] = chosen

    def choice(self, token: str) -> int | None:
        """Return the answer of a student to the question; None if there is none."""
        with self._lock:
            return self._choices.get(token)

    def standing(self) -> PollState:
        """Return the state of the poll."""
        with self._lock:
            answers = Counter(self._choices.values())
            counts = tuple(
                answers[option]
                for option in range(len(self._question.options if self._question else ()))
            )
            return PollState(
                len(self._choices), self._question, self._number, counts, self._is_open
            )

    def _check_time(self) -> None:
        if self.is_over:
            raise RefusedError("The poll is over.")


def _same(sent: str, right: str) -> bool:
    return hmac.compare_digest(sent.encode(errors="surrogatepass"), right.encode())


def _whole(text: str) -> int | None:
    """Return the integer in a text of a few digits; None for other texts."""
    return int(text) if 0 < len(text) <= 4 and text.isascii() and text.isdecimal() else None
