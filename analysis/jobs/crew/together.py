"""A request that all processes of a pool answer step by step, as a group with a leader: the training of a healing run.

A folder of the cache, which all of them see, holds the leader's progress, the wish that it stops, and its end. A
process that is lost ends the group. Another group resumes from the saved state of the request, as one process would.
"""

import contextlib
import json
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from analysis.core import disk, documents, store
from analysis.core.errors import JobError
from analysis.core.experiment import RESULTS
from analysis.core.progress import Cancelled, OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.jobs.crew import Crew, MemberLost, fits
from analysis.jobs.crew.team import LOOK_S, LOST, REPLACED, Team

_REPORT_S = 0.2
"""A report that says nothing new but a count is written at most this often."""
_GATHER_S = 60.0
"""How long a group waits for members that are not there yet, once one is."""
_GRACE_S = 25.0
"""Seconds that a group which was asked to stop may take to save its work."""
_LAST_WORD_S = 5.0
"""How long after one of a group was lost another may have to say why."""


class Line:
    """Messages between the leader of a group and its caller, through a folder that both see."""

    def __init__(self, folder: Path) -> None:
        """Tell each other in this folder."""
        self.folder = folder
        self._last, self._written_at = Progress(""), 0.0

    def report(self, progress: Progress) -> None:
        """Write down how far it is, if that is due.

        Raises:
            Cancelled: when the group shall stop.
        """
        last, self._last = self._last, progress
        news = (last.phase, last.message, last.values) != (progress.phase, progress.message, progress.values)
        if news or time.monotonic() - self._written_at >= _REPORT_S:
            store.write_atomic(self.folder / "progress.json", json.dumps(asdict(progress)).encode())
            self._written_at = time.monotonic()
        if (self.folder / "stop").exists():
            raise Cancelled

    def heard(self) -> Progress | None:
        """Return the last progress that was written down."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Progress(**documents.parsed_object((self.folder / "progress.json").read_bytes()))
        return None

    def stop(self) -> None:
        """Tell the group to save its work and end."""
        store.write_atomic(self.folder / "stop", b"")

    def end(self, **how: str) -> None:
        """Say how it ended, unless another of the group did."""
        if not self.ended():
            store.write_atomic(self.folder / "ended.json", json.dumps(how).encode())

    def ended(self, within_s: float = 0.0) -> dict[str, Any] | None:
        """How it ended: `key` of the result, `error` in a sentence, or `stopped`; None while it has not."""
        until = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):
                return documents.parsed_object((self.folder / "ended.json").read_bytes())
            if time.monotonic() >= until:
                return None
            time.sleep(LOOK_S)

    def last_word(self) -> bool:
        """Return whether the loss of a process was the end: one of the group has written how it ended."""
        return self.ended(_LAST_WORD_S) is not None


def train(spec: Spec, crew: Crew, on_progress: OnProgress) -> Result:
    """Answer a request with all members of a pool at once; the result is stored.

    Args:
        spec: of a kind that is done `together`.
        `crew`: whose members see the cache folder; those without free resources are not waited for.
        on_progress: told how far it is; may raise `Cancelled`, and the training so far is saved.

    Raises:
        LayerscopeError: one sentence on an error that the user can fix.
    """
    n = _there(crew, on_progress)
    line = Line(store.cache_dir() / f"shared-{secrets.token_hex(8)}")
    store.make_folder(line.folder)
    asked = {"kind": spec.kind, "spec": spec.to_json(), "folder": str(line.folder)}
    try:
        _until_ended(partial(crew.together, asked, n), line, on_progress)
        how = line.ended() or {}
    finally:
        with contextlib.suppress(OSError):
            disk.remove(line.folder)
    if "stopped" in how:
        raise Cancelled
    if "error" in how:
        raise JobError(how["error"])
    stored = store.load_result(spec.kind, how["key"])
    if stored is None:
        raise JobError(f"The {spec.kind} result {how['key']} is not in this process's cache folder. Try again.")
    return RESULTS[spec.kind].read(stored)


def _there(crew: Crew, on_progress: OnProgress) -> int:
    """How many members are there and fit, once there is one and others had some time to come."""
    with Team(crew, partial(fits, crew), on_progress) as team:
        team.tell()
        team.alone(lambda place: None)
        return team.gather(_GATHER_S)


def _until_ended(work: Callable[[], None], line: Line, on_progress: OnProgress) -> None:
    """Let the group work, and pass on how far it is. The group hears a wish to end before it is passed on."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    group = threading.Thread(target=guarded, name="group", daemon=True)
    group.start()
    try:
        while group.is_alive():
            group.join(LOOK_S)
            on_progress(line.heard() or Progress("starting the processes"))
    except BaseException:
        line.stop()
        group.join(_GRACE_S)
        raise
    if failed:
        raise failed[0]


def in_turns(crew: Crew, asked: dict[str, Any]) -> None:
    """Do `Crew.together` where members are called one by one: another group takes over from one that lost a member.

    Raises:
        JobError: when members were lost too often.
    """
    line, why = Line(Path(asked["folder"])), ""
    for turn in range(REPLACED + 1):
        for place in range(crew.n if turn else 0):
            crew.replace(place)
        with tempfile.TemporaryDirectory() as folder:
            why = _turn(crew, asked, line, str(Path(folder) / "meeting"))
        if line.ended() is not None:
            return
    raise JobError(LOST.format(n=REPLACED + 1, done="saved", why=why))


def _turn(crew: Crew, asked: dict[str, Any], line: Line, meeting: str) -> str:
    """Let one group work until the request has ended or a member is lost; why that was."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def take_part(place: int) -> None:
        try:
            answers.put(crew.call(place, "take_part", asked, place, crew.n, meeting))
        except (MemberLost, JobError) as error:
            answers.put(str(error))

    for place in range(crew.n):
        threading.Thread(target=take_part, args=(place,), name=f"member-{place}", daemon=True).start()
    # A member that has ended or was lost leaves others that wait for it in vain.
    while line.ended() is None:
        with contextlib.suppress(queue.Empty):
            why = answers.get(timeout=LOOK_S)
            if why is not None:
                return why
    return ""
