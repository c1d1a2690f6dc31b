"""A request that several processes answer step by step, as one group: the training of a healing run.

torchrun starts the processes of this machine, and Ray Train those of a cluster. Both start all of them again where one is lost,
and the run then resumes from its saved state. A folder of the cache, which all of them see, holds the request, a report of each
process, and the wish to stop. `rank` is the program of each process.
"""

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from analysis.core import disk, store
from analysis.core.errors import JobError
from analysis.core.experiment import RESULTS
from analysis.core.progress import Cancelled, OnProgress, Progress
from analysis.core.record import Result, Spec
from analysis.jobs.queue.backend import AttemptStatus
from analysis.jobs.queue.job import CANCELLED, DONE, FAILED
from analysis.jobs.runner.executor import Executor
from analysis.jobs.runner.report import Report
from analysis.jobs.runner.versions import in_common

_LOOK_S = 0.2
"""Seconds between two looks at the folder."""
_GRACE_S = 25.0
"""Seconds that a group which was asked to stop may take to save its work."""


class SharedTraining:
    """The folder of processes that train together, with the request and a report of each."""

    def __init__(self, folder: Path) -> None:
        """Use this folder, which all of them see."""
        self.folder = folder
        self.request_file = folder / "request.json"

    def report(self, rank: int) -> Report:
        """Return the report of a process. That of rank 0 has the progress, and hears the wish to stop."""
        return Report(self.folder / f"rank-{rank}.json")

    def ended(self, within_s: float = 0.0) -> AttemptStatus | None:
        """Return how the request ended, by the first process that says so; None while it has not."""
        until = time.monotonic() + within_s
        while True:
            reports = [Report(file).read() for file in sorted(self.folder.glob("rank-*.json"))]
            ends = [
                report.status for report in reports if report is not None and report.status.state in (DONE, FAILED, CANCELLED)
            ]
            if ends or time.monotonic() >= until:
                return next(iter(ends), None)
            time.sleep(_LOOK_S)


def train(spec: Spec, executor: Executor, on_progress: OnProgress) -> Result:
    """Answer a request with all processes of a pool at once; the result is stored.

    Args:
        spec: of a kind that is done `together`.
        executor: whose processes see the cache folder.
        on_progress: told how far it is; may raise `Cancelled`, and the training so far is saved.

    Raises:
        LayerscopeError: one sentence on an error that the user can fix.
    """
    with in_common() as common, _folder() as group:
        store.write_atomic(group.request_file, json.dumps({"kind": spec.kind, "spec": spec.to_json(), **common}).encode())
        _until_ended(executor, group, on_progress)
        end = group.ended() or AttemptStatus()
    if end.state == CANCELLED:
        raise Cancelled
    if end.error is not None:
        raise JobError(end.error)
    stored = store.load_result(spec.kind, end.result_key) if end.result_key else None
    if stored is None:
        raise JobError(f"The {spec.kind} result is not in this process's cache folder. Try again.")
    return RESULTS[spec.kind].read(stored)


@contextlib.contextmanager
def _folder() -> Iterator[SharedTraining]:
    path = store.cache_dir() / f"shared-{secrets.token_hex(8)}"
    store.make_folder(path)
    try:
        yield SharedTraining(path)
    finally:
        with contextlib.suppress(OSError):
            disk.remove(path)


def _until_ended(executor: Executor, group: SharedTraining, on_progress: OnProgress) -> None:
    """Let the group work, and pass on how far it is. The group hears a wish to end before it is passed on."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            executor.train(group.folder)
        except BaseException as error:
            failed.append(error)

    training, leader = threading.Thread(target=work, name="training", daemon=True), group.report(0)
    training.start()
    try:
        while training.is_alive():
            training.join(_LOOK_S)
            report = leader.read()
            on_progress(report and report.status.progress or Progress("starting the processes"))
    except BaseException:
        leader.ask_to_stop()
        training.join(_GRACE_S)
        raise
    if failed:
        raise failed[0]
