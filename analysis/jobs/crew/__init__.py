"""Several processes that share one request: each loads the model once, and takes one shard after another, or all of them train
together (`together`).

The figures are those of one process, bit for bit where the CPUs are the same. The reason is that the content of a shard does
not depend on the process that measures it (`core.shards`). It begins with the first process that is there, and others join when
they come. One that is lost costs the shard it had, and another takes its place.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from analysis.core import disk, program, shards, store
from analysis.core.errors import JobError, SpecError, StorageError
from analysis.core.experiment import EXPERIMENTS, RESULTS, RUNNERS, SPECS
from analysis.core.meter import COUNTS
from analysis.core.options import imported
from analysis.core.progress import OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.core.shards import Shard
from analysis.jobs.crew.team import Crew, MemberLost, Piece, Team

__all__ = ["LOCAL", "MOST", "Crew", "MemberLost", "answered", "as_line", "can_share", "check", "share", "shared", "versions"]

LOCAL = "analysis.jobs.crew.local:LocalCrew"
"""The worker pool of this machine."""
_TOGETHER = "analysis.jobs.crew.together:train"
MOST = 256
"""Processes that may share a request."""
_GATHER_S = 30.0
"""Seconds that a reading of a model from the disk waits for processes that are not there yet. Later ones have no part in it."""
_LOOK_S = 0.5
"""How often a request looks whether an equal one has ended."""
_LIBRARIES = ("torch", "transformers")
"""Libraries that have to be the same wherever a request is shared, as this program has to: figures may change with them."""


def versions() -> dict[str, str]:
    """Return versions that have to be the same in every process of a pool, Python's included; loads none of them."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"layerscope": program.version(), "python": python, **{name: _version(name) for name in _LIBRARIES}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def can_share(spec: Spec) -> bool:
    """Return whether several processes can share this request."""
    return _is_shared(spec) and spec.why_not_shared(2) is None


def _is_shared(spec: Spec) -> bool:
    one = EXPERIMENTS.get(spec.kind)
    return one is not None and one.is_shared and getattr(spec, "adapter", None) is None


def check(spec: Spec, n: int) -> None:
    """Refuse a number of processes that a request cannot have.

    Raises:
        SpecError: when there are none, too many, or the request is one that a single process answers.
    """
    if not 1 <= n <= MOST:
        raise SpecError(f"--workers must be 1..{MOST}, not {n}.")
    if n > 1 and not _is_shared(spec):
        kinds = ", ".join(kind for kind, one in EXPERIMENTS.items() if one.is_shared)
        raise SpecError(
            f"A request of kind {spec.kind} runs in one process. Use --workers with {kinds}, and without an adapter."
        )
    if n > 1 and (why := spec.why_not_shared(n)) is not None:
        raise SpecError(why)


def answered(
    spec: Spec,
    n: int,
    on_progress: OnProgress,
    *,
    load: Callable[[], Any],
    members: str = LOCAL,
    runners: Mapping[str, str] = RUNNERS,
) -> Result:
    """Answer a request in this process, or with `n` of them where there are several; its result, which is stored.

    Args:
        spec: the request.
        n: how many processes.
        on_progress: as of `share`.
        load: makes the loader that a runner is handed; the processes of a pool have their own.
        members: as of `shared`.
        runners: the dotted function for each kind.

    Raises:
        SpecError: when so many cannot share it.
        LayerscopeError: one sentence on an error that the user can fix.
    """
    with _alone(spec, on_progress):
        if n != 1:
            return shared(spec, n, on_progress, members)
        found: Result = imported(runners[spec.kind])(spec, on_progress, load=load())
        return found


@contextlib.contextmanager
def _alone(spec: Spec, on_progress: OnProgress) -> Iterator[None]:
    """Let one process of this machine answer a request at a time: the next one waits, and then finds the stored result.

    The system takes the lock away from a process that ends, however it ends. Machines that share a cache folder on a network
    file system do not see each other's locks. Both compute, and the last result that is stored stays.
    """
    try:
        file = store.local_dir() / "requests" / f"{spec.kind}-{spec.fingerprint()}.lock"
        store.make_folder(file.parent)
        handle = disk.lock(file)
    except (StorageError, OSError):  # no folder can be written, which the request itself says
        yield
        return
    while handle is None:
        on_progress(Progress("waiting", message="Another process computes the same request. Waiting for its result."))
        time.sleep(_LOOK_S)
        handle = disk.lock(file)
    try:
        yield
    finally:
        disk.remove(file)
        os.close(handle)


