"""A worker pool at work: each member joins when it is there and takes waiting work. Unfinished work goes to another."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from analysis.core.errors import JobError
from analysis.core.progress import OnProgress, Progress

REPLACED = 3
"""How often a place in a pool is filled anew before it is given up, and how many members a piece of work may lose."""
LOST = "A worker of the request was lost {n} times. The {done} parts are kept. {why}"
LOOK_S = 0.2
"""Seconds between two reports of progress to the caller, which may ask to stop at each."""
_LATE, _LATE_S = 2.0, 5.0
"""A piece is late when it takes so many times as long, for its size, as the slowest finished one, and so many seconds more."""
T = TypeVar("T")


class MemberLost(Exception):
    """The work of a member has no end: its process or its machine is gone."""


class Crew(ABC):
    """Processes that do the work of `member.Member`, each at a place 0..n-1."""

    n: int
    """How many places there are."""

    @abstractmethod
    def call(self, place: int, do: str, *arguments: Any) -> Any:
        """Let a member do something, and wait for the answer, as long as it takes the member to be there.

        Each place is called from a thread of its own.

        Raises:
            JobError: with the member's sentence, when it cannot.
            MemberLost: when it is gone.
        """

    @abstractmethod
    def replace(self, place: int) -> None:
        """Put a new process in the place of one that is lost.

        Raises:
            JobError: when none can be had.
        """

    def together(self, asked: dict[str, Any], n: int) -> None:
        """Let members do one request as a group until it has ended; where one is lost, all begin anew from the saved state.

        Args:
            asked: the request to each, as of `Member.take_part`.
            n: how many there were a moment ago.

        Raises:
            JobError: when members are lost too often, or are none that work together.
        """
        raise JobError(f"{type(self).__name__} cannot run a request as one group.")

    @abstractmethod
    def close(self) -> None:
        """End all members at once, also in the middle of their work."""


@dataclass(eq=False)
class Piece:
    """Something that one member does."""

    do: Callable[[int], Any]
    """Called with the member's place; more than one member may come to do it."""
    size: int = 0
    """How much work it is, in units that all pieces have in common; 0 is for the member that leads."""
    answer: Any = None
    is_done: bool = False
    lost: int = 0
    """Members that were lost over it."""
    since: dict[int, float] = field(default_factory=dict)
    """When each of those that have it in hand began, `time.monotonic`, by place."""


