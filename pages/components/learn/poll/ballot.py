"""The rules of a poll: who may answer, what counts as an answer, how many gave which. Knows neither network nor page.

Everything that comes from a phone is text of anybody's making. It is compared with what is expected, and nothing of it is kept:
a choice becomes the number of an option, or is refused.
"""

import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_STUDENTS = 200
LASTS_S = 90 * 60
"""A poll that nobody closes ends by itself."""
_CODE_DIGITS = 6
_WINDOW_S = 60
_MOST_WRONG_CODES = 20
"""Per address and `_WINDOW_S`: a class behind one router mistypes now and then, and a million codes take a month to try."""
_MOST_ANSWERS = 30
"""Per student and `_WINDOW_S`."""
_MOST_ADDRESSES = 1000


class RefusedError(Exception):
    """What was sent does not count; the message is the sentence to show, and repeats nothing of what was sent."""


@dataclass(frozen=True)
class Question:
    """What a class is asked."""

    name: str
    """The prediction of the lesson that it stands for."""
    asked: str
    options: tuple[str, ...]
    right: frozenset[int]
    """Options that the measurement allows; shown only after the reveal."""


@dataclass(frozen=True)
class Standing:
    """How a poll stands."""

    students: int
    question: Question | None
    number: int
    """How many questions were asked so far; the current one has this number."""
    counts: tuple[int, ...]
    """Answers by option."""
    is_open: bool
    """Whether answers to the question still count."""

    @property
    def answered(self) -> int:
        """Students who have answered the question."""
        return sum(self.counts)


@dataclass
class _Student:
    choice: int | None = None
    answers_at: deque[float] = field(default_factory=deque)


class Ballot:
    """A poll. Several phones are heard at once, so that everything happens under one lock."""

    def __init__(
        self, *, lasts_s: float = LASTS_S, most_students: int = MOST_STUDENTS, now: Callable[[], float] = time.monotonic
    ):
        """Begin a poll with a code of its own.

        Args:
            lasts_s: seconds until it ends by itself.
            most_students: who comes after them is refused.
            now: the clock.
        """
        self.code = "".join(secrets.choice("0123456789") for _ in range(_CODE_DIGITS))
        self._now, self._ends_at, self._most_students = now, now() + lasts_s, most_students
        self._lock = threading.Lock()
        self._students: dict[str, _Student] = {}
        self._wrong_codes: dict[str, deque[float]] = {}
        self._question: Question | None = None
        self._number = 0
        self._is_open = False

    @property
    def is_over(self) -> bool:
        """Whether its time is up."""
        return self._now() >= self._ends_at

    def join(self, code: str, address: str) -> str:
        """Let a student in.

        Args:
            code: what was typed.
            address: of the phone, to slow down who guesses codes.

        Returns:
            A token that stands for the student from now on, and for nothing else.

        Raises:
            RefusedError: when the code is wrong, or no more are let in.
        """
        with self._lock:
            self._check_time()
            wrong = self._recent(self._wrong_codes.get(address, deque()))
            if len(wrong) >= _MOST_WRONG_CODES:
                raise RefusedError("Too many wrong codes came from your network. Wait a minute and try again.")
            typed = code.replace(" ", "").encode()
            if not hmac.compare_digest(typed, self.code.encode()):
                if address in self._wrong_codes or len(self._wrong_codes) < _MOST_ADDRESSES:
                    self._wrong_codes[address] = wrong
                    wrong.append(self._now())
                raise RefusedError(f"This is not the code. It has {_CODE_DIGITS} digits and stands on the screen in front.")
            if len(self._students) >= self._most_students:
                raise RefusedError(f"The poll is full: it takes {self._most_students} students.")
            token = secrets.token_urlsafe(18)
            self._students[token] = _Student()
            return token

    def has(self, token: str) -> bool:
        """Whether a token stands for a student."""
        with self._lock:
            return token in self._students

    def ask(self, question: Question) -> None:
        """Put a question; answers to the one before no longer count."""
        with self._lock:
            self._question, self._is_open = question, True
            self._number += 1
            for student in self._students.values():
                student.choice = None

    def close(self) -> None:
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
            student = self._students.get(token)
            if student is None:
                raise RefusedError("Enter the code first.")
            student.answers_at = self._recent(student.answers_at)
            if len(student.answers_at) >= _MOST_ANSWERS:
                raise RefusedError("That was a lot of answers. Wait a minute and try again.")
            student.answers_at.append(self._now())
            if not self._is_open or self._question is None or _whole(number) != self._number:
                raise RefusedError("This question is over. Look for the next one.")
            chosen = _whole(choice)
            if chosen is None or chosen >= len(self._question.options):
                raise RefusedError("Choose one of the answers that are offered.")
            student.choice = chosen

    def choice(self, token: str) -> int | None:
        """What a student answered to the question; None without an answer."""
        with self._lock:
            student = self._students.get(token)
            return student.choice if student else None

    def standing(self) -> Standing:
        """How it stands now."""
        with self._lock:
            counts = [0] * len(self._question.options if self._question else ())
            for student in self._students.values():
                if student.choice is not None:
                    counts[student.choice] += 1
            return Standing(len(self._students), self._question, self._number, tuple(counts), self._is_open)

    def _check_time(self) -> None:
        if self.is_over:
            raise RefusedError("The poll is over.")

    def _recent(self, times: deque[float]) -> deque[float]:
        return deque(at for at in times if at > self._now() - _WINDOW_S)


def _whole(text: str) -> int | None:
    """A whole number of a few plain digits; None for any other text."""
    return int(text) if 0 < len(text) <= 4 and text.isascii() and text.isdecimal() else None
