"""Several processes that share one request: each loads the model once, and takes one shard after another.

The figures are those that one process finds, bit for bit where the processors are alike, for what a shard holds does not depend
on who measures it (`core.shards`). A process that is lost costs the shard it had, and another takes its place.
"""

import importlib.metadata
import json
import platform
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from analysis.core import program, shards, store
from analysis.core.errors import JobError, SpecError
from analysis.core.options import imported
from analysis.core.progress import OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.core.registry import RESULTS, SPECS, experiments
from analysis.core.shards import Shard

LOCAL = "analysis.jobs.crew.local:LocalCrew"
"""The crew of this machine."""
MOST = 256
"""Processes that may share a request."""
_REPLACED = 3
"""How often each place in a crew may be filled anew for one request."""
_LOOK_S = 0.2
"""How often whoever asked is told how far it is, and heard whether it shall end."""


_LIBRARIES = ("torch", "transformers")
"""What has to be the same wherever a request is shared, beside this program: figures may change with them."""
T = TypeVar("T")


class MemberLost(Exception):
    """What a member did has no end: its process or its machine is gone."""


class Crew(ABC):
    """Processes that do what `member.Member` does, each at a place 0..n-1."""

    n: int
    """How many places there are."""

    @abstractmethod
    def call(self, place: int, do: str, *arguments: Any) -> Any:
        """Let a member do something, and wait for the answer; places are called from threads of their own.

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

    @abstractmethod
    def close(self) -> None:
        """End all members at once, whatever they do."""


def versions() -> dict[str, str]:
    """Versions that have to be the same in every process of a crew, Python's included; loads none of them."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"layerscope": program.version(), "python": python, **{name: _version(name) for name in _LIBRARIES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def can_share(spec: Spec) -> bool:
    """Whether several processes can share this request."""
    one = experiments().get(spec.kind)
    return one is not None and bool(one.shards) and getattr(spec, "adapter", None) is None


def check(spec: Spec, n: int) -> None:
    """Refuse a number of processes that a request cannot have.

    Raises:
        SpecError: when there are none, too many, or the request is one that a single process answers.
    """
    if not 1 <= n <= MOST:
        raise SpecError(f"{n} shards were asked for; a request can be shared by 1 to {MOST} processes.")
    if n > 1 and not can_share(spec):
        kinds = ", ".join(kind for kind, one in experiments().items() if one.shards)
        raise SpecError(f"A request of kind {spec.kind} is answered by one process; {kinds} can be shared, without an adapter.")


def shared(spec: Spec, n: int, on_progress: OnProgress, members: str = LOCAL) -> Result:
    """Answer a request with `n` processes, which end with it; otherwise as `share`.

    Args:
        spec, on_progress: as of `share`.
        n: how many processes.
        members: the class of the crew as `module:class`, called as `members(spec, n)`.
    """
    check(spec, n)
    ours: Crew = imported(members)(spec, n)
    try:
        return share(spec, ours, on_progress)
    finally:
        ours.close()


def share(spec: Spec, crew: Crew, on_progress: OnProgress) -> Result:
    """Answer a request, and those that it rests on, with all members of a crew; the result is stored.

    Args:
        spec: of a kind that names its `shards`.
        crew: whose members see the cache folder.
        on_progress: told how far it is; may raise `Cancelled`, and what was measured is kept.

    Raises:
        LayerscopeError: one sentence on whatever the user can mend.
    """
    shards.sweep()
    told = _Told(on_progress)
    told.tell()
    _each(crew, list(range(crew.n)), lambda place: _fits(crew, place, told), told)
    *before, own = _alone(crew, told, lambda: crew.call(0, "requests", spec.kind, spec.to_json()))
    for kind, resolved in before:
        _answered(SPECS[kind].from_json(resolved), crew, told)
    return _answered(SPECS[spec.kind].from_json(own[1]), crew, told)


def _answered(spec: Spec, crew: Crew, told: "_Told") -> Result:
    stored = RESULTS[spec.kind].load(spec)
    if stored is not None and stored.complete:
        return stored
    asked = (spec.kind, spec.to_json())

    def missing() -> tuple[bool, list[Shard]]:
        reads_disk = bool(crew.call(0, "begin", *asked))
        return reads_disk, [Shard.from_json(one) for one in crew.call(0, "missing")]

    told.say(Progress("loading the model", values={"result_key": spec.fingerprint()}))
    reads_disk, left = _alone(crew, told, missing)
    if left:
        _measure(left, crew, asked, told, together=reads_disk)
    told.say(Progress("putting the shards together"))
    key = _alone(crew, told, lambda: crew.call(0, "finish", *asked))
    result = RESULTS[spec.kind].load(spec)
    if result is None or not result.complete or key != spec.fingerprint():
        raise JobError(f"The {spec.kind} result {key} is not in the cache of whoever asked for it; try again.")
    shards.forget(left)
    return result