def shared(spec: Spec, n: int, on_progress: OnProgress, members: str = LOCAL) -> Result:
    """Answer a request with `n` processes, which end with it; otherwise as `share`.

    Args:
        spec, on_progress: as of `share`.
        n: how many processes.
        members: the class of the pool as `module:class`, called as `members(spec, n)`.
    """
    check(spec, n)
    ours: Crew = imported(members)(spec, n)
    answer = imported(_TOGETHER) if EXPERIMENTS[spec.kind].together else share
    try:
        found: Result = answer(spec, ours, on_progress)
        return found
    finally:
        ours.close()


def share(spec: Spec, crew: Crew, on_progress: OnProgress) -> Result:
    """Answer a request, and those that it rests on, with all members of a pool; the result is stored.

    Args:
        spec: of a kind that names its `shards`.
        `crew`: whose members see the cache folder; those that never come are not waited for.
        on_progress: told how far it is; may raise `Cancelled`, and finished measurements are kept.

    Raises:
        LayerscopeError: one sentence on an error that the user can fix.
    """
    shards.sweep()
    with Team(crew, partial(fits, crew), on_progress) as team:
        team.tell()
        *before, own = team.alone(lambda place: crew.call(place, "requests", spec.kind, spec.to_json()))
        for kind, resolved in before:
            _answered(SPECS[kind].from_json(resolved), team)
        return _answered(SPECS[spec.kind].from_json(own[1]), team)


def _answered(spec: Spec, team: Team) -> Result:
    stored = RESULTS[spec.kind].load(spec)
    if stored is not None and stored.complete:
        return stored
    crew, asked = team.crew, (spec.kind, spec.to_json())

    def missing(place: int) -> tuple[bool, list[Shard]]:
        reads_disk = bool(crew.call(place, "begin", *asked))
        team.ready[place] = asked
        return reads_disk, [Shard.from_json(one) for one in crew.call(place, "missing")]

    team.say = lambda: Progress("loading the model", values={"result_key": spec.fingerprint()})
    # A part that cannot be shared, such as the search that a curve rests on, is answered by one of them.
    reads_disk, left = team.alone(missing) if EXPERIMENTS[spec.kind].shards else (False, [])
    if left:
        _measure(left, team, asked, together=reads_disk)
    team.say = lambda: Progress("putting the shards together")
    key = team.alone(lambda place: crew.call(place, "finish", *asked))
    result = RESULTS[spec.kind].load(spec)
    if result is None or not result.complete or key != spec.fingerprint():
        raise JobError(f"The {spec.kind} result {key} is not in this process's cache folder. Try again.")
    shards.forget(left)
    return result


def _measure(missing: Sequence[Shard], team: Team, asked: tuple[str, dict[str, Any]], *, together: bool) -> None:
    """Let members take shards until there are none; from the disk each that is there reads the model once, for its part."""
    n = min(team.crew.n, len(missing))
    parts = [[shard] for shard in missing]
    if together:
        n = min(n, team.gather(_GATHER_S))
        parts = [list(missing[place::n]) for place in range(n)]

    def measured(place: int, part: list[Shard]) -> None:
        if team.ready.get(place) != asked:
            team.crew.call(place, "begin", *asked)
            team.ready[place] = asked
        left = [shard.to_json() for shard in part if not shard.is_stored()]
        if left:
            COUNTS.take(team.crew.call(place, "measure", left))

    pieces = [Piece(partial(measured, part=part), sum(shard.size for shard in part)) for part in parts]
    total = sum(piece.size for piece in pieces)

    def how_far() -> Progress:
        there = min(n, team.there)
        of = n if there == n else f"{there} of {n}"
        phase = f"measuring {len(missing)} shards in {of} process{'es' * (n > 1)}"
        return Progress(phase, sum(piece.size for piece in pieces if piece.is_done), total)

    team.say = how_far
    team.all(pieces)


def fits(crew: Crew, place: int) -> None:
    """Refuse a member that would find other figures, or could not show its results.

    Raises:
        JobError: when its versions differ, or it does not see the cache folder.
    """
    theirs, ours = crew.call(place, "hello"), versions()
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise JobError(
                f"This machine has {name} {version}, but a worker has {theirs.get(name)}, so figures may differ. Install "
                "the same version on both."
            )
    file = store.cache_dir() / f"shared-{secrets.token_hex(8)}"
    store.write_atomic(file, b"")
    try:
        if not crew.call(place, "sees", str(file)):
            raise JobError(
                f"A worker does not see the cache folder {store.cache_dir()}. Put the cache folder on storage that all "
                "machines share, at the same path."
            )
    finally:
        file.unlink(missing_ok=True)


def as_line(do: str, arguments: Sequence[Any]) -> bytes:
    """Return the request to a member as it reads it."""
    return json.dumps({"do": do, "with": list(arguments)}).encode() + b"\n"