class Team:
    """Lets the members of a pool do pieces of work, those first that are there first."""

    def __init__(self, crew: Crew, admit: Callable[[int], None], on_progress: OnProgress) -> None:
        """Ask for every member; nobody is waited for.

        Args:
            `crew`: the pool of the members.
            admit: called with the place of each that is there, before it does anything; may raise an error that ends all.
            on_progress: told how far it is, from the thread of the caller; may raise to end all.
        """
        self.crew, self.is_over = crew, False
        self.ready: dict[int, Any] = {}
        """The state that each member was made ready for, by place. The code that makes it ready sets it, and a new member has
        none."""
        self.say: Callable[[], Progress] = lambda: Progress("starting the processes")
        """How far it is."""
        self._admit, self._on_progress = admit, on_progress
        self._changed = threading.Condition()
        self._there: list[int] = []
        self._waiting: list[Piece] = []
        self._in_hand: list[Piece] = []
        self._lost = dict.fromkeys(range(crew.n), 0)
        self._slowest_s = 0.0
        self._failed: BaseException | None = None
        for place in range(crew.n):
            threading.Thread(target=self._attend, args=(place,), name=f"member-{place}", daemon=True).start()

    @property
    def there(self) -> int:
        """How many members are there now."""
        return len(self._there)

    def tell(self) -> None:
        """Tell how far it is."""
        self._on_progress(self.say())

    def gather(self, within_s: float) -> int:
        """Wait until all members are there, but no longer than so many seconds; how many are."""
        end = time.monotonic() + within_s
        self._until(lambda: self.there == self.crew.n or time.monotonic() > end)
        return self.there

    def alone(self, do: Callable[[int], T]) -> T:
        """Return the answer of the leading member: the first that came, or the next when it is lost or busy.

        Raises:
            LayerscopeError: the first that a member raised in any of its work.
        """
        (answer,) = self.all([Piece(do)])
        found: T = answer
        return found

    def all(self, pieces: Sequence[Piece]) -> list[Any]:
        """Return the answers of the members, who take one piece after another in this order; raises as `alone`.

        When nothing waits any more, a piece that is late is also done by another member, and the first answer counts.
        """
        with self._changed:
            self._slowest_s = 0.0
            self._waiting += pieces
            self._changed.notify_all()
        self.tell()
        self._until(lambda: all(piece.is_done for piece in pieces))
        return [piece.answer for piece in pieces]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let nobody take anything any more; after an error, the present work of members is not waited for."""
        self.end()
        if kind is not None:
            self.crew.close()

    def end(self) -> None:
        """Let nobody take anything any more."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def _until(self, is_so: Callable[[], bool]) -> None:
        while True:
            with self._changed:
                if self._failed is not None:
                    raise self._failed
                if is_so():
                    return
                self._changed.wait(LOOK_S)
            self.tell()

    def _attend(self, place: int) -> None:
        """See to one place: the work of its member, and a new member when it is lost."""
        try:
            while self._works(place):
                self.crew.replace(place)
        except BaseException as error:
            with self._changed:
                self._failed = self._failed or error
                self._changed.notify_all()

    def _works(self, place: int) -> bool:
        """Let a member do the waiting work; return whether it was lost and another shall take its place."""
        piece = None
        try:
            self._admit(place)
            with self._changed:
                self._there.append(place)
                self._changed.notify_all()
            while (piece := self._next(place)) is not None:
                self._finish(place, piece, piece.do(place))
            return False
        except MemberLost as error:
            return self._is_replaced(place, piece, error)

    def _next(self, place: int) -> Piece | None:
        """Return the next piece of this member, once there is one; None when all is over."""
        with self._changed:
            while not self.is_over:
                if (piece := self._taken(place)) is not None:
                    piece.since[place] = time.monotonic()
                    return piece
                self._changed.wait(LOOK_S)
        return None

    def _taken(self, place: int) -> Piece | None:
        if not self._waiting:
            return next(filter(self._is_late, self._in_hand), None)
        if self._waiting[0].size == 0 and place != self._leader():
            return None
        self._in_hand.append(self._waiting.pop(0))
        return self._in_hand[-1]

    def _leader(self) -> int | None:
        """Return the idle member that came first: it is the most likely to have the model."""
        busy = {place for piece in self._in_hand for place in piece.since}
        return next((place for place in self._there if place not in busy), None)

    def _is_late(self, piece: Piece) -> bool:
        if piece.is_done or self._slowest_s == 0.0:
            return False
        return time.monotonic() - max(piece.since.values()) > _LATE * self._slowest_s * piece.size + _LATE_S

    def _finish(self, place: int, piece: Piece, answer: Any) -> None:
        with self._changed:
            took_s = time.monotonic() - piece.since.pop(place)
            if not piece.is_done:
                piece.answer, piece.is_done = answer, True
                self._slowest_s = max(self._slowest_s, took_s / piece.size) if piece.size else self._slowest_s
            if not piece.since:
                self._in_hand.remove(piece)
            self._lost[place] = 0
            self._changed.notify_all()

    def _is_replaced(self, place: int, piece: Piece | None, error: MemberLost) -> bool:
        """Put back the work of a lost member; return whether another shall take its place.

        Raises:
            JobError: when one member after another is lost over the same piece, or no place is left.
        """
        with self._changed:
            if self.is_over:
                return False
            self._lost[place] += 1
            self.ready.pop(place, None)
            if place in self._there:
                self._there.remove(place)
            if piece is not None:
                self._put_back(place, piece)
            lost = max(self._lost[place], piece.lost if piece is not None else 0)
            is_hopeless = piece is not None and piece.lost > REPLACED or min(self._lost.values()) > REPLACED
            self._changed.notify_all()
            if is_hopeless:
                raise JobError(LOST.format(n=lost, done="measured", why=error)) from error
            return self._lost[place] <= REPLACED

    def _put_back(self, place: int, piece: Piece) -> None:
        del piece.since[place]
        piece.lost += not piece.is_done
        if not piece.since:
            self._in_hand.remove(piece)
            if not piece.is_done:
                self._waiting.insert(0, piece)