def _alone(crew: Crew, told: "_Told", do: Callable[[], T]) -> T:
    """What the first member answers; where it is lost, what the one in its place answers."""
    found: list[T] = []
    _each(crew, [0], lambda place: found.append(_kept_alive(crew, place, do, told)), told)
    return found[0]


def _kept_alive(crew: Crew, place: int, do: Callable[[], T], told: "_Told") -> T:
    for _ in range(_REPLACED):
        try:
            return do()
        except MemberLost:
            if told.is_over:
                raise
            crew.replace(place)
    return do()


def _measure(missing: Sequence[Shard], crew: Crew, asked: tuple[str, dict[str, Any]], told: "_Told", *, together: bool) -> None:
    """Let members take shards from one list until there are none; from the disk each reads the model once, for its part."""
    total, done = sum(shard.size for shard in missing), 0
    n = min(crew.n, len(missing))
    waiting = [list(missing[place::n]) for place in range(n)] if together else [[shard] for shard in missing]
    lock = threading.Lock()
    phase = f"measuring {len(missing)} shards in {n} process{'es' * (n > 1)}"
    told.say(Progress(phase, 0, total))

    def take() -> list[Shard]:
        with lock:
            return waiting.pop(0) if waiting else []

    def work(place: int) -> None:
        nonlocal done
        is_ready, lost = place == 0, 0  # the first was made ready to say what is missing
        while part := take():
            while True:
                try:
                    if not is_ready:
                        crew.call(place, "begin", *asked)
                        is_ready = True
                    left = [shard.to_json() for shard in part if not shard.is_stored()]
                    if left:
                        crew.call(place, "measure", left)
                    break
                except MemberLost as error:
                    lost += 1
                    if lost > _REPLACED or told.is_over:
                        raise JobError(
                            f"A process that shared the request was lost {lost} times; what was measured is kept. {error}"
                        ) from error
                    crew.replace(place)
                    is_ready = False
            with lock:
                done += sum(shard.size for shard in part)
                told.note(Progress(phase, done, total))

    _each(crew, list(range(n)), work, told)


def _fits(crew: Crew, place: int, told: "_Told") -> None:
    """Refuse a member that would find other figures, or could not show what it found.

    Raises:
        JobError: when its versions differ, or it does not see the cache folder.
    """
    theirs, ours = _kept_alive(crew, place, lambda: crew.call(place, "hello"), told), versions()
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise JobError(
                f"This machine has {name} {version} and a process that shall share the request has {theirs.get(name)}: figures "
                f"may differ. Install the same version on both."
            )
    file = store.cache_dir() / f"shared-{secrets.token_hex(8)}"
    store.write_atomic(file, b"")
    try:
        if not crew.call(place, "sees", str(file)):
            raise JobError(
                f"A process that shall share the request does not see the cache folder {store.cache_dir()}: it has to lie on "
                f"storage that all machines share, at the same path."
            )
    finally:
        file.unlink(missing_ok=True)


def _each(crew: Crew, places: Sequence[int], do: Callable[[int], None], told: "_Told") -> None:
    """Do something at every place at once; the first error ends all, and so does the wish to end.

    Raises:
        Cancelled: when whoever asked no longer wants it.
        LayerscopeError: the first that a place raised.
    """
    failed: list[BaseException] = []

    def guarded(place: int) -> None:
        try:
            do(place)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(place,), name=f"member-{place}", daemon=True) for place in places]
    for thread in threads:
        thread.start()
    try:
        while not failed and (alive := [thread for thread in threads if thread.is_alive()]):
            alive[0].join(_LOOK_S)
            told.tell()
    except BaseException:
        told.is_over = True
        crew.close()
        raise
    if failed:
        told.is_over = True
        crew.close()
        raise failed[0]


class _Told:
    """Passes on how far it is, from the thread of whoever asked: it may raise there, and only there."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress, self._last = on_progress, Progress("starting the processes")
        self.is_over = False

    def note(self, progress: Progress) -> None:
        self._last = progress

    def tell(self) -> None:
        self._on_progress(self._last)

    def say(self, progress: Progress) -> None:
        self.note(progress)
        self.tell()


def as_line(do: str, arguments: Sequence[Any]) -> bytes:
    """What a member is asked, as it reads it."""
    return json.dumps({"do": do, "with": list(arguments)}).encode() + b"\n"
